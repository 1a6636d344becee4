"""The flip test: would rows of the group that may be wronged be answered otherwise, were they of the other group?

Black, Yeom, Fredrikson (2020), "FlipTest: Fairness Testing via Optimal Transport", in Clarify's approximation: what the model answers
to the 5 nearest neighbours (Euclidean, features as they are) among the rows of group a stands for what it would have answered to a row
of group d. FT = (F+ - F-) / nd, where F+ counts rows answered good whose neighbours are mostly answered bad, F- the opposite.

Rows at equal distance would make the result hang on the order of rows; here those that tie for the last places share them, so that
it does not. Without such ties the values are `smclarify`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from modelyard.quality.bias.kernels import Bools, Floats

NEIGHBOURS, FEW = 5, 9
"""Clarify's: 5 neighbours, or 1 where group a has no more than 9 rows."""
EXACT_ROWS, EXACT_NUMBERS = 50_000, 1_000_000
REFERENCE, QUERIES, WIDE = 25_000, 5_000, 30
"""Up to EXACT_ROWS rows, of EXACT_NUMBERS numbers, all rows count. Of a larger table REFERENCE of group a and QUERIES of d are drawn,
and fewer in proportion where a row has more than WIDE numbers: a search for neighbours then looks at every row."""
_LOOK, _MOST = 12, 192
"""Distinct rows looked at first, and at most: where more than these tie for the last places, the ones found share them."""


@dataclass(frozen=True)
class Flips:
    """good, bad: F+ and F- among `rows` of group d, against `reference` rows of group a. sampled: whether these are not all."""

    good: int
    bad: int
    rows: int
    reference: int
    sampled: bool = False

    @property
    def value(self) -> float:
        return (self.good - self.bad) / self.rows if self.rows and self.reference else float("nan")

    def resample(self, draws: int, seed: int) -> Floats:
        """`draws` bootstrap values, group d's rows drawn again and group a's kept; shape (draws,)."""
        if not self.rows or not self.reference:
            return np.full(draws, np.nan)
        shares = np.array([self.good, self.bad, self.rows - self.good - self.bad]) / self.rows
        drawn = np.random.default_rng(seed).multinomial(self.rows, shares, size=draws)
        return np.asarray((drawn[:, 0] - drawn[:, 1]) / self.rows, dtype=np.float64)


class Feature(Protocol):
    """A feature's numbers: an array of shape (n, k), or what makes one of the rows that are asked for."""

    def __getitem__(self, index: npt.NDArray[Any]) -> Floats: ...


def flips(features: Sequence[Feature], disadvantaged: Bools, predicted: Bools, *, seed: int = 0, exact: bool | None = None) -> Flips:
    """The flip test of n rows: features, each (n, k) finite numbers; disadvantaged, predicted (n,).

    exact: whether all rows count, or a sample drawn with `seed`; None leaves it to the size of the table.
    """
    a, d = np.flatnonzero(~disadvantaged), np.flatnonzero(disadvantaged)
    width = sum(feature[a[:1]].shape[1] for feature in features)
    small = len(disadvantaged) <= EXACT_ROWS and len(disadvantaged) * width <= EXACT_NUMBERS
    sampled = not (small if exact is None else exact)
    if sampled:
        random = np.random.default_rng(seed)
        share = min(1.0, WIDE / max(1, width))
        a, d = _some(random, a, int(REFERENCE * share)), _some(random, d, int(QUERIES * share))
    if not len(a) or not len(d):
        return Flips(0, 0, len(d), len(a), sampled)
    neighbours = NEIGHBOURS if len(a) > FEW else 1
    if features:
        nearby, asked = (np.hstack([feature[rows] for feature in features]) for rows in (a, d))
        expected = _answers_nearby(nearby, predicted[a], asked, neighbours)
    else:
        expected = np.full(len(d), predicted[a].mean() > 0.5)
    own = predicted[d]
    return Flips(int((own & ~expected).sum()), int((~own & expected).sum()), len(d), len(a), sampled)


def _some(random: np.random.Generator, index: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    return index if len(index) <= most else np.sort(random.choice(index, most, replace=False))


def _answers_nearby(reference: Floats, answers: Bools, asked: Floats, k: int) -> Bools:
    """Whether most of the k nearest reference rows are answered good, for each row asked for."""
    from scipy.spatial import cKDTree

    points, of = _distinct(reference)
    size = np.bincount(of).astype(np.float64)
    good = np.bincount(of, answers, minlength=len(size)).astype(np.float64)
    tree = cKDTree(points, balanced_tree=False, compact_nodes=False)
    asked, back = _distinct(asked)
    found, left, look = np.zeros(len(asked), dtype=bool), np.arange(len(asked)), min(_LOOK, len(points))
    while len(left):
        distance, index = tree.query(asked[left], k=np.arange(1, look + 1), workers=-1)
        last = _kth(distance, size[index], k)
        done = (distance[:, -1] > last) | (look >= min(_MOST, len(points)))
        share = _share(distance, size[index], good[index], last, k)
        found[left[done]] = share[done] > k / 2
        left, look = left[~done], min(look * 4, _MOST, len(points))
    return np.asarray(found[back])


def _distinct(rows: Floats) -> tuple[Floats, npt.NDArray[Any]]:
    """The distinct rows, and for each row its place among them."""
    whole = np.ascontiguousarray(rows + 0.0)  # -0.0 becomes 0.0: equal rows have equal bytes
    key = whole.view(np.dtype((np.void, whole.dtype.itemsize * whole.shape[1]))).ravel()
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    return whole[first], place


def _kth(distance: Floats, size: Floats, k: int) -> Floats:
    """Distance of the k-th nearest row, (m,), where points, sorted by distance (m, look), stand for `size` rows each."""
    place = np.minimum((np.cumsum(size, axis=1) < k).sum(axis=1), distance.shape[1] - 1)
    return np.asarray(distance[np.arange(len(distance)), place])


def _share(distance: Floats, size: Floats, good: Floats, last: Floats, k: int) -> Floats:
    """How many of the k places go to good answers; those that tie for the last ones have equal shares in them."""
    nearer, tied = distance < last[:, None], distance == last[:, None]
    places = k - (size * nearer).sum(axis=1)
    return np.asarray((good * nearer).sum(axis=1) + places * (good * tied).sum(axis=1) / (size * tied).sum(axis=1))
