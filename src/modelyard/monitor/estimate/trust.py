"""Trust: what became of earlier estimates once labels came, and what an estimate may say in the light of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelyard.config.spec import Performance
from modelyard.monitor import performance as judging
from modelyard.monitor.performance import Judged, Value
from modelyard.monitor.verdicts import Verdict

WINDOWS = 20
"""Windows with labels that an estimator is judged by, the newest."""
MISSES, SHARE = 2, 0.1
"""It is not trusted when it missed in at least so many windows, and in more than this share of them."""


ROUNDED = 1e-5
"""Share of a number that its six digits in the evidence may have lost: a band without width is none that is missed by that."""


@dataclass(frozen=True)
class Record:
    """How a metric's estimates did: `windows` with labels, their mean absolute error, and in how many the band missed the real value."""

    windows: int
    error: float
    missed: int

    @property
    def trusted(self) -> bool:
        return self.missed < MISSES or self.missed <= SHARE * self.windows

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "error": judging.rounded(self.error)}


def reconcile(metrics: Mapping[str, float], labels: int, estimate: Mapping[str, Any]) -> dict[str, Any]:
    """What the evidence of measured performance says of the window's estimate; nothing where there is none.

    metrics: what `labels` rows measured. estimate: the estimate's own evidence (`rows`, `metrics`, `intervals`). Where only some rows have
    labels their value scatters more than that of all, and the band is widened by the root of their share.
    """
    estimated, errors, missed = {}, {}, []
    scale = math.sqrt(max(1.0, estimate.get("rows", 0) / labels)) if labels else 1.0
    for name, value in estimate.get("metrics", {}).items():
        real, band = metrics.get(name), estimate.get("intervals", {}).get(name)
        if value is None or real is None or not math.isfinite(real) or band is None:
            continue
        low, high = value - scale * (value - band[0]), value + scale * (band[1] - value)
        estimated[name] = [judging.rounded(v) for v in (value, low, high)]
        errors[name] = judging.rounded(real - value)
        slack = ROUNDED * max(abs(low), abs(high))
        if not low - slack <= real <= high + slack:
            missed.append(name)
    return {"estimated": estimated, "estimate_error": errors, "estimate_missed": missed} if estimated else {}


def records(evidence: Sequence[Mapping[str, Any]]) -> dict[str, Record]:
    """By metric, from the evidence of measured performance, oldest first (see `reconcile`)."""
    found: dict[str, list[tuple[float, bool]]] = {}
    for one in evidence:
        for name, error in one.get("estimate_error", {}).items():
            found.setdefault(name, []).append((abs(error), name in one.get("estimate_missed", ())))
    newest = {name: pairs[-WINDOWS:] for name, pairs in found.items()}
    return {name: Record(len(p), sum(e for e, _ in p) / len(p), sum(missed for _, missed in p)) for name, p in newest.items()}


def judge(
    values: Mapping[str, Value],
    *,
    rows: int,
    performance: Performance,
    greater_is_better: Mapping[str, bool],
    holdout: Mapping[str, float],
    record: Mapping[str, Record],
    missing: Mapping[str, str],
) -> Verdict:
    """The verdict on one window by its estimates, each criterion as it will be judged when labels come.

    A violation by an estimator whose band often missed is a warning. holdout: plain values, as the bands hold the hold-out's own doubt.
    """
    facts = {"rows": rows, **judging.evidence(values), "record": {name: one.to_dict() for name, one in record.items()}}
    if rows < performance.min_labels:
        return Verdict("estimate", "unknown", f"estimate: {rows:,} predictions, {performance.min_labels:,} are needed", facts)
    before = {name: Value(value) for name, value in holdout.items()}
    judged = [_softened(judging.criterion(c, values, greater_is_better, before, missing), record) for c in performance.criteria]
    return judging.summed("estimate", judged, facts, f"by {rows:,} rows without labels")


def _softened(judged: Judged, record: Mapping[str, Record]) -> Judged:
    """The outcome, said to be an estimate, with what became of the ones before."""
    known = record.get(judged.metric)
    if judged.value is None:
        return judged
    said = f"estimated {judged.sentence}"
    if known is None:
        return replace(judged, sentence=said)
    if known.trusted:
        windows = "window" if known.windows == 1 else f"{known.windows} windows"
        return replace(judged, sentence=f"{said} [off by {known.error:.3g} in the last {windows} with labels]")
    said += f" [not to be relied on: its band missed the real value in {known.missed} of the last {known.windows} windows with labels]"
    return replace(judged, status="warning" if judged.status == "violated" else judged.status, sentence=said)
