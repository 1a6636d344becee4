"""Instants as people read them, always with the zone they are meant in."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

UTC = ZoneInfo("UTC")


def zone(name: str) -> ZoneInfo:
    """The zone of that name; UTC where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def moment(at: str | datetime, where: ZoneInfo = UTC) -> str:
    """`2026-11-24 09:39:20 UTC`. What is no instant is given back as it is."""
    try:
        instant = datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError:
        return str(at)
    return instant.astimezone(where).strftime("%Y-%m-%d %H:%M:%S %Z")


def span(start: str, end: str, where: ZoneInfo = UTC) -> str:
    """A window: days where it begins and ends at midnight, else minutes too."""
    first, last = (datetime.fromisoformat(at).astimezone(where) for at in (start, end))
    pattern = "%Y-%m-%d" if (first.hour, first.minute, last.hour, last.minute) == (0, 0, 0, 0) else "%Y-%m-%d %H:%M"
    return f"{first.strftime(pattern)} .. {last.strftime(pattern)} {last.strftime('%Z')}"
