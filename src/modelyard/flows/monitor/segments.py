"""Performance by parts of a window: where it is worst, and whether a part that is watched lost more than the whole may.

A part is held against the same part of the hold-out, since some are always harder than others. It may lose what a criterion allows the
whole: `max_drop`, or as much as the hold-out was better than the `threshold`. Looking at many parts finds a bad one by chance: the
interval that must exclude the bound is that of a level corrected for how many were looked at (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modelyard.config.spec import PerformanceCriterion
from modelyard.flows.monitor import reference
from modelyard.flows.monitor.window import Window
from modelyard.monitor.performance import Value, deviations, rounded
from modelyard.monitor.verdicts import Status
from modelyard.quality import metrics as measures
from modelyard.quality import resample, slices

if TYPE_CHECKING:
    import polars as pl

    from modelyard.quality.kernels import Ints, Rows

DRAWS, MOST_ROWS, SHOWN = 100, 20_000, 5
"""Resamples of a part that seems to have lost, rows that they are drawn from, and parts that the evidence names."""


@dataclass(frozen=True)
class Part:
    """A part by one metric. `loss` is positive where it is worse than the same part of the hold-out, None where that has none."""

    column: str
    value: str
    metric: str
    rows: int
    measured: float
    holdout: float | None
    loss: float | None
    status: Status = "healthy"

    @property
    def name(self) -> str:
        return f"{self.column}={self.value}"

    def to_dict(self) -> dict[str, Any]:
        return {k: rounded(v) if isinstance(v, float) else v for k, v in vars(self).items()}


@dataclass(frozen=True)
class _Side:
    """The rows of the window or of the hold-out that can be judged, as arrays, and which of them belong together."""

    table: pl.DataFrame
    rows: Rows
    joined: Ints | None


def look(window: Window, holdout: dict[str, Value]) -> dict[str, Any]:
    """{"status", "worst": the weakest part or None, "parts": those that lost too much, "looked_at": how many, "said": a sentence or ''}.

    Columns are `monitor.segments`, which are judged, and `evaluate.slices`, which are looked at. holdout: of the whole.
    """
    asked, watched = window.config.monitor.performance, window.config.monitor.segments
    table, known = window.labelled, measures.names_of(window.signature)
    columns = [c for c in dict.fromkeys((*watched, *window.config.evaluate.slices)) if slices.place(table, c) is not None]
    if not columns:
        return {"status": "healthy", "said": ""}
    criteria = [c for c in asked.criteria if c.metric in known]
    names = tuple(dict.fromkeys(c.metric for c in criteria)) or known[:1]
    bounds = {n: min((a for c in criteria if c.metric == n and (a := allowed(c, holdout)) is not None), default=None) for n in names}
    then = window.built(window.version).once("side", lambda: _holdout(window))
    looking = _Look(_side(window, table), then, names, bounds, asked.confidence, asked.min_labels)
    found = [(part, own, old) for column in columns for part, own, old in looking.parts(column)]
    judged = [looking.judged(*one, len(found)) if one[0].column in watched else one[0] for one in found]
    return _summed(judged, names[0])


def _side(window: Window, table: pl.DataFrame) -> _Side:
    from modelyard.quality.encode import encode, usable

    judged = table.filter(usable(table, window.signature))
    return _Side(judged, encode(judged, window.signature), resample.clusters(judged, window.signature))


def _holdout(window: Window) -> _Side | None:
    before = reference.rows(window)
    return None if before is None else _side(window, before)


@dataclass(frozen=True)
class _Look:
    """`bounds`: what each metric may lose, None where nothing says so. `least`: rows of a part that is looked at."""

    now: _Side
    then: _Side | None
    names: tuple[str, ...]
    bounds: dict[str, float | None]
    level: float
    least: int

    def parts(self, column: str) -> Iterator[tuple[Part, Ints, Ints]]:
        """Every part of the window with enough rows, by each metric, with its rows and those of the same part of the hold-out."""
        import numpy as np

        names, codes, here = self._codes(column)
        for k, value in enumerate(names):
            own, old = np.flatnonzero(codes[:here] == k), np.flatnonzero(codes[here:] == k)
            if len(own) < self.least or value == slices.OTHER:
                continue
            measured = _measure(self.now.rows, own, self.names)
            usual = _measure(self.then.rows, old, self.names) if self.then is not None and len(old) else {}
            for metric in self.names:
                before, found = usual.get(metric, math.nan), measured[metric]
                if math.isfinite(found):
                    lost = (before - found) * (1 if measures.GREATER_IS_BETTER[metric] else -1)
                    sides = (before, lost) if math.isfinite(before) else (None, None)
                    yield Part(column, value, metric, len(own), found, *sides), own, old

    def _codes(self, column: str) -> tuple[list[str], Ints, int]:
        """Names of the parts, which one each row of the window and then of the hold-out is in, and how many rows the window has.

        Both are cut together, so that a part is the same in both.
        """
        import polars as pl

        here = self.now.table[slices.place(self.now.table, column) or column]
        at = slices.place(self.then.table, column) if self.then is not None else None
        there = here.clear() if self.then is None or at is None else self.then.table[at].cast(here.dtype, strict=False)
        names, codes = slices.parts(pl.concat([here, there.rename(here.name)]))
        return names, codes, len(here)

    def judged(self, part: Part, own: Ints, old: Ints, looked_at: int) -> Part:
        """The part with its status."""
        bound = self.bounds[part.metric]
        if self.then is None or part.loss is None or bound is None or part.loss <= bound:
            return part
        usual = _deviation(self.then, old, part.metric)
        chance = math.hypot(max(_deviation(self.now, own, part.metric), usual * math.sqrt(len(old) / len(own))), usual)
        over, strict = part.loss - bound, deviations(1 - (1 - self.level) / looked_at)
        status: Status = "violated" if over > strict * chance else "warning" if over > deviations(self.level) * chance else "healthy"
        return replace(part, status=status)


def _measure(rows: Rows, members: Ints, names: tuple[str, ...]) -> dict[str, float]:
    part = rows.take(members)
    return {name: float(v[0]) for name, v in measures.values(part, names, part.weighting()).items()}


def allowed(criterion: PerformanceCriterion, holdout: dict[str, Value]) -> float | None:
    """What a part may lose; None where the hold-out itself was beyond the bound, or is not known."""
    if criterion.max_drop is not None:
        return criterion.max_drop
    before = holdout.get(criterion.metric)
    if before is None or criterion.threshold is None:
        return None
    margin = before.value - criterion.threshold if measures.GREATER_IS_BETTER[criterion.metric] else criterion.threshold - before.value
    return margin if margin > 0 else None


def _deviation(side: _Side, members: Ints, metric: str) -> float:
    """Standard deviation of a part's metric over resamples; infinite where it is mostly undefined."""
    import numpy as np

    joined, rows = resample.of_some(side.joined, members), side.rows.take(members)
    if (some := resample.some_of(len(rows), joined, MOST_ROWS, 0)) is not None:
        rows, joined = rows.take(some), resample.of_some(joined, some)
    drawn = resample.replicates(rows, joined, (metric,), draws=DRAWS, seed=0)[metric]
    finite = drawn[np.isfinite(drawn)]
    if len(finite) < resample.DEFINED * DRAWS:
        return math.inf
    return float(np.std(finite)) * math.sqrt(len(rows) / len(members))


def _summed(judged: list[Part], metric: str) -> dict[str, Any]:
    """`worst` by the first metric that is judged: the part that lost most, or, where none can be compared, the weakest."""
    of_metric = [p for p in judged if p.metric == metric]
    sign = 1 if measures.GREATER_IS_BETTER[metric] else -1
    compared = [p for p in of_metric if p.loss is not None]
    worst = max(compared, key=lambda p: p.loss or 0.0) if compared else min(of_metric, key=lambda p: sign * p.measured, default=None)
    bad = sorted((p for p in judged if p.status != "healthy"), key=lambda p: (p.status != "violated", -(p.loss or 0.0)))
    status: Status = bad[0].status if bad else "healthy"
    said = "; ".join(_sentence(p) for p in bad[:SHOWN] if p.status == status)
    return {
        "status": status,
        "said": said,
        "worst": worst.to_dict() if worst else None,
        "parts": [p.to_dict() for p in bad[:SHOWN]],
        "looked_at": len(judged),
    }


def _sentence(part: Part) -> str:
    assert part.holdout is not None
    return f"{part.metric} {part.measured:.3f} where {part.name}, {part.holdout:.3f} in the hold-out ({part.rows:,} rows)"
