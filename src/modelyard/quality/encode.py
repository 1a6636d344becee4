"""From a predictions table to arrays: which rows count, and which class each label and answer is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.quality.kernels import Floats, Rows
from modelyard.signature import Signature

OTHER = "(other)"


def has_label(table: pl.DataFrame) -> pl.Series:
    """Boolean, a row: whether its label is known (neither null nor NaN). Raises BadInput when there is no `label` column."""
    if tables.LABEL not in table.columns:
        raise BadInput("the predictions table has no `label` column", next="join the labels before asking for metrics")
    label = table[tables.LABEL]
    known = label.is_not_null()
    return known & label.is_not_nan().fill_null(True) if label.dtype.is_float() else known


def encode(table: pl.DataFrame, signature: Signature) -> Rows:
    """The labelled rows as arrays (see `Rows`); for binary classification the positive class has index 1.

    With several classes, labels that the signature does not know are one more class, `(other)`, which the model always gets wrong.
    Raises BadInput when `label` or `y.prediction` is missing, a binary label is neither class, or a regression's is no number.
    """
    known = table.filter(has_label(table))
    if tables.PREDICTION not in known.columns:
        raise BadInput(f"the predictions table has no `{tables.PREDICTION}` column")
    if signature.problem_type == "regression":
        predicted = _numbers(known[tables.PREDICTION])
        usable = predicted if np.isfinite(predicted).all() else None
        return Rows(_numbers(known[tables.LABEL]), usable, None, 0)
    binary = signature.problem_type == "binary_classification"
    classes = list(signature.classes)
    if binary:
        classes.sort(key=lambda c: _key(c) == _key(signature.positive_class))
    names = tuple(map(str, classes))
    truth, answers = _codes(known[tables.LABEL], classes), known[tables.PREDICTION]
    answer = None if answers.null_count() else _codes(answers, classes)
    scores = _scores(known, classes, binary)
    if (truth < 0).any():
        if binary:
            raise _strange(known[tables.LABEL].filter(pl.Series(truth < 0)), signature)
        # The world has a class that the model never learned: every such row is an error, to which it gave no probability.
        truth, names = np.where(truth < 0, len(classes), truth), (*names, OTHER)
        scores = None if scores is None else np.column_stack([scores, np.zeros(len(truth))])
    return Rows(truth, answer, scores, len(names), names)


def _strange(labels: pl.Series, signature: Signature) -> BadInput:
    return BadInput(
        f"{len(labels)} labels are none of the model's classes, such as {labels[0]!r}",
        where="label",
        next=f"the classes are {', '.join(map(str, signature.classes))}: correct the labels",
    )


def same_labels(a: pl.Series, b: pl.Series) -> bool:
    """Whether two columns hold the same labels, row by row, in whatever type each writes them."""

    def written(series: pl.Series) -> pl.Series:
        distinct = series.unique()
        return series.replace_strict(distinct, pl.Series([_key(v) for v in distinct.to_list()], dtype=pl.String), return_dtype=pl.String)

    return len(a) == len(b) and written(a).eq_missing(written(b)).all()


def _numbers(series: pl.Series) -> Floats:
    try:
        return series.cast(pl.Float64, strict=True).fill_null(float("nan")).to_numpy()
    except pl.exceptions.PolarsError as exc:
        raise BadInput(f"`{series.name}` should hold numbers: {str(exc).splitlines()[0]}", where=series.name) from exc


def _key(value: Any) -> str:
    """What two writings of one class share: 1, 1.0, True and '1' are the same class."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _codes(series: pl.Series, classes: list[Any]) -> npt.NDArray[np.int64]:
    index = {_key(value): i for i, value in enumerate(classes)}
    if classes and all(isinstance(c, bool) for c in classes):
        index |= {str(bool(c)).lower(): i for i, c in enumerate(classes)} | {str(bool(c)): i for i, c in enumerate(classes)}
    values = series.cast(pl.String) if series.dtype in (pl.Categorical, pl.Enum) else series
    distinct = values.unique()
    codes = [index.get(_key(value), -1) for value in distinct.to_list()]
    return values.replace_strict(distinct, pl.Series(codes, dtype=pl.Int64), return_dtype=pl.Int64).to_numpy()


def _scores(table: pl.DataFrame, classes: list[Any], binary: bool) -> Floats | None:
    """(n, k) float64, or None when a column is absent or a value is not finite. Binary: 1 - score stands for the other class."""
    columns = [tables.output(f"probability_{c}") for c in (classes[-1:] if binary else classes)]
    if not columns or any(c not in table.columns for c in columns):
        return None
    scores = np.column_stack([_numbers(table[c]) for c in columns])
    if binary:
        scores = np.column_stack([1 - scores[:, 0], scores[:, 0]])
    return scores if np.isfinite(scores).all() else None
