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


def has_label(table: pl.DataFrame) -> pl.Series:
    """Boolean, a row: whether its label is known (neither null nor NaN). Raises BadInput when there is no `label` column."""
    if tables.LABEL not in table.columns:
        raise BadInput("the predictions table has no `label` column", next="join the labels before asking for metrics")
    label = table[tables.LABEL]
    known = label.is_not_null()
    return known & label.is_not_nan().fill_null(True) if label.dtype.is_float() else known


def encode(table: pl.DataFrame, signature: Signature) -> Rows:
    """The labelled rows as arrays (see `Rows`); for binary classification the positive class has index 1.

    Raises BadInput when `label` or `y.prediction` is missing, or a label is none of the signature's classes or no number.
    """
    known = table.filter(has_label(table))
    if tables.PREDICTION not in known.columns:
        raise BadInput(f"the predictions table has no `{tables.PREDICTION}` column")
    if signature.problem_type == "regression":
        predicted = _numbers(known[tables.PREDICTION])
        usable = predicted if np.isfinite(predicted).all() else None
        return Rows(_numbers(known[tables.LABEL]), usable, None, 0)
    classes = list(signature.classes)
    if signature.problem_type == "binary_classification":
        classes.sort(key=lambda c: _key(c) == _key(signature.positive_class))
    truth = _codes(known[tables.LABEL], classes)
    if (truth < 0).any():
        strange = known[tables.LABEL].filter(pl.Series(truth < 0))
        raise BadInput(
            f"{len(strange)} labels are none of the model's classes, such as {strange[0]!r}",
            where="label",
            next=f"the classes are {', '.join(map(str, signature.classes))}; correct them, or build again if the class is new",
        )
    answers = known[tables.PREDICTION]
    answer = None if answers.null_count() else _codes(answers, classes)
    return Rows(truth, answer, _scores(known, classes, signature.problem_type), len(classes))


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


def _scores(table: pl.DataFrame, classes: list[Any], problem_type: str) -> Floats | None:
    """(n, k) float64, or None when a column is absent or a value is not finite. Binary: 1 - score stands for the other class."""
    columns = [tables.output(f"probability_{c}") for c in (classes[-1:] if problem_type == "binary_classification" else classes)]
    if not columns or any(c not in table.columns for c in columns):
        return None
    scores = np.column_stack([_numbers(table[c]) for c in columns])
    if problem_type == "binary_classification":
        scores = np.column_stack([1 - scores[:, 0], scores[:, 0]])
    return scores if np.isfinite(scores).all() else None
