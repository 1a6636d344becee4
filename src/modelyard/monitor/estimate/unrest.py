"""Unrest: how far a version's performance moves from one stretch of time to the next, beyond what chance and the rows explain.

Rows of one hour share their weather and their news: a band that knows of independent rows alone is too narrow for the world. The hold-out,
cut into stretches of time, shows how much, as reference chunks do for NannyML's thresholds. Pure.
"""

from __future__ import annotations

import math

import numpy as np

from modelyard.monitor.estimate.calibration import Floats, Ints

STRETCHES, FEWEST = 10, 30
"""Stretches of a hold-out, and rows that each has at the least."""
DOUBT = 0.01
"""Unrest is taken for such where chance would show as much in fewer cases than this (chi-square)."""


def stretches(times: Floats) -> Ints | None:
    """Which stretch each row is in, by time (n,), all of one size; None where there are too few rows, or times."""
    size = len(times)
    if size < STRETCHES * FEWEST or not np.isfinite(times).all() or len(np.unique(times)) < STRETCHES:
        return None
    order = np.empty(size, dtype=np.int64)
    order[np.argsort(times, kind="stable")] = np.arange(size)
    return np.asarray(order * STRETCHES // size, dtype=np.int64)


def unrest(misses: Floats, deviations: Floats) -> float:
    """The standard deviation between stretches that chance does not explain.

    misses: real less estimated, a stretch. deviations: what chance alone would have, a stretch.
    """
    from scipy.special import chdtri

    known = np.isfinite(misses) & np.isfinite(deviations)
    misses, deviations = misses[known], deviations[known]
    usual = float((deviations**2).mean()) if len(misses) > 2 else 0.0
    if usual <= 0:
        return 0.0
    found, free = float(misses.var(ddof=1)), len(misses) - 1
    return math.sqrt(found - usual) if found * free / usual > float(chdtri(free, DOUBT)) else 0.0


def remaining(stretch: float, window: float) -> float:
    """The share of a stretch's variance that a window keeps: a longer one averages over stretches, a shorter one is like one of them. To it
    comes what the hold-out's own mean, of so many stretches, is unsure. Both lengths are in the same unit."""
    return min(1.0, stretch / window) + 1 / STRETCHES
