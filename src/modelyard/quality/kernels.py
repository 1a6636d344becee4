"""The arithmetic of the metrics, in NumPy: many weightings of the same rows at once.

Every kernel takes `Rows` (n rows, arrays) and `w`, float64 of shape (b, n): b weightings, each a weight >= 0 a row. It answers
float64 of shape (b,), NaN where the metric is undefined for that weighting. A plain metric is the case b = 1 with ones; a
bootstrap resample is the weighting that counts how often each row was drawn, so that both run the same code and rows are sorted
only once. Definitions are scikit-learn's (User Guide, "Metrics and scoring"), to which the tests hold them within 1e-9; where
scikit-learn answers 0 or 1 with a warning because a ratio is 0/0, these say NaN. `ece` is Guo et al. (2017), "On Calibration of
Modern Neural Networks".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
ECE_BINS = 15


@dataclass(frozen=True)
class Rows:
    """Labelled predictions as arrays.

    truth: (n,) class index, or the label itself (regression). predicted: likewise, -1 for an answer that is no class; None when
    an answer is missing. scores: (n, k) probabilities in the order of the classes, for binary (n, 2) with the positive class
    last; None when absent or not finite. classes: k; 0 for regression. names: (k,) the classes as text.
    """

    truth: npt.NDArray[Any]
    predicted: npt.NDArray[Any] | None
    scores: Floats | None
    classes: int
    names: tuple[str, ...] = ()

    @cached_property
    def orders(self) -> list[tuple[Ints, Ints]]:
        """For each class: rows by falling score, and where in that order each run of equal scores ends."""
        assert self.scores is not None
        found = []
        for k in range(self.classes):
            order = np.argsort(-self.scores[:, k], kind="stable")
            falling = self.scores[order, k]
            ends = np.flatnonzero(np.append(np.diff(falling) != 0, True))
            found.append((order, ends))
        return found


def _ratio(top: Floats, bottom: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom != 0, top / bottom, np.nan)


def _mean(values: Floats, w: Floats) -> Floats:
    return _ratio(w @ values, w.sum(axis=1))


def _counts(index: npt.NDArray[Any], size: int, w: Floats) -> Floats:
    """Summed weight of each index 0..size-1, shape (b, size); other indices are left out."""
    inside = (index >= 0) & (index < size)
    flat = np.arange(len(w))[:, None] * size + index[inside].astype(np.int64)[None, :]
    summed = np.bincount(flat.ravel(), w[:, inside].ravel(), minlength=len(w) * size)
    return summed.astype(np.float64).reshape(len(w), size)


def _nanmean(values: Floats, axis: int) -> Floats:
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=axis), known.sum(axis=axis).astype(np.float64))


def _cumulative(rows: Rows, k: int, w: Floats) -> tuple[Floats, Floats]:
    """Weight of true and of false positives at each distinct score of class k, falling; shapes (b, distinct scores)."""
    order, ends = rows.orders[k]
    hit = (rows.truth[order] == k).astype(np.float64)
    ordered = w[:, order]
    positive = np.cumsum(ordered * hit, axis=1)[:, ends]
    return positive, np.cumsum(ordered, axis=1)[:, ends] - positive


def auc_of_class(rows: Rows, k: int, w: Floats) -> Floats:
    tp, fp = _cumulative(rows, k, w)
    zero = np.zeros((len(w), 1))
    tp, fp = np.hstack([zero, tp]), np.hstack([zero, fp])
    area = (np.diff(fp, axis=1) * (tp[:, 1:] + tp[:, :-1]) / 2).sum(axis=1)
    return _ratio(area, tp[:, -1] * fp[:, -1])


def roc_auc(rows: Rows, w: Floats) -> Floats:
    """Area under the ROC curve by trapezoids; several classes: mean over one-versus-rest of those that occur."""
    if rows.classes == 2:
        return auc_of_class(rows, 1, w)
    return _nanmean(np.stack([auc_of_class(rows, k, w) for k in range(rows.classes)]), axis=0)


def average_precision(rows: Rows, w: Floats) -> Floats:
    """Sum over thresholds of (recall gained) x precision, no interpolation."""
    tp, fp = _cumulative(rows, 1, w)
    precision = np.nan_to_num(_ratio(tp, tp + fp))
    gained = np.diff(np.hstack([np.zeros((len(w), 1)), tp]), axis=1)
    return _ratio((gained * precision).sum(axis=1), tp[:, -1])


def _probability_of_truth(rows: Rows) -> Floats:
    assert rows.scores is not None
    taken: Floats = rows.scores[np.arange(len(rows.truth)), rows.truth.astype(np.int64)]
    return taken


def log_loss(rows: Rows, w: Floats) -> Floats:
    """Mean of -ln(probability given to what came true), probabilities kept float64's epsilon away from 0 and 1."""
    eps = np.finfo(np.float64).eps
    return _mean(-np.log(np.clip(_probability_of_truth(rows), eps, 1 - eps)), w)


def brier(rows: Rows, w: Floats) -> Floats:
    """Binary: mean of (score - truth)^2, 0 to 1. Several classes: summed over them, 0 to 2."""
    assert rows.scores is not None
    if rows.classes == 2:
        return _mean((rows.scores[:, 1] - (rows.truth == 1)) ** 2, w)
    truth = np.eye(rows.classes)[rows.truth.astype(np.int64)]
    return _mean(((rows.scores - truth) ** 2).sum(axis=1), w)


def ece(rows: Rows, w: Floats) -> Floats:
    """Expected calibration error over 15 equal bins: binary of the positive score, several classes of the top one's."""
    assert rows.scores is not None
    if rows.classes == 2:
        score, hit = rows.scores[:, 1], (rows.truth == 1).astype(np.float64)
    else:
        top = rows.scores.argmax(axis=1)
        score, hit = rows.scores.max(axis=1), (rows.truth == top).astype(np.float64)
    bins = np.searchsorted(np.linspace(0, 1, ECE_BINS + 1)[1:-1], score)
    gap = _counts(bins, ECE_BINS, w * (hit - score))
    return _ratio(np.abs(gap).sum(axis=1), w.sum(axis=1))


def _tallies(rows: Rows, w: Floats) -> tuple[Floats, Floats, Floats]:
    """Weight of hits, of true and of predicted rows by class; shapes (b, k)."""
    assert rows.predicted is not None
    hits = np.where(rows.predicted == rows.truth, rows.truth, -1)
    k = rows.classes
    return _counts(hits, k, w), _counts(rows.truth, k, w), _counts(rows.predicted, k, w)


def accuracy(rows: Rows, w: Floats) -> Floats:
    assert rows.predicted is not None
    return _mean((rows.predicted == rows.truth).astype(np.float64), w)


def balanced_accuracy(rows: Rows, w: Floats) -> Floats:
    """Mean recall over the classes that occur."""
    hits, true, _ = _tallies(rows, w)
    return _nanmean(_ratio(hits, true), axis=1)


def precision(rows: Rows, w: Floats) -> Floats:
    hits, _, predicted = _tallies(rows, w)
    return _ratio(hits[:, 1], predicted[:, 1])


def recall(rows: Rows, w: Floats) -> Floats:
    hits, true, _ = _tallies(rows, w)
    return _ratio(hits[:, 1], true[:, 1])


def specificity(rows: Rows, w: Floats) -> Floats:
    hits, true, _ = _tallies(rows, w)
    return _ratio(hits[:, 0], true[:, 0])


def _f1_by_class(rows: Rows, w: Floats) -> tuple[Floats, Floats]:
    hits, true, predicted = _tallies(rows, w)
    return _ratio(2 * hits, true + predicted), true


def f1(rows: Rows, w: Floats) -> Floats:
    return _f1_by_class(rows, w)[0][:, 1]


def macro_f1(rows: Rows, w: Floats) -> Floats:
    """Mean F1 over the classes that occur or were predicted."""
    return _nanmean(_f1_by_class(rows, w)[0], axis=1)


def weighted_f1(rows: Rows, w: Floats) -> Floats:
    """F1 by class, averaged by how often each class occurs."""
    scores, true = _f1_by_class(rows, w)
    return _ratio((np.nan_to_num(scores) * true).sum(axis=1), true.sum(axis=1))


def _errors(rows: Rows) -> Floats:
    assert rows.predicted is not None
    return rows.predicted.astype(np.float64) - rows.truth.astype(np.float64)


def mae(rows: Rows, w: Floats) -> Floats:
    return _mean(np.abs(_errors(rows)), w)


def rmse(rows: Rows, w: Floats) -> Floats:
    return np.sqrt(_mean(_errors(rows) ** 2, w))


def mape(rows: Rows, w: Floats) -> Floats:
    """Mean of |error| / |label|, as a share; a label of 0 counts as float64's epsilon, so it makes the result huge."""
    size = np.maximum(np.abs(rows.truth.astype(np.float64)), np.finfo(np.float64).eps)
    return _mean(np.abs(_errors(rows)) / size, w)


def max_error(rows: Rows, w: Floats) -> Floats:
    if not len(rows.truth):
        return np.full(len(w), np.nan)
    worst = np.where(w > 0, np.abs(_errors(rows)), -np.inf).max(axis=1)
    return np.where(np.isneginf(worst), np.nan, worst)


def median_ae(rows: Rows, w: Floats) -> Floats:
    """Median of |error|; weights count as repetitions of a row, and two middle values are averaged."""
    if not len(rows.truth):
        return np.full(len(w), np.nan)
    size = np.abs(_errors(rows))
    order = np.argsort(size, kind="stable")
    size, passed = size[order], np.cumsum(w[:, order], axis=1)
    half = passed[:, -1:] / 2
    low, high = (passed < half).sum(axis=1), (passed <= half).sum(axis=1)
    last = len(size) - 1
    middle = (size[np.minimum(low, last)] + size[np.minimum(high, last)]) / 2
    return np.where(passed[:, -1] > 0, middle, np.nan)


def r2(rows: Rows, w: Floats) -> Floats:
    """1 - (squared error) / (squared deviation from the mean label); NaN when the labels do not vary."""
    if not len(rows.truth):
        return np.full(len(w), np.nan)
    label = rows.truth.astype(np.float64)
    label = label - label[0]  # labels that are all equal become exact zeros, so their spread is an exact 0
    mean = _mean(label, w)
    spread = (w * (label[None, :] - mean[:, None]) ** 2).sum(axis=1)
    return 1 - _ratio(w @ _errors(rows) ** 2, spread)


_OF_SCORES = (roc_auc, average_precision, log_loss, brier, ece)
_OF_ANSWERS = (accuracy, balanced_accuracy, precision, recall, specificity, f1, macro_f1, weighted_f1)
_OF_NUMBERS = (mae, rmse, mape, max_error, median_ae, r2)
KERNELS: dict[str, Callable[[Rows, Floats], Floats]] = {k.__name__: k for k in (*_OF_SCORES, *_OF_ANSWERS, *_OF_NUMBERS)}
