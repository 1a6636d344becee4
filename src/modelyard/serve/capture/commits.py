"""Rows that must be on disk before their callers have the answer: one call of the disk for all that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from modelyard.serve.capture.segment import Segment
from modelyard.serve.refusals import NotCaptured

Settle = Callable[[int, OSError | None], None]
"""Told how many rows were kept, or why not."""
_Waiter = tuple[int, "asyncio.Future[None]"]
"""How many rows, and who waits for them."""
_disk = ThreadPoolExecutor(4, thread_name_prefix="capture")


class Commits:
    """Of one writer, in its event loop. `settle` counts each row once, whether or not its caller still waits.

    A disk that failed once is not asked again about the same bytes (it may say that all is well): the segment is cut back to what is
    known to be there, `abandon` is told of it, and all that wait for it fail.
    """

    def __init__(self, settle: Settle, abandon: Callable[[Segment], None]) -> None:
        self._settle, self._abandon = settle, abandon
        self._waiting: dict[Segment, list[_Waiter]] = {}
        self._task: asyncio.Task[None] | None = None

    def wait(self, segment: Segment, rows: int) -> asyncio.Future[None]:
        """Done once what is now in `segment` is on disk; NotCaptured where it cannot be."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        segment.waiting += 1
        self._waiting.setdefault(segment, []).append((rows, future))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._commit(next(iter(self._waiting)))
        finally:
            self._task = None

    async def _commit(self, segment: Segment) -> None:
        """Those who come while the disk is at work wait for its next turn."""
        size, mine = segment.size, len(self._waiting[segment])
        try:
            await asyncio.get_running_loop().run_in_executor(_disk, segment.sync)
        except OSError as exc:
            self._abandon(segment)
            segment.close(size=segment.synced)
            self._done(segment, self._waiting.pop(segment), exc)
            return
        segment.synced, waiting = size, self._waiting.pop(segment)
        if later := waiting[mine:]:
            self._waiting[segment] = later
        self._done(segment, waiting[:mine], None)
        if segment.retired and not segment.waiting:
            segment.close()

    def _done(self, segment: Segment, waiters: list[_Waiter], exc: OSError | None) -> None:
        segment.waiting -= len(waiters)
        for rows, future in waiters:
            self._settle(rows, exc)
            if future.done():
                continue  # its caller has gone
            if exc is None:
                future.set_result(None)
            else:
                future.set_exception(refusal(exc))


def refusal(exc: OSError) -> NotCaptured:
    """What the caller of a row that cannot be kept is told."""
    return NotCaptured(f"the answer cannot be kept, as it must be here: {exc.strerror}", next="Try again in a second.")
