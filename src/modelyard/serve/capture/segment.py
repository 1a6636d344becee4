"""One segment file, written through a mapping of memory.

What is in the mapping belongs to the kernel, so it outlives the process. Room is allocated on the disk before it is written to: a full
disk shows there, as an error, and not as a signal in the middle of a copy. It is filled with zeros at once: the kernel then has its pages
ready, and the rows that are the first on theirs need not wait for them. An open segment is locked (`flock`): a lock that can be taken means
that its writer has closed it, or is dead. Its name never changes.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import time
from pathlib import Path

from modelyard import files
from modelyard.serve.capture import frames

FIRST_ROOM = 64 * 1024
LAST_STEP = 2**20


class Segment:
    """An open one. `size` bytes are written, of which `synced` are known to be on disk; `waiting` requests want to know that."""

    __slots__ = ("_file", "_number", "map", "opened", "path", "retired", "room", "size", "synced", "waiting")

    def __init__(self, folder: Path, number: int, limit: int) -> None:
        """Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"seg-{time.time_ns() // 1000}-{os.getpid()}-{number}{frames.SUFFIX}"
        self.size = self.synced = self.waiting = self.room = 0
        self.retired = False
        self.opened = time.monotonic()
        hidden = self.path.with_name(f".{self.path.name}")
        self._file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._room_for(1, min(FIRST_ROOM, limit))
            self.map = mmap.mmap(self._file, self.room)
            hidden.rename(self.path)  # seen only once it is locked: nobody takes a living writer for a dead one
        except OSError:
            os.close(self._file)
            with contextlib.suppress(OSError):
                hidden.unlink()
            raise

    def append(self, frame: bytes | bytearray) -> None:
        """Write a frame, and its length last. Raises OSError; then nothing has changed."""
        start, end = self.size, self.size + len(frame)
        if end > self.room:
            self._grow(end)
        self.map.write(frame)
        frames.put_length(self.map, start, len(frame) - frames.LENGTH)
        self.size = end

    def _grow(self, needed: int) -> None:
        before = self.room
        self._room_for(needed, before + min(before, LAST_STEP))
        try:
            self.map.resize(self.room)
        except OSError:
            self.room = before  # what is not mapped is no room
            raise

    def _room_for(self, needed: int, wanted: int) -> None:
        """Room for `wanted` bytes in all, or where the disk has none for so many, for those that are `needed`."""
        try:
            self._allocate(max(needed, wanted))
        except OSError:
            self._allocate(needed)

    def _allocate(self, room: int) -> None:
        os.posix_fallocate(self._file, self.room, room - self.room)
        os.pwrite(self._file, bytes(room - self.room), self.room)
        self.room = room

    def sync(self) -> None:
        """See that what is written is on disk, and that the file can be found. Raises OSError: then nobody knows what is, and it must
        not be asked again."""
        if not self.synced:
            files.sync(self.path.parent)
        os.fdatasync(self._file)

    def close(self, *, size: int | None = None) -> None:
        """Give back room that was not used; keep the first `size` bytes, by default all that were written."""
        size = self.size if size is None else size
        self.map.close()
        with contextlib.suppress(OSError):
            if size:
                os.ftruncate(self._file, size)
            else:
                self.path.unlink()
        os.close(self._file)
