"""A model's timeline as a page, and the pages of its windows: made when they are asked for, and kept while nothing new is said."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from modelyard.control import lanes, moments, timeline
from modelyard.control.timeline import Axis
from modelyard.errors import BadInput
from modelyard.flows import picturing
from modelyard.flows.monitor import MONITORS
from modelyard.monitor.book import Word
from modelyard.quality import page as numbers
from modelyard.quality import window as report
from modelyard.quality.metrics import METRICS
from modelyard.quality.window.course import glimpse, points, speaks, windows
from modelyard.quality.window.evidence import MEASURED, measured
from modelyard.registry.state import ModelState
from modelyard.yard import Yard

POINTS = timeline.MOST
MOST = 2000
"""Windows read of each monitor: three weeks of 15 minutes, five years of days."""
ENTRIES = 4000
"""Journal entries looked through for what is marked."""
LISTED = 60
"""Windows, and facts of the journal, that are there in words."""
COUNTED = ("data_quality", "drift")
"""Monitors that look at every row of a window."""
SPANS = {"1d": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30), "365d": timedelta(days=365)}


def page(yard: Yard, name: str, since: str = "", until: str = "", metric: str = "") -> dict[str, Any]:
    """What the timeline's template shows; times as the query has them. Raises NotFound, BadInput for what is no time or no span."""
    state, now = yard.shop.model(name), yard.shop.clock.now()
    zone = moments.own_zone(state)
    first, last = picturing.bounds(zone, since, until)
    told = _told(yard, name, first, last)
    chosen = metric if metric in told.metrics else next(iter(told.metrics), None)
    axis = _axis(state, told.facts, first, last, now)
    ready: dict[str, Any] = {
        "name": name,
        "zone": str(zone),
        "metrics": [{"name": n, "title": _title(n), "chosen": n == chosen, "query": _query(since, until, n)} for n in told.metrics[:12]],
        "cut": f"{MOST:,}" if told.cut else "",
        "axis": None,
        "ways": [],
        "since": since,
        "until": until if until != picturing.LAST else "",
        "metric": metric,
    }
    if axis is None:
        return ready
    return {
        **ready,
        "axis": {"labels": axis.labels(zone), "start": moments.moment(axis.start, zone), "end": moments.moment(axis.end, zone)},
        "ways": _ways(axis, told.facts, now, metric),
        "windows": f"{len(told.facts):,}",
        "metric_title": _title(chosen) if chosen else "",
        **_lanes(state, told, chosen, axis, zone),
        **_listed(told, chosen, zone),
        **_happened(yard, name, axis, zone),
    }


@dataclass(frozen=True)
class _Told:
    """What a model's monitors said in a span. `cut`: they said more than is read."""

    name: str
    words: Mapping[str, Sequence[Word]]
    cut: bool

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics that words on performance speak of: the newest of those that have one. None has where nobody asked."""
        found = []
        for kind in MEASURED:
            both = zip(self.words.get(kind, ()), self._glimpses.get(kind, ()), strict=True)
            found += [vars(word) for word, seen in both if speaks(seen)][-20:]
        return measured(found or [vars(word) for kind in MEASURED for word in self.words.get(kind, ())[-20:]])

    @cached_property
    def facts(self) -> list[dict[str, Any]]:
        """The windows; those of monitors that have longer ones than the others are left out."""
        length = {kind: _length(words[-1]) for kind, words in self.words.items()}
        shortest = min(length.values(), default=timedelta(0))
        return self._facts([kind for kind in self.words if length[kind] < 2 * shortest])

    def points(self, *kinds: str, metric: str | None = None) -> list[dict[str, Any]]:
        """The windows of some monitors along the axis."""
        return points(self._facts(kinds), metric, POINTS)

    @cached_property
    def _glimpses(self) -> dict[str, list[dict[str, Any]]]:
        return {kind: [glimpse(vars(word)) for word in words] for kind, words in self.words.items()}

    def _facts(self, kinds: Sequence[str]) -> list[dict[str, Any]]:
        return windows(one for kind in kinds for one in self._glimpses.get(kind, ()))


def _length(word: Word) -> timedelta:
    return datetime.fromisoformat(word.end) - datetime.fromisoformat(word.start)


def _told(yard: Yard, name: str, first: str, last: str) -> _Told:
    """Each monitor's newest words on windows that overlap a span; as many as have room, where nothing bounds it."""
    open_ended = last == picturing.LAST
    count = POINTS if open_ended and not first else MOST
    found, cut = {}, False
    for kind in MONITORS:
        words = yard.shop.book.newest(name, kind, count + 1, before=None if open_ended else last)
        known = {(w.start, w.end) for w in words}
        if not open_ended:  # one that goes on beyond the end belongs to it too
            before = (datetime.fromisoformat(last) - timedelta(microseconds=1)).isoformat()
            words += [w for w in yard.shop.book.between(name, before, last, kind) if (w.start, w.end) not in known]
        inside = [w for w in words if w.end > first]
        cut = cut or (count == MOST and len(inside) > MOST)
        found[kind] = inside[-count:]
    if count == POINTS:  # labels come late: the monitors begin together all the same
        begin = max((words[0].start for words in found.values() if len(words) == count), default="")
        found = {kind: [w for w in words if w.end > begin] for kind, words in found.items()}
    return _Told(name, {kind: words for kind, words in found.items() if words}, cut)


def _axis(state: ModelState, facts: Sequence[Mapping[str, Any]], first: str, last: str, now: datetime) -> Axis | None:
    """What was asked for; else from the first window to the last and, where that is not long after, to now."""
    spans = [(datetime.fromisoformat(f["start"]), datetime.fromisoformat(f["end"])) for f in facts]
    begins, ends = [start for start, _ in spans], [end for _, end in spans]
    if not spans and not (first and last != picturing.LAST):
        history = [datetime.fromisoformat(at) for at, _ in state.stage("production").history]
        if not history:
            return None
        begins, ends = [history[0]], [max(now, history[0])]
    start = datetime.fromisoformat(first) if first else min(begins)
    end = datetime.fromisoformat(last) if last != picturing.LAST else max([*ends, start])
    if last == picturing.LAST and now > end and now - start <= 2 * (end - start):
        end = now
    return Axis(start.astimezone(UTC), max(end, start + timedelta(minutes=1)).astimezone(UTC))


def _lanes(state: ModelState, told: _Told, metric: str | None, axis: Axis, zone: ZoneInfo) -> dict[str, Any]:
    names, rows = list(state.versions), []
    for kind in told.words:
        cells = _linked(lanes.verdicts(told.points(kind), kind, axis, zone), told.name)
        statuses = [cell["status"] for cell in cells]
        counts = ", ".join(f"{statuses.count(status)} {status}" for status in timeline.HEIGHTS if status in statuses)
        said = f"{statuses.count('violated')} violated"
        rows.append({"kind": kind.replace("_", " ").capitalize(), "cells": cells, "said": said, "full": counts})
    effects = lanes.effects(told.points("drift"), axis, zone)
    fared = lanes.performance(told.points(*MEASURED, metric=metric), axis, zone)
    for lane, key in ((effects, "bars"), (fared, "fields")):
        if lane:
            lane[key] = _linked(lane[key], told.name)
    asked = told.points(*(COUNTED if any(kind in told.words for kind in COUNTED) else told.words))
    served = timeline.traffic(state, axis, zone)
    return {
        "requests": lanes.requests(asked, axis, zone, names),
        "traffic": served if served["blocks"] else None,
        "versions": _versions(served, asked, names),
        "rows": rows,
        "effects": effects,
        "performance": fared,
    }


def _linked(shapes: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Shapes that lead to the report of their windows."""
    return [{**shape, "href": href(name, shape["point"])} for shape in shapes]


def _listed(told: _Told, metric: str | None, zone: ZoneInfo) -> dict[str, Any]:
    found = points(told.facts, metric, POINTS)
    return {
        "grouped": max((p["windows"] for p in found), default=1),
        "listed": [_row(p, told.name, zone) for p in found[-LISTED:][::-1]],
        "unshown": max(0, len(found) - LISTED),
    }


def _happened(yard: Yard, name: str, axis: Axis, zone: ZoneInfo) -> dict[str, Any]:
    entries = lanes.happened(yard.shop.journal.entries(name, limit=ENTRIES), axis, zone)
    return {
        "marks": [{"name": lane.capitalize(), "marks": [m for m in entries if m["lane"] == lane]} for lane in lanes.LANES],
        "happened": entries[-LISTED:][::-1],
        "unlisted": max(0, len(entries) - LISTED),
    }


def _versions(served: Mapping[str, Any], points: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    seen = {v["version"] for v in served["versions"]} | {p["version"] for p in points if p["version"] and p["rows"]}
    order = sorted(seen, key=lambda v: names.index(v) if v in names else -1)
    return [{"version": v, "colour": timeline.colour(v, names)} for v in order]


def _ways(axis: Axis, facts: Sequence[Mapping[str, Any]], now: datetime, metric: str) -> list[dict[str, str]]:
    """Ways to another part of time: earlier and later by half, nearer and farther, and the usual lengths up to the newest window."""
    half, quarter, length = axis.length / 2, axis.length / 4, axis.length
    newest = max([datetime.fromisoformat(f["end"]) for f in facts], default=now).astimezone(UTC)
    found = [("← Earlier", axis.start - half, axis.end - half), ("Later →", axis.start + half, axis.end + half)]
    found += [("Zoom in", axis.start + quarter, axis.end - quarter), ("Zoom out", axis.start - half, axis.end + half)]
    if length < timedelta(minutes=4):
        found.pop(2)
    found += [(f"Last {name}", newest - span, newest) for name, span in SPANS.items()]
    ways = [
        {"name": said, "query": _query(a.isoformat(timespec="seconds"), b.isoformat(timespec="seconds"), metric)}
        for said, a, b in found
        if a.year in picturing.YEARS and b.year in picturing.YEARS
    ]
    return [*ways, {"name": "Newest windows", "query": _query("", "", metric)}]


def _query(since: str, until: str, metric: str) -> str:
    given = {"since": since, "until": until, "metric": metric}
    return urlencode({key: value for key, value in given.items() if value})


def _title(metric: str) -> str:
    return METRICS[metric].title if metric in METRICS else metric.replace("_", " ")


def _row(point: Mapping[str, Any], name: str, zone: ZoneInfo) -> dict[str, Any]:
    """A point in words."""
    return {
        "window": lanes.when(point, zone),
        "href": href(name, point),
        "version": point["version"] or "—",
        "rows": f"{point['rows']:,}" if point["rows"] is not None else "—",
        "effect": f"{point['effect']:.2f}" if point["effect"] is not None else "—",
        "value": numbers.measure(point["value"]),
        "span": numbers.span(point["low"], point["high"]),
        "estimated": numbers.measure(point["estimated"]),
        "verdicts": [{"kind": kind.replace("_", " "), "status": status} for kind, status in point["status"].items() if status != "healthy"],
        "healthy": sum(status == "healthy" for status in point["status"].values()),
    }


def href(model: str, span: Mapping[str, Any]) -> str:
    """Where the report of a window or a span is: `/models/M/windows/20260301T050000Z/20260302T050000Z`."""
    return f"/models/{quote(model, safe='')}/windows/{_compact(span['start'])}/{_compact(span['end'])}"


def _compact(at: str) -> str:
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


class Reports:
    """Pages of windows that were asked for. One is made anew when anything was said of its windows since, or when it is not over."""

    KEPT = 16
    """Pages of up to 2 MB."""
    LONGEST = timedelta(days=62)
    """Longer spans are made anew each time."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._pages: OrderedDict[tuple[str, str, str], tuple[Any, str]] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, model: str, start: str, end: str) -> str:
        """The report's page. Raises NotFound, BadInput."""
        key, shop = (model, start, end), self._yard.shop
        first, last = picturing.bounds(picturing.zone_of(shop.model(model)), start, end)
        known = self._known(model, first, last)
        with self._lock:
            found = self._pages.get(key)
            if found is not None and known is not None and found[0] == known:
                self._pages.move_to_end(key)
                return found[1]
        made = report.render(self._yard.window_report(model, first, last))
        if known is not None and datetime.fromisoformat(last) <= shop.clock.now():
            with self._lock:
                self._pages[key] = (known, made)
                while len(self._pages) > self.KEPT:
                    self._pages.popitem(last=False)
        return made

    def _known(self, model: str, first: str, last: str) -> Any:
        """What a page depends on; None for a span of so many words that reading them is half of the work. Raises BadInput for none."""
        if datetime.fromisoformat(last) - datetime.fromisoformat(first) > self.LONGEST:
            return None
        said = [(word.monitor, word.start, word.revision) for word in self._yard.shop.book.between(model, first, last)]
        if not said:
            raise BadInput("no window was judged in this span", next=f"the windows there are: /models/{model}/timeline")
        return said, self._yard.shop.model(model).config_digest
