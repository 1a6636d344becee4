"""History: what production answered, joined with the labels that came; monitors look at it and retraining learns from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.build import bundle
from modelyard.config.spec import Config
from modelyard.data import parts
from modelyard.data.parts import Parts
from modelyard.events import LabelsReceived
from modelyard.flows import capturing
from modelyard.flows.holdout import SMOKE
from modelyard.monitor import labels
from modelyard.serve import captured
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl


def folder(shop: Workshop, model: str) -> Path:
    """Where the production endpoint's capture lies."""
    return capturing.folder(shop, model, "production")


def answers(
    shop: Workshop, model: str, start: datetime | None = None, end: datetime | None = None, only: tuple[str, ...] | None = None
) -> pl.DataFrame:
    """Captured production rows with `start <= event_time < end`, without labels; `only` as `captured.read` takes it."""
    import polars as pl

    capturing.compact(shop, model, "production")
    rows = captured.read(folder(shop, model), start=start, end=end, only=only)
    return rows.filter(~pl.col(tables.INFERENCE_ID).str.starts_with(SMOKE))


def predictions(
    shop: Workshop, model: str, start: datetime | None = None, end: datetime | None = None, only: tuple[str, ...] | None = None
) -> pl.DataFrame:
    """`answers` with the labels known so far (null where none came)."""
    return labels.join(answers(shop, model, start, end, only), labels.latest(shop.home.labels(model)))


def newest(shop: Workshop, model: str, last: int, *, since: datetime | None = None, version: str | None = None) -> pl.DataFrame:
    """The newest `last` captured production rows, by when they came, oldest first; of one version where it is named, and not older than
    `since`."""
    import polars as pl

    capturing.compact(shop, model, "production")
    found = captured.newest(folder(shop, model), last, since=since, version=version)
    found = found.sort(tables.RECEIVED_AT, maintain_order=True).tail(last)
    return found.filter(~pl.col(tables.INFERENCE_ID).str.starts_with(SMOKE))


def labelled_since(shop: Workshop, model: str, since: datetime | None) -> int:
    """How many captured predictions have a label that came after `since`. One for an id that nobody asked with teaches nothing."""
    import polars as pl

    known = labels.latest(shop.home.labels(model))
    fresh = known if since is None else known.filter(pl.col(tables.RECEIVED_AT) > since)
    return _matched(shop, model, fresh[tables.INFERENCE_ID])


def _matched(shop: Workshop, model: str, ids: pl.Series) -> int:
    """How many different ones of `ids` a captured prediction has."""
    asked = answers(shop, model, only=(tables.INFERENCE_ID,))[tables.INFERENCE_ID] if len(ids) else ids
    return int(ids.unique().is_in(asked.unique().implode()).sum())


def extend(
    shop: Workshop, config: Config, source: Parts, since: datetime | None, until: datetime, spool: Path
) -> tuple[Parts, int, list[str]]:
    """The source's rows and, after them, the captured, labelled ones that happened before `until`, in the source's columns and types.

    A row that is in both counts once, as captured. Where the config has a `time_col`, rows before `since` are left out.
    Returns the table, how many captured rows are in it, and a sentence for each column that kept some of them out, since what callers
    send (an id above all) need not be of the source's types. The captured rows are held in memory; of the source, a batch at a time.
    """
    import polars as pl

    data, taken = config.data, predictions(shop, config.model.name, since, until)
    taken = taken.filter(pl.col(tables.LABEL).is_not_null())
    columns = {data.target_col: tables.LABEL}
    columns |= {data.time_col: tables.EVENT_TIME} if data.time_col else {}
    columns |= {data.id_col: tables.INFERENCE_ID} if data.id_col else {}
    redacted = {rule.column for rule in config.deploy.capture.redact}
    for name in source.schema:
        for prefixed in (tables.feature(name), tables.extra(name)):
            if prefixed in taken.columns and name not in redacted:  # a hash is no value to learn from
                columns.setdefault(name, prefixed)
    added, left_out = _as_source(taken, columns, source.schema)
    if data.id_col:
        added = added.unique(data.id_col, keep="last", maintain_order=True)  # asked twice, learned once
    if data.time_col:
        added = added.sort(data.time_col, maintain_order=True)

    def kept() -> Iterator[pl.DataFrame]:
        for batch in source.batches():
            if data.time_col and since is not None:
                batch = batch.filter(pl.col(data.time_col) >= since)
            if data.id_col:
                batch = batch.join(added.select(data.id_col), on=data.id_col, how="anti", maintain_order="left")
            yield batch

    lacking = [pl.lit(None, source.schema[name]).alias(name) for name in source.schema if name not in added.columns]
    rows = added.with_columns(lacking).select(list(source.schema))
    return Parts((*parts.keep(kept(), spool), rows), source.schema), added.height, left_out


def _as_source(taken: pl.DataFrame, columns: dict[str, str], schema: pl.Schema) -> tuple[pl.DataFrame, list[str]]:
    """The captured columns under their names in the source, in its types; rows that hold what is none of these are left out."""
    import polars as pl

    rows, left_out = taken.select(pl.col(found).alias(name) for name, found in columns.items()), []
    for name in columns:
        had, wanted = rows.schema[name], schema[name]
        cast = rows.select(_cast(name, had, wanted))[name] if had != wanted else rows[name]
        lost = cast.is_null() & rows[name].is_not_null()
        if lost.any():
            first, count = rows[name].filter(lost)[0], int(lost.sum())
            said = f"{count:,} captured row{'s' if count != 1 else ''} left out: `{name}` is no {wanted} there, such as {first!r}"
            left_out.append(said)
        rows = rows.with_columns(cast.alias(name)).filter(~lost)
    return rows, left_out


def _cast(name: str, had: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    """Null where a value is none of the wanted type."""
    import polars as pl

    if wanted == pl.Boolean and had == pl.String:  # Polars itself casts no text to truth
        return labels.convert(wanted, had, name)
    return pl.col(name).cast(wanted, strict=False)


def label(shop: Workshop, model: str, table: pl.DataFrame) -> dict[str, int]:
    """Take labels in (inference_id, label and, maybe, labelled_at). Importing the same again changes nothing.

    Says also how many of the ids are those of a captured prediction; the others are kept, since a label may come first.
    Raises BadInput for a label that is no answer of the model.
    """
    state = shop.model(model)
    if state.versions:
        judge = shop.version(model, state.champion)
        labels.check(table, bundle.open(judge.digest, shop.home.path).signature)
    added = labels.add(table, shop.home.labels(model), shop.clock.now())
    shop.record([LabelsReceived(model, added.new, added.corrected, added.repeated)])
    return {**asdict(added), "matched": _matched(shop, model, labels.ids(table))}
