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
_encode_into = msgspec.msgpack.Encoder().encode_into
HEAD, ROW, ROWS, TOGETHER = 0, 1, 2, 3


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


class Together(msgspec.Struct, array_like=True, tag=TOGETHER):
    """Requests of one row each that were answered together."""

    requests: list[Row]


_decode = msgspec.msgpack.Decoder(Head | Row | Rows | Together).decode


def blank() -> bytearray:
    """What `frame` may fill, again and again."""
    return bytearray(LENGTH)


def frame(message: Any, into: bytearray) -> bytearray:
    """Make `into` a whole frame but for its length, which is zero until it is put. Raises OSError for what cannot be written, as a number
    of more than 64 bits."""
    try:
        _encode_into(message, into, LENGTH)
    except (OverflowError, TypeError, ValueError) as exc:
        code = errno.ERANGE if isinstance(exc, OverflowError) else errno.EILSEQ
        raise OSError(code, os.strerror(code)) from exc
    return into


def read(data: bytes) -> Iterator[Head | Row | Rows]:
    """The frames of a segment up to the last whole one."""
    at, size = 0, len(data)
    while at + LENGTH < size:
        end = at + LENGTH + int.from_bytes(data[at : at + LENGTH], "little")
        if end == at + LENGTH or end > size:
            return
        try:
            found = _decode(data[at + LENGTH : end])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if isinstance(found, Together):
            yield from found.requests
        else:
            yield found
        at = end
