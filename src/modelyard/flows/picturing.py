"""Picturing: the report of a window or of a span of windows, from the book, the kept profiles and the version's bundle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from modelyard import tables
from modelyard.build import bundle
from modelyard.config.spec import Config, parse_duration
from modelyard.errors import BadInput, YardError
from modelyard.flows import history
from modelyard.flows.monitor import beside
from modelyard.flows.monitor.drift import as_captured
from modelyard.flows.monitor.monitors import MONITORS
from modelyard.flows.monitor.window import Window
from modelyard.monitor import drift, windows
from modelyard.monitor import profile as profiles
from modelyard.monitor.book import Word
from modelyard.monitor.words import did_you_mean
from modelyard.quality import window as report
from modelyard.quality.window.columns import ratio
from modelyard.quality.window.course import glimpse, speaks
from modelyard.registry.state import ModelState
from modelyard.signature import Signature
from modelyard.workshop import Workshop

SLICE = timedelta(days=31)
"""How much of the book is read at once: a year of 15-minute windows is 200,000 words."""
DAY = timedelta(days=1)
FORMAT = 2
"""Of the profiles that are drawn (monitor/profile)."""
FIRST, LAST = "", "~"
"""What comes before and after every instant of the book."""
YEARS = range(1900, 2200)
"""Years that can be asked for: far from the ends of the calendar, where zones and lengths of time overflow."""


def of_span(shop: Workshop, model: str, since: str = "", until: str = "", window: str = "") -> dict[str, Any]:
    """The report of the windows between two instants, or of the one that begins at (or holds) `window`; of the newest where none is given.

    Instants are ISO 8601; without an offset they are in the model's time zone. See `quality.window` for the document.
    Raises NotFound for a model that there is not, BadInput for what is no instant or no span.
    """
    state, config = shop.model(model), shop.config(model)
    span = _span(shop, model, config, since, until, window)
    words, glimpses = _words(shop, model, span)
    version = Counter(word["version"] for word in words if word["version"]).most_common(1)
    judged = version[0][0] if version else state.champion
    about = {
        "model": {"name": model, "problem_type": config.model.problem_type, "owner": config.model.owner},
        "span": {
            "start": span.start.isoformat(),
            "end": span.end.isoformat(),
            "timezone": config.timezone,
            "window": config.monitor.window,
        },
        "made_at": shop.clock.now().isoformat(timespec="seconds"),
        "version": judged,
    }
    seen = _seen(shop, config, state, span, judged)
    if "profile" in seen and len({(word["start"], word["end"]) for word in words if word["monitor"] == "drift"}) == 1:
        seen["segments"] = _segments(Window(shop, model, config, state, span))
    rules = config.monitor.model_dump(mode="json")
    return report.document(about=about, words=words, glimpses=glimpses, config=rules, lineage=_lineage(state, judged), **seen)


def instant(written: str, zone: ZoneInfo, now: datetime | None = None) -> datetime:
    """An instant as a person writes it, in UTC; where `now` is given also a span back from it, such as 7d. Raises BadInput, also for a
    year beyond YEARS."""
    if now is not None:
        with suppress(ValueError, OverflowError):
            return _within_reach((now - parse_duration(written)).astimezone(UTC), written)
    try:
        at = datetime.fromisoformat(written)
    except ValueError as exc:
        ago = ", or a time ago as 7d" if now is not None else ""
        how = f"write it as 2026-11-24, or as 2026-11-24T12:00 with or without an offset{ago}"
        raise BadInput(f"`{written}` is no time", next=how) from exc
    return _within_reach(at if at.tzinfo else at.replace(tzinfo=zone), written).astimezone(UTC)


def _within_reach(at: datetime, written: str) -> datetime:
    if at.year not in YEARS:
        raise BadInput(f"`{written}` is out of reach", next=f"give a time from {YEARS[0]} to {YEARS[-1]}")
    return at


def zone_of(state: ModelState) -> ZoneInfo:
    """The time zone of a model's config; UTC before it has one."""
    return ZoneInfo(state.config["production"].get("timezone", "UTC")) if state.config else ZoneInfo("UTC")


def bounds(zone: ZoneInfo, since: str = "", until: str = "", now: datetime | None = None) -> tuple[str, str]:
    """Two instants as the book compares them: ISO in UTC; what is not given has no bound. now: as in `instant`. Raises BadInput."""
    first = instant(since, zone, now).isoformat() if since else FIRST
    last = instant(until, zone, now).isoformat() if until and until != LAST else LAST
    if first and last != LAST and first >= last:
        raise BadInput(f"the span ends at {last} and begins at {first}", next="give an end that comes later")
    return first, last


def listed(
    shop: Workshop, model: str, since: str = "", until: str = "", monitor: str | None = None, limit: int | None = None
) -> list[Word]:
    """What monitors said of windows that overlap a span, oldest first; the newest `limit`. Raises BadInput for an unknown monitor."""
    state = shop.model(model)
    if monitor is not None and monitor not in MONITORS:
        raise BadInput(f"there is no monitor `{monitor}`", next=did_you_mean(monitor, MONITORS))
    first, last = bounds(zone_of(state), since, until, shop.clock.now())
    kinds = [monitor] if monitor is not None else list(MONITORS)
    if limit is None or first or last != LAST:
        found = shop.book.between(model, first, last, monitor)
        return found if limit is None else found[-limit:]
    newest = [word for kind in kinds for word in shop.book.newest(model, kind, limit)]
    return sorted(newest, key=lambda w: (w.end, w.start, w.monitor))[-limit:]


def counted(shop: Workshop, model: str, since: str = "", until: str = "", monitor: str | None = None) -> int:
    """How many windows `listed` has without a limit."""
    first, last = bounds(zone_of(shop.model(model)), since, until, shop.clock.now())
    kinds = [monitor] if monitor is not None else list(MONITORS)
    return sum(start < last for _, start, _ in shop.book.judged(model, kinds, first))


def _span(shop: Workshop, model: str, config: Config, since: str, until: str, window: str) -> windows.Span:
    zone = ZoneInfo(config.timezone)
    if window:
        at = instant(window, zone)
        held = shop.book.between(model, at.isoformat(), (at + timedelta(microseconds=1)).isoformat())
        begun = [w for w in held if datetime.fromisoformat(w.start) == at] or held
        if begun:
            return begun[-1].span
        return windows.window_at(config.monitor.window, config.timezone, at)
    newest = max((w for kind in MONITORS if (w := shop.book.latest(model, kind))), key=lambda w: w.end, default=None)
    first, last = bounds(zone, since, until, shop.clock.now())
    if not since and not until:
        if newest is None:
            raise BadInput(f"no window of `{model}` has been judged yet", next=f"modelyard monitor {model} --now")
        return newest.span
    if not since:
        oldest = next(iter(shop.book.between(model, FIRST, last)), None)
        first = oldest.start if oldest else (datetime.fromisoformat(last) - DAY).isoformat()
    end = datetime.fromisoformat(last) if last != LAST else shop.clock.now()
    end = end if last != LAST or newest is None else max(end, datetime.fromisoformat(newest.end))
    return windows.Span(datetime.fromisoformat(first), end)


def _words(shop: Workshop, model: str, span: windows.Span) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The newest words of each monitor in full, with what was said before of their windows, and a glimpse of all. The newest that has a
    metric is among them, however many without any came after it."""
    newest: dict[str, list[Word]] = {}
    speaking: dict[str, Word] = {}
    glimpses = []
    for word in _read(shop, model, span):
        kept = newest.setdefault(word.monitor, [])
        kept.append(word)
        del kept[: -report.MAX_WORDS]
        glimpses.append(glimpse(vars(word)))
        if speaks(glimpses[-1]):
            speaking[word.monitor] = word
    words = [*(w for kind, w in speaking.items() if w not in newest[kind]), *(w for kept in newest.values() for w in kept)]
    return [{**vars(word), "history": _history(shop, word)} for word in words], glimpses


def _read(shop: Workshop, model: str, span: windows.Span) -> Iterator[Word]:
    """Words on windows that overlap a span and begin in it, or hold it whole; a part of the book at a time, as far as it goes."""
    first, last = span.start, span.end
    if last - first > SLICE:
        known = shop.book.extent(model)
        first, last = (max(first, known.start), min(last, known.end)) if known is not None else (first, first)
    begin = first
    while begin < last:
        end = min(begin + SLICE, last)
        for word in shop.book.between(model, begin.isoformat(), end.isoformat()):
            if begin <= datetime.fromisoformat(word.start) or begin == first:
                yield word
        begin = end


def _history(shop: Workshop, word: Word) -> list[dict[str, Any]]:
    if word.revision == 1:
        return []
    said = shop.book.history(word.model, word.monitor, word.start, word.end)
    return [{key: getattr(w, key) for key in ("revision", "judged_at", "status", "reason")} for w in said]


def _seen(shop: Workshop, config: Config, state: ModelState, span: windows.Span, version: str | None) -> dict[str, Any]:
    """What was seen in a span beside the version's baseline, or why it cannot be shown."""
    if version is None or version not in state.versions:
        return {"missing": "no version answered here"}
    try:
        opened = bundle.open(state.versions[version].digest, shop.home.path)
        baseline = json.loads((opened.path / "baseline.json").read_text(encoding="utf-8"))
        if baseline.get("format") != FORMAT:
            return {"missing": f"version {version} was built by an older release, whose baseline cannot be drawn"}
        profile = _profile(shop, config.model.name, version, span, baseline)
        found = _figures(profile, baseline, config, opened.signature)
    except (YardError, OSError) as exc:
        return {"missing": exc.what if isinstance(exc, YardError) else f"{type(exc).__name__}: {exc}"}
    if not profile["rows"]:
        return {"missing": f"no row that version {version} answered then is kept"}
    times = [c.name for c in opened.signature.columns if c.type == "datetime"]
    return {"profile": _with_median(profile), "baseline": _with_median(baseline), "figures": found, "times": times}


def _segments(window: Window) -> list[dict[str, Any]]:
    """What moved in each segment of one window, as its monitor judges it; nothing where there are none, or its rows are no longer kept."""
    asked = window.config.monitor
    if not asked.segments or window.rows.is_empty():
        return []
    found, _ = beside.segments(window)
    watched, _ = as_captured(asked.drift, window.config, window.signature, window.rows.columns)
    watched = drift.known_to(window.baseline, watched)
    judged = drift.judge(window.profile, window.baseline, watched, window.signature, segments=found)
    return [{**one, "moved": [{**column, "ratio": ratio(column)} for column in one["moved"]]} for one in judged.segments]


def _with_median(profile: dict[str, Any]) -> dict[str, Any]:
    """A profile whose numbers have their median too, from the sketch."""

    def of(column: dict[str, Any]) -> dict[str, Any]:
        return {**column, "median": profiles.quantile(column, 0.5)} if column["kind"] == "numeric" else column

    return {**profile, "columns": {name: of(column) for name, column in profile["columns"].items()}, "score": of(profile["score"])}


def _profile(shop: Workshop, model: str, version: str, span: windows.Span, baseline: dict[str, Any]) -> dict[str, Any]:
    """What a version answered in a span: the kept profiles of its windows merged, else its captured rows counted, a file at a time."""
    import polars as pl

    try:
        kept = profiles.Profiles(shop.home.profiles(model)).between(version, span.start, span.end)
    except OSError:  # a profile can be counted again
        kept = None
    if kept is not None and kept["rows"]:
        return kept
    mine = pl.col(tables.VERSION) == version
    return profiles.profile_batches((rows.filter(mine) for rows in history.pieces(shop, model, span.start, span.end)), baseline)


def _figures(profile: dict[str, Any], baseline: dict[str, Any], config: Config, signature: Signature) -> list[dict[str, Any]]:
    """Drift's measures of the score and of every feature that the capture keeps, also where the monitor is off or watches only some."""
    everything, _ = as_captured(config.monitor.drift.model_copy(update={"columns": None}), config, signature)
    return drift.figures(profile, baseline, drift.known_to(baseline, everything), signature)


def _lineage(state: ModelState, version: str | None) -> dict[str, Any]:
    found = state.versions.get(version or "")
    if found is None:
        return {}
    return {
        "bundle": found.digest,
        "data": found.data_digest,
        "code": found.code_digest,
        "environment": found.lock_digest,
        "config": found.config_digest,
        "commit": found.commit,
        "registered_at": found.registered_at,
        "because": found.because,
    }
