"""A capture's folder: who may change it when, what is in it, and how files give way to another that holds their rows.

Fronts add segments (see `modelyard.serve.capture.segment`) and never touch them again once they are closed. Parquet files are called
`rows-FIRST-LAST-TOKEN.parquet`, by the first and the last `received_at` (microseconds) in them.

New files take the place of others under the folder's lock: a note says which, the new ones appear, the others go, the note goes. Whoever
reads under that lock and finds a note, left by a process that was killed, knows which files do not count.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import files
from modelyard.serve.capture.frames import SUFFIX
from modelyard.tables import RECEIVED_AT

if TYPE_CHECKING:
    import polars as pl

_NOTE = ".replacing-"
_ROWS = re.compile(r"rows-(-?\d+)-(-?\d+)-[^-]+\.parquet")
"""A row may have come before 1970, where it was taken in from elsewhere: then the number has a sign."""


@dataclass(frozen=True)
class Part:
    """A Parquet file; `first` and `last` are its rows' received_at in microseconds."""

    path: Path
    first: int
    last: int
    size: int

    @property
    def day(self) -> str:
        """The day (UTC) of its first row."""
        return datetime.fromtimestamp(self.first / 1e6, UTC).strftime("%Y%m%d")


@contextlib.contextmanager
def locked(folder: Path, *, alone: bool = False) -> Iterator[None]:
    """Hold the folder's lock, with other readers or alone. It ends with the process."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Be the only one who makes new files out of old ones; readers go on. What a killed one left undone is done first."""
    handle = os.open(folder / ".changing", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with locked(folder, alone=True):
            for note in folder.glob(f"{_NOTE}*"):
                _finish(note)
        for left in folder.glob(".rows-*.tmp"):
            left.unlink()
        yield
    finally:
        os.close(handle)


def listing(folder: Path) -> tuple[list[Path], list[Part]]:
    """The segments, in the order of their opening, and the Parquet files, by their first row. Under the lock."""
    gone = {name for note in folder.glob(f"{_NOTE}*") for name in _void(note)}
    found = [path for path in folder.iterdir() if path.name not in gone and not path.name.startswith(".")]
    parts = [
        Part(path, int(name[1]), int(name[2]), path.stat().st_size) for path in found if (name := _ROWS.fullmatch(path.name)) is not None
    ]
    return sorted(p for p in found if p.suffix == SUFFIX), sorted(parts, key=lambda part: (part.first, part.path.name))


def is_open(segment: Path) -> bool:
    """Whether a front that lives writes it."""
    with segment.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def opened(segment: Path) -> int:
    """When its front began to write it, in microseconds."""
    return int(segment.name.split("-")[1])


def replace(folder: Path, old: Iterable[Path], frames: Iterable[pl.DataFrame]) -> None:
    """Put a Parquet file of each of `frames` (none is empty) in the place of `old` files. Only while `changing`.

    Raises OSError: the old ones then are still there, as on a full disk.
    """
    made: list[Path] = []
    try:
        for frame in frames:
            made.append(_work(folder, frame))
            _write(frame, made[-1])
        with locked(folder, alone=True):
            note = folder / f"{_NOTE}{secrets.token_hex(4)}"
            targets = [folder / work.name.removeprefix(".").removesuffix(".tmp") for work in made]
            said = {"new": [path.name for path in targets], "old": [path.name for path in old]}
            files.replace(note, json.dumps(said).encode(), durable=True)
            for work, target in zip(made, targets, strict=True):
                work.rename(target)
            files.sync(folder)
            _finish(note)
    except BaseException:
        for work in made:
            with contextlib.suppress(OSError):
                work.unlink(missing_ok=True)
        raise


def _work(folder: Path, frame: pl.DataFrame) -> Path:
    first, last = (int(getattr(frame[RECEIVED_AT].dt.epoch("us"), of)()) for of in ("min", "max"))
    return folder / f".rows-{first}-{last}-{secrets.token_hex(4)}.parquet.tmp"


def _write(frame: pl.DataFrame, path: Path) -> None:
    """On disk, and it reads as it was written."""
    import polars as pl

    try:
        frame.write_parquet(path, compression="zstd", statistics=True, row_group_size=128 * 1024)
        files.sync(path)
        good = pl.read_parquet(path, glob=False).equals(frame)
    except pl.exceptions.PolarsError as exc:
        full = f"os error {errno.ENOSPC}" in str(exc)  # Polars has no error of its own for it
        raise OSError(errno.ENOSPC if full else errno.EIO, str(exc).splitlines()[0], str(path)) from exc
    if not good:
        raise OSError(errno.EIO, "a capture file does not read as it was written", str(path))


def _finish(note: Path) -> None:
    """Let go of what a note says does not count, and of the note."""
    for name in _void(note):
        note.with_name(name).unlink(missing_ok=True)
    note.unlink()


def _void(note: Path) -> list[str]:
    """The files that do not count: the old ones once all new ones are there, else the new ones."""
    said = json.loads(note.read_bytes())
    return list(said["old"] if all(note.with_name(name).exists() for name in said["new"]) else said["new"])
