"""A model's time in pictures: what its monitors said of each window, and who served meanwhile. Pure: state in, rectangles out.

Places are in thousandths of the picture's width, so that a template can draw them at any size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from modelyard.control.moments import moment, span
from modelyard.monitor.book import Word
from modelyard.registry.state import ModelState

WIDTH = 1000
MOST = 180
"""Windows drawn a monitor: more would be thinner than a line on a phone."""
HEIGHTS = {"violated": 100, "warning": 70, "healthy": 40, "unknown": 14}
"""A worse verdict stands taller, for those who cannot tell the colours apart."""
APART = 4
"""How many times longer than the windows a common axis may be; beyond, traffic has an axis of its own."""


@dataclass(frozen=True)
class Axis:
    """A stretch of time."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    def place(self, at: datetime) -> float:
        """Where an instant stands, from 0 to WIDTH; what lies outside stands at the edge."""
        share = (at - self.start) / self.length
        return round(WIDTH * min(1.0, max(0.0, share)), 2)

    def stretch(self, start: str, end: str) -> tuple[float, float]:
        """Where a window (ISO) begins and how wide it is, less a seam."""
        x, last = self.place(datetime.fromisoformat(start)), self.place(datetime.fromisoformat(end))
        return x, round(max(0.5, last - x - min(2.0, 0.2 * (last - x))), 2)

    def labels(self, zone: ZoneInfo, count: int = 5) -> list[str]:
        """Evenly spaced times along the axis."""
        step = self.length / (count - 1)
        pattern = "%Y-%m-%d" if self.length > timedelta(days=3) else "%m-%d %H:%M"
        return [(self.start + step * i).astimezone(zone).strftime(pattern) for i in range(count)]


Words = Mapping[str, Sequence[Word]]
"""By monitor: what it said of its newest windows, oldest first."""


def axes(model: ModelState, words: Words, now: datetime, stage: str = "production") -> tuple[Axis | None, Axis | None]:
    """The axis of the windows and that of the traffic: one and the same where they belong together. None: nothing there."""
    windows = _around((v.start, v.end) for found in words.values() for v in found)
    changes = _around((at, at) for at, _ in model.stage(stage).history)
    if windows is None or changes is None:
        return windows, changes and _until(changes, now)
    both, longest = Axis(min(windows.start, changes.start), max(windows.end, changes.end)), APART * windows.length
    if both.length > longest:
        return windows, _until(changes, now)
    together = _until(both, now)
    both = together if together.length <= longest else both  # a replay's windows may lie long before this day
    return both, both


def verdict_rows(words: Words, axis: Axis, zone: ZoneInfo) -> list[dict[str, Any]]:
    """A row of cells a monitor, its newest windows."""
    rows = []
    for kind, found in words.items():
        rows.append({"kind": kind.replace("_", " "), "said": _tally(found), "cells": [_cell(v, axis, zone) for v in found]})
    return rows


def traffic(model: ModelState, axis: Axis, zone: ZoneInfo, stage: str = "production") -> dict[str, Any]:
    """Who served which share, as blocks, the versions among them, and when a retraining was asked for."""
    history = [(datetime.fromisoformat(at), weights) for at, weights in model.stage(stage).history]
    ends = [at for at, _ in history[1:]] + [axis.end] * bool(history)
    names = list(model.versions)
    blocks = [
        block
        for (since, weights), until in zip(history, ends, strict=True)
        for block in _blocks(max(since, axis.start), min(until, axis.end), weights, axis, zone, names)
    ]
    versions = sorted({b["version"] for b in blocks}, key=lambda v: names.index(v) if v in names else -1)
    retrains = [datetime.fromisoformat(at) for at in model.retrains]
    return {
        "blocks": blocks,
        "versions": [{"version": v, "colour": colour(v, names)} for v in versions],
        "retrains": [{"x": axis.place(at), "title": moment(at, zone)} for at in retrains if axis.start <= at <= axis.end],
    }


def drawn(status: str) -> str:
    """What a status is drawn as: one that nobody knows is unknown."""
    return status if status in HEIGHTS else "unknown"


def colour(version: str, versions: Sequence[str]) -> int:
    """The number (1 to 5) of a version's colour, the same wherever it is drawn."""
    return (versions.index(version) if version in versions else 0) % 5 + 1


def _around(spans: Iterable[tuple[str, str]]) -> Axis | None:
    """The axis that holds all spans (ISO), never without length."""
    found = [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in spans]
    if not found:
        return None
    start = min(first for first, _ in found)
    return Axis(start, max(*(last for _, last in found), start + timedelta(minutes=1)))


def _until(axis: Axis, now: datetime) -> Axis:
    return Axis(axis.start, max(axis.end, now))


def _cell(verdict: Word, axis: Axis, zone: ZoneInfo) -> dict[str, Any]:
    x, width = axis.stretch(verdict.start, verdict.end)
    words = f"{verdict.status}: {verdict.reason}\n{span(verdict.start, verdict.end, zone)}, version {verdict.version or '—'}"
    status = drawn(verdict.status)
    return {"x": x, "width": width, "status": status, "height": HEIGHTS[status], "title": words}


def _blocks(
    since: datetime, until: datetime, weights: dict[str, int], axis: Axis, zone: ZoneInfo, names: Sequence[str]
) -> list[dict[str, Any]]:
    """One stretch of unchanging weights: a block a version, stacked."""
    if until < since:
        return []
    x = axis.place(since)
    place = {"x": x, "width": max(1.0, round(axis.place(until) - x, 2))}
    found, y = [], 0
    for version, weight in weights.items():
        title = f"version {version} {weight}%\n{moment(since, zone)} .. {moment(until, zone)}"
        found.append({**place, "y": y, "height": weight, "version": version, "colour": colour(version, names), "title": title})
        y += weight
    return found


def _tally(found: Sequence[Word]) -> dict[str, str]:
    """How many windows of which verdict: in short for the eye, in full for a screen reader."""
    if not found:
        return {"short": "not judged yet", "full": "no window judged yet"}
    counts = {status: sum(v.status == status for v in found) for status in HEIGHTS}
    total = f"{len(found)} window{'s' if len(found) != 1 else ''}"
    full = f"{total}: " + ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return {"short": f"{counts['violated']} of {len(found)} violated", "full": full}
