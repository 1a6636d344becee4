"""One column, or the score: by how much it differs, by each measure, and whether chance alone explains it.

**By how much** is what a measure says of the column's cells (`cells`), or, for `ks` and `wasserstein`, of its values in order. A
missing value counts there too: for `ks` as greater than any number, for `wasserstein` as the baseline's mean.

**By chance?** has one answer whatever the measure, the least p-value of these tests times their number (Bonferroni): Pearson's
chi-square on the cells that hold enough, which sees any change of shape; for numbers Kolmogorov-Smirnov, which sees a shift of all
values with fewer rows (see docs/reference/drift.md for both powers); and for each odd cell that is too rare for chi-square, the
binomial test of its rate.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from modelyard.config.spec import FITTING, Measure
from modelyard.monitor.drift import measures, testing
from modelyard.monitor.drift.cells import ODD, Cells, Ordered, of, ordered, rows, values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

THRESHOLDS: dict[Measure, float] = {
    "psi": 0.2,
    "ks": 0.18,
    "jensen_shannon": 0.19,
    "hellinger": 0.16,
    "wasserstein": 0.45,
    "cramers_v": 0.22,
    "l_infinity": 0.1,
}
"""What a bell curve shows that is shifted by 0.45 of its deviation, which is PSI's usual 0.2; L-infinity's is SageMaker's."""
WORDS: dict[Measure, str] = {
    "psi": "PSI",
    "ks": "KS",
    "jensen_shannon": "JS",
    "hellinger": "Hellinger",
    "wasserstein": "Wasserstein",
    "cramers_v": "V",
    "l_infinity": "L-infinity",
}
OF_NUMBERS, OF_CATEGORIES = FITTING["numeric"], FITTING["categorical"]
_OF_SHARES: dict[Measure, Callable[[Floats, Floats], float]] = {
    "psi": measures.psi,
    "jensen_shannon": measures.jensen_shannon,
    "hellinger": measures.hellinger,
    "l_infinity": measures.l_infinity,
}
LEAST_EXPECTED = 5
"""Rows that each side must be expected to have in a cell for chi-square to hold (Cochran, 1954)."""
NEW_VALUES = 5
BEYOND = 1e300
"""A distance that float64 hardly holds: evidence is JSON, which has no infinity."""


def fitting(kind: str) -> tuple[Measure, ...]:
    """The measures of a kind of column."""
    return FITTING[kind]


def enough(moved: int, columns: int, share: float) -> bool:
    """Whether that many of the columns are at least `share` of them."""
    return moved >= share * columns - 1e-9


class Pair:
    """A column of two profiles in the same bins: the window's and the baseline's."""

    def __init__(self, now: dict[str, Any], before: dict[str, Any]) -> None:
        self.now, self.before = now, before

    @cached_property
    def cells(self) -> Cells:
        return of(self.now, self.before)

    @cached_property
    def ordered(self) -> Ordered:
        return ordered(self.now, self.before)

    def effect(self, measure: Measure) -> float:
        """By how much it differs; the measure must fit its kind (`fitting`)."""
        if measure == "ks":
            return measures.ks(*self._with_the_others())
        if measure == "wasserstein":
            return self._wasserstein()
        a, b = self.cells
        if measure == "cramers_v":
            # Sides of as many rows each, else a small window against a large baseline could only show a small V.
            n, m = a.sum(), b.sum()
            return measures.cramers_v(a / n * (2 * n * m / (n + m)), b / m * (2 * n * m / (n + m)))
        return _OF_SHARES[measure](a, b)

    def p_value(self) -> float:
        """The chance of a difference as improbable as this one where nothing moved."""
        import numpy as np

        a, b = self.cells
        n, m = float(a.sum()), float(b.sum())
        enough = (a + b) * min(n, m) / (n + m) >= LEAST_EXPECTED
        enough[ODD:] = True
        found = [testing.rare_p(float(a[i]), float(b[i]), n, m) for i in np.flatnonzero(~enough & (a + b > 0))]
        a, b = a[enough], b[enough]
        if a.sum() and b.sum() and np.count_nonzero(a + b) > 1:
            found.append(testing.chi_square_p(*measures.chi_square(a, b)))
        if self.now["kind"] == "numeric" and (n := float(self.ordered.now.sum())) and (m := float(self.ordered.before.sum())):
            found.append(testing.ks_p(measures.ks(self.ordered.now, self.ordered.before), n, m))
        return min(1.0, len(found) * min(found)) if found else 1.0

    def _wasserstein(self) -> float:
        """In deviations of the baseline, up to `BEYOND`; where that has no number at all, the share of rows that have one now."""
        import numpy as np

        known, unit = self.ordered, self.before["sketch"]
        if not known.before.sum():
            return float(known.now.sum() / rows(self.now))
        m2 = self.before["m2"] or 0.0  # None where it, or the mean, is beyond float64
        mean = unit["centre"] if self.before["mean"] is None else self.before["mean"]
        deviation = float(m2 / known.before.sum()) ** 0.5 or unit["unit"]
        positions = np.append(values(known, self.now, self.before), mean) / 2  # so that no distance between two is beyond float64
        with np.errstate(over="ignore"):
            return float(min(measures.wasserstein(*self._with_the_others(), positions) / np.float64(deviation) * 2, BEYOND))

    def _with_the_others(self) -> tuple[Floats, Floats]:
        """The counts of finite numbers, and behind them of the rows that have none."""
        import numpy as np

        a, b = (column["missing"] + column["infinite"] for column in (self.now, self.before))
        return np.append(self.ordered.now, a), np.append(self.ordered.before, b)


def facts(name: str, now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What a person wants to know of a column beside the measures: `{column, kind, missing, missing_before}` as shares, and of numbers
    `{mean, mean_before, outside_range}`, of categories `{new}` (a share) and `{new_values}`, the most frequent first."""
    n, m = rows(now), rows(before)
    said: dict[str, Any] = {"column": name, "kind": now["kind"], "missing": now["missing"] / n, "missing_before": before["missing"] / m}
    if now["kind"] == "numeric":
        outside = (now["counts"][0] + now["counts"][-1]) / n
        return said | {"mean": now["mean"], "mean_before": before["mean"], "outside_range": outside}
    return said | {"new": now["new"] / n, "new_values": list(now["fresh"])[:NEW_VALUES] if now["new"] else []}
