"""Spans of time in the model's own zone, as the page writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def zone_of(name: str) -> ZoneInfo:
    """The zone of that name; UTC where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def span_of(start: str, end: str, zone: ZoneInfo) -> str:
    """A span in the model's own time: days where it begins and ends at midnight, else minutes too."""
    first, last = (_at(at).astimezone(zone) for at in (start, end))
    pattern = "%Y-%m-%d" if (first.hour, first.minute, last.hour, last.minute) == (0, 0, 0, 0) else "%Y-%m-%d %H:%M"
    return f"{first.strftime(pattern)} .. {last.strftime(pattern)}"


def _at(written: str) -> datetime:
    at = datetime.fromisoformat(written)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
