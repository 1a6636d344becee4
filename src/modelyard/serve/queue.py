"""What waits for the runners of a version: gathered into batches, in bounds, with room in each batch for both small and large bodies."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from modelyard.serve.refusals import QueueFull
from modelyard.serve.routes import Limits
from modelyard.serve.rows import Rows

Outputs = dict[str, list[Any]]
_LONGEST_HINT = 60


class Call:
    """One request on its way. `fields` are those of a message other than `predict`. A `lone` one shares its batch with nobody. `died`: a
    runner died while it had it. `over` is told when it ends, and whether it failed, before whoever asked is (`end`): once, and at once.

    A body larger than a batch goes in pieces: `left` rows of it are not answered yet, `parts` are the answers so far by first row.
    """

    __slots__ = ("died", "done", "fields", "left", "lone", "over", "parts", "rows", "size", "taken")
    over: Callable[[Call, bool], None]

    def __init__(self, rows: Rows | None, size: int, fields: dict[str, Any] | None = None) -> None:
        self.rows, self.fields = rows, fields
        self.size = self.left = size
        self.lone, self.died, self.done, self.taken = fields is not None, False, False, 0
        self.parts: dict[int, Outputs] | None = None

    def answer(self, start: int, stop: int, outputs: Outputs) -> None:
        """Take the answer to rows `start` to `stop`; with the last of them the call is answered."""
        self.left -= stop - start
        if self.done:
            return
        if stop - start == self.size:
            self.finish(outputs)
            return
        if self.parts is None:
            self.parts = {}
        self.parts[start] = outputs
        if not self.left:
            ordered = [self.parts[begin] for begin in sorted(self.parts)]
            self.finish({name: [v for part in ordered for v in part[name]] for name in ordered[0]})

    def answer_row(self, row: int, names: Sequence[str], values: tuple[Any, ...]) -> None:
        """`answer` for one row: its outputs by `names`."""
        self.answer(row, row + 1, {name: [value] for name, value in zip(names, values, strict=True)})

    def finish(self, outputs: Any) -> None:
        """It is answered."""
        if not self.done:
            self.done = True
            self.over(self, False)
            self.end(outputs, None)

    def fail(self, exc: BaseException) -> None:
        """It is not answered, and this is why: CancelledError where nobody waits for it any more."""
        if not self.done:
            self.done = True
            self.over(self, True)
            self.end(None, exc)

    def end(self, outputs: Any, exc: BaseException | None) -> None:
        """Tell whoever asked. Raises nothing."""
        raise NotImplementedError


class Awaited(Call):
    """A call that somebody awaits (`wait`)."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Any], rows: Rows | None, size: int, fields: dict[str, Any] | None = None) -> None:
        super().__init__(rows, size, fields)
        self.future = future

    async def wait(self) -> Any:
        """The outputs. Raises what the call failed with; a caller who is cancelled gives it up."""
        try:
            return await self.future
        except asyncio.CancelledError as exc:
            self.fail(exc)
            raise

    def end(self, outputs: Any, exc: BaseException | None) -> None:
        if self.future.done():
            return  # cancelled
        if exc is None:
            self.future.set_result(outputs)
        else:
            self.future.set_exception(exc)


class Piece(NamedTuple):
    """Rows `start` to `stop` of a call."""

    call: Call
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


def rows_in(pieces: Iterable[Piece]) -> int:
    return sum([stop - start for _, start, stop in pieces])


class Queue:
    """Calls that wait, oldest first.

    Those of more than half a batch go in pieces, in turn, and share each batch with the small ones: neither kind waits for the other for
    longer than a batch takes. `calls` and `rows` are how many wait; `most` is how many rows a batch has at present, at most.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits, self.most = limits, limits.max_batch
        self.calls = self.rows = 0
        self._small: deque[Call] = deque()
        self._large: deque[Call] = deque()
        self._again: deque[list[Piece]] = deque()

    def put(self, call: Call, rows_per_second: float) -> None:
        """Raises QueueFull, with an estimate of when to come again, unless nothing waits."""
        limits = self.limits
        if self.calls and (self.calls >= limits.max_waiting or self.rows + call.size > limits.max_waiting_rows):
            seconds = min(_LONGEST_HINT, max(1, round(self.rows / rows_per_second))) if rows_per_second else 1
            raise QueueFull("too many requests are waiting", retry_after=seconds)
        self.calls += 1
        self.rows += call.size
        (self._large if call.size > 1 and self._divides(call) else self._small).append(call)

    def _divides(self, call: Call) -> bool:
        return self.most > 1 and not call.lone and call.size > max(1, self.most // 2)

    def drop(self, call: Call) -> None:
        """Forget a call whose caller is gone; what is in flight of it stays there."""
        waits = self._large if call in self._large else self._small
        try:
            waits.remove(call)
        except ValueError:
            return
        self.calls -= 1
        self.rows -= call.size - call.taken

    def again(self, pieces: list[Piece]) -> None:
        """Have these pieces go next, and nothing with them."""
        self._again.appendleft(pieces)

    def take(self) -> list[Piece]:
        """The next batch; empty when nothing waits."""
        while self._again:
            pieces = [p for p in self._again.popleft() if not p.call.done]
            if pieces:
                return pieces
        room = self.most
        if self._small and (room == 1 or self._small[0].lone or self._small[0].size > room):  # larger: it came before a smaller limit did
            return [self._whole(self._small.popleft())]
        pieces = self._take_small(room // 2 if self._large else room)
        if self._large:
            pieces.append(self._piece(room - rows_in(pieces)))
        return pieces

    def _take_small(self, room: int) -> list[Piece]:
        pieces: list[Piece] = []
        while self._small and self._small[0].size <= room and not self._small[0].lone:
            room -= self._small[0].size
            pieces.append(self._whole(self._small.popleft()))
        return pieces

    def _whole(self, call: Call) -> Piece:
        self.calls -= 1
        self.rows -= call.size
        return Piece(call, 0, call.size)

    def _piece(self, room: int) -> Piece:
        """Rows of the large call whose turn it is."""
        call = self._large.popleft()
        start = call.taken
        call.taken = stop = min(start + room, call.size)
        self.rows -= stop - start
        if stop < call.size:
            self._large.append(call)
        else:
            self.calls -= 1
        return Piece(call, start, stop)

    def clear(self) -> list[Call]:
        """Empty it; returns what waited."""
        waited = [*self._small, *self._large, *(piece.call for pieces in self._again for piece in pieces)]
        self._small.clear()
        self._large.clear()
        self._again.clear()
        self.calls = self.rows = 0
        return waited
