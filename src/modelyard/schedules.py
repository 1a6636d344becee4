"""Schedules: when each model is looked at, and by whom. Thousands of models share one thread that waits and a few that look.

A model has one next instant: the first one of all its schedules (monitors, batch, labels, retraining). When it has come, the model waits
its turn, and a look does all that is due by then; what was missed while nobody was there is due too, and is made up for in one look, or in
several where it is much, each in its turn. A model is looked at by one thread at a time.

A second of idling costs next to nothing, however many models there are: the earliest instant is compared with the clock, and only models
whose state has changed are thought about anew.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from modelyard.config.spec import Config
from modelyard.monitor.ticks import next_tick
from modelyard.registry.state import ModelState, State
from modelyard.workshop import Workshop

T = TypeVar("T")
log = logging.getLogger("modelyard")
TICK = 1.0
"""Seconds between two looks at the clock: it may be set, or the machine may have slept."""
LOOKERS = 2
"""Models that are looked at, at the same time."""
ROUND = 30
"""Turns in which every model is visited once, whatever its schedules say."""


def times(config: Config) -> dict[str, str]:
    """What a config asks to be done again and again, and when: cron expressions in the config's timezone."""
    found = {"monitor": config.monitor.schedule_expression}
    if config.deploy.batch is not None:
        found["batch"] = config.deploy.batch.schedule_expression
    if config.labels.source is not None:
        found["labels"] = config.labels.schedule_expression
    if config.retrain.schedule_expression is not None:
        found["retrain"] = config.retrain.schedule_expression
    return found


def next_time(config: Config, last: Mapping[str, datetime]) -> datetime | None:
    """The first instant at which something is to be done that was done up to `last` (by its name in `times`)."""
    return min((at for at in _coming(config, last).values()), default=None)


def due(config: Config, last: Mapping[str, datetime], now: datetime) -> set[str]:
    """What is to be done by `now`, by its name in `times`; of several instants that were missed nothing is to be done twice."""
    return {name for name, at in _coming(config, last).items() if at <= now}


def _coming(config: Config, last: Mapping[str, datetime]) -> dict[str, datetime]:
    found = {name: next_tick(cron, config.timezone, last[name]) for name, cron in times(config).items()}
    return {name: at for name, at in found.items() if at is not None}


class Agenda:
    """The next instant of each model. Not thread-safe."""

    def __init__(self) -> None:
        self._next: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []

    def put(self, model: str, at: datetime | None) -> None:
        """In place of what was said of it before; None: nothing is to be done any more."""
        if self._next.get(model) == at:
            return
        if at is None:
            self._next.pop(model, None)
            return
        self._next[model] = at
        heapq.heappush(self._heap, (at, model))
        if len(self._heap) > 2 * len(self._next) + 64:  # without what was put anew since
            self._heap = [(then, name) for name, then in self._next.items()]
            heapq.heapify(self._heap)

    def due(self, now: datetime) -> list[str]:
        """The models whose instant has come, earliest first; they are on the agenda no more."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            at, model = heapq.heappop(self._heap)
            if self._next.get(model) == at:
                del self._next[model]
                found.append(model)
        return found


class Schedules:
    """`next` says when a model is to be looked at (None: not until its state changes), `look` does so, and may raise.

    `mend` is called for a model whose state has changed or that has a run that does not go on, and for every model once in `ROUND`
    turns; `failed` and `well` are told what became of a look, and `over` says whether one that failed may be tried again.
    """

    def __init__(
        self,
        shop: Workshop,
        closing: threading.Event,
        *,
        next: Callable[[str], datetime | None],
        look: Callable[[str], object],
        mend: Callable[[str], object],
        failed: Callable[[str, Exception], None],
        well: Callable[[str], None],
        over: Callable[[str], bool],
    ) -> None:
        self._shop, self._closing = shop, closing
        self._next, self._look, self._mend = next, look, mend
        self._failed, self._well, self._over = failed, well, over
        self._agenda, self._lock = Agenda(), threading.Lock()
        self._seen: State = {}
        self._unfinished: set[str] = set()
        self._looking: set[str] = set()
        self._paused: set[str] = set()
        self._round = 0

    def watch(self) -> None:
        """Until `closing` is set; looks under way are waited for."""
        with ThreadPoolExecutor(LOOKERS, thread_name_prefix="look") as pool:
            while not self._closing.wait(TICK):
                self.turn(pool)
            pool.shutdown(cancel_futures=True)

    def turn(self, pool: ThreadPoolExecutor) -> None:
        """Notice what has changed, mend what is broken, have looked at what is due. Never raises."""
        changed = self._changed()
        for model in changed:
            self._plan(model)
        models = list(self._seen)
        visited = models[self._round :: ROUND]
        self._round = (self._round + 1) % ROUND
        for model in dict.fromkeys([*changed, *self._unfinished, *visited]):
            self._tried(model, self._mend)
        for model in [model for model in list(self._paused) if self._over(model)]:
            self._paused.discard(model)
            self._plan(model)
        with self._lock:
            due = self._agenda.due(self._shop.clock.now())
            self._looking |= set(due)
        for model in due:
            pool.submit(self._work, model)

    def _changed(self) -> list[str]:
        """The models whose state is another one than at the last turn: a state that stayed is the same object."""
        state, before = self._shop.state, self._seen
        if state is before:
            return []
        self._seen = state
        found = [model for model, now in state.items() if before.get(model) is not now]
        for model in found:
            (self._unfinished.add if _runs(state[model]) else self._unfinished.discard)(model)
        return found

    def _plan(self, model: str) -> None:
        """Put a model's next instant down, unless it is looked at just now: then afterwards."""
        with self._lock:  # also while it is reckoned, so that of two that do so the later one has the newer state
            if model not in self._looking and model not in self._paused:
                self._agenda.put(model, self._tried(model, self._next))

    def _work(self, model: str) -> None:
        try:
            if not self._closing.is_set():
                self._look(model)
                self._well(model)
        except Exception as exc:  # a damaged file of one model must not end the watch over all
            self._fail(model, exc)
        finally:
            with self._lock:
                self._looking.discard(model)
            self._plan(model)

    def _tried(self, model: str, work: Callable[[str], T]) -> T | None:
        try:
            return work(model)
        except Exception as exc:
            self._fail(model, exc)
            return None

    def _fail(self, model: str, exc: Exception) -> None:
        """Told of, and tried again after a pause."""
        try:
            self._paused.add(model)
            self._failed(model, exc)
        except Exception:
            log.exception("nobody could be told: %s: its schedule cannot be kept", model)


def _runs(model: ModelState) -> bool:
    return any(run.status == "running" for run in model.runs.values())
