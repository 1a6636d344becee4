"""The front's HTTP server: uvicorn's sockets and drain, our protocol."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
import threading
from pathlib import Path
from typing import Any

import uvicorn

from modelyard.serve import http
from modelyard.serve.answers import Answers
from modelyard.serve.capture import Unwritten
from modelyard.serve.http import FrontProtocol, Quick, sweep
from modelyard.serve.tls import Certificate

GRACE_SECONDS = 10
_CERTIFICATE_SECONDS = 1.0
_LOOK_SECONDS, _MISSED = 1.0, 3
"""How often a front that lasts looks whether its tables are there, and how often they must be gone for it to end."""
_OTHER_FILES = 256
"""File descriptors that a front needs beside its callers' connections."""


def server(app: Any, quick: Quick | None, certificate: Certificate | None = None, *, unwritten: Unwritten | None = None) -> uvicorn.Server:
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
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        waiting = _queued(sockets or [])
        for listening in self.servers:  # at once: nobody may queue meanwhile
            listening.close()
        for listener in sockets or []:
            listener.close()
        connecting = [asyncio.ensure_future(self._connect(one)) for one in waiting]
        await super().shutdown()
        await asyncio.gather(*connecting, return_exceptions=True)  # (a caller may be gone, or speak no TLS)

    async def _connect(self, accepted: socket.socket) -> None:
        loop, config = asyncio.get_running_loop(), self.config

        def protocol() -> Any:
            made: Any = config.http_protocol_class(config=config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]
            made.shutdown()
            return made

        await loop.connect_accepted_socket(protocol, accepted, ssl=config.ssl)


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
    """Serve until the server is told to end; then answer what is in flight, for `GRACE_SECONDS` at most."""
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
) -> None:
    """Serve until a signal comes or standard input ends; with `lasts_with`, until that has been gone for a while."""
    made = server(app, quick, certificate, unwritten=unwritten)
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
