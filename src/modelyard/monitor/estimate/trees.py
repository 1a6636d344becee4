"""Gradient boosting of shallow regression trees over binned columns, in NumPy: small, deterministic, and good enough to learn from a
hold-out how large an error tends to be.

Friedman (2001), "Greedy function approximation: a gradient boosting machine", with squared loss; columns are cut into bins once and splits
looked for in histograms, as LightGBM and scikit-learn's HistGradientBoosting do. A tree is complete: all of its nodes at a depth split at
once, and one that gains nothing sends all of its rows left. Missing values lie below every number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.monitor.estimate.calibration import Floats, Ints

BINS, DEPTH, RATE, LEAF = 32, 3, 0.1, 20
"""Bins a column (the first for missing values), levels, share of each tree that is believed, and least rows of a leaf."""
SMOOTH = 20.0
"""Rows of the whole's mean that a category is mixed with."""


@dataclass(frozen=True)
class Bins:
    """How columns are cut. `means`: for a column of categories what each code (0, 1, ...) stands for, else None. `edges`: a column."""

    means: tuple[Floats | None, ...]
    edges: tuple[Floats, ...]

    def apply(self, x: Floats) -> npt.NDArray[np.int64]:
        """(n, f) numbers and codes as bins: 0 for what is missing or was not known, then 1 for the lowest."""
        codes = np.zeros(x.shape, dtype=np.int64)
        for f, edges in enumerate(self.edges):
            column = _encoded(x[:, f], self.means[f])
            codes[:, f] = np.where(np.isnan(column), 0, 1 + np.searchsorted(edges, column, side="left"))
        return codes


def _encoded(column: Floats, means: Floats | None) -> Floats:
    if means is None:
        return column
    inside = np.isfinite(column) & (column >= 0) & (column < len(means))
    places = np.where(inside, column, 0).astype(np.int64)
    return np.where(inside, means[places] if len(means) else np.nan, np.nan)


def bins(x: Floats, y: Floats, categories: Ints) -> Bins:
    """Cuts at the quantiles of each column. categories: (f,) how many codes a column of categories has, 0 for numbers."""
    means, edges = list[Floats | None](), list[Floats]()
    for f, size in enumerate(categories):
        means.append(_means(x[:, f], y, int(size)) if size else None)
        column = _encoded(x[:, f], means[-1])
        known = column[np.isfinite(column)]
        cuts = np.quantile(known, np.linspace(0, 1, BINS)[1:-1], method="lower") if len(known) else np.zeros(0)
        edges.append(np.unique(cuts))
    return Bins(tuple(means), tuple(edges))


def _means(codes: Floats, y: Floats, size: int) -> Floats:
    """The mean target of each category, drawn to the whole's where a category is rare."""
    known = np.isfinite(codes)
    places = codes[known].astype(np.int64)
    count, total = np.bincount(places, minlength=size), np.bincount(places, y[known], minlength=size)
    return np.asarray((total + SMOOTH * y.mean()) / (count + SMOOTH), dtype=np.float64)


@dataclass(frozen=True)
class Trees:
    """features, cuts: (rounds, nodes) the bins above `cut` go right; leaves: (rounds, 2^depth). Nodes are in the order of a heap."""

    bins: Bins
    base: float
    features: Ints
    cuts: Ints
    leaves: Floats

    def predict(self, x: Floats) -> Floats:
        """(n,) predictions."""
        return self.base + self._steps(x).sum(axis=0) if len(self.leaves) else np.full(len(x), self.base)

    def staged(self, x: Floats) -> Floats:
        """(rounds + 1, n): the predictions after each number of trees, none first."""
        return self.base + np.vstack([np.zeros((1, len(x))), np.cumsum(self._steps(x), axis=0)])

    def _steps(self, x: Floats) -> Floats:
        codes = self.bins.apply(x)
        return np.stack([_leaf_of(codes, f, c, v) for f, c, v in zip(self.features, self.cuts, self.leaves, strict=True)])


def _leaf_of(codes: Ints, features: Ints, cuts: Ints, leaves: Floats) -> Floats:
    node, rows = np.zeros(len(codes), dtype=np.int64), np.arange(len(codes))
    while (node < len(features)).any():  # all rows are at the same depth
        node = 2 * node + 1 + (codes[rows, features[node]] > cuts[node])
    return leaves[node - len(features)]


def fit(x: Floats, y: Floats, categories: Ints, *, rounds: int) -> Trees:
    """Learn y (n,) from x (n, f): numbers (NaN: missing) or codes of categories (see `bins`). The same rows give the same trees."""
    cut = bins(x, y, categories)
    codes = cut.apply(x)
    flat = codes + np.arange(x.shape[1]) * BINS
    base, left = float(y.mean()), y - y.mean()
    found = []
    for _ in range(rounds):
        features, cuts, node = _grow(flat, codes, left)
        inner = len(features)
        count = np.bincount(node - inner, minlength=inner + 1)
        leaves = RATE * np.bincount(node - inner, left, minlength=inner + 1) / (count + 1.0)
        left = left - leaves[node - inner]
        found.append((features, cuts, leaves))
    nodes = 2**DEPTH
    if not found:
        return Trees(cut, base, np.zeros((0, nodes - 1), np.int64), np.zeros((0, nodes - 1), np.int64), np.zeros((0, nodes)))
    return Trees(cut, base, *(np.stack(part) for part in zip(*found, strict=True)))


def _grow(flat: Ints, codes: Ints, left: Floats) -> tuple[Ints, Ints, Ints]:
    """One tree: the feature and the cut of each inner node, and the node that each row ends in."""
    rows, width = np.arange(len(codes)), codes.shape[1]
    features, cuts, node = list[int](), list[int](), np.zeros(len(codes), dtype=np.int64)
    weights = np.repeat(left, width)
    for depth in range(DEPTH):
        first, nodes = 2**depth - 1, 2**depth
        place = ((node - first)[:, None] * (width * BINS) + flat).ravel()
        shape = (nodes, width, BINS)
        count = np.bincount(place, minlength=nodes * width * BINS).reshape(shape).cumsum(axis=2)
        total = np.bincount(place, weights, minlength=nodes * width * BINS).reshape(shape).cumsum(axis=2)
        for f, c in _splits(count.astype(np.float64), total):
            features.append(f)
            cuts.append(c)
        chosen, at = np.array(features), np.array(cuts)
        node = 2 * node + 1 + (codes[rows, chosen[node]] > at[node])
    return chosen, at, node


def _splits(count: Floats, total: Floats) -> list[tuple[int, int]]:
    """The best (feature, cut) of each node, from rows and sums up to each bin, (nodes, features, bins); no gain: all go left."""
    rows, sums = count[:, :, -1:], total[:, :, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = total**2 / count + (sums - total) ** 2 / (rows - count) - sums**2 / rows
    gain = np.where((count >= LEAF) & (rows - count >= LEAF), gain, -np.inf)
    best = gain.reshape(len(gain), -1).argmax(axis=1)
    width = count.shape[2]
    return [(int(b) // width, int(b) % width if gain.reshape(len(gain), -1)[i, b] > 1e-12 else width) for i, b in enumerate(best)]
