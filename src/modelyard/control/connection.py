"""HTTP over the Unix socket of a home. A module of its own, since `http.client` is imported for 12 ms, and most commands own the home."""

from __future__ import annotations

import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from modelyard.control.address import at_home

__all__ = ["HTTPException", "UnixConnection"]


class UnixConnection(HTTPConnection):
    """Like any other, but for where it leads. `timeout` is in seconds, None for ever."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with at_home(self._path) as name:
            self.sock.connect(name)
