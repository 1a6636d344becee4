"""The owner's server: one app on the home's Unix socket and, for the console, on a loopback port; in a thread of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.control.address import at_home
from modelyard.errors import BadInput, Unavailable
from modelyard.home import write_private
from modelyard.yard import Yard

if TYPE_CHECKING:
    import uvicorn


def console_token(home: Path) -> str:
    """A new token for the console, also in a file that only the owner may read. It is good until the process ends."""
    token = secrets.token_urlsafe(32)
    write_private(home / "console.token", token)
    return token


PORT, ANY = 8640, -1
"""The console's usual port, and the word for "that one, or any where it is taken"."""


class Server:
    """Serves a yard until `stop`. `port` None means the Unix socket only; 0 picks a free port; `ANY` prefers the usual one."""

    def __init__(self, yard: Yard, *, port: int | None = None, on_down: Callable[[], None] = lambda: None, stays: bool = True) -> None:
        self.token = console_token(yard.home.path)
        self._socket, self._link = yard.home.socket, yard.home.console
        self._sockets = [self._listen_at_home()]
        self.address, here = "", 0
        if port is not None:
            console = self._listen_at(port)
            self._sockets.append(console)
            here = console.getsockname()[1]
            self.address = f"http://127.0.0.1:{here}"
        self._facts = (yard, self.token, yard.home.path.stat().st_uid, on_down, stays, here)
        self._server: uvicorn.Server | None = None
        self._ended = threading.Event()
        self._wake, self._awake = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="api", daemon=True)

    def _serve(self) -> None:
        """Serve; without a console, from when somebody asks: importing what serves takes 0.2 s, which most commands never need."""
        if not self.address:
            select.select([*self._sockets, self._awake], [], [])
        if self._ended.is_set():
            return
        from modelyard.control import peers
        from modelyard.control.app import create_app

        server = peers.server(create_app(*self._facts))
        self._server = server
        if not self._ended.is_set():
            server.run(self._sockets)

    def _listen_at(self, port: int) -> socket.socket:
        for wanted in (PORT, 0) if port == ANY else (port,):
            try:
                return socket.create_server(("127.0.0.1", wanted))
            except OSError as exc:
                reason = os.strerror(exc.errno or 0)
        self._sockets[0].close()
        raise BadInput(f"port {port} of the console cannot be had: {reason}", next="give another `--port`")

    def _listen_at_home(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.unlink(missing_ok=True)  # left by a killed owner: we hold the lock, so nobody listens there
        with at_home(self._socket) as name:
            listener.bind(name)
        shared = self._socket.parent.stat().st_mode & 0o020  # a home that a group may write to lets that group ask
        self._socket.chmod(0o660 if shared else 0o600)
        listener.listen(128)
        return listener

    @property
    def login(self) -> str:
        """The link that opens the console."""
        return f"{self.address}/login?token_given={self.token}"

    def start(self) -> None:
        """Begin to serve; with a port, return once it is so. Raises Unavailable where that does not come about."""
        self._thread.start()
        if not self.address:
            return
        self._write_link()
        deadline = time.monotonic() + 20
        while self._server is None or not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise Unavailable("the control plane could not start", next="see the log above")
            time.sleep(0.01)

    def _write_link(self) -> None:
        """Leave the link in the home, for the owner's other terminals."""
        write_private(self._link, self.login)

    def stop(self) -> None:
        self._link.unlink(missing_ok=True)
        self._ended.set()
        if self._server is not None:
            self._server.should_exit = True
            if self._server.started and self._server.server_state.connections:
                self._thread.join(timeout=10)  # whoever asked is answered
        self._wake.close()  # a server that nobody has asked wakes, and ends
        if self._thread.is_alive() and self._server is None:
            self._thread.join(timeout=10)
        for listener in (*self._sockets, self._awake):
            listener.close()
        with contextlib.suppress(OSError):
            self._socket.unlink()
