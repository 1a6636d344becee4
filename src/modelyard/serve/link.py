"""The connection to one runner: frames out and in, one batch in flight, and connecting again for as long as it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import msgspec

from modelyard.serve import left, wire
from modelyard.serve.queue import Piece

_BACK_OFF = (0.02, 0.25)
_HELLO_TIMEOUT = 5.0


class Owner(Protocol):
    """Who is told what comes over a link."""

    def connected_to(self, link: Link) -> None: ...

    def replied(self, link: Link, batch: list[Piece], body: bytes, seconds: float) -> None:
        """The answer to a batch, which took so long. Raises msgspec.DecodeError for what is not the protocol: the link then ends."""
        ...

    def ended(self, link: Link, batch: list[Piece]) -> None:
        """The connection ended with this batch in flight."""
        ...


class _Frames(asyncio.Protocol):
    """Cuts a stream into frames."""

    def __init__(self, link: Link) -> None:
        self.link, self.buffer = link, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.link.opened(self, cast("asyncio.Transport", transport))  # uvloop's do not inherit from it

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= 4:
            size = int.from_bytes(self.buffer[:4], "big")
            if size > wire.MAX_FRAME:
                self.link.lost(self)
                return
            if len(self.buffer) < 4 + size:
                return
            body = bytes(memoryview(self.buffer)[4 : 4 + size])
            del self.buffer[: 4 + size]
            self.link.received(self, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.link.lost(self)


class Link:
    """One runner, by its socket path. `suspects` are pieces that were in flight when it died: it tries them alone, before anything else."""

    def __init__(self, path: str, owner: Owner) -> None:
        self.path, self._owner = path, owner
        self.connected = False
        self.suspects: deque[Piece] = deque()
        self.flying: list[Piece] = []
        self.expected = 0  # calls that wait once the callers of the batch before have come again
        self.away_since: float | None = None
        self.lingers = False
        self._linger: asyncio.TimerHandle | None = None
        self._turn = 0  # of lingering: what belongs to one that was stopped does nothing
        self._since, self.batches, self.answered = 0.0, 0, 0
        self._hold = left.Hold(path)
        self._frames: _Frames | None = None
        self._transport: asyncio.Transport | None = None
        self._closing = False
        self._answered, self._gone = asyncio.Event(), asyncio.Event()
        self._pause = _BACK_OFF[0]
        self.connects = 0
        self._keeper = asyncio.get_running_loop().create_task(self._keep_connected())

    @property
    def idle(self) -> bool:
        """Whether it can take a batch."""
        return self.connected and not self.flying and not self._closing

    @property
    def busy_seconds(self) -> float:
        """For how long the batch in flight has been away; 0 when there is none."""
        return time.monotonic() - self._since if self.flying else 0.0

    def send(self, batch: list[Piece], message: Callable[[int], bytes]) -> None:
        """Send a batch; `message` makes the frame's body, given the message's number."""
        assert self._transport is not None
        self.stop_lingering()
        self.batches += 1
        self.flying, self._since = batch, time.monotonic()
        self._transport.write(wire.frame(message(self.batches)))

    def linger(self, seconds: float, waiting: Callable[[], int], then: Callable[[], None]) -> None:
        """Take nothing for so long after the answers at hand have been written, unless `stop_lingering` comes before. And for longer while
        each round of the event loop has more and more `waiting`: where the front has much to do, requests lie unread in their sockets when
        the time is over.
        """
        self.stop_lingering()
        self.lingers, turn, loop = True, self._turn, asyncio.get_running_loop()

        def begin() -> None:  # what the batch's callers are told is written by callbacks that go before this one
            if self._turn == turn:
                self._linger = loop.call_later(seconds, read_on)

        def read_on() -> None:
            loop.call_soon(loop.call_soon, over, waiting())  # in between, the loop reads its sockets

        def over(before: int) -> None:
            if self._turn == turn:
                if waiting() > before:
                    read_on()
                else:
                    self.stop_lingering()
                    then()

        loop.call_soon(begin)

    def stop_lingering(self) -> None:
        self.lingers = False
        self._turn += 1
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def is_answer(self, number: int | None) -> bool:
        return number == self.batches

    async def close(self) -> None:
        """End the connection once what is in flight has been answered."""
        self._closing = True
        while self.connected and self.flying:
            await self._answered.wait()
        self._keeper.cancel()
        self.stop_lingering()
        if self._transport is not None:
            self._transport.close()
        self._hold.let_go()

    def opened(self, frames: _Frames, transport: asyncio.Transport) -> None:
        self._frames, self._transport = frames, transport
        if not self._closing:
            self._hold.take()
        transport.write(wire.HELLO)

    def received(self, frames: _Frames, body: bytes) -> None:
        if frames is not self._frames:
            return
        try:
            if not self.connected:
                hello = wire.decode_hello(body)
                if hello.get("protocol") != wire.PROTOCOL or hello.get("ready") is not True:
                    raise msgspec.DecodeError("another protocol")
                self.connected, self._pause = True, _BACK_OFF[0]
                self._owner.connected_to(self)
                return
            seconds, batch, self.flying = self.busy_seconds, self.flying, []
            if not batch:
                raise msgspec.DecodeError("an answer to nothing")
            try:
                self._owner.replied(self, batch, body, seconds)
            except BaseException:
                self.flying = batch
                raise
            self.answered += 1
            self._mark_answered()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.lost(frames)

    def _mark_answered(self) -> None:
        self._answered.set()
        self._answered.clear()

    def lost(self, frames: _Frames) -> None:
        """The connection ended."""
        if frames is not self._frames:
            return
        transport, self._transport, self._frames = self._transport, None, None
        self.connected = False
        self.stop_lingering()
        if transport is not None:
            transport.abort()
        batch, self.flying = self.flying, []
        self._mark_answered()
        self._gone.set()
        self._owner.ended(self, batch)

    async def _keep_connected(self) -> None:
        """Connect, and connect again with back-off, for as long as the link lives."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                peer = wire.connect(self.path, timeout=0)
                frames = _Frames(self)
                self._gone.clear()
                await loop.create_unix_connection(lambda frames=frames: frames, sock=peer)  # type: ignore[misc]
                loop.call_later(_HELLO_TIMEOUT, self._expect_hello, frames)
                await self._gone.wait()
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, _BACK_OFF[1])

    def _expect_hello(self, frames: _Frames) -> None:
        if not self.connected:
            self.lost(frames)
