"""The smoke test: a live endpoint must answer known rows as the build did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Smoke:
    ok: bool
    sentence: str


def compare(expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]], tolerance: float = TOLERANCE) -> Smoke:
    """Row by row, output by output: numbers within `tolerance`, absolutely or relatively, everything else equal.

    Relatively too, since the last bits of a number depend on how many rows were predicted at once, and of a large number they are large.
    """
    if len(expected) != len(got):
        return Smoke(False, f"{len(expected)} rows were sent and {len(got)} answers came")
    if not expected:
        return Smoke(False, "there was no row to send")
    for row, (want, have) in enumerate(zip(expected, got, strict=True)):
        for name, value in want.items():
            if name not in have:
                return Smoke(False, f"row {row} was answered without `{name}`")
            if not _equal(value, have[name], tolerance):
                return Smoke(False, f"row {row}: `{name}` is {have[name]!r}, and was {value!r} at build time")
    return Smoke(True, f"{len(expected)} rows answered as at build time (within {tolerance:g})")


def _equal(want: Any, have: Any, tolerance: float) -> bool:
    if isinstance(want, bool) or isinstance(have, bool):
        return want is have
    numbers = isinstance(want, int | float) and isinstance(have, int | float)
    return math.isclose(want, have, rel_tol=tolerance, abs_tol=tolerance) if numbers else bool(want == have)
