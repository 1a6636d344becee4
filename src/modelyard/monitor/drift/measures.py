"""Measures of how far one distribution is from another: sizes of an effect, which do not grow with the rows.

Pure functions. `now` and `before` are counts or shares of the same cells, float64 of shape (cells,), each with a sum above 0; the
measures of shares do not depend on that sum. They equal SciPy's where SciPy has them (tests/monitor/drift/test_measures.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def psi(now: Floats, before: Floats) -> float:
    """Population stability index of two rows of counts, sum((p - q) ln(p / q)) over the shares.

    An empty cell counts as half a row, or as the other side's share where that is less; where no cell is empty this is the
    textbook's formula (N. Siddiqi, "Credit Risk Scorecards", 2006).
    """
    import numpy as np

    n, m = now.sum(), before.sum()
    p, q = now / n, before / m
    p, q = np.where(p > 0, p, np.minimum(0.5 / n, q)), np.where(q > 0, q, np.minimum(0.5 / m, p))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (p - q) * np.log(p / q)
    return float(np.where(p == q, 0.0, terms).sum())


def jensen_shannon(now: Floats, before: Floats) -> float:
    """Jensen-Shannon distance, base 2: 0 for equal shares, 1 for disjoint ones (scipy.spatial.distance.jensenshannon)."""
    import numpy as np
    from scipy.special import rel_entr

    p, q = _shares(now, before)
    middle = (p + q) / 2
    return float(np.sqrt(max(0.0, (rel_entr(p, middle) + rel_entr(q, middle)).sum() / 2 / np.log(2))))


def hellinger(now: Floats, before: Floats) -> float:
    """Hellinger distance: 0 for equal shares, 1 for disjoint ones."""
    import numpy as np

    p, q = _shares(now, before)
    roots = np.sqrt(p) - np.sqrt(q)
    return float(np.sqrt((roots * roots).sum() / 2))


def l_infinity(now: Floats, before: Floats) -> float:
    """The most that the share of any one cell differs (Chebyshev's distance)."""
    import numpy as np

    p, q = _shares(now, before)
    return float(np.abs(p - q).max())


def ks(now: Floats, before: Floats) -> float:
    """Kolmogorov-Smirnov distance of counts in ordered cells: the most that the two distribution functions differ.

    Where values share a cell it can only underestimate the distance of the values themselves.
    """
    import numpy as np

    p, q = _shares(now, before)
    return float(np.abs(np.cumsum(p) - np.cumsum(q)).max())


def wasserstein(now: Floats, before: Floats, positions: Floats) -> float:
    """Wasserstein distance (of first order) of masses at `positions`, shape (cells,), in their unit and in any order.

    scipy.stats.wasserstein_distance(positions, positions, now, before).
    """
    import numpy as np

    p, q = _shares(now, before)
    order = np.argsort(positions, kind="stable")
    apart = np.abs(np.cumsum((p - q)[order]))[:-1]
    return float((apart * np.diff(positions[order])).sum())


def cramers_v(now: Floats, before: Floats, *, corrected: bool = True) -> float:
    """Cramer's V of the two-by-cells table of counts: 0 where the shares are equal, 1 where they are disjoint.

    `corrected` takes out what chance adds (W. Bergsma, "A bias-correction for Cramer's V and Tschuprow's T", Journal of the Korean
    Statistical Society 42, 2013); without, it is scipy.stats.contingency.association's.
    """
    table, n = _table(now, before)
    columns = table.shape[1]
    if columns < 2:
        return 0.0
    phi2 = _statistic(table) / n
    if not corrected:
        return float(min(phi2, 1.0) ** 0.5)
    phi2 = max(0.0, phi2 - (columns - 1) / (n - 1))
    smaller = min(columns - (columns - 1) ** 2 / (n - 1), 2 - 1 / (n - 1)) - 1
    return float(min(phi2 / smaller, 1.0) ** 0.5) if smaller > 0 else 0.0


def chi_square(now: Floats, before: Floats) -> tuple[float, int]:
    """Statistic and degrees of freedom of Pearson's test that two rows of counts have the same shares; empty cells are left out.

    scipy.stats.chi2_contingency(table, correction=False).
    """
    table, _ = _table(now, before)
    return _statistic(table), table.shape[1] - 1


def _shares(now: Floats, before: Floats) -> tuple[Floats, Floats]:
    return now / now.sum(), before / before.sum()


def _table(now: Floats, before: Floats) -> tuple[Floats, float]:
    import numpy as np

    table = np.stack([now, before])[:, now + before > 0]
    return table, float(table.sum())


def _statistic(table: Floats) -> float:
    import numpy as np

    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())
