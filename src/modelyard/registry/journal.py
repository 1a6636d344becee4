"""The journal: every event once, in order, each row hashed over the one before it. The source of truth of the registry.

A row's hash is SHA-256 over the canonical JSON of `[seq, at, recorded_at, kind, data, previous hash]`, so an edited, deleted,
inserted or reordered row is found by `verify`. Rows cut off the end leave a chain that holds, so the file `journal.head` beside the
database says how far it went, and a journal that does not reach so far is not opened.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, Row, String, Table, Text, func, select

from modelyard.clock import Clock
from modelyard.database import METADATA, Database
from modelyard.errors import YardError
from modelyard.events import Event, from_dict

_TABLE = Table(
    "journal",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("at", String, nullable=False),  # the clock's time: a replay's own
    Column("recorded_at", String, nullable=False),  # the wall's
    Column("model", String, nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("data", Text, nullable=False),
    Column("hash", String, nullable=False),
)
GENESIS = "0" * 64
log = logging.getLogger("modelyard")


@dataclass(frozen=True)
class Entry:
    """One row: an event with its place and its two times (ISO 8601, UTC)."""

    seq: int
    at: str
    recorded_at: str
    event: Event
    hash: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "at": self.at,
            "recorded_at": self.recorded_at,
            "kind": type(self.event).__name__,
            "sentence": str(self.event),
            "data": self.event.to_dict(),
            "hash": self.hash,
        }


class Journal:
    """Append-only. Listeners are told of each entry after its transaction is safe.

    Raises YardError where the journal does not reach as far as `journal.head` says, or went another way.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._listeners: list[Callable[[Entry], None]] = []
        self._changed = threading.Condition()
        with database.transaction() as tx:
            last = tx.execute(select(_TABLE.c.seq, _TABLE.c.hash).order_by(_TABLE.c.seq.desc()).limit(1)).first()
        self._seq: int = last.seq if last else 0
        self._head: str = last.hash if last else GENESIS
        self._head_file = database.path.with_name("journal.head")
        self._compare_with_head()

    def append(self, events: Iterable[Event], beside: Callable[[Any], object] | None = None) -> list[Entry]:
        """Write the events, and whatever `beside(transaction)` writes, in one transaction. Returns the entries."""
        entries: list[Entry] = []
        with self._changed:
            with self._database.transaction() as tx:
                seq, head = self._seq, self._head
                for event in events:
                    entry, row = self._entry(seq + 1, event, head)
                    tx.execute(_TABLE.insert().values(row))
                    entries.append(entry)
                    seq, head = entry.seq, entry.hash
                if beside is not None:
                    beside(tx)
            self._seq, self._head = seq, head
            if entries:
                self._write_head()
            for entry in entries:
                for listener in self._listeners:
                    listener(entry)
            self._changed.notify_all()
        return entries

    def _entry(self, seq: int, event: Event, previous: str) -> tuple[Entry, dict[str, Any]]:
        at, recorded_at = self._clock.now().isoformat(), datetime.now(UTC).isoformat()
        kind, data = type(event).__name__, _canonical(event.to_dict())
        digest = _digest(seq, at, recorded_at, kind, data, previous)
        row = {"seq": seq, "at": at, "recorded_at": recorded_at, "model": event.model, "kind": kind, "data": data, "hash": digest}
        return Entry(seq, at, recorded_at, event, digest), row

    def subscribe(self, listener: Callable[[Entry], None]) -> None:
        """Call `listener` with every entry there is, in order, and with every later one."""
        with self._changed:
            for entry in self.entries():
                listener(entry)
            self._listeners.append(listener)

    def entries(self, model: str | None = None, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Entries in order; with `limit`, the newest so many of them."""
        query = select(_TABLE).where(_TABLE.c.seq > after)
        if model is not None:
            query = query.where(_TABLE.c.model == model)
        query = query.order_by(_TABLE.c.seq.desc()).limit(limit) if limit else query.order_by(_TABLE.c.seq)
        with self._database.transaction() as tx:
            rows = tx.execute(query).all()
        found = [_read(row) for row in rows]
        return found[::-1] if limit else found

    def verify(self) -> int:
        """Recompute the chain. Returns the number of entries; raises YardError naming the first that does not hold."""
        head, expected = GENESIS, 1
        for row in self._rows():
            if row.seq != expected:
                raise YardError(f"entry {expected} is missing", where="journal")
            as_written = row.hash == _digest(row.seq, row.at, row.recorded_at, row.kind, row.data, head)
            if not as_written or row.model != json.loads(row.data)["model"]:  # the column is no part of the hash
                raise YardError(f"entry {row.seq} was changed after it was written", where="journal")
            head, expected = row.hash, expected + 1
        if head != self._head:
            raise _cut_off(expected - 1, self._seq)
        self._compare_with_head()
        return expected - 1

    # -- the head, kept beside --------------------------------------------------------------------------------------------------

    def _compare_with_head(self) -> None:
        """A head that is behind is what a crash between an append and its head leaves; one that is ahead is not."""
        kept = _read_head(self._head_file)
        if kept is None:
            if self._seq:
                log.warning("there is no %s: whether entries were cut off the journal's end cannot be told", self._head_file)
            return
        with self._database.transaction() as tx:
            there = tx.execute(select(_TABLE.c.hash).where(_TABLE.c.seq == kept[0])).scalar_one_or_none()
        if kept[0] > self._seq:
            raise _cut_off(self._seq, kept[0])
        if kept[0] and there != kept[1]:
            raise YardError(f"entry {kept[0]} is not the one that was written", where="journal", next=_RESTORE)

    def _write_head(self) -> None:
        """After the transaction, so that the head is never ahead of it; whole or not at all. Where it cannot be written it stays behind."""
        partial = self._head_file.with_suffix(".partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump({"seq": self._seq, "hash": self._head}, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._head_file)
        except OSError as exc:
            log.warning("the journal's head could not be written beside it: %s", exc)

    def _rows(self) -> Iterator[Row[Any]]:
        with self._database.transaction() as tx:
            total = tx.execute(select(func.count()).select_from(_TABLE)).scalar_one()
            yield from tx.execute(select(_TABLE).order_by(_TABLE.c.seq)).all() if total else ()


_RESTORE = "put a backup of state.sqlite in its place; to go on without what is gone, delete journal.head"


def _cut_off(there: int, written: int) -> YardError:
    return YardError(f"the journal ends at entry {there}, but {written} were written", where="journal", next=_RESTORE)


def _read_head(path: Path) -> tuple[int, str] | None:
    """How far the journal went, as (seq, hash); None where nothing was written yet."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return int(kept["seq"]), str(kept["hash"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as exc:
        raise YardError(f"{path.name} was changed: it holds no head", where=str(path.parent), next=_RESTORE) from exc


def _canonical(data: dict[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _digest(seq: int, at: str, recorded_at: str, kind: str, data: str, previous: str) -> str:
    return hashlib.sha256(_canonical({"row": [seq, at, recorded_at, kind, data, previous]}).encode()).hexdigest()


def _read(row: Row[Any]) -> Entry:
    return Entry(row.seq, row.at, row.recorded_at, from_dict(row.kind, json.loads(row.data)), row.hash)
