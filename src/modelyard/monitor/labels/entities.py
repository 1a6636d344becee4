"""Labels that name no prediction, but an entity and a time: a flight of that tail number at six, not request a1.

They are kept in the same ledger, under an id made of the two: the entity's values as a JSON list of texts, `@`, and the time of the event
in UTC, to the microsecond, as in `["UA","N123"]@2013-03-01T06:00:00.000000Z`. Such ids sort by entity, then by time, so that the labels
near a prediction are a range of ids. A label that is given again for the same entity and time corrects it; for another time it is
another label.

A prediction takes the label of its entity that is nearest in time within the tolerance, and of two that are equally near the later one.
One label may so serve several predictions of one event, such as a forecast that was asked for twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.monitor.labelfiles import LABELLED_AT, LINE, Place
from modelyard.monitor.labels.values import GIVEN_AT, as_answered, instant
from modelyard.monitor.profile.reading import text

if TYPE_CHECKING:
    import polars as pl

KEY = "label_key"
"""A column of a table that `join` labelled: the ledger's id of the label that a prediction took."""
_TIME = "%Y-%m-%dT%H:%M:%S%.6fZ"
_FIRST, _LAST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
_SUFFIX = len("@2013-03-01T06:00:00.000000Z")


def keyed(frame: pl.DataFrame, columns: Sequence[str], place: Place | None = None) -> pl.DataFrame:
    """Labels as `ledger.add` takes them, from rows of the entity's `columns`, event_time (datetime, UTC), label and maybe labelled_at and
    `LINE`, which `place` says where it is.

    Raises BadInput for a row without a time, or without one of the entity's values.
    """
    import polars as pl

    for name in (*columns, tables.EVENT_TIME):
        if frame[name].null_count():
            row, next = frame[name].is_null().arg_max() or 0, "a label without an id is joined by its entity and time"
            if place is not None:
                raise BadInput(f"there is no {name}", where=place(frame[LINE][row]), next=next)
            raise BadInput(f"row {row + 1} has no {name}", where="labels", next=next)
    key = _key(_entity(frame, columns), pl.col(tables.EVENT_TIME)).alias(tables.INFERENCE_ID)
    return frame.select(key, tables.LABEL, *(name for name in (LABELLED_AT, LINE) if name in frame.columns))


def ranges(rows: pl.DataFrame, columns: Sequence[str], tolerance: timedelta) -> tuple[pl.Series, pl.Series]:
    """The ranges of the ledger's ids in which the labels of these predictions are, as `ledger.between` takes them."""
    import polars as pl

    entity, at = _entity(rows, _found(rows, columns)), pl.col(tables.EVENT_TIME)
    found = rows.select(_key(entity, at - tolerance).alias("low"), _key(entity, at + tolerance).alias("high"))
    found = found.drop_nulls().unique().sort("low", "high")
    return found["low"], found["high"]


def join(rows: pl.DataFrame, labels: pl.DataFrame, columns: Sequence[str], tolerance: timedelta) -> pl.DataFrame:
    """The predictions table with `label`, `GIVEN_AT` and `KEY`, null where there is no label within the tolerance.

    Args:
        rows: a predictions table; the entity's `columns` are in it as features or as what came along. Its rows' order and number stay.
        labels: as `ledger.between` gives them.

    Raises BadInput where a column is not captured, or a label is of another kind than the model's answers.
    """
    import polars as pl

    at = pl.col(tables.EVENT_TIME)
    rows = rows.drop(tables.LABEL, GIVEN_AT, KEY, strict=False)
    asked = (
        rows.select(at.cast(instant()), _entity(rows, _found(rows, columns)).alias("entity")).with_row_index("row").sort(tables.EVENT_TIME)
    )
    known = _parted(labels).sort("at")
    sides = {}
    for side in ("backward", "forward"):
        near = asked.join_asof(
            known, left_on=tables.EVENT_TIME, right_on="at", by="entity", strategy=side, coalesce=False, check_sortedness=False
        )
        sides[side] = near.with_columns((at - pl.col("at")).abs().alias("far")).sort("row")
    before, after = sides["backward"], sides["forward"]
    later = (after["far"] <= before["far"]).fill_null(False) | before["far"].is_null()
    wanted = [tables.LABEL, GIVEN_AT, KEY, "far"]
    taken = pl.DataFrame({name: after[name].zip_with(later, before[name]) for name in wanted})
    near_enough = (taken["far"] <= tolerance).fill_null(False)
    taken = taken.select(pl.when(near_enough).then(pl.col(name)).alias(name) for name in wanted[:-1])
    return as_answered(pl.concat([rows, taken], how="horizontal"))


def times(ids: pl.Series) -> pl.Series:
    """When the events were that the ledger's ids tell of (UTC); null for an id of another kind."""
    import polars as pl

    parsed = pl.col("id").str.slice(-_SUFFIX + 1).str.to_datetime(_TIME, time_unit="us", strict=False).dt.replace_time_zone("UTC")
    return ids.alias("id").to_frame().select(pl.when(pl.col("id").str.slice(-_SUFFIX, 1) == "@").then(parsed).alias("at"))["at"]


def near(at: pl.Series, tolerance: timedelta) -> tuple[pl.Series, pl.Series]:
    """From when to when the predictions may be that take labels of these times (UTC). A label may have any time: it is kept within those
    that one can reckon with."""
    return (at - tolerance).clip(_FIRST, _LAST), (at + tolerance).clip(_FIRST, _LAST)


def _parted(labels: pl.DataFrame) -> pl.DataFrame:
    """The ledger's rows with their ids taken apart: entity and at."""
    import polars as pl

    id = pl.col(tables.INFERENCE_ID)
    entity = id.str.head(-_SUFFIX).alias("entity")
    given = [pl.col(tables.LABEL), pl.col(tables.RECEIVED_AT).alias(GIVEN_AT), id.alias(KEY)]
    return labels.select(entity, times(labels[tables.INFERENCE_ID]), *given).drop_nulls("at")


def _found(rows: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    """The entity's columns as they are called in a predictions table."""
    found = []
    for name in columns:
        held = tables.place(rows.columns, name)
        if held is None:
            said = f"`{name}` is in no captured row, so labels cannot be joined by it"
            raise BadInput(said, where="labels.join", next="have callers send it, or join by inference_id")
        found.append(held)
    return found


def _entity(rows: pl.DataFrame, columns: Sequence[str]) -> pl.Expr:
    """The values of an entity as a JSON list of texts; null where one is."""
    import polars as pl

    def quoted(name: str) -> pl.Expr:
        plain = text(name, rows.schema[name]).str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
        return pl.concat_str(pl.lit('"'), plain, pl.lit('"'))

    return pl.concat_str(pl.lit("["), pl.concat_str([quoted(name) for name in columns], separator=","), pl.lit("]"))


def _key(entity: pl.Expr, at: pl.Expr) -> pl.Expr:
    """Null where the entity or the time is."""
    import polars as pl

    return pl.concat_str(entity, pl.lit("@"), at.cast(instant()).dt.strftime(_TIME))
