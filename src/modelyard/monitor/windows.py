"""Windows and ticks: spans and instants of the calendar of one time zone, as instants in UTC.

Days, weeks and months follow the local calendar, so a day has 23 or 25 hours when the clocks change. A shorter span that
divides the day (`15m`, `1h`, `6h`) begins where the local clock shows a multiple of it; an hour that the clock shows twice
gives two windows. Any other span (`7h`, `36h`) cannot follow the calendar: it has a fixed length, counted from 1970-01-01 UTC.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import pairwise
from zoneinfo import ZoneInfo

from modelyard.errors import BadInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY, _FIRST_MONDAY = date(1970, 1, 1).toordinal(), date(1970, 1, 5).toordinal()
_DAY = 86400
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY}
_SHIFT = timedelta(hours=26)  # more than any zone is away from UTC, or moves its clocks (Samoa left out a whole day in 2011)


@dataclass(frozen=True, order=True)
class Span:
    """From `start` (included) to `end` (excluded), both in UTC."""

    start: datetime
    end: datetime

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end


def windows(window: str, timezone: str, start: datetime, end: datetime) -> list[Span]:
    """The whole windows that lie between two instants, oldest first, each ending where the next begins.

    Args:
        window: `15m`, `1h`, `1d`, `1w`, `1mo` and their multiples.
        timezone: an IANA name.
        start, end: timezone-aware; a window that begins before `start` or ends after `end` is left out.
    """
    edges = _edges(window, timezone, start, end)
    inside = edges[bisect_left(edges, start) : bisect_right(edges, end)]
    return [Span(a, b) for a, b in pairwise(inside)]


def window_at(window: str, timezone: str, instant: datetime) -> Span:
    """The one window that `instant` falls in."""
    edges = _edges(window, timezone, instant, instant)
    after = bisect_right(edges, instant)
    return Span(edges[after - 1], edges[after])


def day_of(instant: datetime) -> datetime:
    """When the day of UTC began that `instant` falls in."""
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def ticks(cron: str, timezone: str, after: datetime, until: datetime) -> list[datetime]:
    """Instants in UTC at which a five-field cron expression fires, later than `after` and not later than `until`.

    When clocks go forward, a time that is left out fires as much later as they moved; when they go back, a time that comes
    twice fires once, or both times if the hour field is a wildcard (Vixie cron's rule).

    Raises:
        BadInput: the expression does not hold.
    """
    from croniter import CroniterBadDateError, CroniterError, croniter

    zone = ZoneInfo(timezone)
    try:
        # On naive local time: what a zone does to it is decided below, not by croniter.
        schedule = croniter(cron, (after.astimezone(zone) - _SHIFT).replace(tzinfo=None))
        folds = (0, 1) if cron.split()[1].startswith("*") else (0,)
        last, found = until.astimezone(zone).replace(tzinfo=None) + _SHIFT, set[datetime]()
        while (naive := schedule.get_next(datetime)) <= last:
            found |= {_utc(naive, zone, fold) for fold in folds}
    except CroniterBadDateError:
        return []  # such as 30 February: holds, and never comes
    except (CroniterError, IndexError) as exc:
        raise BadInput(f"'{cron}' is not a schedule", next="write five cron fields, such as '*/15 * * * *'") from exc
    return sorted(t for t in found if after < t <= until)


def _utc(naive: datetime, zone: ZoneInfo, fold: int = 0) -> datetime:
    return naive.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _edges(window: str, timezone: str, start: datetime, end: datetime) -> list[datetime]:
    """All boundaries from the last one not after `start` to the first one after `end`, rising."""
    count, unit = _parse(window)
    zone, seconds = ZoneInfo(timezone), count * _SECONDS.get(unit, 0)
    if unit != "mo" and seconds % _DAY and _DAY % seconds:
        return list(_fixed(timedelta(seconds=seconds), start, end))
    begin: Callable[[int], datetime]
    if unit == "mo":
        begin, number = partial(_month_start, count, zone), _month_number(count, start.astimezone(zone).date())
    else:
        days = max(1, seconds // _DAY)
        anchor = _FIRST_MONDAY if unit == "w" else _FIRST_DAY
        begin, number = partial(_days_start, days, anchor, zone), (start.astimezone(zone).toordinal() - anchor) // days
    step = timedelta(seconds=seconds) if unit != "mo" and seconds < _DAY else None
    edges = set[datetime]()
    while True:
        lo, hi = begin(number), begin(number + 1)
        if hi > start:
            edges |= {lo, hi, *(_within(Span(lo, hi), step, zone, start, end) if step else ())}
        if lo > end:
            break
        number += 1
    rising = sorted(edges)
    return rising[max(0, bisect_right(rising, start) - 1) : bisect_right(rising, end) + 1]


def _parse(window: str) -> tuple[int, str]:
    match = re.fullmatch(r"([1-9]\d*)(s|mo|m|h|d|w)", window)
    if match is None:
        raise BadInput(f"'{window}' is not a window", next="write 15m, 1h, 1d, 1w or 1mo")
    return int(match[1]), match[2]


def _month_number(count: int, day: date) -> int:
    return (day.year * 12 + day.month - 1) // count


def _month_start(count: int, zone: ZoneInfo, number: int) -> datetime:
    year, month = divmod(number * count, 12)
    return _utc(datetime(year, month + 1, 1), zone)


def _days_start(days: int, anchor: int, zone: ZoneInfo, number: int) -> datetime:
    return _utc(datetime.combine(date.fromordinal(anchor + number * days), time()), zone)


def _within(day: Span, step: timedelta, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Instants strictly inside a day at which the local clock shows a multiple of `step`; at least those near start..end."""
    lo, hi, count = day.start, day.end, timedelta(days=1) // step
    if hi - lo == timedelta(days=1) and lo.astimezone(zone).utcoffset() == hi.astimezone(zone).utcoffset():
        yield from (lo + k * step for k in range(max(1, (start - lo) // step), min(count, (end - lo) // step + 2)))
        return
    midnight = datetime.combine((hi - timedelta(seconds=1)).astimezone(zone).date(), time())
    for k in range(count):
        naive = midnight + k * step
        for instant in {_utc(naive, zone, 0), _utc(naive, zone, 1)}:
            exists = instant.astimezone(zone).replace(tzinfo=None, fold=0) == naive
            if exists and lo < instant < hi:
                yield instant


def _fixed(step: timedelta, start: datetime, end: datetime) -> Iterator[datetime]:
    for number in range((start - _EPOCH) // step, (end - _EPOCH) // step + 2):
        yield _EPOCH + number * step
