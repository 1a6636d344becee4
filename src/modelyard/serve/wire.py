"""The platform's side of the runner protocol: frames by msgspec. See docs/reference/runner-protocol.md."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

PROTOCOL = 1
MAX_FRAME = 256 * 2**20
_LONGEST_UNIX_PATH = 100  # the kernel's own limit is 107 bytes


class Failure(msgspec.Struct, frozen=True):
    """Why a `predict` failed: `bad_request`, `bad_output` or `model_failed`."""

    code: str
    what: str
    row: int | None = None


class Reply(msgspec.Struct, frozen=True):
    """The answer to `predict`."""

    id: int | None = None
    outputs: dict[str, list[Any]] | None = None
    error: Failure | None = None


class Predict(msgspec.Struct, frozen=True, tag_field="op", tag="predict"):
    """A request: columns of `rows` values each; `columns` may be JSON already."""

    id: int
    rows: int
    columns: dict[str, Any] | msgspec.Raw


_encoder = msgspec.json.Encoder()
_reply = msgspec.json.Decoder(Reply)
HELLO = (15).to_bytes(4, "big") + b'{"op": "hello"}'


def body(message: Predict) -> bytes:
    """What a frame holds."""
    return _encoder.encode(message)


def frame(body: bytes) -> bytes:
    """One frame."""
    return len(body).to_bytes(4, "big") + body


def decode_reply(body: bytes) -> Reply:
    """Raises msgspec.DecodeError when the runner does not speak the protocol."""
    return _reply.decode(body)


def decode_hello(body: bytes) -> dict[str, Any]:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(body, type=dict[str, Any])


@contextlib.contextmanager
def _reachable(path: str) -> Iterator[str]:
    """`path`, or where it is too long for a Unix socket the same place by way of an open folder."""
    if len(os.fsencode(path)) <= _LONGEST_UNIX_PATH:
        yield path
        return
    folder, name = os.path.split(path)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{name}"
    finally:
        os.close(handle)


def connect(path: Path | str, timeout: float | None = 1.0) -> socket.socket:
    """A connected Unix stream socket. Raises OSError while nobody listens there."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.settimeout(timeout)
        with _reachable(os.fspath(path)) as place:
            peer.connect(place)
    except BaseException:
        peer.close()
        raise
    return peer


def receive(peer: socket.socket) -> bytes:
    """The body of the next frame. Raises OSError when the connection ends, or a frame is too large."""
    size = int.from_bytes(_exactly(peer, 4), "big")
    if size > MAX_FRAME:
        raise OSError(f"a frame of {size} bytes; the largest is {MAX_FRAME}")
    return _exactly(peer, size)


def _exactly(peer: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = peer.recv(min(1 << 20, size - len(data)))
        if not part:
            raise ConnectionResetError("the runner closed the connection")
        data += part
    return bytes(data)
