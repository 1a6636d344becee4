"""Whether chance alone explains a difference: p-values, and what becomes of them when many are looked at.

Both sides are samples: the baseline's rows are not the truth, but the rows that it happened to be made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Correction = Literal["holm", "benjamini_hochberg", "none"]


def chi_square_p(statistic: float, freedom: int) -> float:
    """Of Pearson's test; 1 where there is one cell only."""
    from scipy.special import chdtrc

    return float(chdtrc(freedom, statistic)) if freedom > 0 else 1.0


def ks_p(distance: float, n: float, m: float) -> float:
    """Asymptotic p-value of a Kolmogorov-Smirnov distance between samples of `n` and `m` rows; too great where values are tied."""
    from scipy.special import kolmogorov

    return float(kolmogorov((n * m / (n + m)) ** 0.5 * distance)) if n and m else 1.0


def rare_p(now: float, before: float, n: float, m: float) -> float:
    """Two-sided p-value that something rare has the same rate on both sides, seen `now` times in `n` rows and `before` times in `m`.

    Given how often it was seen, each time falls on one of the sides by their rows alone: a binomial test (J. Przyborowski,
    H. Wilenski, Biometrika 31, 1940), which holds however few they are, where a chi-square test does not.
    """
    from scipy.special import betainc

    total, share = now + before, n / (n + m)
    if not total:
        return 1.0
    at_least = betainc(now, before + 1, share) if now else 1.0
    at_most = betainc(before, now + 1, 1 - share) if before else 1.0
    return float(min(1.0, 2 * min(at_least, at_most)))


def corrected(p_values: Sequence[float], how: Correction) -> list[float]:
    """The p-values of a family of tests, each raised so that it can be held against the significance of the family.

    `holm`: the chance that *any* of those where nothing moved falls below it (S. Holm, Scandinavian Journal of Statistics 6, 1979),
    whatever depends on what. `benjamini_hochberg`: the share of these among all that do (Journal of the Royal Statistical Society B
    57, 1995).
    """
    import numpy as np

    p, count = np.asarray(p_values, np.float64), len(p_values)
    if how == "none" or not count:
        return [float(x) for x in p_values]
    order, ranks = np.argsort(p, kind="stable"), np.arange(1, count + 1)
    if how == "holm":
        raised = np.maximum.accumulate(p[order] * (count + 1 - ranks))
    else:
        raised = np.minimum.accumulate((p[order] * count / ranks)[::-1])[::-1]
    found = np.empty(count)
    found[order] = np.minimum(raised, 1.0)
    return [float(x) for x in found]
