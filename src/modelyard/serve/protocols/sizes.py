"""How large Parquet and Arrow bodies become when they are unpacked, as their own pages and buffers say.

A few bytes may stand for gigabytes, and the libraries allocate what a page says of itself. So the pages (Thrift's compact protocol) and
the buffers (FlatBuffers) are walked first; a body that passes is then read by pyarrow.
"""

from __future__ import annotations

import struct
from typing import Any

MOST_PAGES = 20_000
_DELTA_BYTE_ARRAY = 7
"""Encoding of Parquet in which each text repeats the start of the one before it: no walk tells how long they get."""
_DEEPEST = 8
_LONGEST_FOOTER = 2**20
_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2


class Unreadable(ValueError):
    """The bytes are not what they should be; the message says what."""


def parquet_pages(body: bytes, start: int, length: int) -> int:
    """Bytes that the pages of a column chunk (`length` bytes from `start`) take unpacked. Raises Unreadable."""
    position, end, total, pages = start, start + length, 0, 0
    if start < 4 or length < 0 or end > len(body):
        raise Unreadable("a column lies outside the body")
    while position < end:
        header, position = _thrift(body, position)
        unpacked, packed = header.get(2), header.get(3)
        pages += 1
        if not isinstance(unpacked, int) or not isinstance(packed, int) or unpacked < 0 or packed < 0 or pages > MOST_PAGES:
            raise Unreadable("a page's header does not hold")
        for kind in (5, 8):  # data pages of either version: field 2, or 4, is the encoding
            encoding = header.get(kind, {}).get(2 if kind == 5 else 4) if isinstance(header.get(kind, {}), dict) else None
            if encoding == _DELTA_BYTE_ARRAY:
                raise Unreadable("the encoding DELTA_BYTE_ARRAY is not read here")
        total += max(unpacked, packed)
        position += packed
    return total


def _varint(body: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(body) or shift > 63:
            raise Unreadable("a number in a page's header does not end")
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _thrift(body: bytes, position: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A struct of Thrift's compact protocol as field number -> value, and where it ends. Raises Unreadable.

    What readers might understand differently (a field that stands there twice, a number that does not fit) is refused.
    """
    if depth > _DEEPEST:
        raise Unreadable("a header is nested too deeply")
    fields: dict[int, Any] = {}
    number = 0
    while True:
        if position >= len(body):
            raise Unreadable("a header does not end")
        head = body[position]
        position += 1
        kind = head & 0x0F
        if kind == 0:
            return fields, position
        if head >> 4:
            number += head >> 4
        else:
            raw, position = _varint(body, position)
            number = (raw >> 1) ^ -(raw & 1)
        if number in fields or not 0 < number < 2**15:
            raise Unreadable("a header has a field that it cannot have")
        if kind in (1, 2):
            fields[number] = kind == 1
        else:
            fields[number], position = _value(body, position, kind, depth)


def _value(body: bytes, position: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2, 3):  # (a boolean in a list is a byte)
        return None, position + 1
    if kind in (4, 5, 6):
        raw, position = _varint(body, position)
        return (raw >> 1) ^ -(raw & 1), position
    if kind == 7:
        return None, position + 8
    if kind == 8:
        size, position = _varint(body, position)
        return None, position + size
    if kind == 9:
        return _list(body, position, depth)
    if kind == 12:
        return _thrift(body, position, depth + 1)
    raise Unreadable("a header holds what none has")


def _list(body: bytes, position: int, depth: int) -> tuple[list[Any], int]:
    if position >= len(body):
        raise Unreadable("a header does not end")
    size, kind = body[position] >> 4, body[position] & 0x0F
    position += 1
    if size == 15:
        size, position = _varint(body, position)
    if size > len(body) - position:
        raise Unreadable("a list does not end")
    values = []
    for _ in range(size):
        value, position = _value(body, position, kind, depth)
        values.append(value)
    return values, position


def parquet_chunks(body: bytes) -> list[tuple[int, int]]:
    """Where the column chunks of a Parquet file begin, and their lengths, as its footer says. Raises Unreadable.

    pyarrow says so too, but ends the whole process where a column's statistics do not hold.
    """
    length = int.from_bytes(body[-8:-4], "little")
    if len(body) < 12 or body[-4:] != b"PAR1" or not 0 < length <= min(len(body) - 12, _LONGEST_FOOTER):
        raise Unreadable("the footer does not hold")
    about, _ = _thrift(body[len(body) - 8 - length : -8], 0)
    chunks = []
    try:
        for group in about.get(4, ()):
            for chunk in group[1]:
                column = chunk[3]
                size, start, first = column[7], column[9], column.get(11)
                chunks.append((min(start, first) if first and first > 0 else start, size))
    except (KeyError, TypeError, AttributeError):
        raise Unreadable("the footer does not hold") from None
    return chunks


def arrow_batch(metadata: bytes, body: memoryview) -> tuple[int, int]:
    """Rows of a message (0 of a dictionary's), and bytes that its buffers take unpacked. Raises Unreadable.

    `metadata` is the message's FlatBuffer, `body` what follows it.
    """
    try:
        message = _Table(metadata, _u32(metadata, 0))
        kind, batch = message.number(1, "B"), message.table(2)
        if kind not in (_RECORD_BATCH, _DICTIONARY_BATCH) or batch is None:
            return 0, 0
        if kind == _DICTIONARY_BATCH:
            batch = batch.table(1)
            if batch is None:
                raise Unreadable("a dictionary has no data")
        return (batch.number(0, "q") if kind == _RECORD_BATCH else 0), _unpacked(batch, body)
    except struct.error:
        raise Unreadable("a message's head does not hold") from None


def _unpacked(batch: _Table, body: memoryview) -> int:
    compressed, total = batch.table(3) is not None, 0
    for offset, length in batch.pairs(2):
        if offset < 0 or length < 0 or offset + length > len(body):
            raise Unreadable("a buffer lies outside the body")
        size = length
        if compressed and length >= 8:
            (size,) = struct.unpack_from("<q", body, offset)
            size = length if size == -1 else size
        if size < 0:
            raise Unreadable("a buffer's length does not hold")
        total += size
    return total


class _Table:
    """A table of a FlatBuffer at `position`. What lies outside raises struct.error."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._at = data, position
        self._vtable = position - struct.unpack_from("<i", data, position)[0]
        if self._vtable < 0:
            raise struct.error

    def _slot(self, field: int) -> int:
        slot = 4 + 2 * field
        if slot >= struct.unpack_from("<H", self._data, self._vtable)[0]:
            return 0
        offset: int = struct.unpack_from("<H", self._data, self._vtable + slot)[0]
        return self._at + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        slot = self._slot(field)
        return struct.unpack_from("<" + kind, self._data, slot)[0] if slot else 0

    def table(self, field: int) -> _Table | None:
        slot = self._slot(field)
        return _Table(self._data, slot + _u32(self._data, slot)) if slot else None

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """A vector of structs of two 64-bit numbers."""
        slot = self._slot(field)
        if not slot:
            return []
        start = slot + _u32(self._data, slot)
        count = _u32(self._data, start)
        if count * 16 > len(self._data):
            raise struct.error
        return [struct.unpack_from("<qq", self._data, start + 4 + 16 * i) for i in range(count)]


def _u32(data: bytes, position: int) -> int:
    value: int = struct.unpack_from("<I", data, position)[0]
    return value
