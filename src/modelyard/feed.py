"""A run's feed: what happens in it, line by line, for whoever watches: a terminal, the console, `modelyard logs`.

A JSON line each, appended to one file, so that a watcher in another process, or tomorrow, sees the same. It is a view and not a
record: what must not be lost is in the journal.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Feed:
    """Append with `put`, read with `follow`."""

    _lock = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, kind: str, **data: Any) -> None:
        """Append one item; `kind` says what it is: step_started, line, fact, step_done, waiting, ended, ..."""
        line = json.dumps({"at": datetime.now(UTC).isoformat(), "kind": kind, **data}, ensure_ascii=False, default=str)
        with self._lock, contextlib.suppress(OSError):  # a full disk must not end a run for the sake of a view of it
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                start, whole = file.tell(), line.encode() + b"\n"
                if file.write(whole) < len(whole):
                    file.truncate(start)  # the disk is full: half a line would spoil the next one

    def items(self) -> list[dict[str, Any]]:
        """All there is so far."""
        return [json.loads(line) for line in self._text(0)[0].splitlines()]

    def follow(self, stop: Callable[[], bool], offset: int = 0) -> Iterator[dict[str, Any]]:
        """Items from byte `offset` on as they come, until one of kind `ended`, or until `stop()` holds and nothing is left."""
        while True:
            stopping = stop()
            text, offset = self._text(offset)
            for line in text.splitlines():
                item = json.loads(line)
                yield item
                if item["kind"] == "ended":
                    return
            if stopping and not text:
                return
            if not text:
                time.sleep(0.05)

    def size(self) -> int:
        """Bytes so far: where a watcher that wants only news starts."""
        return self.path.stat().st_size if self.path.exists() else 0

    def _text(self, offset: int) -> tuple[str, int]:
        """Whole lines from `offset` on, and where they end."""
        if not self.path.exists():
            return "", offset
        with self.path.open("rb") as file:
            file.seek(offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        return whole.decode("utf-8", "replace"), offset + len(whole)
