"""Bias drift: whether a window's bias lies farther from neutral than it did when the version was built.

The rule is SageMaker's: a value is worse than its baseline when it lies farther from 0 (DI: from 1), on either side. A window is a sample,
though, and so was the hold-out. A value therefore violates only where chance explains its excess over the baseline, and the tolerance,
less than once in 1 / `CHANCE` windows, all comparisons and metrics taken together: the excess must be more than the two intervals' half
widths together (as the root of the sum of squares), each stretched from 95% to that level (C. E. Bonferroni's share of it for each).
A gate of the build (`bias.criteria`) is a bound of its own, which has no chance of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from modelyard.config.spec import BiasCriterion, BiasDrift
from modelyard.monitor.verdicts import Status, Verdict
from modelyard.monitor.words import count, listing

CHANCE = 0.001
MIN_GROUP = 30
"""Groups of fewer rows, in the window or in the hold-out, are not compared."""
TOP, KEPT = 10, 24
"""How many that moved, and measures in all, the evidence keeps."""


@dataclass(frozen=True)
class Measured:
    """A metric of one comparison (`facet`, such as `carrier=UA` of the column `carrier`), with its 95% interval; value is None where it is
    undefined. rows, others: how many of either group were counted."""

    facet: str
    column: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    rows: int
    others: int

    @property
    def known(self) -> bool:
        return self.value is not None and min(self.rows, self.others) >= MIN_GROUP


@dataclass(frozen=True)
class Excess:
    """A value that lies beyond what it may. was: the baseline's value, or None where a gate of `within` is the bound."""

    found: Measured
    was: float | None
    within: float | None
    status: Status

    def __str__(self) -> str:
        value, low, high = (_number(v) for v in (self.found.value, self.found.low, self.found.high))
        than = f"{_number(self.was)} when it was built" if self.within is None else f"allowed within {self.within:g} of neutral"
        return f"{self.found.metric} of {self.found.facet} is {value} ({low} to {high}), {than}"

    def to_dict(self) -> dict[str, Any]:
        found = self.found
        facts = {"name": f"{found.metric} of {found.facet}", "metric": found.metric, "facet": found.facet}
        return {**facts, "value": _plain(found.value), "low": _plain(found.low), "high": _plain(found.high), "was": _plain(self.was)}


def judge(
    found: Sequence[Measured],
    before: Sequence[Measured],
    asked: BiasDrift,
    *,
    criteria: Iterable[BiasCriterion],
    neutral: Mapping[str, float],
    facts: Mapping[str, Any],
    waits: str = "",
) -> Verdict:
    """The verdict on a window's measures against the hold-out's. neutral: each metric's value without bias. facts: of the window (rows,
    labels), for the evidence. waits: what is not judged yet, and why, as part of a sentence."""
    baseline = {(m.facet, m.metric): m for m in before if m.known}
    known = [m for m in found if m.known]
    pairs = [(m, baseline.get((m.facet, m.metric))) for m in known]
    gates = [(m, c) for c in criteria for m in known if c.metric == m.metric and c.facet in (None, m.column)]
    tests = sum(b is not None for _, b in pairs) + len(gates)
    evidence: dict[str, Any] = {**facts, "judged": tests, "tolerance": asked.tolerance}
    if not tests:
        return Verdict("bias", "unknown", f"bias: {_why_none(found, known, waits)}", evidence)
    stretch = NormalDist().inv_cdf(1 - CHANCE / (2 * tests)) / NormalDist().inv_cdf(0.975)
    beyond = [_against(m, b, asked.tolerance, neutral[m.metric], stretch) for m, b in pairs if b is not None]
    beyond += [_against_gate(m, c, neutral[m.metric], stretch) for m, c in gates]
    worse = sorted((x for x in beyond if x is not None), key=lambda x: (x[1].status != "violated", -x[0]))
    moved = [x for _, x in worse]
    evidence["moved"] = [x.to_dict() for x in moved[:TOP]]
    evidence["measures"] = [{"facet": m.facet, "metric": m.metric, "value": _plain(m.value)} for m in known[:KEPT]]
    status: Status = moved[0].status if moved else "healthy"
    later = f"; {waits}" if waits else ""
    if moved:
        return Verdict("bias", status, f"bias: {listing([str(x) for x in moved], 3)}{later}", evidence)
    return Verdict("bias", "healthy", f"bias: {_judged(known)} no farther from neutral than when it was built{later}", evidence)


def _against(found: Measured, was: Measured, tolerance: float, neutral: float, stretch: float) -> tuple[float, Excess] | None:
    """How surely a value lies farther from neutral than its baseline (in stretched half widths, above 1), or None."""
    assert found.value is not None and was.value is not None
    excess = abs(found.value - neutral) - abs(was.value - neutral) - tolerance
    sides = [_width(was.value, end) for end in (was.low, was.high)]
    room = stretch * math.hypot(_towards(found, neutral), max(sides))
    return (excess / room, Excess(found, was.value, None, "violated")) if _beyond(excess, room) else None


def _against_gate(found: Measured, gate: BiasCriterion, neutral: float, stretch: float) -> tuple[float, Excess] | None:
    assert found.value is not None
    excess, room = abs(found.value - neutral) - gate.within, stretch * _towards(found, neutral)
    status: Status = "violated" if gate.on_fail == "block" else "warning"
    return (excess / room, Excess(found, None, gate.within, status)) if _beyond(excess, room) else None


def _beyond(excess: float, room: float) -> bool:
    return math.isfinite(room) and room > 0 and excess > room


def _towards(found: Measured, neutral: float) -> float:
    """The half width of the interval on the side of neutral."""
    assert found.value is not None
    return _width(found.value, found.low if found.value >= neutral else found.high)


def _width(value: float, end: float | None) -> float:
    return math.inf if end is None or not math.isfinite(value) else abs(value - end)


def _why_none(found: Sequence[Measured], known: Sequence[Measured], waits: str) -> str:
    if known:
        return "the hold-out had too few rows of a group to compare with"
    small = sorted({m.facet for m in found if m.value is not None})
    if small:
        return f"fewer than {MIN_GROUP} rows on a side of {listing(small)}" + (f"; {waits}" if waits else "")
    return waits or "no metric is defined on these rows"


def _judged(known: Sequence[Measured]) -> str:
    metrics, facets = list(dict.fromkeys(m.metric for m in known)), len({m.facet for m in known})
    return f"{listing(metrics, 12)} of {count(facets, 'comparison')}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


def _plain(value: float | None) -> float | str | None:
    return value if value is None else round(value, 5) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
