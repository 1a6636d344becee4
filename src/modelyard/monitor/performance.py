"""Judges measured performance once labels came: each criterion against a bound, or against the version's own hold-out.

Pure, and blind to how a metric is computed: the caller brings the numbers and which way is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelyard.config.spec import Performance, PerformanceCriterion
from modelyard.errors import BadInput
from modelyard.monitor.verdicts import Status, Verdict
from modelyard.monitor.words import did_you_mean

_ROUNDING = 1e-12  # 0.90 - 0.85 is not above 0.05


@dataclass(frozen=True)
class Judged:
    """One criterion's outcome; `ok` is None where it could not be judged. `loss` is positive where the window is worse."""

    metric: str
    ok: bool | None
    value: float | None
    holdout: float | None
    bound: float
    loss: float | None
    sentence: str


def judge(
    metrics: Mapping[str, float],
    *,
    labels: int,
    rows: int,
    performance: Performance,
    greater_is_better: Mapping[str, bool],
    holdout: Mapping[str, float],
) -> Verdict:
    """The verdict on one window.

    Args:
        metrics: what the window's labelled rows measured; a criterion's metric that is NaN or absent makes it unjudged.
        labels: rows of the window whose label came. rows: all rows of the window.
        holdout: the same metrics of the version's hold-out, for `max_drop`.

    Raises:
        BadInput: a criterion names a metric that `greater_is_better` does not know.
    """
    if labels < performance.min_labels:
        came = f"{labels:,} of {rows:,} predictions have labels" if rows else "no predictions in the window"
        return _verdict("unknown", f"{came}, {performance.min_labels:,} are needed", [], metrics, labels, rows)
    if not performance.criteria:
        return _verdict("unknown", "no criteria to judge by (monitor.performance.criteria)", [], metrics, labels, rows)
    judged = [_judge(c, metrics, greater_is_better, holdout) for c in performance.criteria]
    failed, unjudged = [j for j in judged if j.ok is False], [j for j in judged if j.ok is None]
    status: Status = "violated" if failed else "unknown" if unjudged else "healthy"
    said = "; ".join(j.sentence for j in failed or unjudged or judged)
    return _verdict(status, f"{said}, on {labels:,} labelled of {rows:,} rows", judged, metrics, labels, rows)


def _verdict(status: Status, said: str, judged: list[Judged], metrics: Mapping[str, float], labels: int, rows: int) -> Verdict:
    finite: dict[str, Any] = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
    evidence = {"labels": labels, "rows": rows, "metrics": finite, "criteria": [asdict(j) for j in judged]}
    return Verdict("performance", status, f"performance: {said}", evidence)


def _judge(
    criterion: PerformanceCriterion,
    metrics: Mapping[str, float],
    greater_is_better: Mapping[str, bool],
    holdout: Mapping[str, float],
) -> Judged:
    name, where = criterion.metric, "monitor.performance.criteria"
    if name not in greater_is_better:
        raise BadInput(f"unknown metric '{name}'", where=where, next=did_you_mean(name, greater_is_better))
    greater = greater_is_better[name]
    value, before = _finite(metrics.get(name)), _finite(holdout.get(name))
    loss = None if value is None or before is None else (before - value if greater else value - before)
    bound = criterion.threshold if criterion.threshold is not None else criterion.max_drop
    assert bound is not None  # PerformanceCriterion has exactly one of the two
    if value is None:
        return Judged(name, None, value, before, bound, loss, f"{name} cannot be computed")
    if criterion.threshold is not None:
        ok = value >= bound if greater else value <= bound
        said = f"{name} {_number(value)} {_holds(ok)} (the {'least' if greater else 'most'} allowed is {_number(bound)})"
        return Judged(name, ok, value, before, bound, loss, said)
    if before is None or loss is None:
        said = f"{name} {_number(value)} has no hold-out value to be compared with"
        return Judged(name, None, value, before, bound, loss, said)
    ok = loss <= bound + _ROUNDING
    return Judged(name, ok, value, before, bound, loss, _drop_sentence(name, value, before, loss, bound, ok))


def _drop_sentence(name: str, value: float, before: float, loss: float, bound: float, ok: bool) -> str:
    if _number(value) == _number(before):
        moved = "the hold-out's too"
    else:
        moved = f"{_number(abs(loss))} {'worse' if loss > 0 else 'better'} than the hold-out's {_number(before)}"
    return f"{name} {_number(value)} {_holds(ok)}: {moved} ({_number(bound)} worse is allowed)"


def _holds(ok: bool) -> str:
    return "holds" if ok else "does not hold"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _number(value: float) -> str:
    """Three decimals for shares and scores, four significant digits for larger values."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.4g}"
