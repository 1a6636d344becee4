"""Drift: how far a window's columns and scores have moved from the baseline, and whether chance alone explains it.

`measures` are pure functions of counts, `testing` of p-values; `cells` makes the counts of two profiles comparable, `columns` has all
figures of one column, `together` those of the columns at once, and `judge` says what moved and what that makes of a window.
`season` finds the same time of earlier periods. docs/reference/drift.md has the thresholds and their sources.
"""

from modelyard.monitor.drift.judge import DriftResult, Seasonal, Segment, figures, judge, known_to, watched
from modelyard.monitor.drift.telling import measured

__all__ = ["DriftResult", "Seasonal", "Segment", "figures", "judge", "known_to", "measured", "watched"]
