"""Errands: what a model's schedules ask for, done in turn: looks of the monitors, the governor's word, labels to fetch, batches.

`tick` does what is due by now, on whatever clock the yard has: the schedules call it for a server, a replay for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from modelyard import schedules
from modelyard.config.spec import Config
from modelyard.durable import Outcome, Run
from modelyard.flows import batch, monitor
from modelyard.flows.monitor.looking import CATCH_UP
from modelyard.flows.site import Order
from modelyard.going import Going
from modelyard.monitor.book import Word
from modelyard.upkeep import Upkeep
from modelyard.workshop import Workshop

Start = Callable[[str, str, Order, str], dict[str, Any]]
"""Starts a run of a flow, for a model, by an order, under an id: one that is there already is not started twice."""
Tell = Callable[[Word], None]


def nobody(word: Word) -> None:
    """Is told, and does nothing."""


class Errands:
    """`done`: by model and errand, up to when it was done."""

    def __init__(self, shop: Workshop, going: Going, upkeep: Upkeep, start: Start) -> None:
        self._shop, self._going, self._upkeep, self._start = shop, going, upkeep, start
        self.done: dict[str, dict[str, datetime]] = {}

    def tick(self, model: str, tell: Tell = nobody) -> str | None:
        """Do what the model's schedules ask for by now; what was missed is made up for once. Returns the retraining that it started."""
        self._going.go_on(model)
        if not self._shop.state[model].stage("production").weights:
            return None
        config, now, started, undone = self._shop.config(model), self._shop.clock.now(), None, set[str]()
        last = self._done_until(model, config)
        asked = schedules.due(config, last, now)
        if "batch" in asked and not self._batch(model, config, now):
            undone.add("batch")
        if "labels" in asked:
            self._upkeep.fetch_labels(model)
        if asked & {"monitor", "retrain"}:
            count, started = self.look(model, tell)
            undone |= {"monitor"} if count >= CATCH_UP and monitor.due(self._shop, model) else set()
        last.update(dict.fromkeys(asked - undone, now))
        return started

    def next_time(self, model: str) -> datetime | None:
        """When `tick` has something to do next; in the past where it has by now. None where nothing is in production."""
        if not self._shop.state[model].stage("production").weights:
            return None
        config = self._shop.config(model)
        return schedules.next_time(config, self._done_until(model, config))

    def look(self, model: str, tell: Tell = nobody) -> tuple[int, str | None]:
        """How many words were said, and the retraining that was started. One look a model at a time: the second finds nothing due."""
        with self._shop.busy(f"look {model}"):
            return monitor.look(self._shop, model, self._while_open(tell)), self._govern(model)

    def asked(self, run: Run) -> str:
        """Looks on a person's word, until nothing is due, each word in the run's feed. What the schedule looks at just now is not judged a
        second time."""

        def judged() -> Outcome[int]:
            tell, count = self._while_open(lambda word: run.feed.put("line", step="look", text=str(word))), 0
            while True:
                count += (said := monitor.look(self._shop, run.model, tell))
                if said < CATCH_UP or not monitor.due(self._shop, run.model):
                    return Outcome(count, summary=f"{count} judged")

        with self._shop.busy(f"look {run.model}"):
            count = run.step("look", judged)
            started = self._govern(run.model)
        return f"{count} judged; " + (f"started {started}" if started else "no retraining")

    def _govern(self, model: str) -> str | None:
        """Ask the governor; the retraining that it wants is a run, started once."""
        decision = monitor.govern(self._shop, model)
        if not decision.retrain:
            return None
        state, now = self._shop.model(model), self._shop.clock.now()
        order = Order(state.config, state.config_digest, state.folder, "the governor", [], decision.reason, now.isoformat())
        return str(self._start("retrain", model, order, f"retrain-{model}-{now:%Y%m%dT%H%M%S}")["run"])

    def _while_open(self, tell: Tell) -> Tell:
        """Ends a look at the next word once this yard closes: what it has not come to is still due at the next start."""

        def told(word: Word) -> None:
            tell(word)
            self._shop.runs.check_open()

        return told

    def _done_until(self, model: str, config: Config) -> dict[str, datetime]:
        """Up to when each of a model's errands was done, as far as is known; what a process did before this one, the book knows."""
        last = self.done.setdefault(model, {})
        lacking = schedules.times(config).keys() - last.keys()
        if lacking:
            live = datetime.fromisoformat(self._shop.state[model].stage("production").history[0][0])
            said = [self._shop.book.latest(model, kind) for kind in monitor.MONITORS] if "monitor" in lacking else []
            looked = max((datetime.fromisoformat(word.judged_at) for word in said if word is not None), default=live)
            last.update({name: looked if name == "monitor" else live for name in lacking})
        now = self._shop.clock.now()
        last.update({name: now for name, at in last.items() if at > now})  # the clock was ahead, and nothing is to wait for that hour
        return last

    def _batch(self, model: str, config: Config, now: datetime) -> bool:
        """Start the config's batch when its schedule says so; one that was missed is made up for, once. False while one goes on."""
        state = self._shop.state[model]
        if any(run.flow == "batch" and run.status == "running" for run in state.runs.values()):
            return False
        instant = batch.due(config, state, now)
        if instant is not None:
            order = Order({}, state.config_digest, "", "the schedule", [])
            self._start("batch", model, order, batch.run_id(model, instant))
        return True
