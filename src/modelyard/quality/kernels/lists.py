"""Kernels of ranked lists: the rows of a group in the order of falling answers, by how many places count.

A group counts by the mean weight of its rows. Gains are the labels themselves (linear, as scikit-learn's `ndcg_score`), discounted
by 1 / log2(place + 1); rows with equal answers share the mean gain of their places (McSherry & Najork 2008). For the other metrics
a row is relevant when its label is above 0, and of equal answers the less relevant row comes first, so that ties never flatter.
A group with nothing relevant counts as 0. Of anomalies, all rows are one list, ordered by score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelyard.quality.kernels.classes import cumulative, up_to
from modelyard.quality.kernels.rows import Floats, Ints, Rows, ratio, total


@dataclass(frozen=True)
class Lists:
    """Rows sorted by group and falling answer. `place` counts from 0 within a group; `first`: where each group starts."""

    order: Ints
    group: Ints
    place: Ints
    relevant: Floats
    first: Ints
    found: Floats
    """How many relevant rows each group has."""


def _lists(rows: Rows) -> Lists:
    def make() -> Lists:
        assert rows.predicted is not None and rows.groups is not None
        truth = rows.truth.astype(np.float64)
        order = np.lexsort((truth, -rows.predicted.astype(np.float64), rows.groups))
        group = rows.groups[order]
        first = np.flatnonzero(np.append(True, np.diff(group) != 0)) if len(group) else np.zeros(0, dtype=np.int64)
        place = np.arange(len(group)) - np.repeat(first, np.diff(np.append(first, len(group))))
        relevant = (truth[order] > 0).astype(np.float64)
        return Lists(order, group, place, relevant, first, np.add.reduceat(relevant, first) if len(first) else np.zeros(0))

    return rows.once("lists", make)


def _over_groups(rows: Rows, values: Floats, w: Floats) -> Floats:
    """Mean of a value a group, each weighed by its rows' mean weight. `values` in the order of the groups."""
    lists = _lists(rows)

    def weigh() -> Floats:
        sizes = np.diff(np.append(lists.first, len(lists.order)))
        return np.add.reduceat(w[:, lists.order], lists.first, axis=1) / sizes

    if not len(values):
        return np.full(len(w), np.nan)
    weights = rows.once("group weights", weigh, w)
    return ratio(weights @ values, weights.sum(axis=1))


def _sum(rows: Rows, values: Floats) -> Floats:
    """Sum over each group of a value a sorted row."""
    lists = _lists(rows)
    return np.add.reduceat(values, lists.first) if len(lists.first) else np.zeros(0)


def ndcg_at(rows: Rows, w: Floats, k: int) -> Floats:
    def make() -> Floats:
        assert rows.predicted is not None and rows.groups is not None
        lists, truth = _lists(rows), rows.truth.astype(np.float64)
        discount = np.where(lists.place < k, 1 / np.log2(lists.place + 2), 0.0)
        answers = rows.predicted.astype(np.float64)[lists.order]
        new = np.append(True, (np.diff(answers) != 0) | (np.diff(lists.group) != 0)) if len(answers) else np.zeros(0, dtype=bool)
        starts = np.flatnonzero(new)
        if not len(starts):
            return np.zeros(0)
        sizes = np.diff(np.append(starts, len(answers)))
        shared = np.repeat(np.add.reduceat(discount, starts) / sizes, sizes)
        best = np.lexsort((-truth, rows.groups))
        ideal = _sum(rows, truth[best] * discount)
        return np.nan_to_num(ratio(_sum(rows, truth[lists.order] * shared), ideal))

    return _over_groups(rows, rows.once(("ndcg", k), make), w)


def map_at(rows: Rows, w: Floats, k: int) -> Floats:
    """Sum of precision at each relevant place up to k, over the lesser of k and how many relevant rows there are."""

    def make() -> Floats:
        lists = _lists(rows)
        running = np.cumsum(lists.relevant)
        before = np.repeat((running - lists.relevant)[lists.first], np.diff(np.append(lists.first, len(running))))
        precision = (running - before) / (lists.place + 1)
        gained = _sum(rows, np.where(lists.place < k, precision * lists.relevant, 0.0))
        return np.nan_to_num(ratio(gained, np.minimum(lists.found, k)))

    return _over_groups(rows, rows.once(("map", k), make), w)


def mrr_at(rows: Rows, w: Floats, k: int) -> Floats:
    def make() -> Floats:
        lists = _lists(rows)
        inverse = np.where((lists.relevant > 0) & (lists.place < k), 1 / (lists.place + 1), 0.0)
        return np.maximum.reduceat(inverse, lists.first) if len(lists.first) else np.zeros(0)

    return _over_groups(rows, rows.once(("mrr", k), make), w)


def _hits(rows: Rows, k: int) -> Floats:
    lists = _lists(rows)
    return rows.once(("hits", k), lambda: _sum(rows, np.where(lists.place < k, lists.relevant, 0.0)))


def precision_at(rows: Rows, w: Floats, k: int) -> Floats:
    """Relevant rows among the first k, over k (a shorter list is filled up with irrelevant ones); of anomalies, over at most all rows."""
    if rows.groups is None:
        cut = np.minimum(float(k), total(rows, w))
        return ratio(up_to(*cumulative(rows, 1, w), cut), cut)
    return _over_groups(rows, _hits(rows, k) / k, w)


def recall_at(rows: Rows, w: Floats, k: int) -> Floats:
    """Relevant rows among the first k, over all relevant ones."""
    if rows.groups is None:
        tp, fp = cumulative(rows, 1, w)
        return ratio(up_to(tp, fp, np.minimum(float(k), total(rows, w))), tp[:, -1])
    return _over_groups(rows, np.nan_to_num(ratio(_hits(rows, k), _lists(rows).found)), w)


def hit_rate_at(rows: Rows, w: Floats, k: int) -> Floats:
    return _over_groups(rows, (_hits(rows, k) > 0).astype(np.float64), w)
