"""The front's side of a version's runners: one queue, a link to each runner, and what becomes of requests when one of them dies.

Micro-batching: a call that finds a runner idle goes at once; what comes meanwhile is gathered into the next batch, as far as that saves
anything (`pace`). After a batch of several calls the runner waits a little for their callers to come again, for a share of the time that
the batch took. When a batch fails, its halves are tried, so that one bad row fails only its own request. When a runner dies, what was in
flight is tried alone once it is back: the row that kills it then is refused from now on, and the others are answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from modelyard.serve import wire
from modelyard.serve.deadlines import Deadlines
from modelyard.serve.linger import is_whole, patience
from modelyard.serve.link import Link
from modelyard.serve.message import message
from modelyard.serve.pace import Pace
from modelyard.serve.quarantine import Quarantine, killed
from modelyard.serve.queue import Awaited, Call, Outputs, Piece, Queue, rows_in
from modelyard.serve.refusals import ModelFailed, NoRunner, TimedOut
from modelyard.serve.routes import Limits
from modelyard.serve.rows import Rows
from modelyard.serve.stats import RunnerStats, VariantStats

__all__ = ["Outputs", "Runners"]

PATIENCE = 3.0
"""Seconds that requests wait for a runner that died and may be back soon; then they are refused, and later ones at once."""


class Runners:
    """The runners of one version. Use it from one event loop only.

    `outputs` are the names that every answer must have. `on_wanted` is called when the first request waits for a runner that sleeps.
    """

    def __init__(
        self,
        version: str,
        outputs: tuple[str, ...],
        limits: Limits,
        stats: VariantStats | None = None,
        on_wanted: Callable[[], None] = lambda: None,
    ) -> None:
        self.version, self.outputs, self.limits = version, outputs, limits
        self.stats, self._on_wanted = stats or VariantStats(), on_wanted
        self._closed = False
        self.sleeps, self.trouble = False, ""
        self.ready = asyncio.Event()
        self._links: dict[str, Link] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._queue, self._quarantine, self._deadlines = Queue(limits), Quarantine(), Deadlines(self._late)
        self._pace, self._last_up = Pace(), time.monotonic()

    # -- which runners there are ---------------------------------------------------------------------------------------------

    def follow(self, sockets: Sequence[str], limits: Limits, *, sleeps: bool = False, trouble: str = "") -> None:
        """Take up a routing table: link to the runners that it names, let go of the others once they have answered what they hold.

        `sleeps`: where no runner is up, requests wait for one to be started; `trouble` says why none could be.
        """
        self.limits = self._queue.limits = limits
        self._queue.most = self._pace.most(limits.max_batch)
        self.sleeps, self.trouble = sleeps, trouble
        for path in sockets:
            if path not in self._links:
                self._links[path], self._last_up = Link(path, self), time.monotonic()
        for path in [p for p in self._links if p not in sockets]:
            link = self._links.pop(path)
            for piece in link.suspects:
                piece.call.fail(self._gone(sent=True))
            task = asyncio.ensure_future(link.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        if not self.connected:
            self.ready.clear()
        if trouble and not self._links:
            self._refuse_waiting()

    @property
    def connected(self) -> bool:
        for link in self._links.values():  # noqa: SIM110  (asked for each request: a generator takes longer than all else here)
            if link.connected:
                return True
        return False

    @property
    def load(self) -> int:
        """Rows waiting or in flight."""
        return self._queue.rows + sum(p.rows for link in self._links.values() for p in (*link.flying, *link.suspects))

    @property
    def wanted(self) -> int:
        """Requests that wait for a runner that sleeps."""
        return self._queue.calls if self.sleeps and not self._links else 0

    def states(self) -> dict[str, RunnerStats]:
        """How each runner is, by its socket; what waits is shared out evenly."""
        share = -(-self._queue.rows // max(1, len(self._links)))
        return {
            path: RunnerStats(
                version=self.version,
                connected=link.connected,
                busy_seconds=round(link.busy_seconds, 3),
                waiting_rows=share,
                batches=link.batches,
                restarts=max(0, link.connects - 1),
                answered=link.answered,
            )
            for path, link in self._links.items()
        }

    async def close(self) -> None:
        """End the connections once what waits and what is in flight has been answered."""
        while self.connected and (self._queue.calls or any(link.flying for link in self._links.values())):
            await asyncio.sleep(0.01)
        self._closed = True
        self._refuse_waiting()
        await asyncio.gather(*(link.close() for link in self._links.values()))

    # -- asking --------------------------------------------------------------------------------------------------------------

    async def predict(self, rows: Rows) -> Outputs:
        """The outputs of `rows`. Raises NoRunner, QueueFull, TimedOut, ModelFailed. A caller who cancels it leaves the queue."""
        call = Awaited(asyncio.get_running_loop().create_future(), rows, rows.count)
        self.begin(call, rows)
        result: Outputs = await call.wait()
        return result

    def begin(self, call: Call, rows: Rows) -> None:
        """Have the call of some rows wait for their outputs, or for what goes wrong later.

        Raises NoRunner, QueueFull, and what the quarantine says of a row that kills runners.
        """
        if self._quarantine.deaths:
            call.lone = self._quarantine.check(rows)
        self._enter(call)

    async def ask(self, op: str, fields: dict[str, Any], rows: int) -> dict[str, Any]:
        """The reply to another message of the protocol, such as `explain`, about so many rows. Raises as `predict` does."""
        call = Awaited(asyncio.get_running_loop().create_future(), None, rows, {"op": op, **fields})
        self._enter(call)
        result: dict[str, Any] = await call.wait()
        return result

    def _enter(self, call: Call) -> None:
        """Have a call wait for a runner, for so long."""
        asleep = self.sleeps and not self._links
        if asleep and self.trouble:
            raise NoRunner(self.trouble)
        if self._closed or (not asleep and not self.connected and time.monotonic() - self._last_up > PATIENCE):
            raise self._gone(sent=False)
        call.over = self._over
        self._queue.put(call, self._pace.rows_per_second)
        if asleep:
            self._on_wanted()
        self._deadlines.set(call, self.limits.timeout_s + (self.limits.wake_s if asleep else 0.0))
        self._dispatch()

    def _over(self, call: Call, failed: bool) -> None:
        self._deadlines.over(call)
        if failed:
            self._queue.drop(call)

    def _late(self, call: Call) -> None:
        """Its time is up."""
        if self.connected and not call.died:
            seconds = self.limits.timeout_s
            call.fail(TimedOut(f"version {self.version} did not answer within {seconds:g} s", next="Send fewer rows, or try again."))
        else:
            call.fail(self._gone(sent=call.died))

    def _gone(self, *, sent: bool) -> NoRunner:
        return NoRunner(self.trouble or f"no runner of version {self.version} answers", sent=sent)

    def _refuse_waiting(self) -> None:
        for call in self._queue.clear():
            call.fail(self._gone(sent=False))

    # -- batches -------------------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Give idle runners what waits."""
        for link in self._links.values():
            if link.flying or (link.lingers and not self._is_whole(link)) or not link.idle:
                continue
            batch = self._suspect(link) or self._queue.take()
            if not batch:
                link.stop_lingering()
                if not link.suspects:
                    return
                continue
            link.send(batch, lambda number, batch=batch: message(number, batch))  # type: ignore[misc]

    def _is_whole(self, link: Link) -> bool:
        waits = self._queue
        return is_whole(waits.calls, waits.rows, expected=link.expected, max_rows=waits.most)

    def _suspect(self, link: Link) -> list[Piece]:
        while link.suspects:
            piece = link.suspects.popleft()
            if not piece.call.done:
                return [piece]
        return []

    def replied(self, link: Link, batch: list[Piece], body: bytes, seconds: float) -> None:
        """See `link.Owner`."""
        if batch[0].call.fields is not None:
            self._settle_other(link, batch[0].call, body)
        else:
            reply = wire.decode_reply(body)
            if not link.is_answer(reply.id):
                raise msgspec.DecodeError("the answer to another request")
            if self._settle(batch, reply):
                self._pace.took(rows_in(batch), max(seconds, 1e-6))
                self._queue.most = self._pace.most(self.limits.max_batch)
        link.expected = self._queue.calls + len(batch)
        wait = patience(len(batch), seconds, self.limits.max_batch_wait_s)
        if wait and not link.suspects:
            link.linger(wait, lambda: self._queue.calls, self._dispatch)
        self._dispatch()

    def _settle_other(self, link: Link, call: Call, body: bytes) -> None:
        reply = msgspec.json.decode(body, type=dict[str, Any])
        if not link.is_answer(reply.get("id")):
            raise msgspec.DecodeError("the answer to another request")
        call.finish(reply)

    def _settle(self, batch: list[Piece], reply: wire.Reply) -> bool:
        """Tell the batch's callers their answers, or see to it that it is tried otherwise; whether it was answered."""
        total, names = rows_in(batch), self.outputs
        outputs = reply.outputs
        if outputs is not None and all(len(outputs.get(name, ())) == total for name in names):
            if len(batch) == total:  # a row each
                for (call, start, _), values in zip(batch, zip(*(outputs[name] for name in names), strict=True), strict=True):
                    call.answer_row(start, names, values)
            else:
                begin = 0
                for call, start, stop in batch:
                    end = begin + stop - start
                    call.answer(start, stop, outputs if len(batch) == 1 else {name: outputs[name][begin:end] for name in names})
                    begin = end
            for call, _, _ in batch:
                if call.lone and call.rows is not None:
                    self._quarantine.answered(call.rows)
            return True
        if len(batch) > 1:
            half = len(batch) // 2
            self._queue.again(batch[half:])
            self._queue.again(batch[:half])
        else:
            batch[0].call.fail(_failure(reply.error, batch[0].start))
        return False

    # -- deaths --------------------------------------------------------------------------------------------------------------

    def connected_to(self, link: Link) -> None:
        self._last_up, link.away_since = time.monotonic(), None
        link.connects += 1
        self.ready.set()
        self._dispatch()

    def ended(self, link: Link, batch: list[Piece]) -> None:
        """A runner died, or hung up: what it held is tried alone when it is back, unless that has killed it before."""
        for piece in reversed(batch):
            call = piece.call
            if call.rows is None or link.path not in self._links:
                call.fail(self._gone(sent=True))
                continue
            deaths = self._quarantine.died(call.rows, alone=len(batch) == 1)
            if deaths:
                self.stats.quarantined += 1
                call.fail(killed(call.rows, deaths))
            else:
                call.lone = call.died = True
                link.suspects.appendleft(piece)
        if not self.connected:
            self.ready.clear()
            self._last_up = time.monotonic()
        link.away_since = time.monotonic()
        asyncio.get_running_loop().call_later(PATIENCE, self._lose_patience, link, link.away_since)

    def _lose_patience(self, link: Link, since: float) -> None:
        """A runner that died then may have stayed away since: who waits for it need not wait longer. (One that was put to sleep is away,
        too; who asks then waits for the next.)"""
        if link.away_since == since and self._links.get(link.path) is link:
            for piece in link.suspects:
                piece.call.fail(self._gone(sent=True))
            link.suspects.clear()
            if not self.connected:
                self._refuse_waiting()


def _failure(error: wire.Failure | None, start: int) -> ModelFailed:
    if error is None:
        return ModelFailed("the runner's answer does not have the signature's outputs")
    return ModelFailed(error.what, where="" if error.row is None else f"row {start + error.row}")
