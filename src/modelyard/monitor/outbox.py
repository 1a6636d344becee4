"""The outbox: alerts that a channel did not take, until it does or it is given up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Integer, String, Table, Text, select

from modelyard.database import METADATA, Database
from modelyard.monitor.alerts import Tone

PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
"""How long is waited before each further try."""

_TABLE = Table(
    "outbox",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("model", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("channel", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due", String, nullable=False, index=True),
)


@dataclass(frozen=True)
class Letter:
    """An alert for one channel: an Apprise URL, or {"secret": its name}, as the config has it. tries: so many have failed."""

    id: int
    model: str
    kind: str
    channel: Any
    title: str
    body: str
    tries: int
    tone: Tone = "failure"


class Outbox:
    """Thread-safe, as the database is. Times are aware; they are compared as ISO texts in UTC."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, model: str, kind: str, channel: Any, title: str, body: str, now: datetime, tone: Tone = "failure") -> None:
        """Keep what failed once. Its tone stands beside its kind, in a column that tables of before it have, too."""
        row = {"model": model, "kind": f"{kind} {tone}", "channel": json.dumps(channel), "title": title, "body": body}
        with self._database.transaction() as tx:
            tx.execute(_TABLE.insert().values(**row, tries=1, due=(now + PAUSES[0]).isoformat()))

    def due(self, now: datetime) -> list[Letter]:
        """What is to be tried again, oldest first."""
        return self._all(_TABLE.c.due <= now.isoformat())

    def waiting(self, model: str, channel: Any) -> list[Letter]:
        """What a channel has not taken of a model's alerts, due or not, oldest first."""
        return self._all(_TABLE.c.model == model, _TABLE.c.channel == json.dumps(channel))

    def _all(self, *chosen: Any) -> list[Letter]:
        with self._database.transaction() as tx:
            rows = tx.execute(select(_TABLE).where(*chosen).order_by(_TABLE.c.id)).all()
        return [_read(row) for row in rows]

    def done(self, letter: Letter) -> None:
        with self._database.transaction() as tx:
            tx.execute(_TABLE.delete().where(_TABLE.c.id == letter.id))

    def failed(self, letter: Letter, now: datetime) -> bool:
        """Note another failure. Whether it is tried again."""
        if letter.tries >= len(PAUSES):
            self.done(letter)
            return False
        later = (now + PAUSES[letter.tries]).isoformat()
        with self._database.transaction() as tx:
            tx.execute(_TABLE.update().where(_TABLE.c.id == letter.id).values(tries=letter.tries + 1, due=later))
        return True


def _read(row: Any) -> Letter:
    kind, _, tone = row.kind.partition(" ")
    return Letter(row.id, row.model, kind, json.loads(row.channel), row.title, row.body, row.tries, tone or "failure")
