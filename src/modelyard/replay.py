"""Replay: past traffic and its labels through live endpoints on an injected clock; the rest is the very code that production runs.

A year passes in minutes: rows are sent in the order they happened, labels come when they came, and the clock is moved to each tick of
the monitors' schedule, where verdicts, the governor and its retrainings do what they would have done.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelyard.build import bundle
from modelyard.clock import ReplayClock
from modelyard.config.spec import Config
from modelyard.data import texts
from modelyard.data.prepare import as_times
from modelyard.errors import BadInput, NotFound, Unavailable, YardError
from modelyard.flows import endpoints, history, holdout
from modelyard.flows.release import moving
from modelyard.monitor import labelfiles, windows
from modelyard.monitor.book import Word
from modelyard.monitor.profile import reading
from modelyard.monitor.words import did_you_mean
from modelyard.signature import Signature
from modelyard.yard import Yard

if TYPE_CHECKING:
    import polars as pl

BODY_ROWS, BODY_ROWS_MOVING = 100, 20
"""Rows a request; fewer while a roll-out is under way, so that each of its steps sees requests enough."""
PACE = 0.02
"""Seconds between two requests while traffic moves: a roll-out bakes by the machine's own time, in which a fast one would send a month."""
KNOWN = "__known_at"
TRAFFIC_MOVES = "production: load"
"""The step of a roll-out after which traffic is needed; before it a person may have to give their word."""
LABEL_DELAY = timedelta(hours=24)
LABELS_COME = timedelta(days=7)
"""How often at least labels are handed over: a schedule may look once a month, and its labels came in between."""


@dataclass(frozen=True)
class Progress:
    """Where a replay stands: the clock, rows sent, rows in all, requests that failed."""

    now: datetime
    sent: int
    total: int
    failed: int


class Audience(Protocol):
    """Who is told of a replay."""

    def progress(self, progress: Progress) -> None:
        """After each body."""
        ...

    def judged(self, word: Word) -> None:
        """Of a monitor's word on a window."""
        ...

    def run(self, run: str, until: str | None) -> None:
        """Of a run: returns once it has ended, begins a step whose name starts with `until`, or waits for a word that nobody gives now."""
        ...


def read(path: Path, config: Config, label_time: str | None) -> pl.DataFrame:
    """Past traffic, oldest first: the model's columns, its time and id, the target where known, and when that came to be known.

    Raises NotFound, BadInput when there are no rows, a needed column is missing, or one of times holds something else.
    """
    table = _as_built(_table(path, config), config, path)
    needed = {"data.time_col": config.data.time_col, "data.id_col": config.data.id_col, "data.target_col": config.data.target_col}
    for where, name in needed.items():
        if name is None:
            raise BadInput(f"a replay needs `{where}` in the config", where=where, next="name the column of the traffic that holds it")
        _need(name, table, path, f"`{where}` names")
    if label_time is not None:
        _need(label_time, table, path, "`--label-time` names")
    if table.is_empty():
        raise BadInput("there is no traffic to replay: the file has no rows", where=str(path), next="give a file of past requests")
    time = config.data.time_col or ""
    table = table.with_columns(_times(table[time], config.timezone, path))
    if missing := table[time].null_count():
        raise BadInput(f"{missing:,} rows of the traffic have no time", where=f"{path.name}, {time}", next="leave them out, or fill it in")
    known = _times(table[label_time], config.timezone, path) if label_time else table[time] + LABEL_DELAY
    return table.with_columns(known.alias(KNOWN)).sort(time)


def _table(path: Path, config: Config) -> pl.DataFrame:
    import polars as pl

    if not path.is_file():
        raise NotFound(f"there is no file {path}", next="name a csv or parquet file of past requests")
    try:
        return pl.read_parquet(path) if path.suffix == ".parquet" else _csv(path, config)
    except pl.exceptions.PolarsError as exc:
        said = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise BadInput(f"the traffic cannot be read: {said}", where=str(path), next="give a csv or parquet file") from exc


def _csv(path: Path, config: Config) -> pl.DataFrame:
    """Read as a build reads its source, but for ids, which are what labels call them, and numbers with leading zeros, which are text until
    a version says what its columns are: of all that it was trained on, the traffic may hold numbers alone."""
    typed = {name for name, kind in config.data.schema_.types.items() if kind == "str"}
    id_col, apart = config.data.id_col, {*config.data.schema_.types, config.data.id_col, config.data.time_col}

    def read(plain: Iterable[str]) -> pl.DataFrame:
        with tempfile.TemporaryDirectory() as spool:
            return texts.read([(path.name, path)], "csv", Path(spool), texts=tuple(plain)).frame()

    try:
        table = read(name for name in (*typed, id_col) if name is not None)
        numbers = [name for name, dtype in table.schema.items() if dtype.is_numeric() and name not in apart]
        written = read([*typed, *numbers]) if numbers else table
    except BadInput as exc:
        raise BadInput(f"the traffic cannot be read: {exc.what}", where=str(path), next=exc.next or "give a csv or parquet file") from exc
    padded = [written[name] for name in numbers if written[name].str.contains(r"^[+-]?0\d").any()]
    ids = [labelfiles.as_ids(table[id_col])] if id_col in table.columns else []
    return table.with_columns(*padded, *ids)


def _as_built(table: pl.DataFrame, config: Config, path: Path) -> pl.DataFrame:
    """In the types in which a build takes the columns: an endpoint takes no number for text and no text for a number. Naive times are in
    the config's timezone, whatever that of the version was."""
    import polars as pl

    types = config.data.schema_.types
    for name, dtype in table.schema.items():
        if name == config.data.id_col:
            table = table.with_columns(reading.text(name, dtype))  # as the ledger writes it
        elif dtype.is_decimal():
            table = table.with_columns(pl.col(name).cast(pl.Float64))
        elif types.get(name) == "bool" and dtype.is_integer():
            table = table.with_columns(pl.col(name).cast(pl.Boolean))
        elif dtype in (pl.Date, pl.Datetime) and types.get(name) != "str":
            table = table.with_columns(_times(table[name], config.timezone, path))
    return table


def _as_signed(table: pl.DataFrame, signed: Signature) -> pl.DataFrame:
    """The features as a version takes them, where only the file was unsure: text that is written in digits, and numbers so written."""
    import polars as pl

    numbers = {"int": pl.Int64(), "float": pl.Float64()}
    for column in signed.columns:
        dtype = table.schema.get(column.name)
        if dtype == pl.String and (wanted := numbers.get(column.type)) is not None:
            made = table[column.name].cast(wanted, strict=False)
            table = table.with_columns(made) if made.null_count() == table[column.name].null_count() else table
        elif column.type == "str" and dtype is not None and dtype.is_numeric():
            table = table.with_columns(reading.text(column.name, dtype))
    return table


def _need(name: str, table: pl.DataFrame, path: Path, who: str) -> None:
    if name not in table.columns:
        raise BadInput(f"{who} the column `{name}`, which is not there", where=str(path), next=did_you_mean(name, table.columns))


def _times(column: pl.Series, timezone: str, path: Path) -> pl.Series:
    """A column of times in UTC; naive ones are in the config's timezone, as in a build."""
    try:
        return as_times(column, timezone)
    except BadInput as exc:
        raise BadInput(exc.what, where=f"{path.name}, {column.name}", next="write times such as 2013-03-01T06:00:00Z") from exc


def replay(yard: Yard, clock: ReplayClock, model: str, traffic: pl.DataFrame, audience: Audience) -> Progress:
    """Send all of `traffic`, stopping the clock at each tick of the monitors' schedule. Requests that fail are counted.

    A retraining is built while the clock stands; its roll-out goes on while the next rows are sent, since they are its traffic.
    Raises durable.Stopped when the yard is halted meanwhile.
    """
    sender = _Sender(yard, clock, model, traffic, audience)
    config = yard.shop.config(model)
    end = traffic[config.data.time_col or ""][-1]
    last = max([end, *traffic[KNOWN].drop_nulls().sort().tail(1)]) + timedelta(days=35)
    for tick in windows.ticks(config.monitor.schedule_expression, config.timezone, clock.now(), last):
        sender.send_until(tick)
        yard.tick(model, audience.judged)
        # one whose traffic moves since an earlier tick is not waited for: it waits for these rows, and no data never promotes
        if (challenger := yard.retraining(model)) is not None and moving(yard.shop, model) != challenger:
            before = yard.shop.model(model).stage("production").weights
            audience.run(challenger, TRAFFIC_MOVES)
            _until_it_answers(yard, model, challenger, before)
        if tick >= end + config.monitor.performance.label_delay:
            break  # the last window has been judged; what is labelled later has nobody to be told of it
    return sender.progress


def _until_it_answers(yard: Yard, model: str, run: str, before: dict[str, int]) -> None:
    """Wait until the challenger has traffic, be it a share: the rows to come are its trial, and a runner takes a moment to start."""
    while yard.retraining(model) == run and yard.run(run)["awaiting"] is None:
        if yard.shop.model(model).stage("production").weights != before:
            return
        time.sleep(0.02)


class _Sender:
    """Sends rows in bodies, and hands over labels when their time has come."""

    def __init__(self, yard: Yard, clock: ReplayClock, model: str, traffic: pl.DataFrame, audience: Audience) -> None:
        self._yard, self._clock, self._model, self._traffic, self._audience = yard, clock, model, traffic, audience
        data = yard.shop.config(model).data
        self._time, self._id, self._target = data.time_col or "", data.id_col or "", data.target_col
        signed = bundle.open(yard.shop.version(model).digest, yard.home.path).signature
        beside = (signed.id_col, signed.time_col, *signed.companions, *data.schema_.sensitive_not_served)
        self._sent = [c for c in traffic.columns if c in (*signed.names, *beside)]
        self._traffic = traffic = _as_signed(traffic, signed)
        self._labels = traffic.filter(traffic[self._target].is_not_null() & traffic[KNOWN].is_not_null()).sort(KNOWN)
        self._row = self._label = self._failed = 0

    @property
    def progress(self) -> Progress:
        return Progress(self._clock.now(), self._row, self._traffic.height, self._failed)

    def send_until(self, instant: datetime) -> None:
        """Everything that happened, and every label that came, before `instant`; the clock goes along, and stands there at the end."""
        while self._clock.now() < instant:
            self._yard.shop.runs.check_open()
            stop = min(self._clock.now() + LABELS_COME, instant)
            for body in self._bodies(int((self._traffic[self._time] < stop).sum())):
                self._post(body)
                self._clock.advance_to(max(self._clock.now(), self._traffic[self._time][self._row - 1]))
                self._audience.progress(self.progress)
            self._clock.advance_to(stop)  # before labels are taken in: none is received before it was given
            self._hand_over(stop)

    def _bodies(self, stop: int) -> Iterator[bytes]:
        while self._row < stop:
            self._yard.shop.runs.check_open()  # Ctrl-C stops traffic too
            most = BODY_ROWS_MOVING if self._yard.retraining(self._model) else BODY_ROWS
            rows = self._traffic.slice(self._row, min(most, stop - self._row)).select(self._sent)
            self._row += rows.height
            yield rows.write_json().encode()
            if moving(self._yard.shop, self._model) is not None:
                time.sleep(PACE)

    def _post(self, body: bytes) -> None:
        state = self._yard.shop.target.endpoint(endpoints.name(self._model, "production"))
        try:
            if state is None:
                raise Unavailable("the endpoint is not up", where=self._model)
            holdout.post(state.address, body, own=state.own)
        except YardError:
            self._failed += 1

    def _hand_over(self, instant: datetime) -> None:
        stop = int((self._labels[KNOWN] < instant).sum())
        if stop > self._label:
            came = self._labels.slice(self._label, stop - self._label)
            history.label(
                self._yard.shop,
                self._model,
                came.select(came[self._id].alias("inference_id"), came[self._target].alias("label"), came[KNOWN].alias("labelled_at")),
            )
            self._label = stop
