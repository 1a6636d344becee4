"""AWS's event streams: frames of type PayloadPart, each with its lengths and its check sums."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

KIND = b"application/vnd.amazon.eventstream"
PART_BYTES = 16 * 1024
"""About how much of an answer is in one part."""
Cut = Callable[[bytes, int], int]


def whole_lines(body: bytes, stop: int) -> int:
    """Where to cut instead of at `stop`, so that each part is whole lines."""
    end = body.find(b"\n", stop)
    return len(body) if end < 0 else end + 1


def parts(body: bytes, cut: Cut | None = None) -> Iterator[bytes]:
    """The body in parts of about `PART_BYTES`; `cut` moves each end."""
    start = 0
    while start < len(body):
        stop = min(len(body), start + PART_BYTES)
        if cut is not None and stop < len(body):
            stop = cut(body, stop - 1)
        yield body[start:stop]
        start = stop


def encode(body: bytes, cut: Cut | None = None) -> bytes:
    """The frames of an answer."""
    return b"".join(frame(part) for part in parts(body, cut))


def frame(payload: bytes) -> bytes:
    """One frame: a prelude of two lengths and its CRC, the headers, the payload, and the CRC of all of it."""
    prelude = struct.pack(">II", 16 + len(_HEADERS) + len(payload), len(_HEADERS))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + _HEADERS + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _header(name: bytes, value: bytes) -> bytes:
    """A header of type string (7)."""
    return struct.pack(">B", len(name)) + name + struct.pack(">BH", 7, len(value)) + value


_HEADERS = (
    _header(b":event-type", b"PayloadPart") + _header(b":content-type", b"application/octet-stream") + _header(b":message-type", b"event")
)
