"""The ledger of labels: what was said to be true of which prediction, and when.

A folder of Parquet files, a file an import, only ever added to. Corrections are further rows, so that what was known at any
time can be read again. Which rows hold is a pure fold (`fold`): for each inference_id the row with the latest (labelled_at,
received_at); the order of files, and repeated ones, change nothing. Labels may come before their prediction: the ledger asks
for none.

A file's name is `<digest of the import>-<digest of its bytes>.parquet`. The first makes a repeated import a no-op, the second
tells a damaged file. It is written beside, fsynced and renamed, so that a torn one is never seen.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.errors import BadInput, NoRoom
from modelyard.monitor.labelfiles import LABELLED_AT, read_file
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

__all__ = ["LABELLED_AT", "Added", "add", "check", "convert", "fold", "ids", "join", "latest", "read_file"]

_COLUMNS = (tables.INFERENCE_ID, tables.LABEL, LABELLED_AT, tables.RECEIVED_AT)


@dataclass(frozen=True)
class Added:
    """What an import did: predictions labelled for the first time, labels that changed, rows that said nothing new, and rows
    without a label, which are left out."""

    new: int
    corrected: int
    repeated: int
    blank: int = 0


def add(frame: pl.DataFrame, folder: Path, received_at: datetime) -> Added:
    """Add labels to the ledger in `folder` (made if needed).

    Args:
        frame: inference_id, label, and optionally labelled_at (datetime; where null or absent, `received_at` stands for it).
        received_at: timezone-aware; when the labels came.

    Raises:
        BadInput: a column is missing, an id is empty, an id has two labels and nothing says which is later, or the ledger is
            damaged.
        NoRoom: the disk is full; nothing was added.
    """
    import polars as pl

    given, blank = _checked(frame)
    batch, before = _digest(given), latest(folder)
    if given.is_empty() or any(folder.glob(f"{batch}-*.parquet")):
        return Added(0, 0, given.height, blank)
    rows = given.with_columns(pl.col(LABELLED_AT).fill_null(received_at), pl.lit(received_at, _instant()).alias(tables.RECEIVED_AT))
    before, rows = _alike([before, rows])
    dated = given[LABELLED_AT].is_not_null()
    known = [tables.INFERENCE_ID, tables.LABEL]  # without a time, saying again what holds says nothing new
    fresh = pl.concat([rows.filter(dated).join(before, [*known, LABELLED_AT], "anti"), rows.filter(~dated).join(before, known, "anti")])
    was = before.select(tables.INFERENCE_ID, pl.col(tables.LABEL).alias("was"))
    changed = fold([before, fresh]).join(was, on=tables.INFERENCE_ID, how="left")
    new = changed.filter(pl.col("was").is_null()).height
    corrected = changed.filter(pl.col("was") != pl.col(tables.LABEL)).height
    _write(fresh, folder, batch)  # even if empty: it records that this import was seen
    return Added(new, corrected, given.height - new - corrected, blank)


def latest(folder: Path, until: datetime | None = None) -> pl.DataFrame:
    """The labels that hold, of those received up to `until` (all by default), a row an inference_id, as `fold` gives them.

    Raises:
        BadInput: a file of the ledger is damaged.
    """
    import polars as pl

    frames = [_read(path) for path in sorted(folder.glob("*.parquet"))]
    return fold([f if until is None else f.filter(pl.col(tables.RECEIVED_AT) <= until) for f in frames])


def fold(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """One row an inference_id, sorted by it: the one with the greatest (labelled_at, received_at, label). Pure.

    Labels of different types are brought to one: numbers to float64, all else to strings.
    """
    import polars as pl

    if not frames:
        return pl.DataFrame(schema=dict(zip(_COLUMNS, (pl.String(), pl.String(), _instant(), _instant()), strict=True)))
    rows = pl.concat(_alike(frames))
    order = [tables.INFERENCE_ID, LABELLED_AT, tables.RECEIVED_AT, tables.LABEL]
    return rows.sort(order).unique(tables.INFERENCE_ID, keep="last", maintain_order=True)


def check(frame: pl.DataFrame, signature: Signature) -> None:
    """Whether the labels to import (see `add`) are such as the model answers: one of two classes, a class's type, or a number.

    A class that a multiclass model never learned is no error: the world may have it, and the model is wrong there.

    Raises:
        BadInput: they are not; it names the first that is not.
    """
    import polars as pl

    if tables.LABEL not in frame.columns or tables.INFERENCE_ID not in frame.columns:
        return  # `add` says so
    given = frame.select(pl.col(tables.INFERENCE_ID), pl.col(tables.LABEL))
    if given.schema[tables.LABEL].is_float():
        given = given.with_columns(pl.col(tables.LABEL).fill_nan(None))
    given = given.drop_nulls(tables.LABEL)
    wanted = _answers(signature)
    as_answers = given.select(convert(wanted, given.schema[tables.LABEL], tables.LABEL))[tables.LABEL]
    good = as_answers.is_not_null()
    if signature.answer == "number":
        good &= as_answers.is_finite().fill_null(False)
        if signature.problem_type == "ranking":  # how relevant a row is
            good &= (as_answers >= 0).fill_null(False)
    elif signature.positive_class is not None:
        good &= as_answers.is_in(pl.Series(signature.classes, dtype=wanted).implode()).fill_null(False)
    bad = given.filter(~good)
    if not bad.is_empty():
        raise _strange(bad, signature)


def _strange(bad: pl.DataFrame, signature: Signature) -> BadInput:
    classes = ", ".join(repr(c) for c in signature.classes[:10])
    needed = f"one of the model's classes, {classes}" if signature.classes else "a number, as the model's answers are"
    row, more = bad.row(0, named=True), f" (and {bad.height - 1:,} more)" if bad.height > 1 else ""
    said = f"label {row[tables.LABEL]!r} of prediction '{row[tables.INFERENCE_ID]}' is not {needed}{more}"
    return BadInput(said, where=tables.LABEL, next="correct the labels and import them again; none was taken")


def _answers(signature: Signature) -> pl.DataType:
    """The type of the model's answers."""
    import polars as pl

    kinds = {type(c) for c in signature.classes}
    if not kinds:
        return pl.Float64()
    return {frozenset({bool}): pl.Boolean(), frozenset({int}): pl.Int64(), frozenset({float}): pl.Float64()}.get(
        frozenset(kinds), pl.String()
    )


def join(predictions: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """The predictions table with `label`, null where none came yet; of the type of y.prediction where there is one.

    Raises:
        BadInput: a label cannot be of that type, such as 'yes' where the model answers 0 or 1.
    """
    import polars as pl

    joined = predictions.drop(tables.LABEL, strict=False).join(
        labels.select(tables.INFERENCE_ID, tables.LABEL), on=tables.INFERENCE_ID, how="left", maintain_order="left"
    )
    wanted, had = predictions.schema.get(tables.PREDICTION), joined.schema[tables.LABEL]
    if wanted is None or wanted == had or wanted == pl.Null:
        return joined
    cast = joined.with_columns(convert(wanted, had, tables.LABEL))
    lost = joined.filter(cast[tables.LABEL].is_null() & joined[tables.LABEL].is_not_null())
    if not lost.is_empty():
        row = lost.row(0, named=True)
        raise BadInput(
            f"label {row[tables.LABEL]!r} of prediction '{row[tables.INFERENCE_ID]}' is no {wanted}, as the model's answers are",
            where=tables.LABEL,
            next="correct it by importing a label for this prediction again",
        )
    return cast


def ids(frame: pl.DataFrame) -> pl.Series:
    """The ids of an import as the ledger writes them."""
    return frame.select(_text(tables.INFERENCE_ID, frame.schema[tables.INFERENCE_ID]))[tables.INFERENCE_ID]


def _checked(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The import as (inference_id str, label, labelled_at UTC or null), each row once, sorted; and how many had no label."""
    import polars as pl

    for name in (tables.INFERENCE_ID, tables.LABEL):
        if name not in frame.columns:
            raise BadInput(f"labels need a column '{name}'", where="labels", next=f"there are: {', '.join(frame.columns)}")
    when = pl.col(LABELLED_AT) if LABELLED_AT in frame.columns else pl.lit(None, _instant()).alias(LABELLED_AT)
    label = frame.schema[tables.LABEL]
    given = frame.select(
        _text(tables.INFERENCE_ID, frame.schema[tables.INFERENCE_ID]),
        _as(_common([label]), label),
        _utc(when, frame.schema.get(LABELLED_AT)),
    )
    empty = given.with_row_index("row", 1).filter(pl.col(tables.INFERENCE_ID).fill_null("") == "")
    if not empty.is_empty():
        raise BadInput(f"row {empty['row'][0]} has no inference_id", where="labels")
    full = given.drop_nulls(tables.LABEL)
    once = full.unique().sort(given.columns)
    clash = once.filter(pl.struct(tables.INFERENCE_ID, LABELLED_AT).is_duplicated())
    if not clash.is_empty():
        name, a, b = clash[tables.INFERENCE_ID][0], clash[tables.LABEL][0], clash[tables.LABEL][1]
        raise BadInput(
            f"prediction '{name}' has two labels ({a!r} and {b!r}), and nothing says which is later",
            where="labels",
            next=f"leave one out, or give a column '{LABELLED_AT}'",
        )
    return once, given.height - full.height


def _instant() -> pl.Datetime:
    import polars as pl

    return pl.Datetime("us", "UTC")


def _utc(when: pl.Expr, dtype: pl.DataType | None) -> pl.Expr:
    import polars as pl

    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        when = when.dt.replace_time_zone("UTC")
    elif dtype is not None and not isinstance(dtype, pl.Datetime | pl.Null):
        raise BadInput(f"'{LABELLED_AT}' must hold times, not {dtype}", where="labels")
    return when.cast(_instant())


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    """As strings; a whole float like the integer, since an id column with gaps reads as floats."""
    import polars as pl

    column = pl.col(name)
    if not dtype.is_float():
        return column.cast(pl.String)
    whole = column.cast(pl.Int64, strict=False)
    return pl.when(column == whole).then(whole.cast(pl.String)).otherwise(column.cast(pl.String)).alias(name)


def _common(dtypes: Sequence[pl.DataType]) -> pl.DataType:
    """The one type that labels of these types are kept in: bool, int64, float64 or string."""
    import polars as pl

    if all(d == pl.Boolean for d in dtypes):
        return pl.Boolean()
    if all(d.is_integer() for d in dtypes):
        return pl.Int64()
    return pl.Float64() if all(d.is_numeric() for d in dtypes) else pl.String()


def _alike(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The frames in the ledger's columns, with labels of one type; an empty frame's type counts for nothing."""
    had = [f.schema[tables.LABEL] for f in frames]
    dtype = _common([d for d, f in zip(had, frames, strict=True) if not f.is_empty()] or had)
    return [f.select(_COLUMNS).with_columns(_as(dtype, d)) for f, d in zip(frames, had, strict=True)]


def _as(dtype: pl.DataType, had: pl.DataType) -> pl.Expr:
    """The label column, once of type `had`, as one of `_common`'s; NaN is no label."""
    import polars as pl

    if dtype == pl.String:
        return _text(tables.LABEL, had)
    column = pl.col(tables.LABEL).cast(dtype)
    return column.fill_nan(None) if dtype == pl.Float64 else column


def convert(wanted: pl.DataType, had: pl.DataType, name: str) -> pl.Expr:
    """The column `name`, of type `had`, as text, truth or number, as a person means it; null where it cannot be."""
    import polars as pl

    column = pl.col(name)
    if wanted == pl.String:
        return _text(name, had)
    if wanted == pl.Boolean:
        if had != pl.String:
            return pl.when(column.cast(pl.Float64).is_in([0.0, 1.0])).then(column.cast(pl.Boolean)).alias(name)
        return column.str.to_lowercase().replace_strict({"true": True, "1": True, "false": False, "0": False}, default=None)
    number = column.cast(pl.Float64, strict=False)
    if wanted.is_integer():
        exact = column.cast(wanted, strict=False)  # a string such as '1.0' is no integer to Polars, but is one to a person
        rounded = pl.when(number == number.round()).then(number.cast(wanted, strict=False))
        return (rounded if had.is_float() else pl.coalesce(exact, rounded)).alias(name)
    return number.cast(wanted, strict=False)


def _digest(given: pl.DataFrame) -> str:
    head = f"{given.schema[tables.LABEL]}\n".encode()
    return hashlib.sha256(head + given.write_csv(quote_style="always", null_value="").encode()).hexdigest()[:32]


def _write(rows: pl.DataFrame, folder: Path, batch: str) -> None:
    """Temporary file, fsync, rename, fsync of the folder. What a killed import left is written over by its repetition."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{batch}.partial"
    try:
        rows.write_parquet(partial)
        with partial.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
            os.fsync(file.fileno())
        partial.rename(folder / f"{batch}-{digest}.parquet")
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as exc:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom("the disk is full: no label was added", where="labels", next="make room and import again") from exc
        raise


def _read(path: Path) -> pl.DataFrame:
    import polars as pl

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    if path.stem.partition("-")[2] != digest:
        raise BadInput("digest mismatch: this file of the label ledger is damaged", where=path.name, next="restore it from a copy")
    return pl.read_parquet(path, glob=False)
