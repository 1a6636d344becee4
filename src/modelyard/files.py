"""Files put where they belong: whole or not at all, and on the disk where that matters."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path, PurePath


def garbled(name: str) -> str:
    """A file's name, as Python gives it, for people, where it is no UTF-8 (a file system takes that, a manifest does not); else empty."""
    broken = any("\ud800" <= letter <= "\udfff" for letter in name)
    return os.fsencode(name).decode("utf-8", "replace") if broken else ""


def is_data(inside: PurePath) -> bool:
    """Whether a path inside a folder of data is one of its files, by the convention of those who write such folders: what begins with
    `_` or `.` is not there (yet), such as `_temporary/part-0.parquet` of a job that has not ended."""
    return not any(part.startswith(("_", ".")) for part in inside.parts)


def sync(path: Path) -> None:
    """See that a file, or a folder's list of names, outlives a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(path: Path, data: bytes, *, durable: bool) -> None:
    """Put `data` at `path` in one step: a reader sees the old file or the new one. `durable` also outlives a power loss."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    if durable:
        sync(path.parent)
