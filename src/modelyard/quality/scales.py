"""From numbers to places: round ticks, the ends of an axis, lines as SVG paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from modelyard.quality.svg import short_number

Scale = Callable[[float], float]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most so many: steps of 1, 2, 2.5 or 5 times a power of ten."""
    span = high - low
    if not (math.isfinite(span) and span / most > 0):  # the least numbers there are have no parts
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next((power * s for s in (1, 2, 2.5, 5, 10) if span / (power * s) <= most), power * 10)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{step * i:.12g}") + 0.0 for i in range(first, first + most + 2) if step * i <= high + 1e-9 * span]


def said(value: float) -> str:
    """A tick's number, short."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.1e}".replace("e+0", "e").replace("e-0", "e-").replace(".0e", "e")
    return f"{value:,.6g}" if size < 1e5 else f"{value:,.0f}"


def path(points: Sequence[tuple[float, float]], sx: Scale, sy: Scale) -> str:
    """A line through the points, with a gap where one is not finite."""
    found, pen = [], "M"
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            found.append(f"{pen}{short_number(round(sx(x), 1))} {short_number(round(sy(y), 1))}")
            pen = "L"
        else:
            pen = "M"
    return "".join(found) or "M0 0"


def extent(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis for these values: a little beyond them, but for an axis that begins at 0."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    span = high - low
    if not math.isfinite(span):
        return low / 2, high / 2
    room = 0.04 * span if span > 0 else max(1.0, abs(low)) * 0.1
    return (low if low == 0 and span > 0 else low - room), high + room


def between(value: float, low: float, high: float, first: float, last: float) -> float:
    """A value's place; infinite ones, and those beyond, lie at the ends, a hair outside at most."""
    share = 0.5 if high == low else (value - low) / (high - low) if math.isfinite(value) else float(value > 0)
    return first + (last - first) * min(1.03, max(-0.03, share)) if math.isfinite(value) else first + (last - first) * share
