"""Commands run under a keeper (build/launch.py): watched line by line, stopped at a time-out, and never left behind.

The kernel tells the keeper when the *thread* that started it dies, so a command is started and waited for in one thread.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from modelyard.build import ask, forked, launch
from modelyard.build.forked import Forked

RECORD = "process.json"
TOKEN = "MODELYARD_STEP"  # noqa: S105  (a name, no password)
"""Environment variable that marks every process of one run, so that a restart finds those whose parents are gone."""
LONGEST_LINE, LONGEST_LOG, TAIL = 8_192, 16 * 1024 * 1024, 20
"""Bytes kept of one line, bytes kept of one log, lines that an error shows."""
POLL = 0.1
BEGUN = threading.Event()
"""Set once a command goes on in this process: from then on there is somebody who does nothing but wait."""
ENDING = 10.0
"""Seconds for which a keeper is trusted to end what it keeps."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: `code` as a shell gives it (128 + N for signal N), why it was stopped if it was, its last lines."""

    code: int
    stopped: str  # "", "timeout" or "cancelled"
    seconds: float
    tail: tuple[str, ...]


class _Lines:
    """Bytes in, lines out: a long one is cut and never held whole, a carriage return overwrites as a terminal does."""

    def __init__(self) -> None:
        self._head, self._length = bytearray(), 0

    def feed(self, data: bytes) -> Iterator[str]:
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            yield self.close()
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._length += len(piece)
        self._head += piece[: max(0, LONGEST_LINE - len(self._head))]

    @property
    def pending(self) -> bool:
        return self._length > 0

    def close(self) -> str:
        text = bytes(self._head).decode("utf-8", "replace")
        cut = self._length - len(self._head)
        shown = [part for part in text.split("\r") if part]
        line = (shown[-1] if shown else "") + (f" [cut: {cut} more bytes]" if cut else "")
        self._head.clear()
        self._length = 0
        return line


class _Log:
    """Keeps lines in a file up to a cap, passes those kept on, the others to `beyond`, and remembers the last few of all."""

    def __init__(self, file: IO[str], on_line: Callable[[str], None], beyond: Callable[[str], None]) -> None:
        self._file, self._on_line, self._beyond, self._left = file, on_line, beyond, LONGEST_LOG
        self.tail: deque[str] = deque(maxlen=TAIL)

    def add(self, line: str) -> None:
        self.tail.append(line)
        if self._left <= 0:
            self._beyond(line)
            return
        self._left -= len(line.encode()) + 1
        if self._left <= 0:
            line += f"\n[the log has reached {LONGEST_LOG} bytes; later lines are not kept]"
        self._file.write(line + "\n")
        self._file.flush()
        for part in line.splitlines() or [""]:
            self._on_line(part)


def run(
    argv: list[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    timeout: float,
    log: Path,
    record: Path,
    on_line: Callable[[str], None],
    cancel: threading.Event | None = None,
    beyond: Callable[[str], None] = lambda line: None,
) -> Ended:
    """Run `argv` to its end, to `timeout` seconds, or until `cancel` is set; afterwards no process of it is left.

    Standard output and error go, merged and line by line, to `on_line` and to `log`; standard input is empty. What comes once the log has
    LONGEST_LOG bytes is kept nowhere, and goes to `beyond`. `record` is a file that names the keeper while it runs (see `kill_leftover`).
    An exception of `on_line`, KeyboardInterrupt included, ends the command and is raised. OSError when the keeper cannot be started.
    """
    token, started = secrets.token_hex(16), time.monotonic()
    unwanted = functools.partial(_unwanted, started + timeout, cancel)
    # written before the start: an owner killed in between leaves a token to look for
    _write(record, {"token": token, "pid": None, "started": None})
    with log.open("w", encoding="utf-8", errors="replace") as file:
        output = _Log(file, on_line, beyond)
        process = _started(argv, {**env, TOKEN: token}, cwd, unwanted)
        BEGUN.set()
        try:
            _write(record, {"token": token, "pid": process.pid, "started": _start_time(process.pid)})
            stopped = _follow(process, output, unwanted)
        finally:
            _leave(process)
            record.unlink(missing_ok=True)
        if isinstance(process, Forked) and process.lost:
            output.add(ask.LOST.rstrip())
    code = process.wait()
    code = code if code >= 0 else 128 - code  # as the keeper gives it
    return Ended(code, stopped, time.monotonic() - started, tuple(output.tail))


def _unwanted(deadline: float, cancel: threading.Event | None) -> str:
    """Why a command is to be stopped; empty where it is not."""
    if cancel is not None and cancel.is_set():
        return "cancelled"
    return "timeout" if time.monotonic() > deadline else ""


def _started(argv: list[str], env: Mapping[str, str], cwd: Path, unwanted: Callable[[], str]) -> subprocess.Popen[bytes] | Forked:
    """`argv` below a keeper. What a warm interpreter forks is in a namespace of its own, which ends with whoever asked for it, and needs
    none; only what is run where nobody takes the request does."""
    if argv[3:4] == [ask.__file__]:
        fork = forked.asked(argv[ask.SOCKET], argv[ask.REQUEST], env, lambda: not unwanted())
        if fork is not None:
            return fork
        argv = argv[ask.OTHERWISE :]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *argv],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _follow(process: subprocess.Popen[bytes] | Forked, log: _Log, unwanted: Callable[[], str]) -> str:
    assert process.stdout is not None  # by stdout=PIPE
    lines, open_, stopped = _Lines(), True, ""
    os.set_blocking(process.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        # the keeper closes the pipe last, after everything below it is gone
        while open_:
            if selector.select(POLL):
                data = process.stdout.read(1 << 16)
                open_ = data != b""
                for line in lines.feed(data or b""):
                    log.add(line)
            if not stopped and (stopped := unwanted()):
                _stop(process)
    if lines.pending:
        log.add(lines.close())
    if not stopped:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING)  # else its own end could be taken for ours
    return stopped


def _stop(process: subprocess.Popen[bytes] | Forked) -> None:
    """End the keeper and all below it: by its own hand where it answers, else by ours."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            _kill_tree(process.pid)
    process.wait()


def _leave(process: subprocess.Popen[bytes] | Forked) -> None:
    """See that nothing of it is left, and let go of it."""
    _stop(process)
    if isinstance(process, Forked):
        process.drain(ENDING)
    if process.stdout is not None:
        process.stdout.close()


def _kill_tree(pid: int | None) -> set[int]:
    return set() if pid is None else {doomed for doomed in (*launch.descendants(pid), pid) if _kill(doomed)}


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _start_time(pid: int | None) -> int | None:
    """Clock ticks from the boot to the start of a live process; None when there is none."""
    try:
        # the name, in parentheses, may hold anything; the state and 19 fields later the start time follow it
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if fields[0] != b"Z" else None


def _write(path: Path, facts: Mapping[str, object]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(facts), encoding="utf-8")
    partial.replace(path)


def kill_leftover(record: Path) -> int:
    """Kill what a killed owner left running, and say how many processes that were.

    `record` names a keeper by process id and start time (a later process with the same id is not it) and the token that marks its
    environment; processes that bear the token are killed wherever they have gone. The record is removed at the end. No record, or
    one that cannot be read, means nothing to kill.
    """
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
        token, pid, started = str(facts["token"]), facts["pid"], facts["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    killed: set[int] = set()
    if isinstance(pid, int) and started is not None and _start_time(pid) == started:
        killed |= _kill_tree(pid)
    # the killed take a moment to go, and may have forked before; one in an uninterruptible wait is left to go by itself
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        marked = _marked(token)
        killed |= {pid for pid in marked if _kill(pid)}
        # a process that is ending has no environment any more, and still is one
        if not marked and all(_start_time(pid) is None for pid in killed):
            break
        time.sleep(0.01)
    record.unlink(missing_ok=True)
    return len(killed)


def _marked(token: str) -> list[int]:
    """Processes with the token in their environment. A zombie's is empty, so what was killed is not met again."""
    mark, found = f"{TOKEN}={token}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
