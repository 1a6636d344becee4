"""How a model fared over time: its windows' words as points along the time axis, neighbours put together where there are too many.

A point says the worst that was said of any of its windows and the largest effect on any of them; a metric is the mean of its windows'
values, weighted by their labels, between the lowest and the highest end of their intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from modelyard.quality.window import evidence

MOST = 240
"""Points of an axis: more would be closer than the eye tells apart."""
ORDER = ("violated", "warning", "healthy", "unknown")
"""The worst first; what is unknown says less than anything that is known."""
ENDS = (("value", "low", "high"), ("estimated", "estimated_low", "estimated_high"))


def glimpse(word: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a word where there are many of them: no evidence but the numbers that are drawn."""
    told = word["evidence"] or {}
    found = {key: word[key] for key in ("monitor", "start", "end", "version", "status")}
    found |= {"rows": told.get("rows"), "labels": told.get("labels")}
    found["effect"] = evidence.effect(told) if word["monitor"] == "drift" else None
    found["metrics"] = {name: evidence.told(word, name) for name in evidence.measured([word])}
    return found


def speaks(fact: Mapping[str, Any], *ends: str) -> bool:
    """Whether a glimpse or a window has a number of some metric: by default one that was measured or estimated."""
    return any(numbers.get(end) is not None for numbers in fact["metrics"].values() for end in ends or ("value", "estimated"))


def windows(glimpses: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One fact a window, oldest first: {"start", "end", "version", "rows", "labels", "effect", "status": {monitor: status}, "metrics"}."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in glimpses:
        fact = found.setdefault(
            (one["start"], one["end"]),
            {
                "start": one["start"],
                "end": one["end"],
                "version": "",
                "rows": None,
                "labels": None,
                "effect": None,
                "status": {},
                "metrics": {},
            },
        )
        fact["status"][one["monitor"]] = one["status"]
        fact["version"] = one["version"] or fact["version"]
        for key in ("rows", "labels", "effect"):
            fact[key] = one[key] if fact[key] is None else fact[key] if one[key] is None else max(fact[key], one[key])
        for name, numbers in one["metrics"].items():
            known = fact["metrics"].setdefault(name, dict(numbers))
            known.update({key: number for key, number in numbers.items() if number is not None})
    return [found[key] for key in sorted(found, key=lambda span: (span[1], span[0]))]


def points(facts: Sequence[Mapping[str, Any]], metric: str | None = None, most: int = MOST) -> list[dict[str, Any]]:
    """Points along the axis, oldest first, at most `most`.

    {"start", "end", "windows", "version": the newest, "rows": their sum, "labels": their sum, "effect", "status": {monitor: worst},
     and of the metric "value", "low", "high", "estimated", "estimated_low", "estimated_high", "holdout"}; null where nobody said.
    """
    return [_point(group, metric) for group in _groups(facts, most)]


def _groups(facts: Sequence[Mapping[str, Any]], most: int) -> Iterator[Sequence[Mapping[str, Any]]]:
    size = max(1, -(-len(facts) // most))
    yield from (facts[i : i + size] for i in range(0, len(facts), size))


def _point(group: Sequence[Mapping[str, Any]], metric: str | None) -> dict[str, Any]:
    kinds = dict.fromkeys(kind for fact in group for kind in fact["status"])
    status = {kind: worst(fact["status"][kind] for fact in group if kind in fact["status"]) for kind in kinds}
    point = {"start": min(f["start"] for f in group), "end": max(f["end"] for f in group), "windows": len(group)}
    point |= {"version": next((f["version"] for f in reversed(group) if f["version"]), ""), "status": status}
    point |= {key: _sum(fact[key] for fact in group) for key in ("rows", "labels")}
    point["effect"] = max((f["effect"] for f in group if f["effect"] is not None), default=None)
    numbers = [(f["metrics"][metric], f["labels"] or 1) for f in group if metric is not None and metric in f["metrics"]]
    for middle, low, high in ENDS:
        point[middle] = _mean([(n[middle], weight) for n, weight in numbers if n.get(middle) is not None])
        point[low] = min((n[low] for n, _ in numbers if n.get(low) is not None), default=None)
        point[high] = max((n[high] for n, _ in numbers if n.get(high) is not None), default=None)
    point["holdout"] = next((n["holdout"] for n, _ in reversed(numbers) if n.get("holdout") is not None), None)
    return point


def worst(statuses: Iterable[str]) -> str:
    """The worst of what was said; what is known counts before what is not."""
    said = set(statuses)
    return next((status for status in ORDER if status in said), "unknown")


def _sum(values: Iterable[int | None]) -> int | None:
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def _mean(weighed: Sequence[tuple[float, float]]) -> float | None:
    total = sum(weight for _, weight in weighed)
    return sum(value * weight for value, weight in weighed) / total if total else None
