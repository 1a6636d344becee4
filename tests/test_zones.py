from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard import zones
from modelyard.errors import BadInput
from modelyard.signature import Column, Signature

NAMES = st.sampled_from(sorted(zoneinfo.available_timezones()))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def scalar(local: datetime, name: str) -> int:
    return zones.micros(local, zones.of(name))


def column(locals_: list[datetime], name: str) -> list[int]:
    given = np.array([(at.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) for at in locals_], np.int64)
    return zones.of_array(given, name).tolist()


def next_change(after: datetime, name: str) -> datetime:
    """A day or so before the first change of clocks within two years; else `after`."""
    zone = zoneinfo.ZoneInfo(name)
    for day in range(730):
        at = after + timedelta(days=day)
        if at.replace(tzinfo=zone).utcoffset() != (at + timedelta(days=1)).replace(tzinfo=zone).utcoffset():
            return at - timedelta(days=1)
    return after


@pytest.mark.parametrize(
    ("name", "local", "utc"),
    [
        ("Europe/Berlin", "2026-07-01T12:00:00", "2026-07-01T10:00:00"),
        ("Europe/Berlin", "2026-03-29T02:30:00", "2026-03-29T01:30:00"),  # skipped: 03:30
        ("Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T00:30:00"),  # twice: the first
        ("Australia/Lord_Howe", "2026-10-04T02:15:00", "2026-10-03T15:45:00"),  # half an hour is skipped: 02:45
        ("Antarctica/Troll", "2026-03-29T01:30:00", "2026-03-29T01:30:00"),  # two hours
        ("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30T22:00:00"),  # a day: noon of the next
        ("America/Sao_Paulo", "2018-11-04T00:30:00", "2018-11-04T03:30:00"),  # at midnight
        ("Africa/Monrovia", "1971-06-01T00:00:00", "1971-06-01T00:44:30"),
        ("Europe/Berlin", "2150-07-01T12:00:00", "2150-07-01T10:00:00"),
        ("UTC", "2026-03-29T02:30:00", "2026-03-29T02:30:00"),
    ],
)
def test_what_becomes_of_a_local_time(name: str, local: str, utc: str) -> None:
    at, wanted = datetime.fromisoformat(local), datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert zones.instant(at, name) == wanted
    assert zones.utc(pl.Series("t", [at, None]), name).to_list() == [wanted, None]


@given(NAMES, st.datetimes())
def test_a_column_is_what_its_values_are(name: str, some: datetime) -> None:
    for around in (some, next_change(min(some, datetime(9990, 1, 1)), name)):
        last = min(300, (datetime.max - around) // timedelta(minutes=15))
        locals_ = [around + timedelta(minutes=15 * i) for i in range(last + 1)]
        assert np.clip(column(locals_, name), zones.FIRST, zones.LAST).tolist() == [scalar(at, name) for at in locals_]


@given(NAMES, st.lists(st.datetimes(), max_size=20))
def test_a_column_may_hold_any_times(name: str, locals_: list[datetime]) -> None:
    assert np.clip(column(locals_, name), zones.FIRST, zones.LAST).tolist() == [scalar(at, name) for at in locals_]


@pytest.mark.parametrize("name", ["Asia/Tokyo", "America/New_York"])
def test_the_ends_of_the_calendar(name: str) -> None:
    ends = [datetime.min, datetime.max]
    assert [scalar(at, name) for at in ends] in ([zones.FIRST, zones.LAST - 9 * 3600 * 10**6], [zones.FIRST + 17_762 * 10**6, zones.LAST])
    beyond = np.array([-(2**62), zones.FIRST - 1, zones.LAST + 1, 2**62])
    shifted = zones.of_array(beyond, name) - beyond
    assert np.abs(shifted).max() < zones.DAY, "what lies beyond the calendar is left there"
    assert zones.utc(pl.Series("t", [None, None], pl.Datetime("ns")), name).to_list() == [None, None]


def test_a_zone_that_the_machine_does_not_know() -> None:
    for name in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(BadInput, match="does not know the time zone") as caught:
            zones.of(name)
        assert "tzdata" in caught.value.next


def test_a_signature_carries_its_zones() -> None:
    signed = Signature("regression", (Column("t", "datetime", timezone="Europe/Berlin"), Column("x", "float")), timezone="Europe/Berlin")
    written = signed.to_dict()
    assert written["timezone"] == written["columns"][0]["timezone"] == "Europe/Berlin" and "timezone" not in written["columns"][1]
    assert Signature.from_dict(written) == signed
    written["columns"][0]["timezone"] = "Mars/Olympus"
    with pytest.raises(BadInput, match="'Mars/Olympus'"):
        Signature.from_dict(written)


def test_a_signature_without_zones_means_utc_and_is_written_as_before() -> None:
    signed = Signature.from_dict({"problem_type": "regression", "columns": [{"name": "t", "type": "datetime", "nullable": False}]})
    assert (signed.timezone, signed.columns[0].timezone) == ("UTC", "UTC")
    assert "timezone" not in signed.to_dict() and list(signed.to_dict()["columns"]) == [
        {"name": "t", "type": "datetime", "nullable": False}
    ]
