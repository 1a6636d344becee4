"""The next instant of a schedule, and the newest one: without counting all that lie between."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

from modelyard.monitor.windows import day_of, ticks

_FAR = timedelta(days=366 * 9)
"""A schedule of 29 February has one instant in four years, or in eight."""


def next_tick(cron: str, timezone: str, after: datetime) -> datetime | None:
    """The first instant (UTC) later than `after`; None of a schedule that never comes, such as 30 February. Raises BadInput."""
    begin = _begin(cron, after)
    for _ in range(2):
        end, found = _page(cron, timezone, begin)
        later = next((tick for tick in found if tick > after), None)
        if later is not None:
            return later
        begin = end
    far = ticks(cron, timezone, after, after + _FAR)
    return far[0] if far else None


def last_tick(cron: str, timezone: str, after: datetime, until: datetime) -> datetime | None:
    """The last instant (UTC) later than `after` and not later than `until`; None where there is none. Raises BadInput."""
    begin = _begin(cron, until)
    for _ in range(2):
        earlier = next((tick for tick in reversed(_page(cron, timezone, begin)[1]) if tick <= until), None)
        if earlier is not None:
            return earlier if earlier > after else None
        if begin <= after:
            return None
        begin = _begin(cron, begin - timedelta(microseconds=1))
    far = ticks(cron, timezone, max(after, until - _FAR), until)
    return far[-1] if far else None


def _begin(cron: str, instant: datetime) -> datetime:
    """Of the page that an instant is on: a day of a schedule that comes round each day, else a month. Both of UTC."""
    day = day_of(instant)
    return day if cron.split()[2:] == ["*", "*", "*"] else day.replace(day=1)


@lru_cache(maxsize=4096)
def _page(cron: str, timezone: str, begin: datetime) -> tuple[datetime, tuple[datetime, ...]]:
    """When the page ends, and its instants: models that share a schedule, as most do, share the reckoning."""
    end = begin + timedelta(days=1) if _begin(cron, begin + timedelta(days=1)) != begin else (begin + timedelta(days=32)).replace(day=1)
    moment = timedelta(microseconds=1)  # `ticks` leaves its first bound out
    return end, tuple(ticks(cron, timezone, begin - moment, end - moment))
