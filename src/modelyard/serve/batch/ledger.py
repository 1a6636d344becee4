"""What a batch has done: a line a finished file, in a hidden folder of the output; and the lock that makes a second batch there wait its
turn. A file that has a line is whole; one that was finished and has none is done again, with the same outcome."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from modelyard.errors import BadInput

_encode = msgspec.json.Encoder().encode


class Done(msgspec.Struct, frozen=True):
    """A finished file: its input as it was (`digest` is SHA-256), what was asked (`order`), and what came of it. `made_size` and `made_ns`
    are the output's own (0: a batch did it that did not note them)."""

    input: str
    size: int
    changed_ns: int
    digest: str
    order: str
    output: str
    rows: int
    refused: int
    made_size: int = 0
    made_ns: int = 0


class Ledger:
    """Of the outputs in a folder. Only while `held`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "done.jsonl"
        self._done: dict[str, Done] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self._path.read_bytes().split(b"\n"):
                with contextlib.suppress(msgspec.DecodeError):  # a line that a kill has torn
                    found = msgspec.json.decode(line, type=Done)
                    self._done[found.output] = found

    def known(self, source: Path, name: str, order: str, target: Path, output: str) -> Done | None:
        """The line of an output that is there, as it was made, and that the same input and order would give again; None, too, where the
        input is gone."""
        found = self._done.get(output)
        if found is None or (found.input, found.order) != (name, order) or not target.is_file():
            return None
        made = target.stat()
        if found.made_ns and (made.st_size, made.st_mtime_ns) != (found.made_size, found.made_ns):
            return None
        with contextlib.suppress(FileNotFoundError):  # whoever then reads it says so
            state = source.stat()
            if (state.st_size, state.st_mtime_ns) == (found.size, found.changed_ns) or digest(source) == found.digest:
                return found
        return None

    def add(self, done: Done) -> None:
        """On disk when this returns. Raises OSError."""
        with self._path.open("ab") as file:
            file.write(b"\n" + _encode(done) + b"\n")  # after what a kill may have torn
            file.flush()
            os.fsync(file.fileno())
        self._done[done.output] = done


@contextlib.contextmanager
def held(folder: Path, *, keep: bool) -> Iterator[None]:
    """Hold a batch's folder, made if missing; it goes afterwards unless it is to be kept. Raises BadInput where another batch holds it."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise BadInput("another batch writes there now", where=str(folder.parent), next="wait for its end") from None
        with contextlib.suppress(FileNotFoundError):
            if (folder / "lock").stat().st_ino == os.fstat(handle).st_ino:
                break
        os.close(handle)  # the one that held it has just removed the folder
    try:
        yield
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
