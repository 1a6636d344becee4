"""A model's time in pictures: what its monitors said of each window, and who served meanwhile. Pure: state in, rectangles out.

Places are in thousandths of the picture's width, so that a template can draw them at any size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from modelyard.control.moments import moment, span
from modelyard.events import WindowJudged
from modelyard.registry.state import ModelState

WIDTH = 1000
MOST = 180
"""Windows drawn a monitor: more would be thinner than a line on a phone."""
HEIGHTS = {"violated": 100, "warning": 70, "healthy": 40, "unknown": 14}
"""A worse verdict stands taller, for those who cannot tell the colours apart."""
APART = 4
"""How many times longer than the windows the common axis may be, before traffic is given an axis of its own."""


@dataclass(frozen=True)
class Axis:
    """A stretch of time."""

    start: datetime
    end: datetime

    def place(self, at: datetime) -> float:
        """Where an instant stands, from 0 to WIDTH; what lies outside stands at the edge."""
        share = (at - self.start) / (self.end - self.start)
        return round(WIDTH * min(1.0, max(0.0, share)), 2)

    def labels(self, zone: ZoneInfo, count: int = 5) -> list[str]:
        """Evenly spaced times along the axis."""
        step = (self.end - self.start) / (count - 1)
        pattern = "%Y-%m-%d" if self.end - self.start > timedelta(days=3) else "%m-%d %H:%M"
        return [(self.start + step * i).astimezone(zone).strftime(pattern) for i in range(count)]


def verdict_rows(model: ModelState, zone: ZoneInfo) -> dict[str, Any] | None:
    """A row of cells a monitor on one axis, newest windows; None before the first verdict."""
    shown = {kind: _newest(model, kind) for kind in ("drift", "performance")}
    judged = [v for found in shown.values() for v in found]
    if not judged:
        return None
    axis = _over(judged)
    return {
        "rows": [
            {"kind": kind, "says": _tally(found), "cells": [_cell(v, axis, zone) for v in found]} for kind, found in shown.items()
        ],
        "labels": axis.labels(zone),
        "left_out": len(model.verdicts) - len(judged),
        "axis": axis,
    }


def traffic(model: ModelState, zone: ZoneInfo, now: datetime, windows: Axis | None, stage: str = "production") -> dict[str, Any] | None:
    """Who served which share, as blocks; on the windows' axis where the two belong together. None before the first deployment."""
    history = [(datetime.fromisoformat(at), weights) for at, weights in model.stage(stage).history]
    if not history:
        return None
    axis = _for_traffic(history[0][0], max(now, history[-1][0]), windows)
    ends = [at for at, _ in history[1:]] + [axis.end]
    names = list(model.versions)
    blocks: list[dict[str, Any]] = []
    for (since, weights), until in zip(history, ends, strict=True):
        blocks += _blocks(since, until, weights, axis, zone, names)
    return {
        "blocks": blocks,
        "labels": axis.labels(zone),
        "same_axis": axis == windows,
        "versions": [{"version": v, "colour": colour(v, names)} for v in sorted({b["version"] for b in blocks}, key=_number)],
        "retrains": [{"x": axis.place(at), "title": moment(at, zone)} for at in _inside(model.retrains, axis)],
    }


def colour(version: str, versions: Sequence[str]) -> int:
    """The number (1 to 5) of a version's colour, the same wherever it is drawn."""
    return (versions.index(version) if version in versions else 0) % 5 + 1


def _newest(model: ModelState, kind: str) -> list[WindowJudged]:
    found = sorted((v for (monitor, _), v in model.verdicts.items() if monitor == kind), key=lambda v: v.start)
    return found[-MOST:]


def _over(judged: Iterable[WindowJudged]) -> Axis:
    spans = [(datetime.fromisoformat(v.start), datetime.fromisoformat(v.end)) for v in judged]
    return Axis(min(start for start, _ in spans), max(end for _, end in spans))


def _for_traffic(first: datetime, last: datetime, windows: Axis | None) -> Axis:
    alone = Axis(first, max(last, first + timedelta(minutes=1)))
    if windows is None or first > windows.end or last < windows.start:
        return alone
    together = max(windows.end, last) - min(windows.start, first)
    return windows if together <= APART * (windows.end - windows.start) else alone


def _cell(verdict: WindowJudged, axis: Axis, zone: ZoneInfo) -> dict[str, Any]:
    x, end = axis.place(datetime.fromisoformat(verdict.start)), axis.place(datetime.fromisoformat(verdict.end))
    gap = min(2.0, 0.2 * (end - x))
    words = f"{verdict.status}: {verdict.reason}\n{span(verdict.start, verdict.end, zone)}, version {verdict.version or '—'}"
    status = verdict.status if verdict.status in HEIGHTS else "unknown"
    return {"x": x, "width": round(max(0.5, end - x - gap), 2), "status": status, "height": HEIGHTS[status], "title": words}


def _blocks(
    since: datetime, until: datetime, weights: dict[str, int], axis: Axis, zone: ZoneInfo, names: Sequence[str]
) -> list[dict[str, Any]]:
    if until < axis.start or since > axis.end:
        return []
    x, width = axis.place(since), max(1.0, round(axis.place(until) - axis.place(since), 2))
    found: list[dict[str, Any]] = []
    y = 0
    for version, weight in weights.items():
        title = f"version {version} {weight}%\n{moment(since, zone)} .. {moment(until, zone)}"
        found.append({"x": x, "y": y, "width": width, "height": weight, "version": version, "colour": colour(version, names), "title": title})
        y += weight
    return found


def _inside(times: Iterable[str], axis: Axis) -> list[datetime]:
    found = [datetime.fromisoformat(at) for at in times]
    return [at for at in found if axis.start <= at <= axis.end]


def _tally(found: Sequence[WindowJudged]) -> str:
    counts = {status: sum(v.status == status for v in found) for status in HEIGHTS}
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{len(found)} window{'s' if len(found) != 1 else ''}: {said}" if found else "no window judged yet"


def _number(version: str) -> tuple[int, str]:
    return int(version) if version.isdigit() else 0, version
