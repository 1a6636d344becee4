"""The book of windows: what each monitor said of each window, and what it had said before. Written once, never changed.

A window is judged again when labels come late; each word is a revision, the newest of which holds. The journal keeps what is news (a
monitor's verdict changed, an alert was sent), and the book all of it: thousands of models times a window each fifteen minutes would
drown the one and slow its fold, and are rows like any other to the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Integer, Row, Select, String, Table, Text, and_, func, select, true

from modelyard.clock import to_minute
from modelyard.database import METADATA, Database
from modelyard.monitor.verdicts import Status
from modelyard.monitor.windows import Span

_TABLE = Table(
    "windows",
    METADATA,
    Column("model", String, primary_key=True),
    Column("monitor", String, primary_key=True),
    Column("start", String, primary_key=True),
    Column("end", String, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("version", String, nullable=False),
    Column("status", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("judged_at", String, nullable=False),
    Index("windows_by_end", "model", "monitor", "end"),
)


@dataclass(frozen=True)
class Word:
    """A monitor's word on one window. Times are ISO, UTC. `evidence`: JSON values, a few kB at the most. `revision` counts from 1."""

    model: str
    monitor: str
    start: str
    end: str
    version: str
    status: Status
    reason: str
    judged_at: str
    evidence: dict[str, Any] = field(default_factory=dict)
    revision: int = 1

    def __str__(self) -> str:
        span = f"{to_minute(self.start)}..{to_minute(self.end)}"
        return f"{self.monitor} {span} {self.status}: {self.reason.removeprefix(f'{self.monitor}: ')}"

    @property
    def span(self) -> Span:
        """The window."""
        return Span(datetime.fromisoformat(self.start), datetime.fromisoformat(self.end))

    @property
    def said(self) -> tuple[Any, ...]:
        """What makes another word of it, were it judged again."""
        return self.version, self.status, self.reason, json.dumps(self.evidence, sort_keys=True)


class Book:
    """Thread-safe, as the database is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, words: Iterable[Word]) -> list[Word]:
        """Write each, as the next revision of its window, in one transaction. What says nothing new is left out. Returns those written."""
        written = []
        with self._database.transaction() as tx:
            for word in words:
                last = tx.execute(_newest_of(word.model, word.monitor, word.start, word.end)).first()
                before = _read(last) if last else None
                if before is not None and before.said == word.said:
                    continue
                row = {**vars(word), "revision": before.revision + 1 if before else 1}
                tx.execute(_TABLE.insert().values({**row, "evidence": json.dumps(word.evidence, allow_nan=False)}))
                written.append(Word(**row))
        return written

    def get(self, model: str, monitor: str, start: str, end: str) -> Word | None:
        """The word that holds on a window."""
        with self._database.transaction() as tx:
            found = tx.execute(_newest_of(model, monitor, start, end)).first()
        return _read(found) if found else None

    def history(self, model: str, monitor: str, start: str, end: str) -> list[Word]:
        """Everything that was ever said of a window, oldest first."""
        of_window = select(_TABLE).where(_window(model, monitor, start, end)).order_by(_TABLE.c.revision)
        return self._all(of_window)

    def latest(self, model: str, monitor: str) -> Word | None:
        """The word on the newest window, by the window's own time."""
        return next(iter(self.newest(model, monitor, 1)), None)

    def newest(self, model: str, monitor: str, count: int, *, before: str | None = None, known: bool = False) -> list[Word]:
        """The words that hold on the newest `count` windows that end by `before`, oldest first; `known` leaves out the unknown ones."""
        query = _holding().where(_TABLE.c.model == model, _TABLE.c.monitor == monitor)
        query = query if before is None else query.where(_TABLE.c.end <= before)
        query = query.where(_TABLE.c.status != "unknown") if known else query
        return self._all(query.order_by(_TABLE.c.end.desc(), _TABLE.c.start.desc()).limit(count))[::-1]

    def between(self, model: str, since: str = "", until: str = "~", monitor: str | None = None) -> list[Word]:
        """The words that hold on the windows that overlap a span of time, oldest first."""
        query = _holding().where(_TABLE.c.model == model, _TABLE.c.end > since, _TABLE.c.start < until)
        query = query if monitor is None else query.where(_TABLE.c.monitor == monitor)
        return self._all(query.order_by(_TABLE.c.end, _TABLE.c.start, _TABLE.c.monitor))

    def extent(self, model: str) -> Span | None:
        """From the start of the first window of a model to the end of the last; None where none was judged."""
        c = _TABLE.c
        with self._database.transaction() as tx:
            first, last = tx.execute(select(func.min(c.start), func.max(c.end)).where(c.model == model)).one()
        return Span(datetime.fromisoformat(first), datetime.fromisoformat(last)) if first else None

    def immature(self, model: str, monitor: str, since: str, until: str) -> list[Word]:
        """The words that hold on the windows that ended after `since` and by `until`, of those whose evidence says `"mature": false`."""
        c = _TABLE.c
        query = _holding().where(c.model == model, c.monitor == monitor, c.end > since, c.end <= until)
        return self._all(query.where(func.json_extract(c.evidence, "$.mature") == 0).order_by(c.end, c.start))

    def judged(self, model: str, monitors: Sequence[str], since: str, until: str = "~") -> set[tuple[str, str, str]]:
        """(monitor, start, end) of every judged window that ends after `since` and begins before `until`."""
        c = _TABLE.c
        query = (
            select(c.monitor, c.start, c.end).distinct().where(c.model == model, c.monitor.in_(monitors), c.end > since, c.start < until)
        )
        with self._database.transaction() as tx:
            return {(row.monitor, row.start, row.end) for row in tx.execute(query).all()}

    def until(self, model: str, monitors: Sequence[str], before: str = "~") -> dict[str, str]:
        """The newest end, by `before`, of the windows that each monitor judged; empty where it judged none."""
        c = _TABLE.c
        with self._database.transaction() as tx:
            newest = {kind: select(func.max(c.end)).where(c.model == model, c.monitor == kind, c.end <= before) for kind in monitors}
            return {kind: tx.execute(query).scalar_one() or "" for kind, query in newest.items()}

    def standing(self, model: str, monitors: Sequence[str], start: str, end: str) -> dict[str, tuple[Word | None, Word | None]]:
        """What each monitor said of a window, and of the newest one that was over when it began; None where it said nothing."""
        c, found = _TABLE.c, {}
        with self._database.transaction() as tx:
            for kind in monitors:
                earlier = _holding().where(c.model == model, c.monitor == kind, c.end <= start)
                queries = (_newest_of(model, kind, start, end), earlier.order_by(c.end.desc(), c.start.desc()).limit(1))
                again, last = (tx.execute(query).first() for query in queries)
                found[kind] = (_read(again) if again else None, _read(last) if last else None)
        return found

    def forget(self, model: str, before: str, keep: int) -> int:
        """Let go of the windows that ended before an instant, but for each monitor's newest `keep` ones, and its newest `keep` known
        ones. Returns how many words that were."""
        c, gone = _TABLE.c, 0
        with self._database.transaction() as tx:
            for kind in tx.execute(select(c.monitor).distinct().where(c.model == model, c.end < before)).scalars().all():
                own = and_(c.model == model, c.monitor == kind)
                newest = [
                    select(c.end).distinct().where(own, also).order_by(c.end.desc()).limit(keep) for also in (true(), c.status != "unknown")
                ]
                kept = [c.end.not_in(ends.scalar_subquery()) for ends in newest]
                gone += int(tx.execute(_TABLE.delete().where(own, c.end < before, *kept)).rowcount)
        return gone

    def _all(self, query: Select[Any]) -> list[Word]:
        with self._database.transaction() as tx:
            return [_read(row) for row in tx.execute(query).all()]


def _window(model: str, monitor: str, start: str, end: str) -> Any:
    c = _TABLE.c
    return and_(c.model == model, c.monitor == monitor, c.start == start, c.end == end)


def _newest_of(model: str, monitor: str, start: str, end: str) -> Select[Any]:
    return select(_TABLE).where(_window(model, monitor, start, end)).order_by(_TABLE.c.revision.desc()).limit(1)


def _holding() -> Select[Any]:
    """The newest revision of each window."""
    later = _TABLE.alias("later")
    newer = select(later.c.revision).where(
        later.c.model == _TABLE.c.model,
        later.c.monitor == _TABLE.c.monitor,
        later.c.start == _TABLE.c.start,
        later.c.end == _TABLE.c.end,
        later.c.revision > _TABLE.c.revision,
    )
    return select(_TABLE).where(~newer.exists())


def _read(row: Row[Any]) -> Word:
    values = dict(row._mapping)
    return Word(**{**values, "evidence": json.loads(values["evidence"])})
