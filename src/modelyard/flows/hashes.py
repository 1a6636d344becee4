"""Hashes: captured rows that hold one in the place of a value, since the config that was in force then redacted the column. One that does
so no longer gives no value back, and a hash is none to ask with or to learn from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.events import ConfigInForce
from modelyard.monitor.words import listing
from modelyard.signature import Signature
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

_HASH = r"^[0-9a-f]{64}$"


def apart(shop: Workshop, model: str, table: pl.DataFrame, names: Collection[str]) -> tuple[pl.DataFrame, list[str]]:
    """The rows that hold no hash in a column of these names; and of the others a sentence, where there are any."""
    import polars as pl

    hashed = sorted(ever(shop, model).intersection(names))
    texts = [c for name in hashed for c in (tables.feature(name), tables.extra(name)) if table.schema.get(c) == pl.String]
    has = [pl.col(column).str.contains(_HASH).fill_null(value=False) for column in texts]
    left = table.filter(~pl.any_horizontal(has)) if has else table
    if left.height == table.height:
        return table, []
    return left, [f"{table.height - left.height:,} rows have hashes of {listing(hashed, 3)}, which was redacted then, and are left out."]


def typed(table: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """Features that are text, as every column is that has hashes among its numbers, in the types of the signature."""
    import polars as pl

    made: dict[str, Any] = {}
    for column in signature.columns:
        name = tables.feature(column.name)
        if table.schema.get(name) == pl.String and column.type in ("int", "float"):
            made[name] = pl.col(name).cast(pl.Int64 if column.type == "int" else pl.Float64, strict=False)
        elif table.schema.get(name) == pl.String and column.type == "bool":
            made[name] = pl.col(name) == "true"
    return table.with_columns(**made)


def ever(shop: Workshop, model: str) -> frozenset[str]:
    """Columns that a config in force hashed, now or once."""
    return frozenset(str(rule["column"]) for rule in _rules(shop, model) if rule.get("how") == "hash")


def _rules(shop: Workshop, model: str) -> Iterator[dict[str, Any]]:
    for entry in shop.journal.entries(model):
        if isinstance(entry.event, ConfigInForce):
            for settings in entry.event.config.values():
                yield from settings.get("deploy", {}).get("capture", {}).get("redact", ())
