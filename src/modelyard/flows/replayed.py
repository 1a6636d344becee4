"""The captured rows that two versions are asked beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.build import bundle
from modelyard.errors import BadInput
from modelyard.flows import hashes, history
from modelyard.signature import Signature
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl


def rows(shop: Workshop, model: str, last: int, signed: dict[str, Signature], redacted: frozenset[str]) -> tuple[pl.DataFrame, list[str]]:
    """The newest captured rows, up to `last` of them, with every feature of some versions (by their signatures), less their answers; and
    what is left out, in sentences. An empty table where the rows do not hold a feature, or it is redacted."""
    import polars as pl

    table, notes = _apart(shop, model, last)
    wanted = {name for one in signed.values() for name in one.names}
    lacking = {name for name in wanted if tables.feature(name) not in table.columns} | (redacted & wanted)
    if table.height and lacking:
        why = " (redacted)" if lacking <= redacted else ""
        return table.clear(), [f"Captured rows do not hold {_quoted(lacking)}{why}, which both versions need to answer them."]
    known = {version: set(one.names) for version, one in signed.items()}
    asked = {version: known.get(version) or _names(shop, model, version, wanted) for version in table[tables.VERSION].unique()}
    without = {version: lacks for version, names in asked.items() if (lacks := wanted - names)}
    kept = table.filter(~pl.col(tables.VERSION).is_in(list(without)))
    if kept.height < table.height:  # they were never asked for it: that a version fails on such a row says nothing
        said = _quoted(set().union(*without.values()))
        notes = [f"{table.height - kept.height:,} rows are of versions without {said}, and are left out.", *notes]
    kept, hashed = hashes.apart(shop, model, kept, wanted)
    if hashed:  # they make a column of numbers one of texts
        notes = [*hashed, *notes]
        for one in signed.values():
            kept = hashes.typed(kept, one)
    return kept.select(pl.exclude("^y\\..*$", tables.LABEL)), notes


def _apart(shop: Workshop, model: str, last: int) -> tuple[pl.DataFrame, list[str]]:
    """The newest captured rows, each id once; older ones take the place of those that came again."""
    import polars as pl

    table = history.newest(shop, model, last)
    taken = table.unique(tables.INFERENCE_ID, keep="last", maintain_order=True)
    if taken.height == table.height:
        return table, []
    table = history.newest(shop, model, 4 * last)
    taken = table.unique(tables.INFERENCE_ID, keep="last", maintain_order=True).tail(last)
    again = table.filter(pl.col(tables.RECEIVED_AT) >= taken[tables.RECEIVED_AT][0]).height - taken.height
    return taken, [f"{again:,} rows came more than once and count once."]


def _names(shop: Workshop, model: str, version: str, unknown: set[str]) -> set[str]:
    """The features of a version that was asked; `unknown` where it is no version of the model's."""
    try:
        return set(bundle.open(shop.version(model, version).digest, shop.home.path).signature.names)
    except BadInput:
        return unknown


def _quoted(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
