"""Until when each call waits for its answer: one timer for all of them, since nearly all are answered long before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from modelyard.serve.queue import Call

_clock = time.monotonic
_GRAIN = 0.001
"""Timers are due at whole milliseconds."""


class Deadlines:
    """Of the calls of one version. `late` is told, once, of each that is not done in its time, and must see to it that it then is."""

    def __init__(self, late: Callable[[Call], None]) -> None:
        self._late = late
        self._calls: dict[Call, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0  # when the timer is due

    def set(self, call: Call, seconds: float) -> None:
        """A call has so many seconds from now on. Say so by `over` once it is done."""
        due = self._calls[call] = _clock() + seconds
        if self._timer is None or due < self._next:
            self._look_at(due)

    def over(self, call: Call) -> None:
        """A call is done; it has no deadline any more."""
        self._calls.pop(call, None)

    def _look_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - _clock()) + _GRAIN, self._look)

    def _look(self) -> None:
        """Tell of those whose time is up, and look again when the first of the others' may be."""
        self._timer, now = None, _clock()
        for call in [call for call, due in self._calls.items() if due <= now]:
            self._late(call)
        if self._calls:
            self._look_at(min(self._calls.values()))
