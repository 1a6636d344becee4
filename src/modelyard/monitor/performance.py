"""Judges performance, measured or estimated: each criterion against a bound, or against the version's own hold-out.

Pure, and blind to how a metric is computed: the caller brings the numbers, how sure they are, and which way is better.

A criterion is violated only where chance cannot explain it: where even the better end of the value's interval is beyond the bound. A
value that is beyond while its interval is not makes a warning. Two things keep small windows from crying wolf. The spread of a value
is at least what rows like the hold-out's would show at the window's size, since a resample of three rows that all failed knows no
doubt. And a loss is as unsure as both of its ends: the two intervals are put together as in Zou & Donner (2008), "Construction of
confidence limits about effect measures: a general approach" (MOVER).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from modelyard.config.spec import Performance, PerformanceCriterion
from modelyard.errors import BadInput
from modelyard.monitor.verdicts import Kind, Status, Verdict
from modelyard.monitor.words import did_you_mean

_ROUNDING = 1e-12  # 0.90 - 0.85 is not above 0.05


@dataclass(frozen=True)
class Value:
    """A number and where it may lie: `low` to `high`, None where that is not known."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def sure(self) -> bool:
        return self.low is not None and self.high is not None

    def within(self, least: float, greatest: float) -> Value:
        """The same value, which can be nothing below `least` or above `greatest`, and so neither can the ends of where it may lie."""
        if self.low is None or self.high is None:
            return self
        return Value(self.value, max(self.low, least), min(self.high, greatest))

    def to_list(self) -> list[float | None]:
        """[value, low, high], as evidence has it; see `of_list`."""
        return [rounded(v) for v in (self.value, self.low, self.high)]

    @classmethod
    def of_list(cls, three: Sequence[float | None]) -> Value:
        value, low, high = three
        return cls(math.nan if value is None else value, low, high)


@dataclass(frozen=True)
class Judged:
    """One criterion's outcome; `unknown` where it could not be judged. `loss` is positive where the window is worse than the hold-out."""

    metric: str
    status: Status
    value: float | None
    low: float | None
    high: float | None
    holdout: float | None
    bound: float
    loss: float | None
    sentence: str


def at_least(value: Value, usual: Value | None, rows: int, usual_rows: int) -> Value:
    """`value`, of `rows` rows, with an interval no narrower than `usual`'s would be at that size; without one it stays without."""
    if usual is None or value.low is None or value.high is None or usual.low is None or usual.high is None or not rows:
        return value
    scale = math.sqrt(usual_rows / rows)
    low = min(value.low, value.value - scale * (usual.value - usual.low))
    return Value(value.value, low, max(value.high, value.value + scale * (usual.high - usual.value)))


def at_level(value: Value, had: float, wanted: float) -> Value:
    """An interval of level `had` as one of level `wanted`, as if it were normal on each side."""
    if value.low is None or value.high is None:
        return value
    scale = deviations(wanted) / deviations(had)
    return Value(value.value, value.value - scale * (value.value - value.low), value.value + scale * (value.high - value.value))


def deviations(level: float) -> float:
    """How many standard deviations a two-sided normal interval reaches to each side."""
    return NormalDist().inv_cdf((1 + level) / 2)


def judge(
    values: Mapping[str, Value],
    *,
    labels: int,
    rows: int,
    performance: Performance,
    greater_is_better: Mapping[str, bool],
    holdout: Mapping[str, Value],
    missing: Mapping[str, str] | None = None,
) -> Verdict:
    """The verdict on one window whose labels came.

    Args:
        values: what the window's labelled rows measured; a criterion's metric that is NaN or absent is left unjudged.
        labels: rows of the window whose label came. rows: all rows of the window.
        holdout: the same metrics of the version's hold-out, for `max_drop`.
        missing: why a metric is absent.

    Raises:
        BadInput: a criterion names a metric that `greater_is_better` does not know.
    """
    facts = {"labels": labels, "rows": rows, **evidence(values)}
    if labels < performance.min_labels:
        came = f"{labels:,} of {rows:,} predictions have labels" if rows else "no predictions in the window"
        return Verdict("performance", "unknown", f"performance: {came}, {performance.min_labels:,} are needed", facts)
    judged = [criterion(c, values, greater_is_better, holdout, missing or {}) for c in performance.criteria]
    return summed("performance", judged, facts, f"on {labels:,} labelled of {rows:,} rows")


def evidence(values: Mapping[str, Value]) -> dict[str, Any]:
    """{"metrics": {name: value or None}, "intervals": {name: [low, high]}}"""
    return {
        "metrics": {name: rounded(v.value) for name, v in values.items()},
        "intervals": {name: v.to_list()[1:] for name, v in values.items() if v.sure and math.isfinite(v.value)},
    }


def summed(kind: Kind, judged: list[Judged], facts: dict[str, Any], on: str) -> Verdict:
    """The worst of the criteria: a violated one, a warned one, one that could not be judged, in this order; `on` ends the sentence."""
    if not judged:
        return Verdict(kind, "unknown", f"{kind}: no criteria to judge by (monitor.performance.criteria)", {**facts, "criteria": []})
    status = worst([j.status for j in judged])
    said = "; ".join(j.sentence for j in judged if j.status == status)
    shown = [{k: rounded(v) if isinstance(v, float) else v for k, v in asdict(j).items()} for j in judged]
    return Verdict(kind, status, f"{kind}: {said}, {on}", {**facts, "criteria": shown})


def worst(statuses: list[Status]) -> Status:
    order: tuple[Status, ...] = ("violated", "warning", "unknown", "healthy")
    return next(status for status in order if status in statuses)


def criterion(
    asked: PerformanceCriterion,
    values: Mapping[str, Value],
    greater_is_better: Mapping[str, bool],
    holdout: Mapping[str, Value],
    missing: Mapping[str, str],
) -> Judged:
    """One criterion. Raises BadInput for a metric that `greater_is_better` does not know."""
    name, where = asked.metric, "monitor.performance.criteria"
    if name not in greater_is_better and name not in missing:
        raise BadInput(f"unknown metric '{name}'", where=where, next=did_you_mean(name, greater_is_better))
    found, before = _known(values.get(name)), _known(holdout.get(name))
    bound = asked.threshold if asked.threshold is not None else asked.max_drop
    assert bound is not None  # PerformanceCriterion has exactly one of the two
    if found is None or name not in greater_is_better:
        said = missing.get(name) or f"{name} cannot be computed"
        return Judged(name, "unknown", None, None, None, before.value if before else None, bound, None, said)
    greater = greater_is_better[name]
    loss = None if before is None else (before.value - found.value if greater else found.value - before.value)
    if asked.threshold is not None:
        status = _beyond(found, Value(bound), 0.0, greater)
        said = f"{name} {shown(found)} {_says(status)} (the {'least' if greater else 'most'} allowed is {_number(bound)})"
    elif before is None or loss is None:
        status, said = "unknown", f"{name} {shown(found)} has no hold-out value to be compared with"
    else:
        status = _beyond(found, before, bound, greater)
        said = _drop_sentence(name, found, before, loss, bound, status)
    return Judged(name, status, found.value, found.low, found.high, before.value if before else None, bound, loss, said)


def difference(upper: Value, lower: Value) -> Value:
    """`upper` - `lower` with the interval that both give it (MOVER); an end that is not known adds nothing."""
    value = upper.value - lower.value
    down = math.hypot(_below(upper), _above(lower))
    return Value(value, value - down, value + math.hypot(_above(upper), _below(lower)))


def _below(value: Value) -> float:
    return 0.0 if value.low is None else max(0.0, value.value - value.low)


def _above(value: Value) -> float:
    return 0.0 if value.high is None else max(0.0, value.high - value.value)


def _beyond(found: Value, against: Value, allowed: float, greater: bool) -> Status:
    """Whether `found` is worse than `against` by more than `allowed`: not at all, perhaps (a warning), or surely."""
    gap = difference(against, found) if greater else difference(found, against)
    if gap.value <= allowed + _ROUNDING:
        return "healthy"
    assert gap.low is not None
    return "violated" if found.sure and gap.low > allowed + _ROUNDING else "warning"


def _drop_sentence(name: str, found: Value, before: Value, loss: float, bound: float, status: Status) -> str:
    if _number(found.value) == _number(before.value):
        moved = "the hold-out's too"
    else:
        moved = f"{_number(abs(loss))} {'worse' if loss > 0 else 'better'} than the hold-out's {_number(before.value)}"
    return f"{name} {shown(found)} {_says(status)}: {moved} ({_number(bound)} worse is allowed)"


def _says(status: Status) -> str:
    return {"healthy": "holds", "warning": "may not hold", "violated": "does not hold"}[status]


def _known(value: Value | None) -> Value | None:
    return None if value is None or not math.isfinite(value.value) else value


def shown(value: Value) -> str:
    """`0.612 (0.590 to 0.634)`"""
    if value.low is None or value.high is None:
        return _number(value.value)
    return f"{_number(value.value)} ({_number(value.low)} to {_number(value.high)})"


def rounded(value: float | None) -> float | None:
    """Six significant digits, for evidence that stays small; None for what JSON has no word for."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _number(value: float) -> str:
    """Three decimals for shares and scores, four significant digits for larger values."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.4g}"
