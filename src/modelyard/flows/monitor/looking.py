"""Looking: which windows are to be judged now, and judging them."""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.config.spec import Config
from modelyard.durable import Stopped
from modelyard.errors import HomeLocked, YardError, no_room
from modelyard.events import Event, WindowJudged
from modelyard.flows import capturing, history, labelling
from modelyard.flows.monitor.alarming import sound
from modelyard.flows.monitor.monitors import MONITORS, Monitor
from modelyard.flows.monitor.unjudged import Due, News, begin, stretches, unjudged
from modelyard.flows.monitor.window import Built, Window
from modelyard.monitor import labels, windows
from modelyard.monitor.book import Word
from modelyard.monitor.verdicts import Verdict
from modelyard.monitor.words import percent
from modelyard.registry.state import ModelState
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger("modelyard")
RIPE = timedelta(days=7)
"""How long after its labels are due a window is still judged with them, where the yard was down; later, when some come."""
GROWN = 1.1
"""A window is judged again when late rows make it so many times as large as it was."""
CATCH_UP = 500
"""Words in one look at the most, one a window and monitor; after a long downtime the next look goes on."""
LONGEST = 300
"""Characters of what a library says when it fails."""


def look(shop: Workshop, model: str, tell: Callable[[Word], None] = lambda word: None) -> int:
    """Judge every window that is due, and those that labels came late for. Returns how many that were. `tell` is told of each."""
    words, seen, opened = list[Word](), labelling.looking(shop, model), dict[str, Built]()
    news = News(shop, model, shop.clock.now())
    chosen, left = _due(shop, model, news)
    found = [*chosen, *relabelled(shop, model, news)]
    settled = bool(found) and _settled(shop, model)
    for span, kinds in by_span(found):
        for word in judge(shop, model, span, kinds, opened, settled=settled):
            tell(word)
            words.append(word)
    sound(shop, model, words)
    # at last: whoever is killed, or finds the disk full, looks at the same labels and rows again
    labelling.looked(shop, model, seen._replace(left=left))
    return len(words)


def _settled(shop: Workshop, model: str) -> bool:
    """Compact the capture for all windows. Where that fails each says so itself."""
    try:
        capturing.compact(shop, model, "production")
    except Exception:
        return False
    return True


def by_span(found: list[Due]) -> Iterator[tuple[windows.Span, list[str]]]:
    """The monitors that have to judge a window, oldest window first: what they share is read once."""
    spans: dict[windows.Span, list[str]] = {}
    for one in sorted(found, key=lambda d: d.span):
        kinds = spans.setdefault(one.span, [])
        kinds += [one.monitor] if one.monitor not in kinds else []
    yield from spans.items()


def due(shop: Workshop, model: str) -> list[Due]:
    """Windows to judge now, oldest first. Those that were over before the windows changed are left alone: they were judged by their own."""
    return _due(shop, model, News(shop, model, shop.clock.now()))[0]


def _due(shop: Workshop, model: str, news: News) -> tuple[list[Due], tuple[tuple[datetime, datetime], ...]]:
    """`due`, and the spans of time in which windows with rows are left to the next look (`_chosen`)."""
    config, state, now = shop.config(model), shop.model(model), news.now
    on = _on(config)
    if news.first is None or not on:
        return [], ()
    zone, since = config.timezone, {str(monitor.kind): _since(state, monitor) for monitor in on}
    until = shop.book.until(model, list(since), now.isoformat())  # what was judged while the clock was ahead says nothing of before
    begins = {monitor.kind: begin(news, monitor, since[monitor.kind], _instant(until[monitor.kind])) for monitor in on}
    known = shop.book.judged(model, list(since), min(begins.values()).isoformat())
    recent = {
        Due(monitor.kind, span)
        for monitor in on
        for span in _over(monitor.span(config), zone, begins[monitor.kind], now - monitor.delay(config))
        if since[monitor.kind] < span.end and (monitor.kind, span.start.isoformat(), span.end.isoformat()) not in known
    }
    recent |= {one for monitor in on for one in _ripe(shop, model, monitor, now)}
    return _chosen(recent, unjudged(news, on, since, max(begins.values())) - recent)


def _over(length: str, zone: str, begin: datetime, end: datetime) -> list[windows.Span]:
    """The windows that are over by `end`, from the one on that `begin` is in."""
    return windows.windows(length, zone, windows.window_at(length, zone, begin).start, end) if begin < end else []


def _chosen(recent: set[Due], old: set[Due]) -> tuple[list[Due], tuple[tuple[datetime, datetime], ...]]:
    """As many as are judged in one look, oldest first: of recent windows the oldest, since the book's end says from when on they are due;
    then of those long over the newest, and the span of time that the others are in."""
    taken = sorted(recent, key=_place)[:CATCH_UP]
    older = sorted(sorted(old, key=_place), key=lambda one: one.span, reverse=True)
    room = CATCH_UP - len(taken)
    left = older[room:]
    spans = ((left[-1].span.start, left[0].span.end),) if left else ()
    return sorted([*taken, *older[:room]], key=_place), spans


def _place(one: Due) -> tuple[windows.Span, int]:
    """By time; of a window the monitors in their order, since one may ask what another says of it."""
    return one.span, list(MONITORS).index(one.monitor)


def _on(config: Config) -> list[Monitor]:
    return [monitor for monitor in MONITORS.values() if monitor.enabled(config)]


def _ripe(shop: Workshop, model: str, monitor: Monitor, now: datetime) -> list[Due]:
    """Windows that a monitor judged before their labels were due, which they are now; those of the last week, and of no longer downtime."""
    if monitor.ripe is None:
        return []
    last = now - monitor.ripe(shop.config(model))
    words = shop.book.immature(model, monitor.kind, (last - RIPE).isoformat(), last.isoformat())
    return [Due(word.monitor, word.span) for word in words]


def _since(state: ModelState, monitor: Monitor) -> datetime:
    """When a monitor's windows became what they are: older ones are over. One that was off judges no window of that time."""
    return max(_instant(state.watched_since), _instant(state.began.get(monitor.kind, "")))


def _instant(at: str) -> datetime:
    return datetime.fromisoformat(at) if at else datetime.min.replace(tzinfo=UTC)


def relabelled(shop: Workshop, model: str, news: News | None = None) -> list[Due]:
    """Judged windows whose rows are kept still and that were changed since the last look: whose rows got a label or another one, for the
    monitors of labels; and, for every monitor, those that rows were added to. news: what this look has asked of the capture already."""
    news = news or News(shop, model, shop.clock.now())
    config, last, now, oldest, found = shop.config(model), news.last, news.now, news.first, list[Due]()
    if oldest is None:
        return found
    on = _on(config)
    every, kinds = [monitor.kind for monitor in on], [monitor.kind for monitor in on if monitor.labelled]
    some = any(at > oldest.isoformat() for at in shop.book.until(model, kinds).values())
    if some and len(fresh := labels.received(shop.home.labels(model), last.until)):
        found += _within(shop, model, kinds, history.touched(shop, model, fresh, oldest, now))
    if came := [(max(first, oldest), end) for first, end in last.came if end >= oldest]:
        found += _within(shop, model, every, history.spans(came))
    return found + (_late(news, every, min(last.rows, now)) if last.rows else [])


def _late(news: News, kinds: Sequence[str], since: datetime) -> list[Due]:
    """Judged windows that rows came for since the last look, as callers that send the time of an event may send it late: those that have
    `GROWN` by them, so that a trickle does not have a day's windows judged again at each look."""
    shop, model = news.shop, news.model
    config = shop.config(model)
    over = windows.window_at(config.monitor.window, config.timezone, since).start  # what ended later was not judged yet
    late = news.came.filter(news.came < over)
    if late.is_empty():
        return []
    found, counts = [], dict[windows.Span, int]()
    for one in _within(shop, model, kinds, history.spans((at, at) for at in late)):
        count = counts.get(one.span)
        if count is None:
            versions = history.answers(shop, model, one.span.start, one.span.end, (tables.INFERENCE_ID, tables.VERSION))[tables.VERSION]
            count = counts[one.span] = int(versions.value_counts(name="rows")["rows"].max() or 0)  # type: ignore[arg-type]
        word = shop.book.get(model, one.monitor, one.span.start.isoformat(), one.span.end.isoformat())
        had = int(word.evidence.get("rows") or 0) if word else 0
        found += [one] if count > had and count >= GROWN * had else []
    return found


def _within(shop: Workshop, model: str, kinds: Sequence[str], times: pl.DataFrame) -> list[Due]:
    """The judged windows of some monitors that any of the spans of event time is in: `first` and `last`, both included."""
    begun, ended = times["first"].sort().to_list(), times["last"].sort().to_list()
    found = set[Due]()
    for first, last in stretches(times):  # few, and of each only the windows near it are looked at
        for kind, start, end in shop.book.judged(model, kinds, first.isoformat(), f"{last.isoformat()}~"):
            span = windows.Span(datetime.fromisoformat(start), datetime.fromisoformat(end))
            # of all that begin before a window's end, not all are over before it begins
            if bisect_left(begun, span.end) > bisect_left(ended, span.start):
                found.add(Due(kind, span))
    return sorted(found, key=lambda one: list(MONITORS).index(one.monitor))


def judge(
    shop: Workshop, model: str, span: windows.Span, kinds: list[str], opened: dict[str, Built] | None = None, *, settled: bool = False
) -> list[Word]:
    """Let monitors judge a window: their words, all at once in the book and, where they are news, in the journal. Of a window whose rows
    were let go since it was judged, what was said then holds. opened, settled: what this look has done already (`Window`)."""
    opened = {} if opened is None else opened
    window = Window(shop, model, shop.config(model), shop.model(model), span, opened=opened, settled=settled)
    standing, news = shop.book.standing(model, kinds, span.start.isoformat(), span.end.isoformat()), list[Event]()
    for kind in kinds:
        again, before = standing[kind]
        word, failed = _word(window, MONITORS[kind])
        last = again or before
        if failed is not None and (last is None or last.reason != word.reason):
            log.error("%s: %s of the window from %s", model, word.reason, word.start, exc_info=failed)
        if again is not None and failed is None and _fewer(window, again):
            continue
        window.said[kind] = word
        if last is None or last.status != word.status:  # the journal keeps no line for all others
            evidence = {**word.evidence, **({"was": again.status} if again else {})}
            news.append(WindowJudged(model, kind, word.version, word.start, word.end, word.status, word.reason, evidence))
    words = list(window.said.values())
    shop.journal.append(news, beside=lambda tx: shop.book.put(words))
    return words


def _fewer(window: Window, again: Word) -> bool:
    """Whether a window has fewer rows than when it was judged last: rows only ever come, until the capture lets them go."""
    return int(again.evidence.get("rows") or 0) > window.height


def _word(window: Window, monitor: Monitor) -> tuple[Word, BaseException | None]:
    """What a monitor says of a window, and what it failed by."""
    verdict, failed = _verdict(window, monitor)
    version = window.version if window.looked_at else window.state.champion or ""  # rows that cannot be read
    start, end = window.span.start.isoformat(), window.span.end.isoformat()
    said = (verdict.status, verdict.reason, window.shop.clock.now().isoformat(), verdict.evidence)
    return Word(window.model, monitor.kind, start, end, version, *said), failed


def _verdict(window: Window, monitor: Monitor) -> tuple[Verdict, BaseException | None]:
    """A monitor's answer, and what it failed by: one that fails keeps no other from its work. It is unknown then, and its evidence says
    that it `failed`, so that people are told (`alarming`). A full disk ends the look: the window is still due once there is room."""
    try:
        if window.rows.is_empty() if monitor.holds else not window.height:
            return Verdict(monitor.kind, "unknown", f"{monitor.kind}: no traffic in the window", {"rows": 0, "labels": 0}), None
        found = monitor.judge(window)
        found = _with_share(found, window.share) if monitor.holds else found
        json.dumps(found.evidence, allow_nan=False)  # as the book has it
        return found, None
    except (KeyboardInterrupt, SystemExit, GeneratorExit, Stopped, HomeLocked):
        raise
    except BaseException as exc:  # a panic of Polars is no Exception
        if no_room(exc, window.shop.home.path) is not None:
            raise
        why = exc.what if isinstance(exc, YardError) else f"{type(exc).__name__}: {(str(exc).splitlines() or [''])[0][:LONGEST]}"
        facts = {"rows": window.height, "labels": 0} if window.looked_at else {}
        return Verdict(monitor.kind, "unknown", f"{monitor.kind}: {why}", {**facts, "failed": type(exc).__name__}), exc


def _with_share(verdict: Verdict, share: float) -> Verdict:
    """Of a window too large to be held, what is not counted in its profile is judged by a share of its rows, and says so."""
    if share == 1:
        return verdict
    said = f"{verdict.reason} (rows looked at one by one: {percent(share)} of the window's, drawn by chance)"
    return replace(verdict, reason=said, evidence={**verdict.evidence, "looked_at": round(share, 6)})
