"""Gates: whether a version is good enough, each with a sentence that says why.

What cannot be judged has failed: a number that is missing, NaN or infinite, a direction that is not known, a slice or a facet that is
not there, a champion or a baseline without the metric. Pure: numbers in, verdicts out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from modelyard.config.spec import BiasCriterion, Criterion

TOLERANCE = 1e-12
"""Slack of a comparison: 0.700 - 0.705 is not below -0.005, whatever binary fractions make of it."""
WORST = "worst"
NEUTRAL = {"DI": 1.0}
"""What a bias metric says where there is no bias; 0 for all others."""


@dataclass(frozen=True)
class Measure:
    """One number of the build. low, high: its confidence interval. slice: (column, value) of the part of the hold-out that it is of;
    the column `worst` stands for the weakest part. facet, column: of a bias metric, such as `carrier=UA` of `carrier`."""

    metric: str
    value: float | None
    greater_is_better: bool | None = None
    low: float | None = None
    high: float | None = None
    slice: tuple[str, str] | None = None
    facet: str | None = None
    column: str | None = None
    rows: int | None = None


@dataclass(frozen=True)
class GateResult:
    """One gate's outcome; `str()` of it is its sentence.

    value: the version's number, None when missing or not finite. bound: what it had to reach, None when there is nothing to compare
    with. champion, baseline: the rival's number, where the gate compares with it. of: the slice or facet that decided; parts: how many
    were judged. low, high, rows: of the number, where known. versus: the rival, also where it has no number. end: which end of the
    interval was judged, where not the value.
    """

    metric: str
    ok: bool
    value: float | None
    bound: float | None
    champion: float | None
    on_fail: Literal["block", "warn"]
    sentence: str
    baseline: float | None = None
    of: str | None = None
    parts: int | None = None
    low: float | None = None
    high: float | None = None
    rows: int | None = None
    versus: Literal["champion", "baseline"] | None = None
    end: Literal["lower", "upper"] | None = None

    @property
    def blocks(self) -> bool:
        """Whether the version may not go on because of this gate."""
        return not self.ok and self.on_fail == "block"

    def __str__(self) -> str:
        return self.sentence


def judge(
    criteria: Iterable[Criterion],
    measures: Sequence[Measure],
    champion: Mapping[str, float | None] | None = None,
    baseline: Mapping[str, float | None] | None = None,
    *,
    min_rows: int = 1,
) -> list[GateResult]:
    """One result a criterion, in their order. Never raises.

    champion: the champion's metrics on the same rows, None where there is no champion: then `versus: champion` passes. baseline: those
    of the model that learned nothing. min_rows: a gate on every value of a column leaves smaller parts out.
    """
    return [_judge(c, measures, champion, baseline, min_rows) for c in criteria]


def blocking(results: Sequence[GateResult]) -> list[GateResult]:
    """The results that stop the version; empty when it may go on."""
    return [result for result in results if result.blocks]


def _judge(
    criterion: Criterion,
    measures: Sequence[Measure],
    champion: Mapping[str, float | None] | None,
    baseline: Mapping[str, float | None] | None,
    min_rows: int,
) -> GateResult:
    named = [m for m in measures if m.metric == criterion.metric and m.facet is None]
    if criterion.versus is not None:
        whole = next((m for m in named if m.slice is None), Measure(criterion.metric, None))
        rivals = champion if criterion.versus == "champion" else baseline
        return _versus(criterion, whole, rivals)
    asked, what = _asked(criterion.slice)
    found = [m for m in named if (m.slice is None if asked is None else m.slice is not None and asked(m.slice))]
    if not found:
        where = "" if not what else f"of {what} "
        why = f", no part of {min_rows:,} rows has it" if criterion.slice == WORST else ""
        return _said(criterion, Measure(criterion.metric, None), None, False, f"{where}was not measured{why}")
    if isinstance(criterion.slice, str) and criterion.slice != WORST:
        large = [m for m in found if m.rows is None or m.rows >= min_rows]
        if not large:
            return _said(criterion, found[0], None, False, f"of {what} cannot be judged, no part has {min_rows:,} rows")
        results = [_threshold(criterion, m) for m in large]
        return _weakest(criterion, results, len(found) - len(large), what)
    return _threshold(criterion, found[0])


def _asked(wanted: Any) -> tuple[Any, str]:
    """Which slices a criterion means, and in words."""
    if wanted is None:
        return None, ""
    if isinstance(wanted, str):
        return (lambda s: s[0] == wanted), "the weakest part" if wanted == WORST else f"every {wanted}"
    value = written(wanted.value)
    return (lambda s: s == (wanted.column, value)), f"{wanted.column} = {value}"


def written(value: Any) -> str:
    """A slice's value as the table of slices writes it."""
    if value is None:
        return "(missing)"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _threshold(criterion: Criterion, measure: Measure) -> GateResult:
    bound = criterion.threshold
    assert bound is not None  # by the criterion's own rule
    raw = {"value": measure.value, "lower": measure.low, "upper": measure.high}[criterion.bound]
    value, where = _finite(raw), _where(measure, criterion)
    if value is None:
        missing = "has no interval" if criterion.bound != "value" and _finite(measure.value) is not None else "was not measured"
        return _said(criterion, replace(measure, value=raw), bound, False, f"{where}{missing if raw is None else _strange(raw)}")
    measure = replace(measure, value=value)
    if measure.greater_is_better is None:
        return _said(criterion, measure, bound, False, f"{where}{value:.4g} cannot be judged, whether more of it is better is not known")
    ok = value >= bound - TOLERANCE if measure.greater_is_better else value <= bound + TOLERANCE
    return _said(criterion, measure, bound, ok, f"{where}{_comparison(value, bound, ok, measure.greater_is_better)}")


def _where(measure: Measure, criterion: Criterion) -> str:
    """The words between a metric's name and its value."""
    end = "" if criterion.bound == "value" else f"({criterion.bound} bound) "
    if measure.slice is None:
        return end
    return f"of {_named(*measure.slice)} {end}"


def _named(column: str, value: str) -> str:
    return f"the weakest part ({value})" if column == WORST else f"{column} = {value}"


def _weakest(criterion: Criterion, results: list[GateResult], small: int, what: str) -> GateResult:
    """Of a gate on every value of a column, the result that decides: one that failed, else the one nearest to its bound."""

    def rank(result: GateResult) -> tuple[bool, bool, float]:
        room = math.inf if result.value is None or result.bound is None else abs(result.value - result.bound)
        return result.ok, result.value is not None, room if result.ok else -room

    weakest = min(results, key=rank)
    failed = [r for r in results if not r.ok]
    body, _, verdict = weakest.sentence.rpartition(": ")
    others = [f"{len(failed):,} of {len(results):,} parts failed" if failed else f"the weakest of {what}"]
    others += [f"{small:,} smaller parts were not judged"] if small else []
    return replace(weakest, sentence=f"{body} ({', '.join(others)}): {verdict}", parts=len(results))


def _versus(criterion: Criterion, measure: Measure, rivals: Mapping[str, float | None] | None) -> GateResult:
    rival_name, value, greater = criterion.versus or "", _finite(measure.value), measure.greater_is_better
    rival = _finite(rivals.get(criterion.metric)) if rivals is not None else None

    def result(ok: bool, why: str, bound: float | None = None) -> GateResult:
        said = _said(criterion, measure, bound, ok, why)
        return replace(said, champion=rival) if rival_name == "champion" else replace(said, baseline=rival)

    if value is None:
        return result(False, "was not measured" if measure.value is None else _strange(measure.value))
    if greater is None:
        return result(False, f"{value:.4g} cannot be judged, whether more of it is better is not known")
    if rivals is None and rival_name == "champion":
        return result(True, f"{value:.4g}, no champion yet")
    if rival is None:
        return result(False, f"{value:.4g} cannot be compared, the {rival_name} was not measured by it")
    relative, absolute = criterion.min_relative_change, criterion.min_absolute_change or 0.0
    change = absolute if relative is None else relative * abs(rival)
    bound = rival + change if greater else rival - change
    ok = value >= bound - TOLERANCE if greater else value <= bound + TOLERANCE
    needed = f"{abs(change):g}" if relative is None else f"{abs(relative):.4g} of it"
    need = f"a loss up to {needed} is allowed" if change < 0 else f"at least {needed} better is needed"
    return result(ok, _against(value, rival, rival_name, need, greater), bound)


def judge_baseline(
    metric: str, value: float | None, rival: float | None, greater: bool | None, on_fail: Literal["block", "warn"], kind: str
) -> GateResult:
    """Whether a version is better at all than a model that learned nothing (`kind` says how that one answers)."""
    ours, theirs = _finite(value), _finite(rival)
    ok, what = False, f"what learned nothing ({kind})"
    if ours is None:
        why = "was not measured" if value is None else _strange(value)
    elif greater is None or theirs is None:
        why = f"{ours:.4g} cannot be compared with {what}"
    else:
        ok = ours > theirs + TOLERANCE if greater else ours < theirs - TOLERANCE
        left, right = _apart(ours, theirs)
        why = f"{left} is {'better' if ok else 'no better'} than {right}, {what}"
    verdict = _verdict(ok, on_fail)
    return GateResult(metric, ok, ours, theirs, None, on_fail, f"{metric} {why}: {verdict}", baseline=theirs, versus="baseline")


def judge_bias(criteria: Iterable[BiasCriterion], measures: Sequence[Measure]) -> list[GateResult]:
    """One result a criterion: the facet that lies farthest from neutral decides, and one that is undefined fails. Never raises."""
    of_facets = [m for m in measures if m.facet is not None]
    return [_judge_bias(c, [m for m in of_facets if m.metric == c.metric and c.facet in (None, m.column)]) for c in criteria]


def _judge_bias(criterion: BiasCriterion, found: Sequence[Measure]) -> GateResult:
    neutral = NEUTRAL.get(criterion.metric, 0.0)
    where = f" of {criterion.facet}" if criterion.facet else ""

    def distance(measure: Measure) -> float:
        value = _finite(measure.value)
        return math.inf if value is None else abs(value - neutral)

    if not found:
        text = f"{criterion.metric}{where} was not measured: {_verdict(False, criterion.on_fail)}"
        return GateResult(criterion.metric, False, None, None, None, criterion.on_fail, text)
    worst = max(found, key=distance)
    value, away = _finite(worst.value), distance(worst)
    ok = away <= criterion.within + TOLERANCE
    said = "is undefined" if value is None else f"{value:.4g} is {'within' if ok else 'not within'} {criterion.within:g} of {neutral:g}"
    sentence = f"{criterion.metric} of {worst.facet} {said}: {_verdict(ok, criterion.on_fail)}"
    bound = neutral + math.copysign(criterion.within, (value or 0.0) - neutral)
    return GateResult(
        criterion.metric, ok, value, bound, None, criterion.on_fail, sentence,
        of=worst.facet, parts=len(found), low=worst.low, high=worst.high, rows=worst.rows,
    )  # fmt: skip


def _said(criterion: Criterion, measure: Measure, bound: float | None, ok: bool, why: str) -> GateResult:
    of = None if measure.slice is None else _named(*measure.slice)
    sentence = f"{criterion.metric} {why}: {_verdict(ok, criterion.on_fail)}"
    value, low, high = _finite(measure.value), _finite(measure.low), _finite(measure.high)
    return GateResult(
        criterion.metric, ok, value, bound, None, criterion.on_fail, sentence,
        of=of, low=low, high=high, rows=measure.rows,
        versus=criterion.versus, end=None if criterion.bound == "value" else criterion.bound,
    )  # fmt: skip


def _verdict(ok: bool, on_fail: str) -> str:
    return "passed" if ok else "failed" if on_fail == "block" else "failed (only warns)"


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _strange(value: float) -> str:
    return f"is {value}, not a finite number"


def _comparison(value: float, bound: float, ok: bool, greater: bool) -> str:
    sign = {(True, True): ">=", (False, True): "<", (True, False): "<=", (False, False): ">"}[ok, greater]
    left, right = _apart(value, bound)
    return f"{left} {sign} {right}"


def _against(value: float, rival: float, name: str, need: str, greater: bool) -> str:
    gain = value - rival if greater else rival - value
    left, right = _apart(value, rival)
    if gain == 0:
        return f"{left} equals the {name}'s, {need}"
    return f"{left} is {'better' if gain > 0 else 'worse'} than the {name}'s {right} by {abs(gain):.3g}, {need}"


def _apart(a: float, b: float) -> tuple[str, str]:
    """Both numbers, with as many digits as it takes to tell them apart (4 or more; a number written short stays short)."""
    for digits in range(4, 17):
        left, right = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if left != right or a == b:
            break
    return left, right
