"""Listening sockets."""

from __future__ import annotations

import os
import socket

from modelyard.errors import BadInput


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket; `shared`: further processes may listen there as well. Raises BadInput when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as exc:
        listener.close()
        raise BadInput(
            f"port {port} cannot be used: {os.strerror(exc.errno or 0)}",
            where=f"{host}:{port}",
            next="Choose another port, or 0 for any.",
        ) from None
    return listener
