"""The access log: a JSON line a request, written in the background. A slow or full disk costs lines, never an answer's time."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from modelyard.serve.tracing import Trace

log = logging.getLogger("modelyard.front")
MOST_WAITING = 200_000
"""Lines that wait for the disk; further ones are dropped and counted."""
FILE_BYTES = 64 * 2**20
FILES_KEPT = 5
_encode_lines = msgspec.json.Encoder().encode_lines


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """One request. `time`: seconds since the epoch, at the answer; `ms` the version's own where one answered, else the front's."""

    time: float
    method: str
    path: str
    status: int
    ms: float
    rows: int = 0
    version: str = ""
    inference_id: str = ""
    trace_id: str = ""
    caller: str = ""


class AccessLog:
    """Lines of one front, in `path` (private to its owner); full files become `path`.1, .2 and so on, of which five are kept."""

    def __init__(self, path: Path, *, file_bytes: int = FILE_BYTES) -> None:
        self.path, self.file_bytes, self.dropped = path, file_bytes, 0
        self._lines: list[Line] = []
        self._writing: asyncio.Future[None] | None = None

    def add(
        self,
        method: str,
        path: str,
        status: int,
        ms: float,
        rows: int = 0,
        version: str = "",
        inference_id: str = "",
        trace: Trace | None = None,
        caller: str = "",
    ) -> None:
        """Keep one line for the next `flush`."""
        if len(self._lines) >= MOST_WAITING:
            self.dropped += 1
            return
        trace_id = "" if trace is None else trace.trace_id
        self._lines.append(Line(time.time(), method, path[:2000], status, round(ms, 3), rows, version, inference_id, trace_id, caller))

    def flush(self) -> None:
        """Hand the lines to a thread, unless it is still at work. Call it a few times a second."""
        if self._lines and (self._writing is None or self._writing.done()):
            lines, self._lines = self._lines, []
            self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, lines)

    async def close(self) -> None:
        """Write what is left."""
        if self._writing is not None:
            await self._writing
        self._write(self._lines)
        self._lines = []

    def _write(self, lines: list[Line]) -> None:
        if not lines:
            return
        try:
            self._rotate()
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "ab") as stream:
                stream.write(_encode_lines(lines))
        except OSError as exc:
            self.dropped += len(lines)
            log.error("the access log cannot be written: %s", exc)

    def _rotate(self) -> None:
        if not self.path.exists() or self.path.stat().st_size < self.file_bytes:
            return
        for number in range(FILES_KEPT - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            if older.exists():
                older.replace(self.path.with_name(f"{self.path.name}.{number + 1}"))
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
