"""Files put where they belong: whole or not at all, and on the disk where that matters."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def is_text(name: str) -> bool:
    """Whether a file's name, as Python gives it, is UTF-8: a file system takes any bytes, a manifest does not."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


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
