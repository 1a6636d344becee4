"""Naive times as instants, by one rule for what a model learns from and for what it is asked.

A local time that the clock shows twice is the first of the two. One that it skips is what the clock of before would have gone on to: where
two becomes three, half past two is half past three. The rule, and the zones themselves, are Python's own (`zoneinfo`, PEP 495): the table
libraries each bring zones that differ before 1970 and after 2037. An instant beyond the calendar of the years 1 to 9999 is its end.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from modelyard.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

DEFAULT = "UTC"
"""The zone of naive times where nothing names one."""
FIRST, LAST, DAY = -62_135_596_800_000_000, 253_402_300_799_999_999, 86_400_000_000
"""Microseconds from 1970 to the first and the last instant of the years 1 to 9999, and of a day."""
_EPOCH, _NAIVE = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)  # the wall clock's
_MICROSECOND = timedelta(microseconds=1)
_FIRST_DAY, _LAST_DAY = FIRST // DAY, LAST // DAY
_ORDINAL = date(1970, 1, 1).toordinal()


@cache
def of(name: str) -> ZoneInfo:
    """Raises BadInput for a zone that this machine does not know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "install the system's time zone data, or the package tzdata"
        raise BadInput(f"this machine does not know the time zone {name[:80]!r}", where="timezone", next=hint) from None


def micros(at: datetime, zone: tzinfo) -> int:
    """Microseconds since 1970 of a time that may be naive."""
    span = (at if at.tzinfo is not None else at.replace(tzinfo=zone)) - _EPOCH
    found = (span.days * 86400 + span.seconds) * 1_000_000 + span.microseconds
    return found if FIRST <= found <= LAST else FIRST if found < FIRST else LAST


def instant(at: datetime, name: str) -> datetime:
    """A time that may be naive, in UTC."""
    return _EPOCH + micros(at, of(name)) * _MICROSECOND


def of_array(local: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Microseconds of naive times as microseconds of their instants, a column at a time. Those beyond the calendar are left beyond it."""
    import numpy as np

    if name == DEFAULT or not len(local):
        return local
    zone, days = of(name), np.clip(local // DAY, _FIRST_DAY, _LAST_DAY)
    first = int(days.min())
    places = days - first
    begins = np.zeros(int(days.max()) - first + 2, np.bool_)
    begins[places] = True
    begins[1:] = begins[1:] | begins[:-1]
    offsets = np.zeros(len(begins), np.int64)
    for place in np.flatnonzero(begins).tolist():
        offsets[place] = _offset(first + place, zone)
    found: NDArray[np.int64] = local - offsets[places]
    # no zone changes its clocks twice in a day: where a day begins as the next one does, they do not change in it
    changing = np.flatnonzero(offsets[places] != offsets[places + 1])
    times, which = np.unique(local[changing], return_inverse=True)
    found[changing] = np.array([time - _ahead(_NAIVE + time * _MICROSECOND, zone) for time in times.tolist()], np.int64)[which]
    return found


def _offset(day: int, zone: ZoneInfo) -> int:
    """How far a clock is ahead of UTC when a day, counted from 1970, begins."""
    if day > _LAST_DAY:
        return _ahead(datetime.max, zone)
    return _ahead(datetime.fromordinal(_ORDINAL + day), zone)


def _ahead(local: datetime, zone: ZoneInfo) -> int:
    offset = local.replace(tzinfo=zone).utcoffset()
    assert offset is not None
    return offset // _MICROSECOND


def utc(times: pl.Series, name: str) -> pl.Series:
    """A column of naive times in UTC, to the microsecond. Those beyond the calendar are left beyond it."""
    import polars as pl

    stamps = times.dt.cast_time_unit("us")
    if name == DEFAULT:
        return stamps.dt.replace_time_zone("UTC")
    given = stamps.to_physical()
    made = pl.Series(times.name, of_array(given.fill_null(0).to_numpy(), name)).cast(pl.Datetime("us", "UTC"))
    return pl.select(pl.when(given.is_not_null()).then(made)).to_series().rename(times.name) if given.null_count() else made


def arrow(times: Any) -> Any:
    """Arrow's timestamps or dates in microseconds, in UTC where they have a zone, else naive; parts of one are cut off, as Polars does."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = times.type
    zone = "UTC" if pa.types.is_timestamp(kind) and kind.tz is not None else None
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        times = pc.floor_temporal(pc.cast(times, pa.timestamp("ns", zone)), unit="microsecond")
    return pc.cast(times, pa.timestamp("us", zone))
