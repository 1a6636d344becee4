"""The same time of earlier periods, by the clock on the wall: this hour of last week, also where the clocks changed since."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from modelyard.config.spec import Season
from modelyard.monitor.windows import Span, window_at

_DAY = timedelta(days=1)


def earlier(span: Span, season: Season, window: str, timezone: str) -> list[Span]:
    """The windows that lie one to `season.count` periods before `span`, the latest first.

    A period of whole days goes by the local clock; of an hour that the clock shows twice, the like one is taken, and one that it leaves
    out is stood for by the next. Any other period is a length of time. A window never overlaps `span`, nor is it named twice.
    """
    found: list[Span] = []
    for k in range(1, season.count + 1):
        then = window_at(window, timezone, _back(span.start, k, season.period, ZoneInfo(timezone)))
        if then.end <= span.start and then not in found:
            found.append(then)
    return found


def _back(instant: datetime, times: int, period: timedelta, zone: ZoneInfo) -> datetime:
    if period % _DAY:
        return instant - times * period
    local = instant.astimezone(zone)
    return (local.replace(tzinfo=None) - times * period).replace(tzinfo=zone, fold=local.fold).astimezone(UTC)
