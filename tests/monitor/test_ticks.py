"""The next and the last instant of a schedule, against counting all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.monitor.ticks import last_tick, next_tick
from modelyard.monitor.windows import ticks

CRONS = ["*/15 * * * *", "* * * * *", "30 2 * * *", "0 6 * * 1", "0 0 1 * *", "0 */7 * * *", "5,50 1-3 * * *"]
ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]
INSTANTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), INSTANTS)
def test_the_next_one_is_the_first_of_all(cron: str, zone: str, after: datetime) -> None:
    found = next_tick(cron, zone, after)
    assert found is not None and found > after
    assert ticks(cron, zone, after, found) == [found], "none lies between"


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), INSTANTS, st.timedeltas(timedelta(0), timedelta(days=40)))
def test_the_last_one_is_the_last_of_all(cron: str, zone: str, after: datetime, span: timedelta) -> None:
    until = after + span
    found = last_tick(cron, zone, after, until)
    if found is None:
        assert ticks(cron, zone, after, until) == []
    else:
        assert after < found <= until and ticks(cron, zone, found, until) == []


@pytest.mark.parametrize("zone", ZONES)
def test_they_follow_each_other_through_a_year_of_changing_clocks(zone: str) -> None:
    begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    walked, at = [], next_tick("30 1,2 * * *", zone, begin)
    while at is not None and at <= end:
        walked.append(at)
        assert last_tick("30 1,2 * * *", zone, begin, at) == at
        at = next_tick("30 1,2 * * *", zone, at)
    assert walked == ticks("30 1,2 * * *", zone, begin, end)


def test_a_leap_day_is_found_years_ahead_and_one_that_never_comes_is_none() -> None:
    now = datetime(2097, 3, 1, tzinfo=UTC)  # 2100 is no leap year
    assert next_tick("0 0 29 2 *", "UTC", now) == datetime(2104, 2, 29, tzinfo=UTC)
    assert last_tick("0 0 29 2 *", "UTC", datetime(2020, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)) == datetime(
        2024, 2, 29, tzinfo=UTC
    )
    assert next_tick("0 0 30 2 *", "UTC", now) is None
    assert last_tick("0 0 30 2 *", "UTC", now, now + timedelta(days=700)) is None
