"""The format of a segment: frames, one after the other, and zeros after the last.

A frame is a length (4 bytes, little-endian) and so many bytes of MessagePack. The length is written last: where it is zero, the frame is
torn, or none was ever begun. A segment begins anew with what it needs: the head of a version stands before the first row of that version.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

SUFFIX = ".rows"
"""How the names of segments end."""
put_length = struct.Struct("<I").pack_into
LENGTH = 4
_encoder = msgspec.msgpack.Encoder()
encode, encode_into = _encoder.encode, _encoder.encode_into
HEAD, ROW, ROWS = 0, 1, 2


class Head(msgspec.Struct, array_like=True, tag=HEAD):
    """A version, under the number `key` in this segment. `types` are those of the table's columns; `features` and `outputs` the names
    of the values of a `Row`, in their order."""

    key: int
    version: str
    types: dict[str, str]
    features: list[str]
    outputs: list[str]


class Row(msgspec.Struct, array_like=True, tag=ROW):
    """A request of one row. Instants are microseconds."""

    key: int
    received_at: int
    latency_ms: float
    id: str
    values: list[Any]
    outputs: list[Any]


class Rows(msgspec.Struct, array_like=True, tag=ROWS):
    """A request of any number of rows, by column. `times` is None where all rows happened when they were received."""

    key: int
    received_at: int
    latency_ms: float
    ids: list[str]
    times: list[int] | None
    features: dict[str, list[Any]]
    extras: dict[str, list[Any]]
    outputs: dict[str, list[Any]]


_decode = msgspec.msgpack.Decoder(Head | Row | Rows).decode


def frame(message: Any) -> bytes:
    """A whole frame. Raises OSError for a number of more than 64 bits."""
    try:
        body = encode(message)
    except OverflowError as exc:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE)) from exc
    return len(body).to_bytes(LENGTH, "little") + body


def read(data: bytes) -> Iterator[Head | Row | Rows]:
    """The frames of a segment up to the last whole one."""
    at, size = 0, len(data)
    while at + LENGTH < size:
        end = at + LENGTH + int.from_bytes(data[at : at + LENGTH], "little")
        if end == at + LENGTH or end > size:
            return
        try:
            yield _decode(data[at + LENGTH : end])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        at = end
