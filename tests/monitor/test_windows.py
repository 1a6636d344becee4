from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.monitor.windows import Span, ticks, window_at, windows

NEW_YORK = "America/New_York"
# Half-hour shifts (Lord Howe); midnight left out (Santiago, Beirut) or twice (Havana, St. John's); a day left out (Apia).
ZONES = [
    "UTC",
    NEW_YORK,
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Beirut",
    "America/Havana",
    "America/St_Johns",
    "Pacific/Apia",
    "Asia/Kathmandu",
]
WINDOWS = ["15m", "7m", "45m", "1h", "2h", "6h", "7h", "36h", "1d", "2d", "1w", "2w", "1mo", "3mo"]


def at(zone: str, *parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)  # type: ignore[misc,arg-type]


def hours(spans: list[Span]) -> list[float]:
    return [(s.end - s.start) / timedelta(hours=1) for s in spans]


def test_days_follow_the_local_calendar_when_clocks_change() -> None:
    spring = windows("1d", NEW_YORK, at(NEW_YORK, 2013, 3, 9), at(NEW_YORK, 2013, 3, 12))
    autumn = windows("1d", NEW_YORK, at(NEW_YORK, 2013, 11, 2), at(NEW_YORK, 2013, 11, 5))
    assert hours(spring) == [24, 23, 24]
    assert hours(autumn) == [24, 25, 24]
    assert spring[1].start == datetime(2013, 3, 10, 5, tzinfo=UTC) and spring[1].end == datetime(2013, 3, 11, 4, tzinfo=UTC)


def test_hours_are_hours_when_clocks_change() -> None:
    for day, count in ((10, 23), (11, 24)):
        spans = windows("1h", NEW_YORK, at(NEW_YORK, 2013, 3, day), at(NEW_YORK, 2013, 3, day + 1))
        assert hours(spans) == [1] * count
    autumn = windows("1h", NEW_YORK, at(NEW_YORK, 2013, 11, 3), at(NEW_YORK, 2013, 11, 4))
    assert hours(autumn) == [1] * 25
    assert len(windows("15m", NEW_YORK, at(NEW_YORK, 2013, 11, 3), at(NEW_YORK, 2013, 11, 4))) == 100


def test_longer_spans_keep_to_the_local_clock() -> None:
    assert hours(windows("6h", NEW_YORK, at(NEW_YORK, 2013, 3, 10), at(NEW_YORK, 2013, 3, 11))) == [5, 6, 6, 6]
    assert hours(windows("6h", NEW_YORK, at(NEW_YORK, 2013, 11, 3), at(NEW_YORK, 2013, 11, 4))) == [7, 6, 6, 6]


def test_a_boundary_that_the_clock_leaves_out_is_no_boundary() -> None:
    spans = windows("45m", NEW_YORK, at(NEW_YORK, 2013, 3, 10), at(NEW_YORK, 2013, 3, 11))
    local = [s.start.astimezone(ZoneInfo(NEW_YORK)) for s in spans]
    assert [(t.hour * 60 + t.minute) % 45 for t in local] == [0] * 31
    assert [(t.hour, t.minute) for t in local[:5]] == [(0, 0), (0, 45), (1, 30), (3, 0), (3, 45)]


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    weeks = windows("1w", NEW_YORK, at(NEW_YORK, 2013, 1, 1), at(NEW_YORK, 2013, 2, 1))
    assert [w.start.astimezone(ZoneInfo(NEW_YORK)).weekday() for w in weeks] == [0, 0, 0]
    assert [w.start for w in weeks][:1] == [at(NEW_YORK, 2013, 1, 7)]
    months = windows("1mo", NEW_YORK, at(NEW_YORK, 2013, 1, 1), at(NEW_YORK, 2014, 1, 1))
    assert [m.start.astimezone(ZoneInfo(NEW_YORK)).month for m in months] == list(range(1, 13))
    assert len(windows("3mo", "UTC", at("UTC", 2013, 1, 1), at("UTC", 2014, 1, 1))) == 4


def test_incomplete_windows_are_left_out() -> None:
    spans = windows("1d", "UTC", datetime(2013, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(2013, 1, 3, 23, 59, tzinfo=UTC))
    assert spans == [Span(datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC))]
    assert windows("1mo", "UTC", datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 2, 27, tzinfo=UTC)) == []


def test_a_day_that_a_zone_left_out_has_no_window() -> None:
    spans = windows("1d", "Pacific/Apia", at("Pacific/Apia", 2011, 12, 29), at("Pacific/Apia", 2012, 1, 1))
    assert [s.start.astimezone(ZoneInfo("Pacific/Apia")).day for s in spans] == [29, 31]


def test_a_window_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="'0h' is not a window"):
        windows("0h", "UTC", datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC))


instants = st.datetimes(datetime(2005, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(st.sampled_from(WINDOWS), st.sampled_from(ZONES), instants, st.timedeltas(timedelta(0), timedelta(days=40)))
@settings(max_examples=200)
def test_windows_tile_the_time_line(window: str, zone: str, start: datetime, length: timedelta) -> None:
    spans = windows(window, zone, start, start + length)
    first, last = window_at(window, zone, start), window_at(window, zone, start + length)
    whole = [s for s in dict.fromkeys([first, *spans, last]) if s.start < s.end]
    for a, b in pairwise(whole):
        assert a.end == b.start, "no gap, no overlap"
    assert start in first and start + length in last
    assert all(start <= s.start and s.end <= start + length for s in spans)
    assert all(s == window_at(window, zone, s.start) == window_at(window, zone, s.end - timedelta(microseconds=1)) for s in spans)


@given(st.sampled_from(WINDOWS), st.sampled_from(ZONES), instants, instants, instants)
def test_where_one_looks_from_does_not_matter(window: str, zone: str, a: datetime, b: datetime, c: datetime) -> None:
    a, b = a, a + timedelta(days=b.day)
    everything = windows(window, zone, a, b)
    middle = a + timedelta(days=c.day / 2, seconds=c.second)
    later = windows(window, zone, middle, b)
    assert later == [s for s in everything if s.start >= middle]


def test_ticks_are_in_the_zone_and_exclude_their_start() -> None:
    found = ticks("0 6 * * *", NEW_YORK, at(NEW_YORK, 2013, 3, 8, 6), at(NEW_YORK, 2013, 3, 11, 6))
    assert found == [at(NEW_YORK, 2013, 3, d, 6) for d in (9, 10, 11)]
    assert [t.hour for t in found] == [11, 10, 10]


def test_a_tick_in_the_hour_left_out_fires_once_and_later() -> None:
    found = ticks("30 2 * * *", NEW_YORK, at(NEW_YORK, 2013, 3, 10), at(NEW_YORK, 2013, 3, 11))
    assert found == [at(NEW_YORK, 2013, 3, 10, 3, 30)]


def test_a_tick_in_the_hour_that_comes_twice_fires_once() -> None:
    found = ticks("30 1 * * *", NEW_YORK, at(NEW_YORK, 2013, 11, 3), at(NEW_YORK, 2013, 11, 4))
    assert found == [at(NEW_YORK, 2013, 11, 3, 1, 30)]


def test_a_tick_every_quarter_of_an_hour_never_pauses() -> None:
    for day in ((2013, 3, 10), (2013, 11, 3)):
        start = at(NEW_YORK, *day)
        found = ticks("*/15 * * * *", NEW_YORK, start, start + timedelta(hours=30))
        assert found == [start + k * timedelta(minutes=15) for k in range(1, 121)]


def test_schedules_that_never_come_or_do_not_hold() -> None:
    start = datetime(2013, 1, 1, tzinfo=UTC)
    assert ticks("0 0 30 2 *", "UTC", start, start + timedelta(days=9)) == []
    for bad in ("61 * * * *", "hello", ""):
        with pytest.raises(BadInput, match="is not a schedule"):
            ticks(bad, "UTC", start, start + timedelta(days=1))


@given(
    st.sampled_from(["*/15 * * * *", "0 6 1 * *", "30 2 * * 0", "5 */3 * * *"]),
    st.sampled_from(ZONES),
    instants,
    st.integers(0, 400),
)
def test_ticks_of_two_spans_are_those_of_the_whole(cron: str, zone: str, start: datetime, split: int) -> None:
    middle, end = start + timedelta(minutes=split), start + timedelta(minutes=400)
    assert ticks(cron, zone, start, middle) + ticks(cron, zone, middle, end) == ticks(cron, zone, start, end)
