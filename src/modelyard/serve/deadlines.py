"""Until when each call waits for its answer: one timer for all of them, since nearly all are answered long before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from modelyard.serve.queue import Call

_clock = time.monotonic
_GRAIN = 0.001
"""Timers are due at whole milliseconds."""


class Deadlines:
    """Of the calls of one version. `late` is told, once, of each that is not done in its time, and must see to it that it then is."""

    def __init__(self, late: Callable[[Call], None]) -> None:
        self._late = late
        self._calls: dict[asyncio.Future[Any], tuple[float, Call]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0  # when the timer is due

    def set(self, call: Call, seconds: float) -> None:
        """A call has so many seconds from now on. Say so by `done` once its future is."""
        due = _clock() + seconds
        self._calls[call.future] = due, call
        if self._timer is None or due < self._next:
            self._look_at(due)

    def done(self, future: asyncio.Future[Any]) -> Call:
        """The call of a future that is done; it has no deadline any more."""
        return self._calls.pop(future)[1]

    def _look_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - _clock()) + _GRAIN, self._look)

    def _look(self) -> None:
        """Tell of those whose time is up, and look again when the first of the others' may be."""
        self._timer, now = None, _clock()
        for call in [call for due, call in self._calls.values() if due <= now]:
            self._late(call)
        left = [due for due, call in self._calls.values() if not call.future.done()]
        if left:
            self._look_at(min(left))
