"""Where TLS begins: callers whose handshake is not over are counted as those are whose it is, and not waited for long.

To a server they are connections only afterwards, and each has a file descriptor, which the capture and the stats need too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

_AGAIN = 0.1
"""Seconds after which a front that cannot accept anybody, for want of a file descriptor, tries again."""
Connect = Callable[[socket.socket], asyncio.Future[None]]


class Door:
    """Accepts callers on a listening socket. It is closed, and waited for, as an asyncio server is.

    `connect` has a caller shake hands. `room` is asked whether one more may come in, while so many are at the door.
    """

    def __init__(self, listener: socket.socket, connect: Connect, room: Callable[[int], bool]) -> None:
        listener.setblocking(False)
        self._listener, self._connect, self._room = listener, connect, room
        self._shaking: set[asyncio.Future[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._open()

    def _open(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._knocked)

    def _knocked(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another front has it, or it is gone
        except OSError:
            self._loop.remove_reader(self._listener.fileno())
            self._pause = self._loop.call_later(_AGAIN, self._open)
            return
        if not self._room(len(self._shaking)):
            accepted.close()  # nothing can be said before the handshake
            return
        accepted.setblocking(False)
        shaking = self._connect(accepted)
        self._shaking.add(shaking)
        shaking.add_done_callback(self._shaken)

    def _shaken(self, shaking: asyncio.Future[None]) -> None:
        self._shaking.discard(shaking)
        if not shaking.cancelled():
            with contextlib.suppress(OSError, ssl.SSLError):  # the caller is gone, speaks no TLS, or took too long
                shaking.result()

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        elif self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """Nothing is left to wait for: callers at the door are connections of the server's soon, or gone."""
