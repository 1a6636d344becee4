"""Looking: which windows are to be judged now, and judging them."""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from modelyard import tables
from modelyard.config.spec import Config
from modelyard.durable import Stopped
from modelyard.errors import HomeLocked, YardError, no_room
from modelyard.events import Event, WindowJudged
from modelyard.flows import capturing, history, labelling
from modelyard.flows.monitor.alarming import sound
from modelyard.flows.monitor.monitors import MONITORS, Monitor
from modelyard.flows.monitor.window import Built, Window
from modelyard.monitor import labels, windows
from modelyard.monitor.book import Word
from modelyard.monitor.verdicts import Verdict
from modelyard.monitor.words import percent
from modelyard.registry.state import ModelState
from modelyard.serve import captured
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger("modelyard")
RIPE = timedelta(days=7)
"""How long after its labels are due a window is still judged with them, where the yard was down; later, when some come."""
GROWN = 1.1
"""A window is judged again when late rows make it so many times as large as it was."""
UNWRITTEN = timedelta(seconds=10)
"""How long before a look a row may have been answered that the look did not find yet."""
STRETCH = timedelta(days=1)
"""Changed rows that are no farther apart are asked for together."""
CATCH_UP = 500
"""Windows judged in one look at the most; after a long downtime the next look goes on."""
LONGEST = 300
"""Characters of what a library says when it fails."""


class Due(NamedTuple):
    """A window that a monitor is to judge; times in UTC."""

    monitor: str
    span: windows.Span

    def __str__(self) -> str:
        return f"{self.monitor} {self.span.start.isoformat()[:19]}"


def look(shop: Workshop, model: str, tell: Callable[[Word], None] = lambda word: None) -> int:
    """Judge every window that is due, and those that labels came late for. Returns how many that were. `tell` is told of each."""
    words, seen, opened = list[Word](), labelling.looking(shop, model), dict[str, Built]()
    first = captured.earliest(history.folder(shop, model))
    found = [*due(shop, model, first), *relabelled(shop, model, first)] if first is not None else []
    settled = bool(found) and _settled(shop, model)
    for span, kinds in by_span(found):
        for word in judge(shop, model, span, kinds, opened, settled=settled):
            tell(word)
            words.append(word)
    sound(shop, model, words)
    labelling.looked(shop, model, seen)  # at last: whoever is killed, or finds the disk full, looks at the same labels and rows again
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


def due(shop: Workshop, model: str, first: datetime | None = None) -> list[Due]:
    """Windows to judge now, oldest first. Those that were over before the windows changed are left alone: they were judged by their own.
    first: when what was captured begins, where that is known already."""
    config, state, now = shop.config(model), shop.model(model), shop.clock.now()
    first = first or captured.earliest(history.folder(shop, model))
    on = _on(config)
    if first is None or not on:
        return []
    zone, since = config.timezone, {str(monitor.kind): _since(state, monitor) for monitor in on}
    until = shop.book.until(model, list(since), now.isoformat())  # what was judged while the clock was ahead says nothing of before
    begin = max(first, min(max(since[kind], _instant(at)) for kind, at in until.items()))  # windows are judged in order: none is left
    known = shop.book.judged(model, list(until), begin.isoformat())
    lengths = {monitor.span(config) for monitor in on}
    spans = {length: windows.windows(length, zone, windows.window_at(length, zone, begin).start, now) for length in lengths}
    found = [
        Due(monitor.kind, span)
        for monitor in on
        for span in spans[monitor.span(config)]
        if since[monitor.kind] < span.end <= now - monitor.delay(config)
        and (monitor.kind, span.start.isoformat(), span.end.isoformat()) not in known
    ]
    found += [one for monitor in on for one in _ripe(shop, model, monitor, now)]
    return sorted(found, key=lambda one: one.span)[:CATCH_UP]


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


def relabelled(shop: Workshop, model: str, first: datetime | None = None) -> list[Due]:
    """Judged windows whose rows are kept still and that were changed since the last look: whose rows got a label or another one, for the
    monitors of labels; and, for every monitor, those that rows were added to. first: as for `due`."""
    config, last, now = shop.config(model), labelling.last_look(shop, model), shop.clock.now()
    oldest, found = first or captured.earliest(history.folder(shop, model)), list[Due]()
    if oldest is None:
        return found
    on = _on(config)
    every, kinds = [monitor.kind for monitor in on], [monitor.kind for monitor in on if monitor.labelled]
    some = any(at > oldest.isoformat() for at in shop.book.until(model, kinds).values())
    if some and len(fresh := labels.received(shop.home.labels(model), last.until)):
        found += _within(shop, model, kinds, history.touched(shop, model, fresh, oldest, now))
    if came := [(max(first, oldest), end) for first, end in last.came if end >= oldest]:
        found += _within(shop, model, every, history.spans(came))
    return found + (_late(shop, model, every, min(last.rows, now)) if last.rows else [])


def _late(shop: Workshop, model: str, kinds: Sequence[str], since: datetime) -> list[Due]:
    """Judged windows that rows came for since the last look, as callers that send the time of an event may send it late: those that have
    `GROWN` by them, so that a trickle does not have a day's windows judged again at each look."""
    import polars as pl

    config = shop.config(model)
    over = windows.window_at(config.monitor.window, config.timezone, since).start  # what ended later was not judged yet
    rows = captured.received(history.folder(shop, model), since - UNWRITTEN).filter(pl.col(tables.EVENT_TIME) < over)
    if rows.is_empty():
        return []
    found, counts = [], dict[windows.Span, int]()
    for one in _within(shop, model, kinds, history.spans((at, at) for at in rows[tables.EVENT_TIME].unique())):
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
    import polars as pl

    times = times.sort("first")
    apart = (pl.col("first") > pl.col("last").cum_max().shift(1) + STRETCH).fill_null(value=False).cum_sum()
    stretches = times.group_by(apart.alias("stretch")).agg(pl.col("first").min(), pl.col("last").max())
    begun, ended = times["first"].to_list(), times["last"].sort().to_list()
    found = set[Due]()
    for first, last in stretches.select("first", "last").iter_rows():  # few, and of each only the windows near it are looked at
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
