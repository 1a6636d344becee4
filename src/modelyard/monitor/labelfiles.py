"""Reads labels that a person brings: csv, parquet or jsonl, with the ids and the target under the model's own names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.errors import BadInput, NotFound
from modelyard.monitor.words import did_you_mean

if TYPE_CHECKING:
    import polars as pl

LABELLED_AT = "labelled_at"
_KINDS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def read_file(path: Path, id_col: str | None, target_col: str, timezone: str = "UTC") -> pl.DataFrame:
    """A file of labels as `labels.add` takes them: inference_id (str), label, and labelled_at (UTC) if the file has it.

    Args:
        path: .csv, .parquet or .jsonl (an object a line).
        id_col, target_col: the model's names; `inference_id` and `label` are taken too where those are not there.
        timezone: of times without one.

    Raises:
        NotFound: there is no such file. BadInput: it cannot be read, is empty, lacks a column, or holds a time that is none.
    """
    import polars as pl

    if not path.is_file():
        raise NotFound(f"no file '{path}'", where="labels")
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise BadInput(f"'{path.name}' is no csv, parquet or jsonl", where="labels", next="name it .csv, .parquet or .jsonl")
    frame = _read(path, kind)
    if frame.is_empty():
        raise BadInput("the file has no rows", where=path.name)
    ids = _column(frame, id_col or tables.INFERENCE_ID, tables.INFERENCE_ID, path)
    label = _column(frame, target_col, tables.LABEL, path)
    columns: list[pl.Expr | pl.Series] = [pl.col(ids).alias(tables.INFERENCE_ID), pl.col(label).alias(tables.LABEL)]
    if LABELLED_AT in frame.columns:
        columns.append(_times(frame[LABELLED_AT], timezone, path))
    return frame.select(columns)


def _column(frame: pl.DataFrame, name: str, spare: str, path: Path) -> str:
    for candidate in (name, spare):
        if candidate in frame.columns:
            return candidate
    raise BadInput(f"there is no column '{name}'", where=path.name, next=did_you_mean(name, frame.columns))


def _read(path: Path, kind: str) -> pl.DataFrame:
    import polars as pl

    try:
        if kind == "parquet":
            return pl.read_parquet(path, glob=False)
        if kind == "jsonl":
            return pl.DataFrame(_objects(path), infer_schema_length=None, strict=False)
        text = pl.read_csv(path, infer_schema=False, glob=False)  # as text, so that an id such as 007 stays what it is
        return text.with_columns(_typed(text[name]) for name in text.columns)
    except pl.exceptions.NoDataError as exc:
        raise BadInput("the file is empty", where=path.name) from exc
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as exc:
        raise BadInput(f"not a readable {kind} file: {str(exc).splitlines()[0]}", where=path.name) from exc


def _objects(path: Path) -> list[dict[str, object]]:
    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as exc:
                raise BadInput(f"not JSON: {exc}", where=f"{path.name}:{number}") from exc
            if not isinstance(row, dict):
                raise BadInput('not an object, such as {"inference_id": "a1", "label": 1}', where=f"{path.name}:{number}")
            rows.append(row)
    return rows


def _typed(text: pl.Series) -> pl.Series:
    """A csv column as integers, floats or booleans where every value is one, and reads back as it was written; else as text."""
    import polars as pl

    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == text.null_count() and (whole.cast(pl.String) == text).all():
        return whole
    number = text.cast(pl.Float64, strict=False)
    if number.null_count() == text.null_count() and not text.str.contains(r"^[+-]?0\d").any():
        return number
    lower = text.str.to_lowercase()
    return lower == "true" if lower.is_in(["true", "false"]).all() else text


def _times(column: pl.Series, timezone: str, path: Path) -> pl.Series:
    """labelled_at as datetime[us, UTC]."""
    import polars as pl

    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if column.dtype == pl.String:
        column = _parsed(column, timezone, path)
    if not isinstance(column.dtype, pl.Datetime):
        if column.null_count() == len(column):
            return column.cast(pl.Datetime("us", "UTC"))
        raise BadInput(f"'{LABELLED_AT}' must hold times, not {column.dtype}", where=path.name, next="write 2013-03-01T06:00:00Z")
    if column.dtype.time_zone is None:
        column = column.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return column.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC")).alias(LABELLED_AT)


def _parsed(column: pl.Series, timezone: str, path: Path) -> pl.Series:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    import polars as pl

    zone, times = ZoneInfo(timezone), []
    for number, text in enumerate(column, 1):
        try:
            time = datetime.fromisoformat(text.strip()) if text and text.strip() else None
        except ValueError as exc:
            next_ = "write 2013-03-01T06:00:00Z"
            raise BadInput(f"row {number}: '{text}' is not a time", where=f"{path.name}, {LABELLED_AT}", next=next_) from exc
        times.append(time and (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC))
    return pl.Series(LABELLED_AT, times, pl.Datetime("us", "UTC"))
