"""The cells that a column's two distributions are compared in.

Missing, new, below the range and above it are cells too: that a value is not there, or was never there before, is drift. Neighbouring
bins, and rare categories, are pooled until each is expected to hold `MIN_EXPECTED` rows of the smaller side (in the spirit of
W. G. Cochran, Biometrics 10, 1954; more than his 5, since that also keeps PSI's noise below 1 / MIN_EXPECTED a cell). Where nothing
moved, PSI / (1/n + 1/m) is about chi-square distributed with a degree of freedom less than cells, for n and m rows (B. Yurdakul,
J. Naranjo, Journal of Risk Model Validation 14(4), 2020): without pooling, chance alone would give 0.1 for 200 rows in 20 cells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MIN_EXPECTED = 15
ODD = 4
"""The first cells of a column: those that may be rare however many rows there are."""


class Cells(NamedTuple):
    """Counts of the window and of the baseline, float64 of shape (cells,): first `ODD` odd ones, then those that hold enough."""

    now: Floats
    before: Floats


def of(now: dict[str, Any], before: dict[str, Any]) -> Cells:
    """The cells of a column of two profiles."""
    return _bins(now, before) if now["kind"] == "numeric" else _categories(now, before)


def rows(column: dict[str, Any]) -> int:
    """All rows of a column, those without a value among them."""
    if column["kind"] == "numeric":
        return int(sum(column["counts"]) + column["missing"])
    return int(sum(column["counts"].values()) + column["other"] + column["new"] + column["missing"])


def _bins(now: dict[str, Any], before: dict[str, Any]) -> Cells:
    """Below, missing, above, what is left on the right, then bins pooled from the left."""
    (below, *inner, above), (below0, *inner0, above0) = now["counts"], before["counts"]
    pooled, left = _pooled(zip(inner, inner0, strict=True), rows(now), rows(before))
    return _table([(below, below0), (now["missing"], before["missing"]), (above, above0), left, *pooled])


def _categories(now: dict[str, Any], before: dict[str, Any]) -> Cells:
    """Missing, new, others, what is left of the rare ones, then the frequent categories, and rare ones pooled in the order of frequency.

    A value that the baseline never had is expected as often as its values that came once (I. J. Good, Biometrika 40, 1953).
    """
    pairs = ((now["counts"][value], reference) for value, reference in before["counts"].items())  # the most frequent first
    pooled, left = _pooled(pairs, rows(now), rows(before))
    odd = [(now["missing"], before["missing"]), (now["new"], before["new"]), (now["other"], before["other"]), left]
    cells = _table(odd + pooled)
    unseen, seen = 0 if before["other"] or before["new"] else before["once"], rows(before) - before["missing"]
    if unseen:
        cells.before[2:] *= 1 - unseen / seen
        cells.before[1] = unseen
    return cells


def _pooled(pairs: Iterable[tuple[int, int]], now: int, before: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Neighbours added up until each has enough, of `now` and `before` rows in all; and what is left then, which has less."""
    pooled: list[tuple[int, int]] = []
    a = b = 0
    enough = MIN_EXPECTED * before / max(1, min(now, before))
    for count, reference in pairs:
        a, b = a + count, b + reference
        if b >= enough:
            pooled.append((a, b))
            a = b = 0
    return pooled, (a, b)


def _table(pairs: list[tuple[int, int]]) -> Cells:
    import numpy as np

    table = np.array(pairs, np.float64)
    return Cells(table[:, 0], table[:, 1])


class Ordered(NamedTuple):
    """Counts of the window's and the baseline's finite numbers in buckets in rising order, float64 of shape (buckets,), and the buckets."""

    now: Floats
    before: Floats
    at: NDArray[np.int64]


def ordered(now: dict[str, Any], before: dict[str, Any]) -> Ordered:
    """The buckets of a column's two sketches (see `profile.sketch`), finer than its bins and without bounds."""
    import numpy as np

    at = np.union1d(now["sketch"]["at"], before["sketch"]["at"]).astype(np.int64)
    counts = np.zeros((2, len(at)))
    for row, column in zip(counts, (now, before), strict=True):
        row[np.searchsorted(at, np.asarray(column["sketch"]["at"], np.int64))] = column["sketch"]["counts"]
    return Ordered(counts[0], counts[1], at)


def values(buckets: Ordered, now: dict[str, Any], before: dict[str, Any]) -> Floats:
    """A value that stands for each bucket, the middle of what it may hold; float64 of shape (buckets,)."""
    import numpy as np

    from modelyard.monitor.profile import sketch

    known = [column[end] for column in (now, before) for end in ("min", "max") if column[end] is not None]
    bounds = np.array([sketch.bounds(before["sketch"], int(k)) for k in buckets.at]).reshape(-1, 2)
    bounds = bounds.clip(min(known), max(known)) if known else bounds
    middle: Floats = bounds[:, 0] / 2 + bounds[:, 1] / 2  # no overflow
    return middle
