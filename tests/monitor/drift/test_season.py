from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import Season
from modelyard.monitor.drift.season import earlier
from modelyard.monitor.windows import Span, window_at

BERLIN = "Europe/Berlin"


def at(*local: int, zone: str = BERLIN, fold: int = 0) -> datetime:
    return datetime(*local, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)  # type: ignore[misc, arg-type]


def of(instant: datetime, window: str, season: Season) -> list[Span]:
    return earlier(window_at(window, BERLIN, instant), season, window, BERLIN)


def test_the_same_hour_of_the_last_weeks_the_latest_first() -> None:
    found = of(at(2026, 6, 24, 9), "1h", Season(period="7d", count=3))
    assert [s.start for s in found] == [at(2026, 6, day, 9) for day in (17, 10, 3)]
    assert all(s.end - s.start == timedelta(hours=1) for s in found)


def test_it_goes_by_the_clock_on_the_wall() -> None:
    """On 29 March 2026 it went forward in Berlin: nine o'clock a week earlier is 167 hours ago."""
    (found,) = of(at(2026, 4, 1, 9), "1h", Season(period="7d", count=1))
    assert found.start == at(2026, 3, 25, 9) and at(2026, 4, 1, 9) - found.start == timedelta(hours=167)


def test_an_hour_that_the_clock_leaves_out_is_stood_for_by_the_next() -> None:
    (found,) = of(at(2026, 4, 5, 2), "1h", Season(period="7d", count=1))
    assert found.start == at(2026, 3, 29, 3)


@pytest.mark.parametrize("fold", [0, 1])
def test_of_an_hour_shown_twice_the_like_one_is_taken(fold: int) -> None:
    (found,) = of(at(2026, 10, 25, 2, fold=fold), "1h", Season(period="364d", count=1))
    assert found.start == at(2025, 10, 26, 2, fold=fold), "that night it was shown twice too"


def test_a_period_of_hours_is_a_length_of_time() -> None:
    found = of(at(2026, 3, 29, 12), "1h", Season(period="12h", count=2))
    assert [s.start for s in found] == [at(2026, 3, 29, 12) - timedelta(hours=h) for h in (12, 24)]


def test_days_and_months_are_whole_ones() -> None:
    (day,) = of(at(2026, 4, 1), "1d", Season(period="3d", count=1))
    assert (day.start, day.end) == (at(2026, 3, 29), at(2026, 3, 30)) and day.end - day.start == timedelta(hours=23)
    (month,) = of(at(2026, 4, 1), "1mo", Season(period="365d", count=1))
    assert (month.start, month.end) == (at(2025, 4, 1), at(2025, 5, 1))


@given(
    st.datetimes(datetime(2015, 1, 1), datetime(2030, 1, 1)),
    st.sampled_from(["15m", "1h", "6h", "1d", "1w", "1mo", "7h"]),
    st.sampled_from([BERLIN, "UTC", "America/Sao_Paulo", "Australia/Lord_Howe"]),
    st.sampled_from(["6h", "1d", "7d", "28d", "364d"]),
    st.integers(1, 5),
)
def test_what_is_found_lies_before_and_is_a_window(instant: datetime, window: str, zone: str, period: str, count: int) -> None:
    span = window_at(window, zone, instant.replace(tzinfo=UTC))
    found = earlier(span, Season(period=period, count=count), window, zone)
    assert len(found) <= count and len(set(found)) == len(found)
    for then in found:
        assert then.end <= span.start and window_at(window, zone, then.start) == then
