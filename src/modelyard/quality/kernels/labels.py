"""Kernels of several labels a row: truth and answers are (n, k) booleans, scores (n, k).

Definitions as scikit-learn's, "Multilabel ranking metrics" and the averages `micro` and `samples`; rows or labels for which a ratio
is 0/0 are left out of a mean (`zero_division=nan`).
"""

from __future__ import annotations

import numpy as np

from modelyard.quality.kernels.classes import area, auc_of_class, below, cumulative, precision_area, tallies
from modelyard.quality.kernels.rows import Floats, Rows, falling_order, mean, nanmean, ratio

CHUNK = 20_000_000
"""Cells of a (rows, labels, labels) comparison made at once."""


def subset_accuracy(rows: Rows, w: Floats) -> Floats:
    return mean(rows, "subset", lambda: np.asarray((rows.truth == rows.predicted).all(axis=1), dtype=np.float64), w)


def hamming_loss(rows: Rows, w: Floats) -> Floats:
    return mean(rows, "hamming", lambda: np.asarray((rows.truth != rows.predicted).mean(axis=1), dtype=np.float64), w)


def _micro(rows: Rows, w: Floats) -> tuple[Floats, Floats, Floats]:
    hits, true, predicted = tallies(rows, w)
    return hits.sum(axis=1), true.sum(axis=1), predicted.sum(axis=1)


def micro_f1(rows: Rows, w: Floats) -> Floats:
    hits, true, predicted = _micro(rows, w)
    return ratio(2 * hits, true + predicted)


def micro_precision(rows: Rows, w: Floats) -> Floats:
    hits, _, predicted = _micro(rows, w)
    return ratio(hits, predicted)


def micro_recall(rows: Rows, w: Floats) -> Floats:
    hits, true, _ = _micro(rows, w)
    return ratio(hits, true)


def _by_row(rows: Rows) -> tuple[Floats, Floats, Floats]:
    """How many labels of each row are hit, hold, and were given."""
    assert rows.predicted is not None
    both = (rows.truth & rows.predicted).sum(axis=1).astype(np.float64)
    return both, rows.truth.sum(axis=1).astype(np.float64), rows.predicted.sum(axis=1).astype(np.float64)


def samples_f1(rows: Rows, w: Floats) -> Floats:
    def make() -> Floats:
        hits, true, predicted = _by_row(rows)
        return ratio(2 * hits, true + predicted)

    return mean(rows, "samples_f1", make, w)


def samples_precision(rows: Rows, w: Floats) -> Floats:
    def make() -> Floats:
        hits, _, predicted = _by_row(rows)
        return ratio(hits, predicted)

    return mean(rows, "samples_precision", make, w)


def samples_recall(rows: Rows, w: Floats) -> Floats:
    def make() -> Floats:
        hits, true, _ = _by_row(rows)
        return ratio(hits, true)

    return mean(rows, "samples_recall", make, w)


def macro_roc_auc(rows: Rows, w: Floats) -> Floats:
    """Mean over the labels that hold in some rows and not in all."""
    return nanmean(np.stack([auc_of_class(rows, k, w) for k in range(rows.classes)]), axis=0)


def macro_average_precision(rows: Rows, w: Floats) -> Floats:
    """Mean over the labels that hold somewhere."""
    return nanmean(np.stack([precision_area(*cumulative(rows, k, w)) for k in range(rows.classes)]), axis=0)


def micro_roc_auc(rows: Rows, w: Floats) -> Floats:
    """Every row and label as a yes-or-no answer of its own."""
    assert rows.scores is not None
    scores = rows.scores.ravel()
    order, ends = rows.once("micro order", lambda: falling_order(scores))
    return area(*below(order // rows.classes, ends, rows.truth.ravel()[order], w))


def _ranks(rows: Rows) -> tuple[Floats, Floats, Floats]:
    """Of each row: average precision of its list of labels, how far down the last that holds stands, and share of pairs out of order.

    A label's rank is how many score at least as high. Rows without labels, or with all: 1, (0 or k), 0, as scikit-learn has it.
    """

    def make() -> tuple[Floats, Floats, Floats]:
        assert rows.scores is not None
        n, k = rows.scores.shape
        found = np.zeros((3, n))
        step = max(1, CHUNK // max(1, k * k))
        for start in range(0, n, step):
            part = slice(start, start + step)
            found[:, part] = _ranks_of(rows.scores[part], np.asarray(rows.truth[part], dtype=bool))
        return found[0], found[1], found[2]

    return rows.once("ranks", make)


def _ranks_of(scores: Floats, truth: np.typing.NDArray[np.bool_]) -> Floats:
    at_least = scores[:, None, :] >= scores[:, :, None]  # [row, label, other]: whether other scores at least as high as label
    rank = at_least.sum(axis=2)
    among = (at_least & truth[:, None, :]).sum(axis=2)
    hold, k = truth.sum(axis=1), truth.shape[1]
    mixed = (hold > 0) & (hold < k)
    precision = np.where(mixed, np.nan_to_num(ratio((among / rank * truth).sum(axis=1), hold.astype(np.float64))), 1.0)
    depth = np.where(truth, rank, 0).max(axis=1)
    wrong = ((rank - among) * truth).sum(axis=1)
    loss = np.where(mixed, np.nan_to_num(ratio(wrong.astype(np.float64), (hold * (k - hold)).astype(np.float64))), 0.0)
    return np.stack([precision, depth.astype(np.float64), loss])


def lrap(rows: Rows, w: Floats) -> Floats:
    return mean(rows, "lrap", lambda: _ranks(rows)[0], w)


def coverage_error(rows: Rows, w: Floats) -> Floats:
    return mean(rows, "coverage", lambda: _ranks(rows)[1], w)


def ranking_loss(rows: Rows, w: Floats) -> Floats:
    return mean(rows, "ranking_loss", lambda: _ranks(rows)[2], w)
