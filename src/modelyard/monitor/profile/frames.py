"""Files of records that only grow: each record whole or not there at all, whenever the process or the machine died.

A record is a frame: head (magic, kind, lengths, a checksum of all this and the key, one of the body), key, body. Key and body are msgpack,
the body compressed.
Looking for a key reads heads and keys alone. What follows the last whole frame was being written when something died: readers pass over
it, and the next `append` cuts it off. A frame that does not hold its checksums counts as never written, and those behind it are found.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard import files

_HEAD = struct.Struct("<4sBHIII")
_MAGIC = b"MYP2"
SHAPE, RECORD = 0, 1


@dataclass(frozen=True)
class Frame:
    """`key`: whatever msgpack holds, a list above all; the body lies at `offset`, `length` bytes long."""

    kind: int
    key: Any
    offset: int
    length: int
    checksum: int

    @property
    def end(self) -> int:
        return self.offset + self.length


def encode(kind: int, key: Any, body: Any) -> bytes:
    packed, name = zlib.compress(msgspec.msgpack.encode(body)), msgspec.msgpack.encode(key)
    body_sum = zlib.crc32(packed)
    head_sum = _head_sum(kind, name, len(packed), body_sum)
    return _HEAD.pack(_MAGIC, kind, len(name), len(packed), head_sum, body_sum) + name + packed


def _head_sum(kind: int, name: bytes, length: int, body_sum: int) -> int:
    """Of the lengths, too: by a wrong one, the next frame would be missed."""
    return zlib.crc32(name, zlib.crc32(_HEAD.pack(_MAGIC, kind, len(name), length, 0, body_sum)))


def scan(path: Path) -> list[Frame]:
    """The whole frames of a file, oldest first; none where it is not there."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return []
    try:
        return list(_scan(handle))
    finally:
        os.close(handle)


def _scan(handle: int) -> Iterator[Frame]:
    size, at = os.fstat(handle).st_size, 0
    while at + _HEAD.size <= size:
        frame = _frame(handle, at, size)
        if frame is not None:
            yield frame
        at = _next_head(handle, at + 1, size) if frame is None else frame.end


def _frame(handle: int, at: int, size: int) -> Frame | None:
    """The frame that begins at a place; None where none does."""
    start = os.pread(handle, 512, at)  # most keys are within
    magic, kind, named, length, head_sum, body_sum = _HEAD.unpack_from(start)
    begin = at + _HEAD.size + named
    if magic != _MAGIC or begin + length > size:
        return None
    name = start[_HEAD.size : _HEAD.size + named]
    name = name if len(name) == named else os.pread(handle, named, at + _HEAD.size)
    if len(name) != named or _head_sum(kind, name, length, body_sum) != head_sum:
        return None
    return Frame(kind, msgspec.msgpack.decode(name), begin, length, body_sum)


def _next_head(handle: int, at: int, size: int) -> int:
    """Where the next frame may begin, behind one that is not what was written."""
    found = os.pread(handle, size - at, at).find(_MAGIC)
    return size if found < 0 else at + found


def read(path: Path, frame: Frame) -> Any | None:
    """A frame's body; None where it is not what was written, or the file went meanwhile."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        packed = os.pread(handle, frame.length, frame.offset)
    finally:
        os.close(handle)
    if len(packed) != frame.length or zlib.crc32(packed) != frame.checksum:
        return None
    return msgspec.msgpack.decode(zlib.decompress(packed), strict=False)


def append(path: Path, made: Iterable[tuple[Any, bytes, bytes]]) -> None:
    """Add records, on the disk when this returns; one process at a time. Raises OSError.

    Args:
        made: of each record the key of what it needs, that as an encoded frame (written where the file has it not), and its own frame.
    """
    new = not path.exists()
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = list(_scan(file.fileno()))
        known = {frame.key for frame in found if frame.kind == SHAPE}
        file.truncate(found[-1].end if found else 0)
        for needed, shape, frame in made:
            if needed not in known:
                file.write(shape)
                known.add(needed)
            file.write(frame)
        file.flush()
        os.fsync(file.fileno())
    if new:
        files.sync(path.parent)
