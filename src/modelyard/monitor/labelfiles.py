"""Reads labels that a person brings: csv, parquet, JSON or JSON lines, with the ids and the target under the model's own names."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.errors import BadInput, NotFound
from modelyard.monitor.words import did_you_mean

if TYPE_CHECKING:
    import polars as pl

LABELLED_AT = "labelled_at"
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


def read_file(path: Path, id_col: str | None, target_col: str, timezone: str = "UTC") -> pl.DataFrame:
    """A file of labels as `labels.add` takes them; see `read`."""
    return read(path, Names(id_col, target_col, timezone))


def read(path: Path, names: Names) -> pl.DataFrame:
    """A file of labels as `table` gives them: .csv, .parquet, .json (a list of objects) or .jsonl (an object a line).

    Raises:
        NotFound: there is no such file. BadInput: it cannot be read, is empty, lacks a column, or holds a time that is none.
    """
    if not path.is_file():
        raise NotFound(f"no file '{path}'", where="labels")
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise BadInput(f"'{path.name}' is no csv, parquet or jsonl", where="labels", next="name it .csv, .parquet, .json or .jsonl")
    return parse(path.read_bytes(), kind, names, path.name)


def parse(data: bytes, kind: str, names: Names, where: str) -> pl.DataFrame:
    """Labels as bytes of a `kind` (csv, parquet, json, jsonl), as `table` gives them. `where`: what errors call it. Raises BadInput."""
    frame = _read(data, kind, where, {names.id_col, tables.INFERENCE_ID})
    if frame.is_empty():
        raise BadInput("the file has no rows", where=where)
    return table(frame, names, where)


def table(frame: pl.DataFrame, names: Names, where: str) -> pl.DataFrame:
    """Rows of labels as the ledger takes them: inference_id, or the entity's columns and event_time (UTC); label; and labelled_at (UTC) if
    they have it. Raises BadInput for a column that is not there, or a time that is none."""
    import polars as pl

    columns: list[pl.Expr | pl.Series] = []
    if names.entity:
        columns += [pl.col(_column(frame, name, name, where)) for name in names.entity]
        columns.append(
            _times(frame[_column(frame, names.time_col or tables.EVENT_TIME, tables.EVENT_TIME, where)], names, where, tables.EVENT_TIME)
        )
    else:
        columns.append(pl.col(_column(frame, names.id_col or tables.INFERENCE_ID, tables.INFERENCE_ID, where)).alias(tables.INFERENCE_ID))
    columns.append(pl.col(_column(frame, names.target_col, tables.LABEL, where)).alias(tables.LABEL))
    if LABELLED_AT in frame.columns:
        columns.append(_times(frame[LABELLED_AT], names, where, LABELLED_AT))
    return frame.select(columns)


def _column(frame: pl.DataFrame, name: str, spare: str, where: str) -> str:
    for candidate in (name, spare):
        if candidate in frame.columns:
            return candidate
    raise BadInput(f"there is no column '{name}'", where=where, next=did_you_mean(name, frame.columns))


def _read(data: bytes, kind: str, where: str, ids: Container[str | None]) -> pl.DataFrame:
    import polars as pl

    try:
        if kind == "parquet":
            return pl.read_parquet(data)
        if kind == "json":
            return pl.DataFrame(_list(data, where), infer_schema_length=None, strict=False)
        if kind == "jsonl":
            return pl.DataFrame(_objects(data, where), infer_schema_length=None, strict=False)
        text = pl.read_csv(BytesIO(data), infer_schema=False)
        return text.with_columns(_id(text[name]) if name in ids else _typed(text[name]) for name in text.columns)
    except pl.exceptions.NoDataError as exc:
        raise BadInput("the file is empty", where=where) from exc
    except (pl.exceptions.PolarsError, UnicodeDecodeError, TypeError) as exc:
        raise BadInput(f"not a readable {kind} file: {str(exc).splitlines()[0]}", where=where) from exc


def _list(data: bytes, where: str) -> list[dict[str, object]]:
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except ValueError as exc:
        raise BadInput(f"not JSON: {exc}", where=where) from exc
    rows = [found] if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise BadInput("not a list of objects", where=where, next=_EXAMPLE)
    for number, row in enumerate(rows, 1):
        _object(row, f"{where}, row {number}")
    return rows


_EXAMPLE = 'write [{"inference_id": "a1", "label": 1}]'


def _object(row: object, where: str) -> None:
    if not isinstance(row, dict):
        raise BadInput('not an object, such as {"inference_id": "a1", "label": 1}', where=where)


def _objects(data: bytes, where: str) -> list[dict[str, object]]:
    rows = []
    for number, line in enumerate(_lines(data), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as exc:
            raise BadInput(f"not JSON: {exc}", where=f"{where}:{number}") from exc
        _object(row, f"{where}:{number}")
        rows.append(row)
    return rows


def _lines(data: bytes) -> Iterable[str]:
    return TextIOWrapper(BytesIO(data), encoding="utf-8-sig")


def _id(text: pl.Series) -> pl.Series:
    """An id stays as it is written (007, 1e5, 20 digits), but for whole numbers that a table with gaps made floats of."""
    whole = text.str.contains(r"^-?\d+(\.0)?$").all()
    return text.str.strip_suffix(".0") if whole else text


def _typed(text: pl.Series) -> pl.Series:
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


def _times(column: pl.Series, names: Names, where: str, as_: str) -> pl.Series:
    """A column of times as datetime[us, UTC], under the name `as_`."""
    import polars as pl

    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if column.dtype == pl.String:
        column = _parsed(column, names.timezone, where)
    if not isinstance(column.dtype, pl.Datetime):
        if column.null_count() == len(column):
            return column.cast(pl.Datetime("us", "UTC")).alias(as_)
        raise BadInput(f"'{column.name}' must hold times, not {column.dtype}", where=where, next="write 2013-03-01T06:00:00Z")
    if column.dtype.time_zone is None:
        column = column.dt.replace_time_zone(names.timezone, ambiguous="earliest", non_existent="null")
    return column.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC")).alias(as_)


def _parsed(column: pl.Series, timezone: str, where: str) -> pl.Series:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    import polars as pl

    zone, times = ZoneInfo(timezone), []
    for number, text in enumerate(column, 1):
        try:
            time = datetime.fromisoformat(text.strip()) if text and text.strip() else None
        except ValueError as exc:
            next_ = "write 2013-03-01T06:00:00Z"
            raise BadInput(f"row {number}: '{text}' is not a time", where=f"{where}, {column.name}", next=next_) from exc
        times.append(time and (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC))
    return pl.Series(column.name, times, pl.Datetime("us", "UTC"))
