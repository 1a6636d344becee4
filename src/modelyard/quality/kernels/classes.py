"""Kernels of one class a row: how well scores separate and how honest they are, and what the answers get right."""

from __future__ import annotations

import numpy as np

from modelyard.quality.kernels.rows import Floats, Ints, Rows, counts, mean, nanmean, ratio, total

ECE_BINS = 15
DECILE = 0.1
FEW_CLASSES = 10


def cumulative(rows: Rows, k: int, w: Floats) -> tuple[Floats, Floats]:
    """Weight of true and of false positives at each distinct score of class k, falling; shapes (b, distinct scores)."""

    def make() -> tuple[Floats, Floats]:
        assert rows.scores is not None
        order, ends = rows.orders[k]
        hit = (rows.truth[order] == k) if rows.truth.ndim == 1 else rows.truth[order, k]
        return below(order, ends, hit, w)

    return rows.once(("cumulative", k), make, w) if rows.classes <= FEW_CLASSES else make()  # of many they would fill the memory


def below(order: Ints, ends: Ints, hit: np.typing.NDArray[np.bool_], w: Floats) -> tuple[Floats, Floats]:
    """Weight of the rows with and without `hit` down to each end of a run of equal scores; shapes (b, len(ends))."""
    ordered = w[:, order]
    all_of = np.cumsum(ordered, axis=1)
    ordered *= hit
    positive = np.cumsum(ordered, axis=1, out=ordered)
    if len(ends) < len(order):
        positive, all_of = positive[:, ends], all_of[:, ends]
    all_of -= positive
    return positive, all_of


def area(tp: Floats, fp: Floats) -> Floats:
    """Area under the curve through (0, 0) and the points (fp, tp), by trapezoids, as a share of the whole."""
    wide = np.diff(fp, axis=1)
    summed = np.einsum("ij,ij->i", wide, tp[:, 1:]) + np.einsum("ij,ij->i", wide, tp[:, :-1]) + fp[:, 0] * tp[:, 0]
    return ratio(summed / 2, tp[:, -1] * fp[:, -1])


def auc_of_class(rows: Rows, k: int, w: Floats) -> Floats:
    return area(*cumulative(rows, k, w))


def roc_auc(rows: Rows, w: Floats) -> Floats:
    """Area under the ROC curve by trapezoids; several classes: mean over one-versus-rest of those that occur."""
    if rows.classes == 2:
        return auc_of_class(rows, 1, w)
    return nanmean(np.stack([auc_of_class(rows, k, w) for k in range(rows.classes)]), axis=0)


def precision_area(tp: Floats, fp: Floats) -> Floats:
    """Sum over thresholds of (recall gained) x precision, no interpolation."""
    precision = np.nan_to_num(ratio(tp, tp + fp))
    gained = np.diff(tp, axis=1, prepend=0.0)
    return ratio(np.einsum("ij,ij->i", gained, precision), tp[:, -1])


def average_precision(rows: Rows, w: Floats) -> Floats:
    return precision_area(*cumulative(rows, 1, w))


def ks_statistic(rows: Rows, w: Floats) -> Floats:
    """Greatest difference of the shares of positives and of negatives above a score (two-sample Kolmogorov-Smirnov)."""
    tp, fp = cumulative(rows, 1, w)
    gap: Floats = np.abs(ratio(tp, tp[:, -1:]) - ratio(fp, fp[:, -1:])).max(axis=1)
    return gap


def gain_top_decile(rows: Rows, w: Floats) -> Floats:
    """Share of the positives among the tenth of the rows (by weight) that score highest; equal scores share a cut."""
    tp, fp = cumulative(rows, 1, w)
    return ratio(up_to(tp, fp, DECILE * total(rows, w)), tp[:, -1])


def lift_top_decile(rows: Rows, w: Floats) -> Floats:
    return gain_top_decile(rows, w) / DECILE


def up_to(tp: Floats, fp: Floats, places: Floats) -> Floats:
    """Weight of positives in the first `places` (b,) by weight; of equal scores across the cut, their share."""
    found = np.empty(len(tp))
    for b, (hits, others) in enumerate(zip(tp, fp, strict=True)):
        found[b] = np.interp(places[b], np.concatenate([[0.0], hits + others]), np.concatenate([[0.0], hits]))
    return found


def _probability_of_truth(rows: Rows) -> Floats:
    assert rows.scores is not None
    taken: Floats = rows.scores[np.arange(len(rows.truth)), rows.truth.astype(np.int64)]
    return taken


def log_loss(rows: Rows, w: Floats) -> Floats:
    """Mean of -ln(probability given to what came true), probabilities kept float64's epsilon away from 0 and 1."""
    eps = np.finfo(np.float64).eps
    return mean(rows, "log_loss", lambda: -np.log(np.clip(_probability_of_truth(rows), eps, 1 - eps)), w)


def brier(rows: Rows, w: Floats) -> Floats:
    """Binary: mean of (score - truth)^2, 0 to 1. Several classes: summed over them, 0 to 2."""

    def make() -> Floats:
        assert rows.scores is not None
        if rows.classes == 2:
            return np.asarray((rows.scores[:, 1] - (rows.truth == 1)) ** 2, dtype=np.float64)
        truth = np.eye(rows.classes)[rows.truth.astype(np.int64)]
        return np.asarray(((rows.scores - truth) ** 2).sum(axis=1), dtype=np.float64)

    return mean(rows, "brier", make, w)


def ece(rows: Rows, w: Floats) -> Floats:
    """Expected calibration error over 15 equal bins: binary of the positive score, several classes of the top one's."""

    def top() -> tuple[Floats, Floats]:
        assert rows.scores is not None
        if rows.classes == 2:
            return rows.scores[:, 1], (rows.truth == 1).astype(np.float64)
        return rows.scores.max(axis=1), (rows.truth == rows.scores.argmax(axis=1)).astype(np.float64)

    score, hit = rows.once("top", top)
    gap = rows.once("gap", lambda: hit - score)
    gaps = counts(rows, "bins", lambda: np.searchsorted(np.linspace(0, 1, ECE_BINS + 1)[1:-1], score), ECE_BINS, w, gap)
    return ratio(np.abs(gaps).sum(axis=1), total(rows, w))


def top_3_accuracy(rows: Rows, w: Floats) -> Floats:
    """Share of rows whose class is among the three best scored; of equal scores, the class that comes later in the order."""

    def make() -> Floats:
        assert rows.scores is not None
        own = _probability_of_truth(rows)[:, None]
        later = np.arange(rows.classes) > rows.truth[:, None]
        ahead = (rows.scores > own) | ((rows.scores == own) & later)
        return np.asarray(ahead.sum(axis=1) < 3, dtype=np.float64)

    return mean(rows, "top_3_accuracy", make, w)


def tallies(rows: Rows, w: Floats) -> tuple[Floats, Floats, Floats]:
    """Weight of hits, of true and of predicted rows by class (or label); shapes (b, k)."""

    def make() -> tuple[Floats, Floats, Floats]:
        assert rows.predicted is not None
        if rows.truth.ndim == 2:
            true, predicted = rows.truth.astype(np.float64), rows.predicted.astype(np.float64)
            return w @ (true * predicted), w @ true, w @ predicted
        k, truth, answers = rows.classes, rows.truth, rows.predicted
        hits = counts(rows, "hits", lambda: np.where(answers == truth, truth, -1), k, w)
        return hits, counts(rows, "true", lambda: truth, k, w), counts(rows, "answers", lambda: answers, k, w)

    return rows.once("tallies", make, w)


def accuracy(rows: Rows, w: Floats) -> Floats:
    return mean(rows, "accuracy", lambda: np.asarray(rows.predicted == rows.truth, dtype=np.float64), w)


def _recalls(rows: Rows, w: Floats) -> Floats:
    hits, true, _ = tallies(rows, w)
    return ratio(hits, true)


def _precisions(rows: Rows, w: Floats) -> Floats:
    hits, _, predicted = tallies(rows, w)
    return ratio(hits, predicted)


def balanced_accuracy(rows: Rows, w: Floats) -> Floats:
    """Mean recall over the classes that occur."""
    return nanmean(_recalls(rows, w), axis=1)


def precision(rows: Rows, w: Floats) -> Floats:
    return _precisions(rows, w)[:, 1]


def recall(rows: Rows, w: Floats) -> Floats:
    return _recalls(rows, w)[:, 1]


def specificity(rows: Rows, w: Floats) -> Floats:
    return _recalls(rows, w)[:, 0]


def share_flagged(rows: Rows, w: Floats) -> Floats:
    return ratio(tallies(rows, w)[2][:, 1], total(rows, w))


def _f1_by_class(rows: Rows, w: Floats) -> tuple[Floats, Floats]:
    hits, true, predicted = tallies(rows, w)
    return ratio(2 * hits, true + predicted), true


def f1(rows: Rows, w: Floats) -> Floats:
    return _f1_by_class(rows, w)[0][:, 1]


def macro_f1(rows: Rows, w: Floats) -> Floats:
    """Mean F1 over the classes that occur or were predicted."""
    return nanmean(_f1_by_class(rows, w)[0], axis=1)


def macro_precision(rows: Rows, w: Floats) -> Floats:
    """Mean precision over the classes that were predicted."""
    return nanmean(_precisions(rows, w), axis=1)


def macro_recall(rows: Rows, w: Floats) -> Floats:
    """Mean recall over the classes that occur."""
    return nanmean(_recalls(rows, w), axis=1)


def weighted_f1(rows: Rows, w: Floats) -> Floats:
    """F1 by class, averaged by how often each class occurs."""
    scores, true = _f1_by_class(rows, w)
    return ratio((np.nan_to_num(scores) * true).sum(axis=1), true.sum(axis=1))


def mcc(rows: Rows, w: Floats) -> Floats:
    """Matthews correlation of several classes (Gorodkin 2004); NaN where answers or labels do not vary."""
    hits, true, predicted = tallies(rows, w)
    n = total(rows, w)
    together = n * hits.sum(axis=1) - (true * predicted).sum(axis=1)
    spreads = (n**2 - (predicted**2).sum(axis=1)) * (n**2 - (true**2).sum(axis=1))
    return ratio(together, np.sqrt(np.where(spreads > 1e-12 * n**4, spreads, 0.0)))


def cohen_kappa(rows: Rows, w: Floats) -> Floats:
    """(agreement - agreement by chance) / (1 - agreement by chance)."""
    hits, true, predicted = tallies(rows, w)
    n = total(rows, w)
    chance = ratio((true * predicted).sum(axis=1), n**2)
    apart = np.where(np.abs(1 - chance) > 1e-12, 1 - chance, 0.0)
    return ratio(ratio(hits.sum(axis=1), n) - chance, apart)
