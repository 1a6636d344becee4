"""Child processes of an endpoint's owner: started, watched, ended with all that they started.

They end when their owner does, but for a front that lasts, and the runners that it holds on to (serve/left.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.errors import NotFound, StepFailed, Unavailable
from modelyard.serve import stats

_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_TAIL_BYTES = 64 * 1024


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """A child's environment: a few harmless variables of ours and `more`, so that no secret of the owner leaks into it.

    PYTHONDONTWRITEBYTECODE is left out on purpose: with it each start compiles every package anew.
    """
    return {**{k: os.environ[k] for k in _PASSED if k in os.environ}, "PYTHONUNBUFFERED": "1", **(more or {})}


def log_tail(path: Path, lines: int = 20) -> tuple[str, ...]:
    """The last lines of a log, newest last; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            return tuple(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ()


def start_time(pid: int) -> float | None:
    """When the process `pid` began, in seconds after the machine's start, so free of the wall clock; None where there is none, or only
    what its parent has yet to take note of."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19]) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> set[tuple[int, float]]:
    """Every process below `pid`, in whatever session, with its start time."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                below.setdefault(parent, []).append(int(entry.name))
    found, waiting = set(), [pid]
    while waiting:
        for child in below.get(waiting.pop(), []):
            if (began := start_time(child)) is not None:
                found.add((child, began))
                waiting.append(child)
    return found


FRONT_SECONDS = 45.0
"""For which a front may answer what it holds once it is told to end; it knows when it is done (serve/server.py), so few take as long."""


@dataclass(frozen=True)
class Child:
    """A process of ours, the head of its own process group. `start_time` tells it from a later owner of its pid."""

    pid: int
    start_time: float
    log: Path
    popen: subprocess.Popen[bytes]

    def is_alive(self) -> bool:
        return self.popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return self.popen.poll()

    def tail(self, lines: int = 20) -> tuple[str, ...]:
        return log_tail(self.log, lines)

    def stop(self, graceful: float = 5.0) -> int:
        """End it and all that it started; returns the exit code.

        A byte comes by its standard input, which then ends; SIGTERM where it has none. That lets it finish what is in flight, for up to
        `graceful` seconds; then SIGTERM, then SIGKILL for its group and every descendant. (A sandbox would pass no signal on, and what
        runs inside is in a session of its own.)
        """
        family, asked = descendants(self.pid), self.popen.stdin
        if asked is not None:
            with contextlib.suppress(OSError):
                if not asked.closed:
                    os.write(asked.fileno(), b".")
            with contextlib.suppress(OSError):
                asked.close()
        for number, seconds in ((None if asked is not None else signal.SIGTERM, graceful), (signal.SIGTERM, 0.5)):
            if self.is_alive():
                if number is not None:
                    self._signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.popen.wait(seconds)
        family |= descendants(self.pid)
        self._signal(signal.SIGKILL)  # whatever of its group outlived it
        code = self.popen.wait()
        for pid, began in family:
            if start_time(pid) == began:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        return code

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def spawn(argv: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path, alive: Path | None = None, lasts: bool = False) -> Child:
    """Start a child whose output goes to the end of `log` and whose standard input ends when we do. Raises StepFailed.

    `alive` names that pipe, so that others may hold it open too: it then ends when all have let go. With `lasts` there is none.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    ends: tuple[int, int] | None = None
    try:
        ends = None if alive is None else _pipe(alive)
        given = ends[0] if ends is not None else subprocess.PIPE
        with log.open("ab") as output:
            popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL if lasts else given,
                stdout=output,
                stderr=output,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                close_fds=True,
            )
    except OSError as exc:
        if ends is not None:
            os.close(ends[1])
        raise StepFailed(f"{argv[0]} cannot be started: {os.strerror(exc.errno or 0)}", where=str(log)) from exc
    finally:
        if ends is not None:
            os.close(ends[0])
    if ends is not None:
        popen.stdin = os.fdopen(ends[1], "wb", 0)
    return Child(popen.pid, start_time(popen.pid) or 0.0, log, popen)


def _pipe(path: Path) -> tuple[int, int]:
    """The ends of a new pipe with a name, to read from and to write to."""
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o600)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        writing = os.open(path, os.O_WRONLY)
    except OSError:
        os.close(reading)
        raise
    os.set_blocking(reading, True)
    return reading, writing


def spawn_front(
    *,
    routes: Path,
    stats_path: Path,
    log: Path,
    port: int = 0,
    host: str = "127.0.0.1",
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Child:
    """Start a front in the platform's own environment, with further `arguments` (serve/front.py). Then `wait_front`. A stats file of a
    predecessor is removed first."""
    stats_path.unlink(missing_ok=True)
    argv = [*front_argv(routes, stats_path, host, arguments), "--port", str(port)]
    paths = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    variables = environment({**paths, **(env or {})})
    return spawn(argv, log=log, env=variables, cwd=log.parent, lasts="--lasting" in arguments)


def front_argv(routes: Path, stats_path: Path, host: str, arguments: Sequence[str]) -> list[str]:
    """A front's command line, but for its port."""
    argv = [sys.executable, "-P", "-m", "modelyard.serve.front"]
    return [*argv, "--routes", str(routes), "--stats", str(stats_path), "--host", host, *arguments]


def wait_front(front: Child, stats_path: Path, timeout: float = 15.0) -> stats.Stats:
    """Wait until the front answers; its stats name its port. Raises StepFailed when it ended (a port in use), Unavailable when
    time is up."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(NotFound):
            found = stats.read(stats_path)
            if found.pid == front.pid and found.generation:
                return found
        if not front.is_alive():
            tail = front.tail()
            raise StepFailed(last_word(tail, "the front ended at once"), where=str(front.log), log_tail=tail)
        if time.monotonic() > deadline:
            raise Unavailable(f"the front is not ready after {timeout:g} s", where=str(front.log))
        time.sleep(0.02)


def last_word(tail: Sequence[str], otherwise: str) -> str:
    """The last line that a child of ours meant for people."""
    return next((line.removeprefix("modelyard: ") for line in reversed(tail) if line.startswith("modelyard: ")), otherwise)
