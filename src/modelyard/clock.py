"""Time, injected: production reads the wall, a replay sets it, and both run the same code.

Windows, label delays, cool-downs and schedules read a `Clock`. Leases, time-outs and bake times never do: they are monotonic.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, timezone-aware, in UTC."""
        ...


class WallClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ReplayClock:
    """A clock that somebody moves, only ever forwards."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("a replay clock needs a timezone-aware start")
        self._now, self._lock = start.astimezone(UTC), threading.Lock()

    def now(self) -> datetime:
        return self._now

    def advance_to(self, instant: datetime) -> None:
        """Move to `instant`; raises ValueError when that lies in the past."""
        with self._lock:
            if instant < self._now:
                raise ValueError(f"a clock never runs backwards: {instant} is before {self._now}")
            self._now = instant.astimezone(UTC)


def to_minute(at: str) -> str:
    """An ISO time without its seconds where it has none: `2026-03-01T06:00`, `2026-03-01T06:00:30`."""
    return at[:19].removesuffix(":00")
