"""Windows that have rows and no word, however long ago they were; and what a look asks of the capture, each of it once.

Rows may come of any time: callers send when an event was, and what was captured elsewhere is taken in in any order. So a window with rows
is due whenever these came. A window without rows says something only while it is recent: there was no traffic, and there should have been.
Of a model whose first row is of years ago that is years of windows, and each would be judged before today's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from modelyard import tables
from modelyard.flows import history, labelling
from modelyard.flows.monitor.monitors import Monitor
from modelyard.monitor import windows
from modelyard.serve import captured
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

QUIET = timedelta(days=28)
"""How long after it could be judged a window without rows still gets a word, where nobody looked: alarms look no farther back."""
UNWRITTEN = timedelta(seconds=10)
"""How long before a look a row may have been answered that the look did not find yet."""
STRETCH = timedelta(days=1)
"""Rows that are no farther apart are asked for together."""
_MICROSECOND = timedelta(microseconds=1)


class Due(NamedTuple):
    """A window that a monitor is to judge; times in UTC."""

    monitor: str
    span: windows.Span

    def __str__(self) -> str:
        return f"{self.monitor} {self.span.start.isoformat()[:19]}"


@dataclass(frozen=True, eq=False)
class News:
    """What a look asks of the capture."""

    shop: Workshop
    model: str
    now: datetime

    @cached_property
    def last(self) -> labelling.Looked:
        """What the last look has seen."""
        return labelling.last_look(self.shop, self.model)

    @cached_property
    def first(self) -> datetime | None:
        """The first event of all that was captured; None where nothing was."""
        return captured.earliest(history.folder(self.shop, self.model))

    @cached_property
    def begun(self) -> datetime | None:
        """When the first row came, of whatever time it is."""
        return captured.begun(history.folder(self.shop, self.model))

    @cached_property
    def came(self) -> pl.Series:
        """When the rows happened that came since the last look, to the second; none before a first one."""
        since = min(self.last.rows or self.now, self.now)
        return _seconds(captured.received(history.folder(self.shop, self.model), since - UNWRITTEN))


def begin(news: News, monitor: Monitor, since: datetime, until: datetime) -> datetime:
    """From when on each window of a monitor gets a word, with rows or without. since: when its windows became what they are; until: the
    end of the newest one that it judged. What waits for labels may judge windows from before the first row came once they are due."""
    assert news.first is not None and news.begun is not None
    delay = monitor.delay(news.shop.config(news.model))
    return max(since, until, news.first, _before(news.begun, delay), news.now - delay - QUIET)


def _before(at: datetime, delay: timedelta) -> datetime:
    """As much before, or as far back as there is time: a capture may have a row of the year 1."""
    return at - delay if at - datetime.min.replace(tzinfo=UTC) > delay else at


def unjudged(news: News, on: Sequence[Monitor], since: Mapping[str, datetime], before: datetime) -> set[Due]:
    """Windows without a word that have rows from before then: rows that came since the last look, that were taken in, or that it had not
    come to (`labelling.Looked`); all of them before a first look."""
    import polars as pl

    assert news.first is not None
    if news.last.rows is None:
        spans = [(news.first, before)]
    else:
        late = news.came.filter(news.came < before)
        found = sorted(_of(news, on, since, late)) if len(late) else []
        spans = [*news.last.came, *news.last.left, *_stretches(found)]
    times = [
        _seconds(rows)
        for first, last in spans
        if (start := max(first, news.first)) < (end := min(last + _MICROSECOND, before))
        for rows in history.pieces(news.shop, news.model, start, end, (tables.INFERENCE_ID, tables.EVENT_TIME), settled=True)
    ]
    return _of(news, on, since, pl.concat(times)) if times else set()


def _seconds(rows: pl.DataFrame) -> pl.Series:
    """Each second in which there was a row: no window begins within one, and a million rows are a few thousand of them."""
    return rows[tables.EVENT_TIME].dt.truncate("1s").unique()


def _stretches(found: Sequence[Due]) -> list[tuple[datetime, datetime]]:
    """Where rows of these windows are."""
    return list(stretches(history.spans((one.span.start, one.span.end - _MICROSECOND) for one in found))) if found else []


def _of(news: News, on: Sequence[Monitor], since: Mapping[str, datetime], times: pl.Series) -> set[Due]:
    """The windows of each monitor that any of the times lies in, and that it can judge by now and has not."""
    config, found, sorted_times = news.shop.config(news.model), set[Due](), times.unique().sort().to_list()
    lengths: dict[str, list[Monitor]] = {}
    for monitor in on:
        lengths.setdefault(monitor.span(config), []).append(monitor)
    for first, last in stretches(history.spans((at, at) for at in sorted_times)):
        known = news.shop.book.judged(news.model, list(since), first.isoformat(), f"{last.isoformat()}~")
        for length, monitors in lengths.items():
            start, end = (windows.window_at(length, config.timezone, at) for at in (first, last))
            for span in windows.windows(length, config.timezone, start.start, end.end):
                if bisect_left(sorted_times, span.start) == bisect_left(sorted_times, span.end):
                    continue
                key = (span.start.isoformat(), span.end.isoformat())
                for monitor in monitors:
                    over = since[monitor.kind] < span.end <= news.now - monitor.delay(config)
                    if over and (monitor.kind, *key) not in known:
                        found.add(Due(monitor.kind, span))
    return found


def stretches(times: pl.DataFrame) -> Iterator[tuple[datetime, datetime]]:
    """The spans of time (`first`, `last`), those no farther apart than `STRETCH` as one."""
    import polars as pl

    times = times.sort("first")
    apart = (pl.col("first") > pl.col("last").cum_max().shift(1) + STRETCH).fill_null(value=False).cum_sum()
    joined = times.group_by(apart.alias("stretch"), maintain_order=True).agg(pl.col("first").min(), pl.col("last").max())
    yield from joined.select("first", "last").iter_rows()
