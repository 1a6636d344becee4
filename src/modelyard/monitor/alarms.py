"""Alarms: from words on windows to the few messages that people get.

An **episode** begins with the window that makes `num_violation_windows` of the last `num_windows` known ones violated, and ends with the
one that makes them fewer. People are told of its beginning and of its end, whatever happens in between: another feature that moves while
an episode lasts is named when it ends. A window that is unknown neither begins nor ends one, and counts for nothing.

What holds is read from the book each time, so that a window which labels change later counts as it is known now; that an episode was told
of is kept beside it (`Episodes`), so that nobody is told twice, whoever is killed.

**Silence** is an episode of its own: nobody asks any more. Nights, weekends and rare requests are no alarm: it begins when a stretch of
empty windows is so long that the same time of the day and of the week before, or of the two weeks before, had `EXPECTED` rows each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, String, Table, Text, select

from modelyard.config.spec import AlertAfter
from modelyard.database import METADATA, Database
from modelyard.monitor.book import Word
from modelyard.monitor.verdicts import in_alarm

EXPECTED = 20
"""Rows that the same time of two earlier periods had, each: requests that come by chance leave no such stretch empty once in
exp(20) times."""
DAY, WEEK = timedelta(days=1), timedelta(days=7)
SEASONS = ((DAY, WEEK), (WEEK, 2 * WEEK))
"""How long ago: the day and the week before, or the two weeks before, which a Monday asks after a Sunday."""
FAILING = "failing "
"""Before a monitor's name: the episode of one that fails instead of judging, which is no alarm of what it watches."""

_TABLE = Table(
    "episodes",
    METADATA,
    Column("model", String, primary_key=True),
    Column("monitor", String, primary_key=True),
    Column("opened_at", String, primary_key=True),
    Column("since", String, nullable=False),
    Column("closed_at", String, nullable=False),
    Column("until", String, nullable=False),
    Column("moved", Text, nullable=False),
)


@dataclass(frozen=True)
class Episode:
    """An alarm that people were told of. Times are ISO, UTC: `since` and `until` of windows, the others of the telling, which are empty
    while it lasts.

    moved: names of what moved in it, as far as was known when people were told.
    """

    model: str
    monitor: str
    opened_at: str
    since: str
    closed_at: str = ""
    until: str = ""
    moved: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        return not self.closed_at

    @property
    def subject(self) -> str:
        """The monitor itself."""
        return self.monitor.removeprefix(FAILING)


class Episodes:
    """Thread-safe, as the database is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, episode: Episode, tx: Connection | None = None) -> None:
        """Write an episode, or what became of it; in a transaction that is open, where one is given."""
        if tx is None:
            with self._database.transaction() as own:
                return self.put(episode, own)
        row = {**asdict(episode), "moved": json.dumps(episode.moved)}
        c = _TABLE.c
        tx.execute(_TABLE.delete().where(c.model == episode.model, c.monitor == episode.monitor, c.opened_at == episode.opened_at))
        tx.execute(_TABLE.insert().values(row))
        return None

    def open(self, model: str) -> dict[str, Episode]:
        """The episodes that last, by monitor."""
        return {e.monitor: e for e in self._all(model, "")}

    def of(self, model: str, since: str = "") -> list[Episode]:
        """The episodes that had not ended by an instant, oldest first."""
        return [e for e in self._all(model) if e.open or e.until > since]

    def _all(self, model: str, closed_at: str | None = None) -> list[Episode]:
        query = select(_TABLE).where(_TABLE.c.model == model).order_by(_TABLE.c.opened_at)
        query = query if closed_at is None else query.where(_TABLE.c.closed_at == closed_at)
        with self._database.transaction() as tx:
            rows = tx.execute(query).all()
        return [Episode(**{**row._mapping, "moved": tuple(json.loads(row.moved))}) for row in rows]


@dataclass(frozen=True)
class Stretch:
    """Windows that make up an alarm, known ones, oldest first: from the first violated one to that which ended it (`over`), if one did.

    raised: the window that made them enough.
    """

    words: tuple[Word, ...]
    raised: Word
    over: bool = False

    @property
    def since(self) -> str:
        return self.words[0].start

    @property
    def until(self) -> str:
        """The end of the last violated window."""
        return self.violated[-1].end

    @property
    def violated(self) -> tuple[Word, ...]:
        return tuple(word for word in self.words if word.status == "violated")


def stretches(words: Iterable[Word], after: AlertAfter) -> list[Stretch]:
    """The alarms in the words on consecutive windows of one monitor, oldest first; only the last one may still last."""
    known = [word for word in words if word.status != "unknown"]
    found: list[Stretch] = []
    for place, word in enumerate(known):
        last = known[max(0, place + 1 - after.num_windows) : place + 1]
        lasts = bool(found) and not found[-1].over
        alarm = in_alarm([w.status for w in last], after)
        if lasts:
            found[-1] = replace(found[-1], words=(*found[-1].words, word), over=not alarm)
        elif alarm:
            first = next(i for i, w in enumerate(last) if w.status == "violated")
            found.append(Stretch(tuple(last[first:]), word))
    return found


@dataclass(frozen=True)
class Cause:
    """What moved: features, metrics or checks by name, the most important first, with its value where there is one; and segments."""

    moved: dict[str, str] = field(default_factory=dict)
    segments: tuple[str, ...] = ()


def cause(word: Word) -> Cause:
    """What a word's evidence names, whichever monitor wrote it."""
    said = word.evidence
    if word.monitor in ("performance", "estimate"):
        worse = [c for c in said.get("criteria", ()) if c.get("status") == word.status]
        moved = {str(c["metric"]): _value(c.get("value")) for c in worse if "metric" in c}
        parts = [p for p in said.get("parts", ()) if p.get("status") == word.status]
        return Cause(moved, tuple(f"{p['column']}={p['value']}" for p in parts))
    if word.monitor == "data_quality":
        found: dict[str, str] = {}
        for violation in said.get("violations", ()):
            found.setdefault(str(violation["feature_name"]), str(violation.get("constraint_check_type", "")))
        return Cause(found)
    columns = said.get("columns")
    figures = {c["column"]: c for c in columns if "column" in c} if isinstance(columns, list) else {}
    moved = dict(_named(one, figures) for one in said.get("moved", ()))
    if (score := said.get("prediction")) and score.get("moved"):
        moved |= dict([_named(score.get("column", "prediction"), {score.get("column"): score})])
    segments = said.get("segments")
    return Cause(moved, tuple(_segment(part) for part in segments.get("moved", ())) if isinstance(segments, dict) else ())


def _named(one: Any, figures: dict[Any, Any]) -> tuple[str, str]:
    """A feature's name and value: `moved` names it, or says both itself."""
    if not isinstance(one, dict):
        figure = figures.get(one, {})
        measure = str(figure.get("measure", ""))
        measure = measure.upper() if len(measure) <= 3 else measure.replace("_", " ")
        return str(one), f"{measure} {_value(figure.get('value'))}".strip()
    was = f", {_value(one['was'])} when built" if one.get("was") is not None else ""
    return str(one["name"]), f"{_value(one.get('value'))}{was}"


def _segment(part: dict[str, Any]) -> str:
    columns = [str(name) for name in part.get("columns", ())]
    return f"{part['segment']} ({', '.join(columns[:3])})" if columns else str(part["segment"])


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


# -- nobody asks ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Silence:
    """Since when nobody has asked, and how many rows the same time of earlier days had at least."""

    since: datetime
    until: datetime
    expected: int


def silence(counts: Sequence[tuple[datetime, datetime, int]]) -> Silence | None:
    """The silence that the newest windows are, if they are one. counts: (start, end, rows) of a model's windows, oldest first."""
    empty = []
    for start, end, rows in reversed(counts):
        if rows:
            break
        empty.append((start, end))
    if not empty:
        return None
    since, until = empty[-1][0], empty[0][1]
    expected = max(min(_rows_between(counts, since - ago, until - ago) for ago in both) for both in SEASONS)
    return Silence(since, until, expected) if expected >= EXPECTED else None


def _rows_between(counts: Sequence[tuple[datetime, datetime, int]], start: datetime, end: datetime) -> int:
    """The rows of the windows that lie wholly in a span."""
    return sum(rows for a, b, rows in counts if start <= a and b <= end)
