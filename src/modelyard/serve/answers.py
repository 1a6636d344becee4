"""Answers of the short way on their way to the callers: written together, or still to come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelyard.serve.capture import Unwritten
from modelyard.serve.counter import Waiting

if TYPE_CHECKING:
    from modelyard.serve.http import FrontProtocol

AT_ONCE = 32
"""Answers that wait for each other at the most, before they are written."""


class _Nobody:
    """Waits for more of a body that is there already."""

    def set(self) -> None:
        pass


class Answers:
    """Answers of the short way that are ready, each written when the round of the event loop is over, or once there are `AT_ONCE` of them.

    A caller who waits for several of them then is woken once, and not for each, which may cost as much as half an answer does. Tasks that
    began since write after them. Whoever closes a connection writes them first. What was captured of them is `unwritten`, and written
    before any of them.
    """

    def __init__(self, unwritten: Unwritten) -> None:
        self._ready: list[tuple[asyncio.Transport, bytes]] = []
        self._unwritten = unwritten

    def add(self, transport: asyncio.Transport, answer: bytes, loop: asyncio.AbstractEventLoop) -> None:
        ready = self._ready
        if not ready:
            loop.call_soon(self.write)
        ready.append((transport, answer))
        if len(ready) >= AT_ONCE:
            self.write()

    def at_once(self, transport: asyncio.Transport, answer: bytes) -> None:
        """One that waits for no other."""
        self._unwritten.write()
        transport.write(answer)

    def write(self) -> None:
        """Write what there is."""
        self._unwritten.write()
        ready, self._ready = self._ready, []
        for transport, answer in ready:
            if not transport.is_closing():  # its caller may have hung up since
                transport.write(answer)


class Deferred:
    """A request of the short way whose answer is still to come, where uvicorn has its own kind of cycle."""

    response_started = response_complete = disconnected = False
    keep_alive = True
    message_event = _Nobody()

    def __init__(self, protocol: FrontProtocol, waiting: Waiting) -> None:
        self._protocol, self._waiting = protocol, waiting
        waiting.then(self._write)

    def _write(self, answer: bytes) -> None:
        self.response_started = self.response_complete = True
        transport = self._protocol.transport
        if self.disconnected or transport.is_closing():
            return
        if self.keep_alive:
            self._protocol.answers.add(transport, answer, self._protocol.loop)
            self._protocol.on_response_complete()
        else:
            self._protocol.answers.at_once(transport, answer.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
            transport.close()

    def leave(self) -> None:
        self._waiting.leave()
