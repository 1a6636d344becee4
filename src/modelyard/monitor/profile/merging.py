"""Adding profiles up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from modelyard.errors import BadInput
from modelyard.monitor.profile import heavy


def merge(profiles: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The profile of all rows of several profiles of one baseline.

    Raises:
        BadInput: there is none, or they count into different bins.
    """
    given = list(profiles)
    if not given:
        raise BadInput("there is no profile to merge")
    first = given[0]
    if any(p["columns"].keys() != first["columns"].keys() for p in given):
        raise BadInput("profiles of different columns do not add up", next="merge those of one version")
    score = first["score"]
    return {
        "format": 2,
        "rows": sum(p["rows"] for p in given),
        "columns": {name: column([p["columns"][name] for p in given]) for name in first["columns"]},
        "score": {"column": score["column"], "rows": sum(p["score"]["rows"] for p in given), **column([p["score"] for p in given])},
        "extra": {name: sum(p["extra"].get(name, 0) for p in given) for name in sorted({n for p in given for n in p["extra"]})},
        "joint": _joint([p["joint"] for p in given if p["joint"] is not None]),
    }


def column(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One column of several profiles, added up. Raises BadInput for different bins."""
    first = parts[0]
    if any(p["kind"] != first["kind"] or _bins(p) != _bins(first) for p in parts):
        raise BadInput("profiles of different bins do not add up", next="merge those of one version")
    return _numbers(parts) if first["kind"] == "numeric" else _categories(parts)


def _bins(part: dict[str, Any]) -> Any:
    """What has to be the same."""
    if part["kind"] == "categorical":
        return part["counts"].keys()
    return part["low"], part["edges"], part["sketch"]["centre"], part["sketch"]["unit"]


def _numbers(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = parts[0]
    mean, m2 = moments([(finite(p), p["mean"], p["m2"]) for p in parts])
    return {
        "kind": "numeric",
        "low": first["low"],
        "edges": first["edges"],
        "counts": [sum(c) for c in zip(*(p["counts"] for p in parts), strict=True)],
        "missing": sum(p["missing"] for p in parts),
        "min": min((p["min"] for p in parts if p["min"] is not None), default=None),
        "max": max((p["max"] for p in parts if p["max"] is not None), default=None),
        "mean": mean,
        "m2": m2,
        **{what: sum(p[what] for p in parts) for what in ("zeros", "negatives", "whole", "infinite")},
        "sketch": _sketch([p["sketch"] for p in parts]),
    }


def finite(part: dict[str, Any]) -> int:
    """How many finite values a column of numbers has."""
    return int(sum(part["counts"]) - part["infinite"])


def moments(parts: Sequence[tuple[int, float | None, float | None]]) -> tuple[float | None, float | None]:
    """Mean and sum of squared deviations of all, from (count, mean, sum of squares) each (T. F. Chan et al., 1979).

    None where there are no values, or one is beyond float64.
    """
    used = [p for p in parts if p[0]]
    if not used or any(mean is None for _, mean, _ in used):
        return None, None
    n = sum(k for k, _, _ in used)
    mean = math.fsum(k / n * float(m or 0.0) for k, m, _ in used)
    if any(m2 is None for _, _, m2 in used):
        return mean, None
    try:
        m2 = math.fsum(float(s or 0.0) + k * (float(m or 0.0) - mean) ** 2 for k, m, s in used)
    except OverflowError:
        return mean, None
    return known(mean), known(m2)


def known(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def _sketch(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counts: dict[int, int] = {}
    for part in parts:
        for at, n in zip(part["at"], part["counts"], strict=True):
            counts[at] = counts.get(at, 0) + n
    rising = sorted(counts)
    return {"centre": parts[0]["centre"], "unit": parts[0]["unit"], "at": rising, "counts": [counts[at] for at in rising]}


def _categories(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = parts[0]
    fresh, error = heavy.merge((p["fresh"], p["fresh_error"]) for p in parts)
    return {
        "kind": "categorical",
        "counts": {value: sum(p["counts"][value] for p in parts) for value in first["counts"]},
        "other": sum(p["other"] for p in parts),
        "new": sum(p["new"] for p in parts),
        "fresh": fresh,
        "fresh_error": error,
        "once": first["once"],
        "missing": sum(p["missing"] for p in parts),
    }


def _joint(parts: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not parts:
        return None
    return {
        "rows": sum(p["rows"] for p in parts),
        "sum": math.fsum(p["sum"] for p in parts),
        "squares": math.fsum(p["squares"] for p in parts),
    }
