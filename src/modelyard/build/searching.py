"""Regular expressions of a user's, searched for where they hold nobody up: over some lines `re` takes hours, and all of a process with it.

They are looked for in a process of their own (build/searcher.py), by `re` itself: what matches is what it matches, no more and no less.
A line takes 20 to 50 us there and back, where five expressions take 8 us here. The package `regex` has a time-out and takes 12 us, but
finds more in `{e}`, and another white space; RE2 has no look-around and no way back to a group.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence

from modelyard.build import searcher
from modelyard.build.searcher import GIVEN_UP, SLOW

__all__ = ["GIVEN_UP", "LOST", "SLOW", "Searching"]
LOST = -2
Answer = str | int | None
PATIENCE, ENDING = 300.0, 2.0
"""Seconds after which no answer comes any more, and for which its end is waited for."""


class Searching:
    """A process that searches for `regexes`, which have one group each, until `close`. Thread-safe."""

    def __init__(self, regexes: Sequence[str]) -> None:
        self._count, self._lost, self._lock, self._read = len(regexes), False, threading.Lock(), b""
        argv = [sys.executable, "-I", "-S", searcher.__file__, *map(str, (os.getpid(), searcher.LINE, searcher.ALL))]
        pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=quiet, start_new_session=True)
        self.close = weakref.finalize(self, _end, self._process)
        with contextlib.suppress(OSError):
            self._send([*regexes])

    def __call__(self, text: str, otherwise: str | None = None) -> list[Answer]:
        """What the group of each holds in its first match in `text`, or in `otherwise` where it has none there; None where nothing matches,
        SLOW where that took too long to find out, GIVEN_UP where it did so too often, LOST where the process is gone."""
        with self._lock:
            if not self._lost:
                try:
                    self._send([text, otherwise])
                    answers: list[Answer] = json.loads(self._line())
                    return answers
                except (OSError, ValueError):
                    self._lost = True
                    self.close()
        return [LOST] * self._count

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _line(self) -> bytes:
        """Raises OSError where none comes."""
        assert self._process.stdout is not None
        out, deadline = self._process.stdout.fileno(), time.monotonic() + PATIENCE
        ready = select.poll()  # `select` takes no descriptor over 1023
        ready.register(out, select.POLLIN)
        while b"\n" not in self._read:
            if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            data = os.read(out, 1 << 16)
            if not data:
                raise BrokenPipeError
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
