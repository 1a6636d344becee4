"""The front's HTTP server: uvicorn's sockets and drain, our protocol."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from modelyard.serve import http
from modelyard.serve.answers import Answers
from modelyard.serve.capture import Unwritten
from modelyard.serve.door import Door
from modelyard.serve.http import FrontProtocol, Quick, sweep
from modelyard.serve.tls import Certificate

GRACE_SECONDS, LONGEST_GRACE = 10, 30
"""For which a front that ends answers what it holds: as long as an answer may take, within these bounds."""
PARTING_SECONDS = 1.0
"""For which a front that ends waits for callers who hold a connection and may ask again: closed while they write, it fails a request."""
HANDSHAKE_SECONDS = 10.0
"""For which a caller may take to shake hands over TLS."""
_CERTIFICATE_SECONDS = 1.0
_LOOK_SECONDS, _MISSED = 1.0, 3
"""How often a front that lasts looks whether its tables are there, and how often they must be gone for it to end."""
_OTHER_FILES = 256
"""File descriptors that a front needs beside its callers' connections."""


def server(app: Any, quick: Quick | None, certificate: Certificate | None = None, *, unwritten: Unwritten | None = None) -> _Server:
    """A server of `app` (ASGI) and of what is answered the short way, of which `unwritten` is to be written first. `should_exit` ends it,
    once what is in flight is answered."""
    answers = Answers(unwritten or Unwritten())
    mine = {"quick": None if quick is None else staticmethod(quick), "answers": answers, "room": http.Room(), "most": _most()}
    config = uvicorn.Config(
        app,
        http=type("Protocol", (FrontProtocol,), mine),
        interface="asgi3",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=1024,
    )
    config.load()
    config.ssl = certificate.context if certificate is not None else None
    return _Server(config)


class _Server(uvicorn.Server):
    """Ends without turning away callers who have connected already.

    Fronts that share a port have a queue of new connections each, and the kernel resets those that wait in one that is closed.
    `grace`: for how many seconds what is in flight is answered then.
    """

    grace: Callable[[], int] = staticmethod(lambda: GRACE_SECONDS)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.ssl is None or sockets is None:
            await super().startup(sockets)
            return
        doors: Any = [Door(one, self._let_in, self._has_room) for one in sockets]  # closed as servers are, which is all that is asked
        self.servers = doors
        self.started = True

    def _has_room(self, at_the_door: int) -> bool:
        held: Any = self.config.http_protocol_class
        return at_the_door + len(self.server_state.connections) < int(held.most)

    def _let_in(self, accepted: socket.socket) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._connect(accepted, self._protocol))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        waiting = _queued(sockets or [])
        for listening in self.servers:  # at once: nobody may queue meanwhile
            listening.close()
        for listener in sockets or []:
            listener.close()
        connecting = [asyncio.ensure_future(self._connect(one, self._last)) for one in waiting]
        await self._part()
        self.config.timeout_graceful_shutdown = self.grace()
        await super().shutdown()
        await asyncio.gather(*connecting, return_exceptions=True)  # (a caller may be gone, or speak no TLS)

    async def _part(self) -> None:
        """Let callers go who come once more within `PARTING_SECONDS`."""
        until = time.monotonic() + PARTING_SECONDS
        for connection in self.server_state.connections:
            connection.part()  # type: ignore[union-attr]
        while self.server_state.connections and time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(0.02)

    def _protocol(self) -> Any:
        return self.config.http_protocol_class(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]

    def _last(self) -> Any:
        made = self._protocol()
        made.shutdown()
        return made

    async def _connect(self, accepted: socket.socket, protocol: Callable[[], Any]) -> None:
        over_tls = None if self.config.ssl is None else HANDSHAKE_SECONDS
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(protocol, accepted, ssl=self.config.ssl, ssl_handshake_timeout=over_tls)


def grace(timeout: float) -> int:
    """Seconds for which a front that ends answers what it holds, where an answer takes `timeout` at most."""
    return min(LONGEST_GRACE, max(GRACE_SECONDS, math.ceil(timeout) + 1))


def _queued(listeners: list[socket.socket]) -> list[socket.socket]:
    """The connections that wait to be accepted."""
    found: list[socket.socket] = []
    for listener in listeners:
        with contextlib.suppress(OSError):
            while True:
                found.append(listener.accept()[0])
    return found


def _most() -> int:
    """How many connections a front may hold: each needs a file descriptor, of which the process gets as many as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = http.MAX_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return http.MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(http.MAX_CONNECTIONS, soft - _OTHER_FILES))


async def serve(server: uvicorn.Server, listener: socket.socket, certificate: Certificate | None = None) -> None:
    """Serve until the server is told to end; then answer what is in flight, for the server's `grace` at most."""
    tasks = [asyncio.ensure_future(sweep(server.server_state.connections))]
    if certificate is not None:
        tasks.append(asyncio.ensure_future(_renew(certificate)))
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()


async def run(
    app: Any,
    quick: Quick | None,
    listener: socket.socket,
    certificate: Certificate | None = None,
    *,
    unwritten: Unwritten | None = None,
    lasts_with: Path | None = None,
    timeout: Callable[[], float] = lambda: 0.0,
) -> None:
    """Serve until a signal comes or standard input ends; with `lasts_with`, until that has been gone for a while. `timeout` says how long
    an answer may take."""
    made = server(app, quick, certificate, unwritten=unwritten)
    made.grace = lambda: grace(timeout())
    if lasts_with is None:
        threading.Thread(target=_watch_stdin, args=(asyncio.get_running_loop(), made), daemon=True).start()
        await serve(made, listener, certificate)
        return
    watching = asyncio.ensure_future(_watch_path(lasts_with, made))
    try:
        await serve(made, listener, certificate)
    finally:
        watching.cancel()


def settle() -> None:
    """Nothing that is loaded by now need be looked through for garbage again, and the rest of it less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def _renew(certificate: Certificate) -> None:
    while True:
        await asyncio.sleep(_CERTIFICATE_SECONDS)
        certificate.look()


async def _watch_path(path: Path, server: uvicorn.Server) -> None:
    missed = 0
    while missed < _MISSED:
        await asyncio.sleep(_LOOK_SECONDS)
        missed = 0 if path.exists() else missed + 1
    server.should_exit = True


def _watch_stdin(loop: asyncio.AbstractEventLoop, server: uvicorn.Server) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(setattr, server, "should_exit", True)
