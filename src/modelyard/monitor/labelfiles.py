"""Reads labels that a person brings: csv, parquet, JSON or JSON lines, with the ids and the target under the model's own names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import tables, zones
from modelyard.errors import BadInput, NotFound
from modelyard.monitor.words import did_you_mean

if TYPE_CHECKING:
    import polars as pl

    from modelyard.monitor.labelpieces import Pieces

LABELLED_AT = "labelled_at"
LINE = "line of the file"
"""A column of rows of labels: which line, or row, of their file they are."""
Place = Callable[[int], str]
"""Where a row stands, by its `LINE`, as errors say it."""
KINDS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}


@dataclass(frozen=True)
class Names:
    """What the columns of labels are called, and the timezone of times without one.

    id_col, target_col, time_col: the model's names; `inference_id`, `label` and `event_time` are taken too where those are not there.
    entity: columns that, with the time, say which prediction is meant; empty where its id does.
    """

    id_col: str | None
    target_col: str
    timezone: str = "UTC"
    entity: tuple[str, ...] = ()
    time_col: str | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The columns that may hold the prediction's id."""
        return (tables.INFERENCE_ID,) if self.id_col is None else (self.id_col, tables.INFERENCE_ID)

    @property
    def needed(self) -> tuple[tuple[str, str], ...]:
        """What each column that rows need is called, and what it may be called where that is not there."""
        when = (self.time_col or tables.EVENT_TIME, tables.EVENT_TIME)
        keys = [*((name, name) for name in self.entity), when] if self.entity else [(self.ids[0], tables.INFERENCE_ID)]
        return (*keys, (self.target_col, tables.LABEL))

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns that are read of a csv as they are written there; see `of_csv`."""
        return tuple(dict.fromkeys([*self.ids, *self.entity, self.target_col, tables.LABEL]))

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that say something."""
        return tuple(dict.fromkeys([*(name for pair in self.needed for name in pair), LABELLED_AT]))


def read_file(path: Path, id_col: str | None, target_col: str, timezone: str = "UTC") -> pl.DataFrame:
    """A file of labels as `labels.add` takes them, whole; see `opened`."""
    with opened(path, Names(id_col, target_col, timezone)) as pieces:
        return _together(pieces)


@contextmanager
def opened(path: Path, names: Names) -> Iterator[Pieces]:
    """A file of labels, to be read in pieces: .csv, .parquet, .json (a list of objects) or .jsonl (an object a line).

    Raises:
        NotFound: there is no such file. BadInput: its name says not what it is.
    """
    from modelyard.monitor.labelpieces import Pieces

    if not path.is_file():
        raise NotFound(f"no file '{path}'", where="labels")
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise BadInput(f"'{path.name}' is no csv, parquet or jsonl", where="labels", next="name it .csv, .parquet, .json or .jsonl")
    with path.open("rb") as file:
        yield Pieces(file, kind, names, path.name)


def sent(data: bytes, kind: str, names: Names, where: str) -> Pieces:
    """Labels as bytes of a `kind` (csv, parquet, json, jsonl), to be read in pieces. `where`: what errors call it."""
    from modelyard.monitor.labelpieces import Pieces

    return Pieces(BytesIO(data), kind, names, where)


def _together(pieces: Pieces) -> pl.DataFrame:
    import polars as pl

    return pl.concat([pieces.typed(piece) for piece in list(pieces)]).drop(LINE)


def table(frame: pl.DataFrame, names: Names, where: str, place: Place | None = None) -> pl.DataFrame:
    """Rows of labels as the ledger takes them: inference_id, or the entity's columns and event_time (UTC); label; and labelled_at (UTC) and
    `LINE` if they have it. Raises BadInput for a column that is not there, or a time that is none."""
    import polars as pl

    lacking(frame.columns, names, where)
    *keys, label = [next(name for name in pair if name in frame.columns) for pair in names.needed]
    columns: list[pl.Expr | pl.Series] = []
    if names.entity:
        columns += [*map(pl.col, keys[:-1]), _times(frame, keys[-1], names, where, tables.EVENT_TIME, place)]
    else:
        columns.append(pl.col(keys[0]).alias(tables.INFERENCE_ID))
    columns.append(pl.col(label).alias(tables.LABEL))
    if LABELLED_AT in frame.columns:
        columns.append(_times(frame, LABELLED_AT, names, where, LABELLED_AT, place))
    return frame.select(*columns, *([LINE] if place is not None else []))


def lacking(columns: Sequence[str], names: Names, where: str) -> None:
    """Raises BadInput for a needed column that is not among these."""
    for name, spare in names.needed:
        if name not in columns and spare not in columns:
            raise BadInput(f"there is no column '{name}'", where=where, next=did_you_mean(name, columns))


def whole(ids: pl.Series) -> bool:
    """Whether all ids of a csv are whole numbers, which a table with gaps made floats of. Else an id stays as it is written (007, 1e5, 20
    digits)."""
    return bool(ids.str.contains(r"^-?\d+(\.0)?$").all())


def as_ids(text: pl.Series) -> pl.Series:
    """All ids of a csv, as they are written there, as the ledger has them."""
    return text.str.strip_suffix(".0") if whole(text) else text


def of_csv(rows: pl.DataFrame, names: Names) -> pl.DataFrame:
    """All rows of a csv, whose `names.texts` are as they are written there, as what they turn out to be: what `Pieces` says of a file."""
    found = [rows[name] for name in names.texts if name in rows.columns]
    return rows.with_columns(as_ids(column) if column.name in names.ids else typed(column) for column in found)


def growing(text: pl.Series) -> pl.Series:
    """A column that grows, as it is written in a csv, as what it grows by: integers or floats, leading zeros or not; else text."""
    import polars as pl

    found = (text.cast(dtype, strict=False) for dtype in (pl.Int64, pl.Float64))
    return next((numbers for numbers in found if numbers.null_count() == text.null_count()), text)


def typed(text: pl.Series) -> pl.Series:
    """A csv column as integers, floats or booleans where every value is one, and reads back as it was written; else as text."""
    import polars as pl

    found = numbers(text)
    lower = text.str.to_lowercase()
    return lower == "true" if found.dtype == pl.String and lower.is_in(["true", "false"]).all() else found


def numbers(text: pl.Series) -> pl.Series:
    """As integers, else as floats, where every value is one, and reads back as it was written; else as text."""
    import polars as pl

    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == text.null_count() and (whole.cast(pl.String) == text).all():
        return whole
    number = text.cast(pl.Float64, strict=False)
    return number if number.null_count() == text.null_count() and not text.str.contains(r"^[+-]?0\d").any() else text


def _times(frame: pl.DataFrame, name: str, names: Names, where: str, as_: str, place: Place | None) -> pl.Series:
    """A column of times as datetime[us, UTC], under the name `as_`."""
    import polars as pl

    def at(i: int) -> str:
        return f"{where}, row {i + 1}" if place is None else place(frame[LINE][i])

    column = frame[name]
    if column.dtype == pl.Date:
        _within(column, at)
        column = column.cast(pl.Datetime("us"))
    if column.dtype == pl.String:
        column = _parsed(column, names.timezone, at)
    if not isinstance(column.dtype, pl.Datetime):
        if column.null_count() == len(column):
            return column.cast(pl.Datetime("us", "UTC")).alias(as_)
        raise BadInput(f"'{column.name}' must hold times, not {column.dtype}", where=where, next="write 2013-03-01T06:00:00Z")
    if column.dtype.time_zone is None:
        _within(column, at)
        column = zones.utc(column, names.timezone)
    column = column.dt.convert_time_zone("UTC")
    _within(column, at)
    return column.cast(pl.Datetime("us", "UTC")).alias(as_)


def _within(times: pl.Series, place: Place) -> None:
    """Raises BadInput for a time before the year 1 or after 9999, which a table may hold and Python not. place: of a row by its index."""
    from datetime import date, datetime

    import polars as pl

    if isinstance(times.dtype, pl.Datetime):
        good = times.dt.replace_time_zone(None).is_between(datetime.min, datetime.max)
    else:
        good = times.is_between(date.min, date.max)
    if not good.all():
        raise _beyond((~good).fill_null(value=False).arg_max() or 0, times.name, place)


def _beyond(row: int, name: str, place: Place, said: str = "a time") -> BadInput:
    what = f"{said} lies before the year 1 or after 9999, once in UTC"
    return BadInput(what, where=f"{place(row)}, {name}", next="write 2013-03-01T06:00:00Z")


def _parsed(column: pl.Series, timezone: str, place: Place) -> pl.Series:
    """place: of a row by its index."""
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    import polars as pl

    zone, times = ZoneInfo(timezone), []
    for i, text in enumerate(column):
        try:
            time = datetime.fromisoformat(text.strip()) if text and text.strip() else None
        except ValueError as exc:
            next_ = "write 2013-03-01T06:00:00Z"
            raise BadInput(f"'{text}' is not a time", where=f"{place(i)}, {column.name}", next=next_) from exc
        try:
            times.append(time and (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC))
        except OverflowError as exc:
            raise _beyond(i, column.name, place, f"'{text}'") from exc
    return pl.Series(column.name, times, pl.Datetime("us", "UTC"))
