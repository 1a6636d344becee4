"""A run's feed: what happens in it, line by line, for whoever watches: a terminal, the console, `modelyard logs`.

A JSON line each, appended to one file, so that a watcher in another process, or tomorrow, sees the same. It is a view and not a
record: what must not be lost is in the journal.
"""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FEED = "feed.jsonl"
"""Its name in a run's folder."""
_LAST = 64 * 1024
"""Bytes at the end of a feed that its last item is looked for in."""


class Feed:
    """Append with `put`; read all with `items`, or what is new with `read`."""

    _lock = threading.Lock()
    _news = threading.Condition()

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
        with self._news:
            self._news.notify_all()

    @classmethod
    def wait(cls, seconds: float) -> None:
        """Until this process puts something into a feed, so many seconds at most: another process's, and what came just before, are
        not noticed."""
        with cls._news:
            cls._news.wait(seconds)

    def items(self) -> list[dict[str, Any]]:
        """All there is so far."""
        return self.read(0)[0]

    def read(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Items from byte `offset` on, and where the next one will begin. Does not wait."""
        text, offset = self._text(offset)
        return [json.loads(line) for line in text.splitlines()], offset

    @property
    def over(self) -> bool:
        """Whether its last item says that the run has ended; False too where that cannot be told."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, self.size() - _LAST))
                return bool(json.loads(file.read().splitlines()[-1])["kind"] == "ended")
        except (OSError, ValueError, LookupError, TypeError):
            return False

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
