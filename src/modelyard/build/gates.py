"""Gates: whether a version is good enough, each with a sentence that says why.

What cannot be judged has failed: a metric that is missing, NaN or infinite, a direction that is not known, a champion without
the metric.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from modelyard.config.spec import Criterion

TOLERANCE = 1e-12
"""Slack of a comparison: 0.700 - 0.705 is not below -0.005, whatever binary fractions make of it."""


@dataclass(frozen=True)
class GateResult:
    """One gate's outcome; `str()` of it is its sentence.

    value: the version's metric, None when missing or not finite. bound: what it had to reach, None when there is nothing to
    compare with. champion: the champion's metric, where the gate compares with it.
    """

    metric: str
    ok: bool
    value: float | None
    bound: float | None
    champion: float | None
    on_fail: Literal["block", "warn"]
    sentence: str

    @property
    def blocks(self) -> bool:
        """Whether the version may not go on because of this gate."""
        return not self.ok and self.on_fail == "block"

    def __str__(self) -> str:
        return self.sentence


def judge(
    criteria: Iterable[Criterion],
    metrics: Mapping[str, float],
    champion: Mapping[str, float] | None,
    greater_is_better: Mapping[str, bool],
) -> list[GateResult]:
    """One result a criterion, in their order.

    metrics: the version's, on its hold-out. champion: the champion's metrics on the same rows, None where there is no champion:
    then `versus: champion` passes. greater_is_better: the direction of each metric. Never raises.
    """
    return [_judge(c, metrics.get(c.metric), champion, greater_is_better.get(c.metric)) for c in criteria]


def blocking(results: Sequence[GateResult]) -> list[GateResult]:
    """The results that stop the version; empty when it may go on."""
    return [result for result in results if result.blocks]


def _judge(criterion: Criterion, raw: float | None, champion: Mapping[str, float] | None, greater: bool | None) -> GateResult:
    value = _finite(raw)
    rival = _finite(champion.get(criterion.metric)) if champion is not None and criterion.versus else None
    bound = _bound(criterion, rival, greater)

    def result(ok: bool, why: str) -> GateResult:
        verdict = "passed" if ok else "failed" if criterion.on_fail == "block" else "failed (only warns)"
        return GateResult(criterion.metric, ok, value, bound, rival, criterion.on_fail, f"{criterion.metric} {why}: {verdict}")

    if value is None:
        return result(False, "was not measured" if raw is None else f"is {raw}, not a finite number")
    if greater is None:
        return result(False, f"{value:.4g} cannot be judged, whether more of it is better is not known")
    if criterion.versus is not None and champion is None:
        return result(True, f"{value:.4g}, no champion yet")
    if bound is None:
        return result(False, f"{value:.4g} cannot be compared, the champion was not measured by it")
    ok = value >= bound - TOLERANCE if greater else value <= bound + TOLERANCE
    if rival is not None:
        return result(ok, _against_champion(value, rival, criterion.min_absolute_change or 0.0, greater))
    return result(ok, _comparison(value, bound, ok, greater))


def _bound(criterion: Criterion, rival: float | None, greater: bool | None) -> float | None:
    if criterion.versus is None:
        return criterion.threshold
    if rival is None or greater is None:
        return None
    change = criterion.min_absolute_change or 0.0
    return rival + change if greater else rival - change


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _comparison(value: float, bound: float, ok: bool, greater: bool) -> str:
    sign = {(True, True): ">=", (False, True): "<", (True, False): "<=", (False, False): ">"}[ok, greater]
    left, right = _apart(value, bound)
    return f"{left} {sign} {right}"


def _against_champion(value: float, rival: float, needed: float, greater: bool) -> str:
    gain = value - rival if greater else rival - value
    left, right = _apart(value, rival)
    need = f"a loss up to {-needed:g} is allowed" if needed < 0 else f"at least {needed:g} better is needed"
    if gain == 0:
        return f"{left} equals the champion's, {need}"
    return f"{left} is {'better' if gain > 0 else 'worse'} than the champion's {right} by {abs(gain):.3g}, {need}"


def _apart(a: float, b: float) -> tuple[str, str]:
    """Both numbers, with as many digits as it takes to tell them apart (4 or more; a number written short stays short)."""
    for digits in range(4, 17):
        left, right = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if left != right or a == b:
            break
    return left, right
