"""Drift: how far a window's columns and scores have moved from the baseline, and whether chance alone explains it.

`measures` are pure functions of counts, `testing` of p-values; `cells` makes the counts of two profiles comparable, `columns` has all
figures of one column, `together` those of the columns at once, and `judge` says what moved and what that makes of a window.
`season` finds the same time of earlier periods. docs/reference/drift.md has the thresholds and their sources.
"""

from modelyard.monitor.drift.judge import (
    SCORE,
    DriftResult,
    Misfit,
    Seasonal,
    Segment,
    figures,
    judge,
    kinds_of,
    known_to,
    misfits,
    verify,
    watched,
)
from modelyard.monitor.drift.telling import measured

__all__ = [
    "SCORE",
    "DriftResult",
    "Misfit",
    "Seasonal",
    "Segment",
    "figures",
    "judge",
    "kinds_of",
    "known_to",
    "measured",
    "misfits",
    "verify",
    "watched",
]
