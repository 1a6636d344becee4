"""Which counts break their constraints, beyond what chance explains, in SageMaker Model Monitor's words.

A constraint allows a share of a column's rows to break it. It is violated when more do, and when a window in which that share is the true
one would show as many less often than once in 1 / `CHANCE` windows, all checks together (a binomial's tail; G. Boole's inequality).
A share of 0 allows none. So a small window needs plain breaches, and in a big one the share itself decides.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from modelyard.config.spec import ColumnConstraint, DataQuality
from modelyard.monitor.quality.constraints import CHANCE
from modelyard.monitor.quality.counting import Counts
from modelyard.monitor.verdicts import Status, Verdict
from modelyard.monitor.words import count, listing, percent

Check = Literal[
    "data_type_check",
    "completeness_check",
    "baseline_drift_check",
    "missing_column_check",
    "extra_column_check",
    "categorical_values_check",
]
SHOWN = 12
"""Violations that a verdict's evidence names; all of them are counted."""


@dataclass(frozen=True)
class Violation:
    """One line of a constraint_violations.json; `share` of the rows, from 0 to 1, says how much of the window it is about."""

    feature_name: str
    constraint_check_type: Check
    description: str
    share: float = 1.0


def check(
    counts: Mapping[str, Counts],
    constraints: Mapping[str, ColumnConstraint],
    tolerance: float,
    extra: Mapping[str, int] | None = None,
) -> list[Violation]:
    """What is violated, what concerns most rows first. `extra`: columns that nobody expected, and how many rows have a value there."""
    doubt = CHANCE / max(1, 6 * len(constraints))
    found = [v for name, held in constraints.items() for v in _Column(name, counts[name], held, tolerance, doubt).violations()]
    rows = max((c.rows for c in counts.values()), default=0)
    for name, there in (extra or {}).items():
        said = f"the model has no such column, and {there:,} rows have a value there"
        found.append(Violation(name, "extra_column_check", said, there / rows if rows else 1.0))
    return sorted(found, key=lambda v: -v.share)


def judge(violations: Collection[Violation], rows: int, quality: DataQuality, columns: int, unjudged: Collection[str] = ()) -> Verdict:
    """The verdict on a window of `rows` rows, of which `columns` constraints were checked; `unjudged` names columns that could not be."""
    facts: dict[str, Any] = {"rows": rows, "min_rows": quality.min_rows, "columns": columns}
    if rows < quality.min_rows:
        said = f"{rows:,} rows in the window, {quality.min_rows:,} are needed" if rows else "no rows in the window"
        return Verdict("data_quality", "unknown", f"data_quality: {said}", facts)
    told = [v for v in violations if v.constraint_check_type != "extra_column_check" or quality.extra_columns != "ignore"]
    grave = [v for v in told if v.constraint_check_type != "extra_column_check" or quality.extra_columns == "violate"]
    status: Status = "violated" if grave else "warning" if told else "healthy"
    names = listing([f"{v.feature_name}: {v.description}" for v in grave or told], 3)
    checked = count(columns, "column")
    if not columns and not told:
        return Verdict("data_quality", "unknown", "data_quality: no constraint could be checked", facts)
    said = f"{count(len(told), 'violation')} in {checked} ({names})" if told else f"{checked} as expected"
    if unjudged:
        said += f"; not judged, since the capture does not keep {'it' if len(unjudged) == 1 else 'them'}: {listing(list(unjudged))}"
        facts["redacted"] = list(unjudged)
    top = [{**vars(v), "description": v.description[:160]} for v in told[:SHOWN]]
    return Verdict("data_quality", status, f"data_quality: {said}", {**facts, "violations": top, "violated": len(told)})


@dataclass(frozen=True)
class _Column:
    name: str
    counts: Counts
    held: ColumnConstraint
    tolerance: float
    doubt: float

    def violations(self) -> Iterator[Violation]:
        if (lacking := self._lacking()) is not None:
            yield lacking
        if self.counts.present:
            yield from self._types()
            yield from self._ranges()
            yield from self._domain()
            yield from self._distance()

    def _lacking(self) -> Violation | None:
        counts, held = self.counts, self.held
        if counts.absent:
            return Violation(self.name, "missing_column_check", "there is no such column")
        least = held.completeness
        if least is None or not self._breaks(counts.rows - counts.present, counts.rows, 1 - least):
            return None
        if not counts.present:
            return Violation(self.name, "missing_column_check", f"no row has a value, at least {percent(least)} should")
        share = counts.present / counts.rows
        said = f"{percent(share)} of the rows have a value, at least {percent(least)} should"
        return Violation(self.name, "completeness_check", said, 1 - share)

    def _types(self) -> Iterator[Violation]:
        allowed = self._allowed(self.held.type_match)
        if self._breaks(self.counts.mistyped, self.counts.present, allowed):
            share = self.counts.mistyped / self.counts.present
            said = f"{percent(share)} of the values are no {self.held.type}, at most {percent(allowed)} may be"
            yield Violation(self.name, "data_type_check", said, share)

    def _ranges(self) -> Iterator[Violation]:
        counts, held = self.counts, self.held
        if self._breaks(counts.negative, counts.present, self.tolerance):
            share = counts.negative / counts.present
            said = f"{percent(share)} of the values are negative (least {counts.least:.6g}), at most {percent(self.tolerance)} may be"
            yield Violation(self.name, "baseline_drift_check", said, share)
        told = counts.negative if held.min is not None and held.min >= 0 else 0  # these are said already
        outside, allowed = counts.outside - told, self._allowed(held.range_match)
        if self._breaks(outside, counts.present, allowed):
            share = outside / counts.present
            low, high = ("" if bound is None else f"{bound:.6g}" for bound in (held.min, held.max))
            seen = f"{counts.least:.6g} to {counts.greatest:.6g}"
            said = f"{percent(share)} of the values are outside of {low}..{high} (seen: {seen}), at most {percent(allowed)} may be"
            yield Violation(self.name, "baseline_drift_check", said, share)

    def _domain(self) -> Iterator[Violation]:
        allowed = self._allowed(self.held.domain_match)
        if self._breaks(self.counts.new, self.counts.present, allowed):
            share = self.counts.new / self.counts.present
            such = f" (such as '{next(iter(self.counts.fresh))[:40]}')" if self.counts.fresh else ""
            said = f"{percent(share)} of the values are new{such}, at most {percent(allowed)} may be"
            yield Violation(self.name, "categorical_values_check", said, share)

    def _distance(self) -> Iterator[Violation]:
        """The distance that two samples of one distribution exceed by chance is Smirnov's; for categories it is more than enough."""
        most, counts = self.held.distance, self.counts
        if most is None or not counts.reference:
            return
        n, m = counts.present, counts.reference
        chance = math.sqrt(-math.log(self.doubt / 2) / 2 * (n + m) / (n * m))
        if counts.distance > max(most, chance):
            said = f"its distribution is {counts.distance:.3f} from the training data's, at most {most:.3f} may be"
            yield Violation(self.name, "baseline_drift_check", said, min(1.0, counts.distance))

    def _allowed(self, match: float | None) -> float:
        return self.tolerance if match is None else 1 - match

    def _breaks(self, hits: int, rows: int, allowed: float) -> bool:
        """Whether more than the allowed share do, and more than a window by chance."""
        from scipy.special import betainc

        if hits <= allowed * rows or not hits:
            return False
        return bool(betainc(hits, rows - hits + 1, allowed) < self.doubt)
