"""The front's connection to one runner: reconnects by itself, and batches what waits while a call is in flight.

Natural micro-batching: a call that finds the runner idle goes at once; those that come meanwhile are gathered, oldest first,
into the next call of up to `BATCH_ROWS` rows. When a batch fails, each of its requests is tried alone, so that one bad row
fails only its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

import msgspec

from modelyard.serve import wire
from modelyard.serve.refusals import ModelFailed, NoRunner, QueueFull
from modelyard.serve.rows import Rows

BATCH_ROWS = 1024
_BACK_OFF = (0.02, 1.0)
_HELLO_TIMEOUT = 5.0

Outputs = dict[str, list[Any]]


class _Call:
    __slots__ = ("alone", "future", "rows")

    def __init__(self, rows: Rows, future: asyncio.Future[Outputs]) -> None:
        self.rows, self.future, self.alone = rows, future, False


class _Frames(asyncio.Protocol):
    """Cuts a stream into frames for its client."""

    def __init__(self, client: RunnerClient) -> None:
        self.client, self.buffer = client, bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it
        self.transport.write(wire.HELLO)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= 4:
            size = int.from_bytes(self.buffer[:4], "big")
            if size > wire.MAX_FRAME:
                self.client.lost(self)
                return
            if len(self.buffer) < 4 + size:
                return
            body = bytes(memoryview(self.buffer)[4 : 4 + size])
            del self.buffer[: 4 + size]
            self.client.received(self, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.lost(self)


class RunnerClient:
    """One runner process, by its socket path. Use it from one event loop only.

    `outputs` are the names that every answer must have. At most `max_waiting` requests and `max_waiting_rows` rows wait.
    """

    def __init__(self, path: Path | str, outputs: tuple[str, ...], *, max_waiting: int = 1024, max_waiting_rows: int = 100_000) -> None:
        self.path, self.outputs = str(path), outputs
        self.max_waiting, self.max_waiting_rows = max_waiting, max_waiting_rows
        self.hello: dict[str, Any] | None = None
        self.ready = asyncio.Event()
        self.batches = 0
        self._waiting: deque[_Call] = deque()
        self._flying: list[_Call] = []
        self._flying_since = 0.0
        self._rows = 0
        self._number = 0
        self._link: _Frames | None = None
        self._closing = False
        self._keeper = asyncio.get_running_loop().create_task(self._keep_connected())

    @property
    def connected(self) -> bool:
        return self.hello is not None

    @property
    def load(self) -> int:
        """Rows waiting or in flight."""
        return self._rows + sum(c.rows.count for c in self._flying)

    @property
    def busy_seconds(self) -> float:
        """For how long the call in flight has been away; 0 when idle."""
        return time.monotonic() - self._flying_since if self._flying else 0.0

    async def predict(self, rows: Rows) -> Outputs:
        """The outputs of `rows`. Raises NoRunner (not connected, or it died), QueueFull, ModelFailed."""
        if not self.connected or self._closing:
            raise NoRunner("no runner of this version answers")
        if self._waiting and (len(self._waiting) >= self.max_waiting or self._rows + rows.count > self.max_waiting_rows):
            raise QueueFull("too many requests are waiting", next="Try again in a second.")
        call = _Call(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._rows += rows.count
        self._send_next()
        return await call.future

    async def close(self) -> None:
        """End the connection once what is in flight has been answered."""
        self._closing = True
        while self.connected and (self._flying or self._waiting):
            await asyncio.sleep(0.01)
        self._keeper.cancel()
        if self._link is not None and self._link.transport is not None:
            self._link.transport.close()

    def _send_next(self) -> None:
        """Gather the next batch and send it, unless a call is in flight."""
        if self._flying or self._link is None or self._link.transport is None or not self.connected:
            return
        batch: list[_Call] = []
        total = 0
        while self._waiting:
            call = self._waiting[0]
            if call.future.done():  # it timed out, or its caller is gone
                self._rows -= self._waiting.popleft().rows.count
                continue
            if batch and (call.alone or total + call.rows.count > BATCH_ROWS):
                break
            self._rows -= self._waiting.popleft().rows.count
            batch.append(call)
            total += call.rows.count
            if call.alone:
                break
        if batch:
            self._number += 1
            self.batches += 1
            self._flying, self._flying_since = batch, time.monotonic()
            self._link.transport.write(wire.encode(wire.Predict(self._number, total, _joined(batch))))

    def received(self, link: _Frames, body: bytes) -> None:
        """A frame came."""
        if link is not self._link:
            return
        try:
            if not self.connected:
                hello = wire.decode_hello(body)
                if hello.get("protocol") != wire.PROTOCOL or hello.get("ready") is not True:
                    raise msgspec.DecodeError("another protocol")
                self.hello = hello
                self.ready.set()
                self._send_next()
                return
            reply = wire.decode_reply(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.lost(link)
            return
        batch, self._flying = self._flying, []
        if reply.id != self._number or not batch:
            self._flying = batch
            self.lost(link)
            return
        self._settle(batch, reply)
        self._send_next()

    def _settle(self, batch: list[_Call], reply: wire.Reply) -> None:
        total = sum(call.rows.count for call in batch)
        outputs = reply.outputs
        if outputs is not None and all(len(outputs.get(name, ())) == total for name in self.outputs):
            start = 0
            for call in batch:
                stop = start + call.rows.count
                if not call.future.done():
                    call.future.set_result(outputs if len(batch) == 1 else {n: outputs[n][start:stop] for n in self.outputs})
                start = stop
        elif len(batch) > 1:
            for call in reversed(batch):
                call.alone = True
                self._waiting.appendleft(call)
                self._rows += call.rows.count
        elif not batch[0].future.done():
            batch[0].future.set_exception(_failure(reply.error))

    def lost(self, link: _Frames) -> None:
        """The connection ended: what was in flight may have been seen by the runner, what waits was not."""
        if link is not self._link:
            return
        self._link, self.hello = None, None
        self.ready.clear()
        if link.transport is not None:
            link.transport.abort()
        flying, self._flying = self._flying, []
        waiting, self._rows = list(self._waiting), 0
        self._waiting.clear()
        for calls, sent in ((flying, True), (waiting, False)):
            for call in calls:
                if not call.future.done():
                    call.future.set_exception(NoRunner("the runner of this version ended", sent=sent))

    async def _keep_connected(self) -> None:
        """Connect, and connect again with back-off, for as long as the client lives."""
        loop = asyncio.get_running_loop()
        pause = _BACK_OFF[0]
        while not self._closing:
            if self._link is None:
                try:
                    peer = wire.connect(self.path, timeout=0.5)
                    peer.setblocking(False)
                    link = _Frames(self)
                    self._link = link
                    await loop.create_unix_connection(lambda link=link: link, sock=peer)  # type: ignore[misc]
                    await asyncio.wait_for(self.ready.wait(), _HELLO_TIMEOUT)
                    pause = _BACK_OFF[0]
                except (OSError, TimeoutError):
                    if self._link is not None:
                        self.lost(self._link)
                    pause = min(pause * 2, _BACK_OFF[1])
            await asyncio.sleep(pause)


def _joined(batch: list[_Call]) -> dict[str, list[Any]] | msgspec.Raw:
    if len(batch) == 1:
        return batch[0].rows.encoded()
    first = batch[0].rows.columns
    return {name: [value for call in batch for value in call.rows.columns[name]] for name in first}


def _failure(error: wire.Failure | None) -> ModelFailed:
    if error is None:
        return ModelFailed("the runner's answer does not have the signature's outputs")
    return ModelFailed(error.what, where="" if error.row is None else f"row {error.row}")
