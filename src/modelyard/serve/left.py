"""What goes on without its owner: runners that a front holds on to, and fronts whose owner was killed, for the next owner to find.

Beside a runner's socket lies a pipe with a name, which is the runner's standard input. Its owner holds it open, and so does the front, for
as long as its routing table names the runner; when nobody does, the runner ends. A front that lasts is found by its stats file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from modelyard.errors import BadInput, NotFound
from modelyard.serve import processes, stats

_FRONT = "modelyard.serve.front"


def alive(socket: str | Path) -> Path:
    """The pipe of the runner that listens on `socket`."""
    return Path(socket).with_suffix(".alive")


class Hold:
    """A front's hold on a runner. What lies in the runner's folder is user code's to change: nothing but a pipe is opened."""

    def __init__(self, socket: str) -> None:
        self._path, self._handle = alive(socket), -1

    def take(self) -> None:
        """Hold the runner that is there now, and no earlier one."""
        self.let_go()
        with contextlib.suppress(OSError):
            handle = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            if stat.S_ISFIFO(os.fstat(handle).st_mode):
                self._handle = handle
            else:
                os.close(handle)

    def let_go(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


@dataclass(frozen=True)
class Left:
    """A front that a killed owner left running. To the next owner it is what a child of its own would be (`processes.Child`)."""

    pid: int
    start_time: float
    stats: Path
    argv: tuple[str, ...]
    port: int
    grpc_port: int | None
    release: str

    @property
    def exit_code(self) -> None:
        """Only its parent hears of it, and that is gone."""
        return None

    def is_alive(self) -> bool:
        return processes.start_time(self.pid) == self.start_time

    @property
    def number(self) -> int:
        """Which of its endpoint's fronts it is."""
        return int(self.argv[self.argv.index("--number") + 1]) if "--number" in self.argv else 0

    @property
    def name(self) -> str:
        """What the stats of its endpoint's fronts are called, but for their numbers."""
        return self.stats.stem.removesuffix(f"-{self.number}" if self.number else "")

    def stop(self, graceful: float = processes.FRONT_SECONDS) -> None:
        """End it: SIGTERM, and SIGKILL where it has not answered what is in flight within `graceful` seconds."""
        for number, seconds in ((signal.SIGTERM, graceful), (signal.SIGKILL, 5.0)):
            deadline = time.monotonic() + seconds
            if self.is_alive():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(self.pid, number)
            while self.is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)


def front(path: Path) -> Left | None:
    """The front that writes its stats to `path`, and goes on without its owner; None where there is none."""
    try:
        said = stats.read(path)
        argv = tuple(Path(f"/proc/{said.pid}/cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1])
    except (OSError, NotFound, BadInput):
        return None
    began = processes.start_time(said.pid)
    words = dict(pairwise(argv))
    if began is None or words.get("-m") != _FRONT or words.get("--stats") != str(path) or "--lasting" not in argv:
        return None
    return Left(said.pid, began, path, argv, said.port, said.grpc_port, said.release)


def fronts(folder: Path) -> list[Left]:
    """Those of an endpoint's folder, the newest first; or the shared one of its own folder."""
    found = [one for path in (*folder.glob("stats*.json"), *folder.glob("stats/.front.json")) if (one := front(path)) is not None]
    return sorted(found, key=lambda one: one.start_time, reverse=True)


def end(folder: Path, *, but: Collection[int] = ()) -> int:
    """End the fronts that were left in an endpoint's folder, `but` for these process ids; returns how many."""
    found = [one for one in fronts(folder) if one.pid not in but]
    for one in found:
        one.stop()
    return len(found)


def end_all(endpoints: Path) -> int:
    """End what was left of all endpoints of a home; returns how many fronts."""
    return sum(end(folder) for folder in endpoints.glob("*") if folder.is_dir())
