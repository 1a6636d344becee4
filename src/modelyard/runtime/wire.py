"""Frames of the runner protocol: a 4-byte big-endian length, then that many bytes of UTF-8 JSON."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROTOCOL = 1
MAX_FRAME = 256 * 2**20
_LONGEST_UNIX_PATH = 100  # the kernel's own limit is 107 bytes


class BadFrame(Exception):
    """The peer does not speak the protocol."""


def encode(message: dict[str, Any]) -> bytes:
    """One frame. Raises ValueError for NaN or infinity: they are no JSON."""
    body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    return struct.pack(">I", len(body)) + body


def take_frame(buffer: bytearray) -> dict[str, Any] | None:
    """Cut the first complete frame off `buffer`; None when it is not complete yet. Raises BadFrame."""
    if len(buffer) < 4:
        return None
    (size,) = struct.unpack_from(">I", buffer)
    if size > MAX_FRAME:
        raise BadFrame(f"a frame of {size} bytes; the largest is {MAX_FRAME}")
    if len(buffer) < 4 + size:
        return None
    body = bytes(memoryview(buffer)[4 : 4 + size])
    del buffer[: 4 + size]
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BadFrame(f"a frame that is not JSON: {exc}") from exc
    if not isinstance(message, dict):
        raise BadFrame("a frame must be a JSON object")
    return message


@contextlib.contextmanager
def reachable(path: str) -> Iterator[str]:
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


def listen(path: str) -> socket.socket:
    """A listening Unix socket at `path`, in place of whatever a dead predecessor left there. Owner-only permissions."""
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with reachable(path) as place:
            listener.bind(place)
    finally:
        os.umask(before)
    listener.listen(64)
    return listener
