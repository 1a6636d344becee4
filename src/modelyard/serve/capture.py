"""Capture, the front's side: every answered request is on file before its caller has the answer.

A segment is a file of JSON lines, one line and one `write` a request, so that killing the process loses nothing that was
answered. The open segment is locked (`flock`): a lock that can be taken means that its writer is dead. A full disk never stops
predictions: the line is taken back, its rows are counted as dropped.

Lines of a segment:
- `{"version", "types": {column: type}}` before the first request of a version,
- `{"version", "received_at", "latency_ms", "ids", "times", "features", "extras", "outputs"}` for each request; instants are
  microseconds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import time
from pathlib import Path
from typing import Any

import msgspec

from modelyard.serve.captured import compact, find, read
from modelyard.serve.rows import Rows
from modelyard.serve.stats import CaptureStats
from modelyard.signature import Signature
from modelyard.tables import feature, output

__all__ = ["Writer", "compact", "find", "read"]

SEGMENT_BYTES = 16 * 2**20
SEGMENT_SECONDS = 60.0
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_encode = msgspec.json.Encoder().encode


class Line(msgspec.Struct, omit_defaults=True):
    """One line of a segment (either kind)."""

    version: str
    types: dict[str, str] | None = None
    received_at: int = 0
    latency_ms: float = 0.0
    ids: list[str] = []
    times: list[int] | None = None
    features: Any = None
    extras: dict[str, list[Any]] | None = None
    outputs: dict[str, list[Any]] | None = None


def column_types(signature: Signature) -> dict[str, str]:
    """The type of each feature and output in a predictions table."""
    types = {feature(c.name): str(c.type) for c in signature.columns}
    kinds = {type(c) for c in signature.classes}
    label = "float"
    if kinds:
        label = {
            frozenset({int}): "int",
            frozenset({bool}): "bool",
            frozenset({float}): "float",
            frozenset({int, float}): "float",
        }.get(frozenset(kinds), "str")
    return types | {output(name): "float" for name in signature.outputs} | {output("prediction"): label}


class Writer:
    """Appends to the open segment of `folder` (made if missing). Not thread-safe: one writer a process, in its event loop."""

    def __init__(
        self,
        folder: Path,
        *,
        sample: float = 1.0,
        stats: CaptureStats,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
    ) -> None:
        self.folder, self.sample, self.stats = folder, sample, stats
        self.segment_bytes, self.segment_seconds = segment_bytes, segment_seconds
        self._file = -1
        self._path = folder
        self._size = 0
        self._opened = 0.0
        self._number = 0
        self._known: set[str] = set()

    def write(self, version: str, signature: Signature, rows: Rows, outputs: dict[str, list[Any]], latency_ms: float) -> None:
        """Keep one answered request. Never raises for a full or failing disk: the rows are counted as dropped or failed."""
        if self.sample < 1.0 and random.random() >= self.sample:  # noqa: S311  (sampling, not secrecy)
            self.stats.sampled_out += rows.count
            return
        self.stats.eligible += rows.count
        line = _encode(
            Line(
                version,
                None,
                rows.received_at,
                round(latency_ms, 3),
                rows.inference_ids,
                rows.event_times,
                rows.encoded(),
                rows.extras or None,
                outputs,
            )
        )
        try:
            self._open_segment()
            new = version not in self._known
            head = _encode(Line(version, column_types(signature))) + b"\n" if new else b""
            self._append(head + line + b"\n")
            self._known.add(version)
            self.stats.captured += rows.count
        except OSError as exc:
            if exc.errno in _NO_ROOM:
                self.stats.dropped += rows.count
            else:
                self.stats.failed += rows.count
            self.stats.last_error = os.strerror(exc.errno or errno.EIO)

    def tick(self) -> None:
        """Close a segment that is old enough. Call it a few times a second."""
        if self._file >= 0 and time.monotonic() - self._opened >= self.segment_seconds:
            self.close()

    def close(self) -> None:
        """Close the open segment: it is complete, and may be compacted."""
        if self._file < 0:
            return
        with contextlib.suppress(OSError):
            if self._size:
                self._path.rename(self._path.with_name(self._path.name.replace(".open.", ".")))
            else:
                self._path.unlink()
        os.close(self._file)
        self._file = -1

    def _open_segment(self) -> None:
        if self._file >= 0 and self._size < self.segment_bytes:
            return
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        path = self.folder / f"seg-{time.time_ns() // 1000}-{os.getpid()}-{self._number}.open.jsonl"
        hidden = path.with_name(f".{path.name}")
        file = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hidden.rename(path)  # seen only once it is locked: nobody takes a living writer for a dead one
        except OSError:
            os.close(file)
            raise
        self._file, self._path, self._size, self._opened = file, path, 0, time.monotonic()
        self._known.clear()

    def _append(self, data: bytes) -> None:
        """All of `data`, or none: what a full disk took of it is taken back."""
        try:
            written = os.write(self._file, data)
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError:
            try:
                os.ftruncate(self._file, self._size)
            except OSError:
                self.close()  # a torn line stays behind in a closed segment; readers skip it
            raise
        self._size += len(data)
