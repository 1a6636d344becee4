"""The lanes of a model's timeline: traffic, drift, performance and what happened, on one axis of time. Pure: points in, shapes out.

Places are in thousandths of the picture's width and hundredths of its height, as in `timeline`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from modelyard import events as e
from modelyard.control.moments import moment, span
from modelyard.control.timeline import HEIGHTS, Axis, colour, drawn
from modelyard.quality import page
from modelyard.registry.journal import Entry

Point = Mapping[str, Any]
"""One or more neighbouring windows (`quality.window.course`)."""
CEILING = 3.0
"""Effects beyond so many thresholds are drawn at the top."""
ROOM = 0.08
"""Of a lane's height above and below what it shows."""


def places(points: Sequence[Point], axis: Axis) -> list[tuple[float, float]]:
    """Where each point begins and how wide it is."""
    return [axis.stretch(point["start"], point["end"]) for point in points]


def when(point: Point, zone: ZoneInfo) -> str:
    """A point's time in words."""
    many = f" ({point['windows']} windows)" if point["windows"] > 1 else ""
    return span(point["start"], point["end"], zone) + many


def requests(points: Sequence[Point], axis: Axis, zone: ZoneInfo, names: Sequence[str]) -> dict[str, Any] | None:
    """Rows by point as bars in the colour of the version that answered most of them; None where nobody counted."""
    known = [(p, place) for p, place in zip(points, places(points, axis), strict=True) if p["rows"] is not None]
    most = max((p["rows"] for p, _ in known), default=0)
    if not most:
        return None
    bars = []
    for point, (x, width) in known:
        high = round(100 * point["rows"] / most, 1)
        title = f"{point['rows']:,} rows, version {point['version'] or '—'}\n{when(point, zone)}"
        bars.append({"x": x, "width": width, "y": 100 - high, "height": high, "colour": colour(point["version"], names), "title": title})
    total = sum(p["rows"] for p, _ in known)
    return {"bars": bars, "said": f"up to {most:,} rows", "full": f"rows judged by window: {total:,} in all, at most {most:,} in one"}


def verdicts(points: Sequence[Point], kind: str, axis: Axis, zone: ZoneInfo) -> list[dict[str, Any]]:
    """A monitor's cells, the worst of each point's windows."""
    cells = []
    for point, (x, width) in zip(points, places(points, axis), strict=True):
        status = point["status"].get(kind)
        if status is not None:
            shown = drawn(status)
            title = f"{status}\n{when(point, zone)}, version {point['version'] or '—'}"
            cells.append({"x": x, "width": width, "status": shown, "height": HEIGHTS[shown], "title": title, "point": point})
    return cells


def effects(points: Sequence[Point], axis: Axis, zone: ZoneInfo) -> dict[str, Any] | None:
    """The largest effect by threshold as bars, with the line at 1 above which something has moved."""
    known = [(p, place) for p, place in zip(points, places(points, axis), strict=True) if p["effect"] is not None]
    if not known:
        return None
    top = min(CEILING, max(1.25, max(p["effect"] for p, _ in known) * (1 + ROOM)))
    bars = []
    for point, (x, width) in known:
        high = round(100 * min(1.0, point["effect"] / top), 1)
        title = f"largest effect {point['effect']:.2f} of its threshold\n{when(point, zone)}"
        shown = drawn(point["status"].get("drift", "unknown"))
        bars.append({"x": x, "width": width, "y": 100 - high, "height": high, "status": shown, "title": title, "point": point})
    largest = max(p["effect"] for p, _ in known)
    full = f"largest effect on a column by its threshold, in {len(known)} places; at most {largest:.2f}, and 1 counts as moved"
    return {"bars": bars, "level": round(100 - 100 / top, 1), "said": f"largest effect {largest:.2f} of its threshold", "full": full}


def performance(points: Sequence[Point], axis: Axis, zone: ZoneInfo) -> dict[str, Any] | None:
    """A metric, measured and estimated, each with its band; None where neither is known."""
    keys = ("value", "low", "high", "estimated", "estimated_low", "estimated_high", "holdout")
    numbers = [p[key] for p in points for key in keys if p[key] is not None and math.isfinite(p[key])]
    if not any(p["value"] is not None or p["estimated"] is not None for p in points):
        return None
    low, high = min(numbers), max(numbers)
    room = (high - low) * ROOM or max(abs(high), 1.0) * ROOM
    scale = _Scale(low - room, high + room)
    stretches = places(points, axis)
    xs = [round(x + width / 2, 2) for x, width in stretches]
    fields = [
        {"x": x, "width": width, "title": _numbers(point, zone), "point": point}
        for point, (x, width) in zip(points, stretches, strict=True)
        if point["value"] is not None or point["estimated"] is not None
    ]
    holdout = next((p["holdout"] for p in reversed(points) if p["holdout"] is not None), None)
    return {
        "bands": [
            {"class": "estimated-band", "d": _band(xs, points, "estimated_low", "estimated_high", scale)},
            {"class": "measured-band", "d": _band(xs, points, "low", "high", scale)},
        ],
        "lines": [
            {"class": "estimated-line", "d": _line(xs, points, "estimated", scale)},
            {"class": "measured-line", "d": _line(xs, points, "value", scale)},
        ],
        "dots": "".join(f"M{x} {scale(p['value'])}h0" for x, p in zip(xs, points, strict=True) if p["value"] is not None),
        "level": scale(holdout) if holdout is not None else None,
        "holdout": page.measure(holdout) if holdout is not None else "",
        "fields": fields,
        "said": f"{page.measure(low)} .. {page.measure(high)}",
        "full": _told(points),
    }


class _Scale:
    """From a value to its place below the upper edge, in hundredths of the height."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, value: float) -> float:
        return round(100 - 100 * (value - self.low) / (self.high - self.low), 2)


def _numbers(point: Point, zone: ZoneInfo) -> str:
    said = []
    for name, middle, low, high in (("measured", "value", "low", "high"), ("estimated", "estimated", "estimated_low", "estimated_high")):
        if point[middle] is not None:
            span_ = page.span(point[low], point[high])
            said.append(f"{name} {page.measure(point[middle])}" + (f" ({span_})" if span_ else ""))
    labels = f"\n{point['labels']:,} labels" if point["labels"] else ""
    return "\n".join(said) + labels + f"\n{when(point, zone)}"


def _told(points: Sequence[Point]) -> str:
    parts = []
    for name, key in (("measured", "value"), ("estimated", "estimated")):
        if found := [p[key] for p in points if p[key] is not None]:
            parts.append(f"{name} from {page.measure(min(found))} to {page.measure(max(found))}, last {page.measure(found[-1])}")
    return "; ".join(parts)


def _runs(xs: Sequence[float], points: Sequence[Point], *keys: str) -> Iterator[list[tuple[float, Point]]]:
    """Stretches of neighbours that have all of these numbers."""
    run: list[tuple[float, Point]] = []
    for x, point in zip(xs, points, strict=True):
        if all(point[key] is not None for key in keys):
            run.append((x, point))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _line(xs: Sequence[float], points: Sequence[Point], key: str, scale: _Scale) -> str:
    """Neighbours joined; a gap where the number is not known. One alone is a short stroke."""
    parts = []
    for run in _runs(xs, points, key):
        if len(run) == 1:
            parts.append(f"M{run[0][0] - 2} {scale(run[0][1][key])}h4")
        else:
            parts.append("M" + "L".join(f"{x} {scale(p[key])}" for x, p in run))
    return "".join(parts)


def _band(xs: Sequence[float], points: Sequence[Point], low: str, high: str, scale: _Scale) -> str:
    parts = []
    for run in _runs(xs, points, low, high):
        run = [(run[0][0] - 2, run[0][1]), (run[0][0] + 2, run[0][1])] if len(run) == 1 else run
        upper, lower = [f"{x} {scale(p[high])}" for x, p in run], [f"{x} {scale(p[low])}" for x, p in reversed(run)]
        parts.append("M" + "L".join([*upper, *lower]) + "Z")
    return "".join(parts)


OVER = ("healthy again", "judged again", "is no longer", "is no more", "is back", "recovered")
"""Words of an alert that tells that something is over; what dies `again and again` is not."""
LANES = ("roll-outs", "retrainings", "alerts")


def happened(entries: Iterable[Entry], axis: Axis, zone: ZoneInfo) -> list[dict[str, Any]]:
    """What the journal says of an axis' time, oldest first: {"lane", "tone", "x", "at", "iso", "sentence"}."""
    found = []
    for entry in entries:
        kind = _kind(entry.event)
        at = datetime.fromisoformat(entry.at)
        if kind is not None and axis.start <= at <= axis.end:
            lane, tone = kind
            mark = {"lane": lane, "tone": tone, "x": axis.place(at), "at": moment(at, zone), "iso": entry.at, "sentence": str(entry.event)}
            found.append(mark)
    return found


def _kind(event: e.Event) -> tuple[str, str] | None:
    """The lane of a fact, and its colour; None for what a timeline does not show."""
    if isinstance(event, e.Promoted) and event.stage == "production":
        return "roll-outs", "passed"
    if isinstance(event, e.RolledBack) and event.stage == "production":
        return "roll-outs", "failed"
    if isinstance(event, e.Deployed) and event.stage == "production":
        return "roll-outs", "running"
    if isinstance(event, e.RunStarted) and event.flow == "retrain":
        return "retrainings", "running"
    if isinstance(event, e.ChallengeJudged):
        return "retrainings", "passed" if event.promote else "unknown"
    if isinstance(event, e.AlertSent):
        return "alerts", "passed" if any(word in event.title for word in OVER) else "warning"
    return None
