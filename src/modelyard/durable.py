"""Durable runs: straight-line Python that a crash cannot lose.

A flow is a function of a `Run`. What it does goes through `run.step`, whose result is kept as a receipt; after a crash the flow is
called again, steps with a receipt return it at once, and the first one without is where the work goes on. The receipt and the
events a step tells of are committed in one transaction, so that no fact is written twice. Why not a library:
docs/decisions/0002-durable-runs.md.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Integer, String, Table, Text, UniqueConstraint, literal_column, select

from modelyard.clock import Clock
from modelyard.database import METADATA, Database
from modelyard.errors import YardError
from modelyard.events import Event, RunEnded, RunResumed, RunStarted, StepDone
from modelyard.feed import FEED, Feed
from modelyard.registry.journal import Journal

T = TypeVar("T")

_RUNS = Table(
    "runs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("flow", String, nullable=False),
    Column("args", Text, nullable=False),
    Column("status", String, nullable=False),
)
_RECEIPTS = Table(
    "receipts",
    METADATA,
    Column("run", String, primary_key=True),
    Column("step", String, primary_key=True),
    Column("result", Text, nullable=False),
)
_MESSAGES = Table(
    "messages",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("run", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("run", "topic"),
)


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What a step returns when it also tells of facts: they are written with its receipt, or not at all."""

    value: T
    events: list[Event] = field(default_factory=list)
    summary: str = ""


class Stopped(Exception):
    """The owner is closing: leave the run as it is; it goes on at the next start."""


@dataclass(frozen=True)
class RunRecord:
    """A run as stored. `args` are JSON values."""

    id: str
    model: str
    flow: str
    args: dict[str, Any]
    status: str


class Run:
    """What a flow holds in its hands."""

    def __init__(self, runs: Runs, record: RunRecord, feed: Feed) -> None:
        self.id, self.model, self.args = record.id, record.model, record.args
        self.feed, self._runs = feed, runs
        self._named: set[str] = set()

    def step(self, name: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result of `work(*args, **kwargs)`, done once in the life of the run.

        `work` returns a JSON value, or an `Outcome` that holds one. It is called again only if the process died before its receipt
        was written, so its effects must bear being done twice. Raises YardError for a value that is not JSON, and for a name that
        this run has used before, since its receipt would answer for both.
        """
        self._claim(name)
        return self._step(name, lambda: work(*args, **kwargs))

    def together(self, work: Mapping[str, Callable[[], Any]], *, at_most: int | None = None) -> dict[str, Any]:
        """Independent steps at the same time, each as `step` has it, in a thread of its own; their results by name.

        Each has its own receipt: after a crash only those without one are done again. Once one has failed, or the owner closes, none
        is begun any more; what runs is waited for, and then the failure that came first is raised. `at_most` caps how many run at once.

        Raises what a step raised; YardError for a name that this run has used before; Stopped when the owner closes.
        """
        for name in work:
            self._claim(name)
        broken = threading.Event()
        failures: list[BaseException] = []

        def one(name: str) -> Any:
            if broken.is_set():
                return None
            try:
                return self._step(name, work[name])
            except BaseException as exc:
                failures.append(exc)
                broken.set()
                raise

        with ThreadPoolExecutor(max_workers=at_most or max(1, len(work)), thread_name_prefix=self.id) as pool:
            going = {name: pool.submit(one, name) for name in work}
        if failures:
            raise failures[0]
        return {name: future.result() for name, future in going.items()}

    def _step(self, name: str, work: Callable[[], Any]) -> Any:
        done, value = self._runs.receipt(self.id, name)
        if done:
            self.feed.put("step_kept", step=name)
            return value
        self._runs.check_open()
        self.feed.put("step_started", step=name)
        began = time.monotonic()
        try:
            outcome = work()
        except Exception:
            self._runs.check_open()  # what fails while everything is being ended did not fail: it goes on at the next start
            raise
        if not isinstance(outcome, Outcome):
            outcome = Outcome(outcome)
        seconds = time.monotonic() - began
        told = StepDone(self.model, self.id, name, round(seconds, 3), outcome.summary)
        kept = self._runs.keep(self.id, name, outcome.value, [*outcome.events, told])
        for event in outcome.events:
            self.feed.put("fact", sentence=str(event), event=type(event).__name__)
        self.feed.put("step_done", step=name, seconds=seconds, summary=outcome.summary)
        return kept

    def tell(self, name: str, *events: Event) -> None:
        """Write facts once, under a step's name of their own."""
        self._claim(name)
        if not self._runs.receipt(self.id, name)[0]:
            self._runs.keep(self.id, name, None, list(events))
            for event in events:
                self.feed.put("fact", sentence=str(event), event=type(event).__name__)

    def wait(self, topic: str, deadline: datetime) -> Any:
        """The message sent to this run under `topic`, or None once the clock passes `deadline`. Survives restarts."""
        self.feed.put("waiting", topic=topic, until=deadline.isoformat())
        return self._runs.receive(self.id, topic, deadline)

    def _claim(self, name: str) -> None:
        if name in self._named:
            raise YardError(f"the flow has two steps named `{name}`; a receipt would answer for both", where=self.id)
        self._named.add(name)


class Runs:
    """Stores runs and carries messages to them. All runs of a home live here."""

    def __init__(self, database: Database, journal: Journal, clock: Clock, folder: Path) -> None:
        self._database, self._journal, self._clock, self.folder = database, journal, clock, folder
        self._arrived = threading.Condition()
        self._starting = threading.Lock()
        self._stopping = False

    def start(
        self,
        model: str,
        flow: str,
        args: dict[str, Any],
        *,
        by: str,
        because: str = "",
        config_digest: str = "",
        id: str | None = None,
    ) -> RunRecord:
        """Store a new run; it does nothing until it is executed. A run whose `id` is there already is given back as it is."""
        run = id or f"{flow}-{secrets.token_hex(4)}"
        text = _encoded(args, f"what {run} is asked to do")
        row = {"id": run, "model": model, "flow": flow, "args": text, "status": "running"}
        began = RunStarted(model, run, flow, by, because, config_digest)
        with self._starting:
            if id is not None and (known := self.get(id)) is not None:
                return known
            self._journal.append([began], beside=lambda tx: tx.execute(_RUNS.insert().values(row)))
        return RunRecord(run, model, flow, json.loads(text), "running")

    def execute(self, record: RunRecord, flow: Callable[[Run], T]) -> T:
        """Run the flow to its end in this thread. `Stopped` leaves it unfinished; the caller ends it otherwise."""
        self.check_open()
        feed = self.feed(record.id)
        completed = len(self.receipts(record.id))
        if completed:
            self._journal.append([RunResumed(record.model, record.id, completed)])
            feed.put("resumed", completed=completed)
        return flow(Run(self, record, feed))

    def end(self, record: RunRecord, status: str, reason: str = "", events: Iterable[Event] = ()) -> None:
        """Close a run for good: done, failed, refused, rejected, expired or abandoned. The first end counts."""
        if (known := self.get(record.id)) is not None and known.status != "running":
            return
        change = _RUNS.update().where(_RUNS.c.id == record.id).values(status=status)
        ended = RunEnded(record.model, record.id, status, reason)
        self._journal.append([*events, ended], beside=lambda tx: tx.execute(change))
        self.feed(record.id).put("ended", status=status, reason=reason)

    def unfinished(self, model: str | None = None) -> list[RunRecord]:
        """Runs that a crash or a stop left open, oldest first."""
        query = select(_RUNS).where(_RUNS.c.status == "running")
        with self._database.transaction() as tx:
            query = query.order_by(literal_column("rowid"))
            rows = tx.execute(query if model is None else query.where(_RUNS.c.model == model)).all()
        return [RunRecord(r.id, r.model, r.flow, json.loads(r.args), r.status) for r in rows]

    def get(self, run: str) -> RunRecord | None:
        with self._database.transaction() as tx:
            row = tx.execute(select(_RUNS).where(_RUNS.c.id == run)).first()
        return RunRecord(row.id, row.model, row.flow, json.loads(row.args), row.status) if row else None

    def feed(self, run: str) -> Feed:
        return Feed(self.folder / run / FEED)

    def send(self, run: str, topic: str, body: Any, *events: Event) -> bool:
        """Hand a message to a run. The first one counts: False when that topic has one already (the events are then not written)."""
        row = {"run": run, "topic": topic, "body": _encoded(body, f"the message `{topic}`")}
        with self._arrived:
            if self._message(run, topic) is not None:
                return False
            self._journal.append(events, beside=lambda tx: tx.execute(_MESSAGES.insert().values(row)))
            self._arrived.notify_all()
        return True

    def receive(self, run: str, topic: str, deadline: datetime) -> Any:
        """Wait for the message. The deadline is a message like any other: if it comes first it counts, and `send` says False ever after."""
        with self._arrived:
            while (found := self._message(run, topic)) is None:
                self.check_open()
                if self._clock.now() >= deadline:
                    self.send(run, topic, None)
                else:
                    self._arrived.wait(timeout=0.5)
        return json.loads(found)

    def peek(self, run: str, topic: str) -> Any:
        """The message sent to a run under `topic`, or None; does not wait."""
        found = self._message(run, topic)
        return None if found is None else json.loads(found)

    def stop(self) -> None:
        """Let every run stop at its next step or wait."""
        with self._arrived:
            self._stopping = True
            self._arrived.notify_all()

    def check_open(self) -> None:
        if self._stopping:
            raise Stopped

    def receipt(self, run: str, step: str) -> tuple[bool, Any]:
        with self._database.transaction() as tx:
            query = select(_RECEIPTS.c.result).where(_RECEIPTS.c.run == run, _RECEIPTS.c.step == step)
            row = tx.execute(query).first()
        return (True, json.loads(row.result)) if row else (False, None)

    def receipts(self, run: str) -> dict[str, Any]:
        """What every step of a run returned so far, by name, in the order in which they ended."""
        with self._database.transaction() as tx:
            query = select(_RECEIPTS.c.step, _RECEIPTS.c.result).where(_RECEIPTS.c.run == run).order_by(literal_column("rowid"))
            return {row.step: json.loads(row.result) for row in tx.execute(query).all()}

    def keep(self, run: str, step: str, value: Any, events: Iterable[Event]) -> Any:
        """Write a receipt and its events, or neither. Returns the value as a later `receipt` will give it."""
        text = _encoded(value, f"what `{step}` returned")
        row = {"run": run, "step": step, "result": text}
        self._journal.append(events, beside=lambda tx: tx.execute(_RECEIPTS.insert().values(row)))
        return json.loads(text)

    def _message(self, run: str, topic: str) -> str | None:
        with self._database.transaction() as tx:
            query = select(_MESSAGES.c.body).where(_MESSAGES.c.run == run, _MESSAGES.c.topic == topic)
            return tx.execute(query).scalar_one_or_none()


def _encoded(value: Any, what: str) -> str:
    """JSON, strictly: no NaN, and no key that would come back as another (JSON's keys are strings)."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise YardError(f"{what} cannot be kept: {exc}") from exc
    if (key := _strange_key(value)) is not None:
        raise YardError(f"{what} cannot be kept: the key {key!r} would come back as text")
    return text


def _strange_key(value: Any) -> Any:
    if isinstance(value, dict):
        return next((k for k in value if not isinstance(k, str)), _strange_key(list(value.values())))
    if isinstance(value, list | tuple):
        return next((key for item in value if (key := _strange_key(item)) is not None), None)
    return None
