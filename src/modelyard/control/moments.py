"""Instants as people read them, always with the zone they are meant in."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from modelyard.quality.window.spans import span_of, zone_of
from modelyard.registry.state import ModelState

UTC = ZoneInfo("UTC")
zone = zone_of


def own_zone(model: ModelState) -> ZoneInfo:
    """A model's; UTC before it has a config."""
    return zone(str(model.config["production"].get("timezone", "UTC")) if model.config else "UTC")


def moment(at: str | datetime, where: ZoneInfo = UTC) -> str:
    """`2026-11-24 09:39:20 UTC`. What is no instant is given back as it is."""
    try:
        instant = datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError:
        return str(at)
    return instant.astimezone(where).strftime("%Y-%m-%d %H:%M:%S %Z")


def span(start: str, end: str, where: ZoneInfo = UTC) -> str:
    """A window: days where it begins and ends at midnight, else minutes too."""
    return f"{span_of(start, end, where)} {datetime.fromisoformat(end).astimezone(where):%Z}"
