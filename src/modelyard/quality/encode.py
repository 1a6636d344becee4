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
    """The labelled rows as arrays (see `Rows`); of two classes the positive one has index 1.

    With several classes or labels, those that the signature does not know are one more, `(other)`, which the model always gets wrong.
    Of a ranking, rows whose group is not known are left out. A row weighs `x.<weight_col>`, and 1 where that is missing.
    Raises BadInput when `label` or `y.prediction` is missing, a label of two classes is neither, a number's is no number, a ranking's is
    negative, or a weight is.
    """
    known = table.filter(usable(table, signature))
    if tables.PREDICTION not in known.columns:
        raise BadInput(f"the predictions table has no `{tables.PREDICTION}` column")
    weights = _weights(known, signature)
    if signature.answer == "number":
        return _encode_numbers(known, signature, weights)
    if signature.answer == "labels":
        return _encode_labels(known, signature, weights)
    return _encode_classes(known, signature, weights)


def usable(table: pl.DataFrame, signature: Signature) -> pl.Series:
    """Boolean, a row: whether it can be judged: its label is known and, of a ranking, its group."""
    known = has_label(table)
    if signature.problem_type != "ranking" or signature.group_col is None:
        return known
    group = tables.extra(signature.group_col)
    return known & (table[group].is_not_null() if group in table.columns else pl.repeat(False, table.height, eager=True))


def _weights(table: pl.DataFrame, signature: Signature) -> Floats | None:
    name = tables.extra(signature.weight_col or "")
    return None if signature.weight_col is None or name not in table.columns else weights_of(table[name], signature.weight_col)


def weights_of(series: pl.Series, where: str) -> Floats | None:
    """What each row weighs, 1 where that is missing: (n,) of mean 1, so that places of a list stay places; None where all are missing.

    Raises BadInput for what is no number, for weights below 0 or infinite, and where all are 0.
    """
    if series.null_count() == len(series):
        return None
    weights = np.where(series.is_null().to_numpy(), 1.0, _numbers(series))
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise BadInput("weights must be 0 or above, and not all 0", where=where, next="correct the column, or leave `weight_col` out")
    return np.asarray(weights / weights.mean())


def verify_relevance(labels: pl.Series) -> None:
    """Raises BadInput where a ranking's labels say less than that a row is irrelevant."""
    if (_numbers(labels) < 0).any():
        raise BadInput("a ranking's labels say how relevant a row is: 0 or above", where=labels.name)


def _encode_numbers(table: pl.DataFrame, signature: Signature, weights: Floats | None) -> Rows:
    truth, predicted = _numbers(table[tables.LABEL]), _numbers(table[tables.PREDICTION])
    usable = predicted if np.isfinite(predicted).all() else None
    groups = None
    if signature.problem_type == "ranking":
        verify_relevance(table[tables.LABEL])
        name = tables.extra(signature.group_col or "")
        groups = index(table.select(name)) if name in table.columns else np.zeros(0, dtype=np.int64)
    return Rows(truth, usable, None, 0, weights=weights, groups=groups, naive_error=signature.naive_error)


def index(columns: pl.DataFrame) -> npt.NDArray[np.int64]:
    """A number from 0 for each distinct row of `columns`, in the order in which they come first; (n,) int64."""
    if columns.is_empty():
        return np.zeros(0, dtype=np.int64)
    names = columns.columns
    first = columns.unique(maintain_order=True).with_row_index("__index")
    joined = columns.join(first, on=names, how="left", nulls_equal=True, maintain_order="left")
    return joined["__index"].cast(pl.Int64).to_numpy()


def _encode_labels(table: pl.DataFrame, signature: Signature, weights: Floats | None) -> Rows:
    names = tuple(map(str, signature.classes))
    separator = signature.label_separator or "|"
    truth, strange = _sets(table[tables.LABEL], names, separator)
    answers = table[tables.PREDICTION]
    predicted = None if answers.null_count() else _sets(answers, names, separator)[0]
    scores = _scores(table, list(signature.classes), binary=False)
    if strange.any():  # as with classes: the world has a label that the model never learned
        names = (*names, OTHER)
        truth = np.column_stack([truth, strange])
        predicted = None if predicted is None else np.column_stack([predicted, np.zeros(len(truth), dtype=bool)])
        scores = None if scores is None else np.column_stack([scores, np.zeros(len(truth))])
    return Rows(truth, predicted, scores, len(names), names, weights)


def _sets(series: pl.Series, names: tuple[str, ...], separator: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Texts of joined labels as (n, k) booleans, and whether a row has a label beside these, (n,). Each distinct text is read once."""
    places = {name: i for i, name in enumerate(names)}
    texts = series.cast(pl.String).to_frame("text")
    distinct = texts["text"].unique(maintain_order=True)
    cells = np.zeros((len(distinct), len(names) + 1), dtype=bool)
    for row, text in enumerate(distinct.to_list()):
        for label in filter(None, map(str.strip, (text or "").split(separator))):
            cells[row, places.get(label, len(names))] = True
    found = cells[index(texts)]
    return found[:, :-1], found[:, -1]


def _encode_classes(table: pl.DataFrame, signature: Signature, weights: Floats | None) -> Rows:
    two = signature.positive_class is not None or signature.problem_type == "binary_classification"
    classes = list(signature.classes)
    if two:
        classes.sort(key=lambda c: key(c) == key(signature.positive_class))
    names = tuple(map(str, classes))
    truth, answers = _codes(table[tables.LABEL], classes), table[tables.PREDICTION]
    answer = None if answers.null_count() else _codes(answers, classes)
    scores = _anomaly_scores(table) if signature.problem_type == "anomaly_detection" else _scores(table, classes, two)
    if (truth < 0).any():
        if two:
            raise _strange(table[tables.LABEL].filter(pl.Series(truth < 0)), signature)
        # The world has a class that the model never learned: every such row is an error, to which it gave no probability.
        truth, names = np.where(truth < 0, len(classes), truth), (*names, OTHER)
        scores = None if scores is None else np.column_stack([scores, np.zeros(len(truth))])
    return Rows(truth, answer, scores, len(names), names, weights)


def _anomaly_scores(table: pl.DataFrame) -> Floats | None:
    """(n, 2): how usual and how strange a row is."""
    if tables.output("score") not in table.columns:
        return None
    score = _numbers(table[tables.output("score")])
    return np.column_stack([-score, score]) if np.isfinite(score).all() else None


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
        return series.replace_strict(distinct, pl.Series([key(v) for v in distinct.to_list()], dtype=pl.String), return_dtype=pl.String)

    return len(a) == len(b) and written(a).eq_missing(written(b)).all()


def _numbers(series: pl.Series) -> Floats:
    if series.dtype.is_temporal():
        raise BadInput(f"`{series.name}` should hold numbers, and holds times", where=series.name)
    try:
        return series.cast(pl.Float64, strict=True).fill_null(float("nan")).to_numpy()
    except pl.exceptions.PolarsError as exc:
        raise BadInput(f"`{series.name}` should hold numbers: {str(exc).splitlines()[0]}", where=series.name) from exc


def key(value: Any) -> str:
    """What two writings of one class share: 1, 1.0, True and '1' are the same class."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _codes(series: pl.Series, classes: list[Any]) -> npt.NDArray[np.int64]:
    index = {key(value): i for i, value in enumerate(classes)}
    if classes and all(isinstance(c, bool) for c in classes):
        index |= {str(bool(c)).lower(): i for i, c in enumerate(classes)} | {str(bool(c)): i for i, c in enumerate(classes)}
    values = series.cast(pl.String) if series.dtype in (pl.Categorical, pl.Enum) else series
    distinct = values.unique()
    codes = [index.get(key(value), -1) for value in distinct.to_list()]
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
