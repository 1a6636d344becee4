"""Rows of the ledger as pure tables: which of them hold, of what type a label is, what a model could answer, and the join."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.monitor.labelfiles import LINE, Place
from modelyard.monitor.labels.segments import COLUMNS, ORDER
from modelyard.monitor.profile.reading import text
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

GIVEN_AT = "label_received_at"
"""A column of a labelled predictions table: when the label that holds was received; null where there is none."""


def fold(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """One row an inference_id, sorted by it: the one with the greatest (labelled_at, received_at, label). Pure.

    Labels of different types are brought to one: numbers to float64, all else to strings.
    """
    import polars as pl

    if not frames:
        return pl.DataFrame(schema=dict(zip(COLUMNS, (pl.String(), pl.String(), instant(), instant()), strict=True)))
    return pl.concat(alike(frames)).sort(ORDER).unique(tables.INFERENCE_ID, keep="last", maintain_order=True)


def instant() -> pl.Datetime:
    import polars as pl

    return pl.Datetime("us", "UTC")


def check(frame: pl.DataFrame, signature: Signature, place: Place | None = None) -> None:
    """Whether the labels to import (see `add`) are such as the model answers: one of two classes, a class's type, or a number. place: where
    a row stands in its file, where they have a `LINE`.

    A class that a multiclass model never learned is no error: the world may have it, and the model is wrong there.

    Raises:
        BadInput: they are not; it names the first that is not.
    """
    import polars as pl

    if tables.LABEL not in frame.columns or tables.INFERENCE_ID not in frame.columns:
        return  # `add` says so
    given = frame.select(tables.INFERENCE_ID, tables.LABEL, *([LINE] if LINE in frame.columns else []))
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
        raise _strange(bad, signature, place)


def _strange(bad: pl.DataFrame, signature: Signature, place: Place | None) -> BadInput:
    classes = ", ".join(repr(c) for c in signature.classes[:10])
    needed = f"one of the model's classes, {classes}" if signature.classes else "a number, as the model's answers are"
    row, more = bad.row(0, named=True), f" (and {bad.height - 1:,} more)" if bad.height > 1 else ""
    said = f"label {row[tables.LABEL]!r} of prediction '{row[tables.INFERENCE_ID]}' is not {needed}{more}"
    where = tables.LABEL if place is None else place(row[LINE])
    return BadInput(said, where=where, next="correct the labels and import them again; none was taken")


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
    """The predictions table with `label`, null where none came yet, of the type of y.prediction where there is one; and `GIVEN_AT`.

    Raises:
        BadInput: a label cannot be of that type, such as 'yes' where the model answers 0 or 1.
    """
    import polars as pl

    known = labels.select(tables.INFERENCE_ID, tables.LABEL, pl.col(tables.RECEIVED_AT).alias(GIVEN_AT))
    rows = predictions.drop(tables.LABEL, GIVEN_AT, strict=False)
    return as_answered(rows.join(known, on=tables.INFERENCE_ID, how="left", maintain_order="left"))


def as_answered(joined: pl.DataFrame) -> pl.DataFrame:
    """A labelled table with its labels as the model answers; see `join`."""
    import polars as pl

    wanted, had = joined.schema.get(tables.PREDICTION), joined.schema[tables.LABEL]
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


def common(dtypes: Sequence[pl.DataType]) -> pl.DataType:
    """The one type that labels of these types are kept in: bool, int64, float64 or string."""
    import polars as pl

    if all(d == pl.Boolean for d in dtypes):
        return pl.Boolean()
    if all(d.is_integer() for d in dtypes):
        return pl.Int64()
    return pl.Float64() if all(d.is_numeric() for d in dtypes) else pl.String()


def alike(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The frames in the ledger's columns, with labels of one type; an empty frame's type counts for nothing."""
    had = [f.schema[tables.LABEL] for f in frames]
    dtype = common([d for d, f in zip(had, frames, strict=True) if not f.is_empty()] or had)
    return [f.select(COLUMNS).with_columns(as_label(dtype, d)) for f, d in zip(frames, had, strict=True)]


def as_label(dtype: pl.DataType, had: pl.DataType) -> pl.Expr:
    """The label column, once of type `had`, as one of `common`'s; NaN is no label."""
    import polars as pl

    if dtype == pl.String:
        return text(tables.LABEL, had)
    column = pl.col(tables.LABEL).cast(dtype)
    return column.fill_nan(None) if dtype == pl.Float64 else column


def convert(wanted: pl.DataType, had: pl.DataType, name: str) -> pl.Expr:
    """The column `name`, of type `had`, as text, truth or number, as a person means it; null where it cannot be."""
    import polars as pl

    column = pl.col(name)
    if wanted == pl.String:
        return text(name, had)
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
