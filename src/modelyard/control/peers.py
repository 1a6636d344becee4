"""HTTP that knows who is at the other end of a Unix socket, and the server that speaks it."""

from __future__ import annotations

import socket
import struct
from asyncio import Transport
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PeerProtocol(HttpToolsProtocol):
    """HTTP that knows, on a Unix socket, which user is at the other end (SO_PEERCRED: the kernel's word, not the peer's)."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer: socket.socket = transport.get_extra_info("socket")
        if peer.family == socket.AF_UNIX:
            _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
            self.app_state: dict[str, Any] = {**self.app_state, "peer_uid": uid}


def server(app: Any) -> uvicorn.Server:
    """A server of `app`, for sockets that are given to its `run`."""
    config = uvicorn.Config(
        app, http=PeerProtocol, ws="none", lifespan="off", access_log=False, log_config=None, server_header=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    return uvicorn.Server(config)
