"""What every flow works with: the home, the clock, the journal and its state, durable runs, MLflow, and a target for each stage."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from modelyard.clock import Clock, WallClock
from modelyard.config.spec import Config, Stage
from modelyard.database import Database
from modelyard.durable import Runs
from modelyard.errors import NotFound
from modelyard.events import Event
from modelyard.home import Home
from modelyard.registry.journal import Entry, Journal
from modelyard.registry.state import ModelState, State, Version, fold
from modelyard.registry.store import Store
from modelyard.targets.base import Target


class Workshop:
    """Opened by the owner of a home alone; `clock` is the wall's unless a replay brings its own."""

    def __init__(self, home: Home, target: Target, clock: Clock | None = None) -> None:
        self.home, self.target, self.clock = home, target, clock or WallClock()
        home.sweep()
        self.database = Database(home.database)
        self.journal = Journal(self.database, self.clock)
        self.runs = Runs(self.database, self.journal, self.clock, home.runs)
        self.store = Store(home.path)
        self.state: State = {}
        self._busy: dict[str, threading.Lock] = {}
        self.journal.subscribe(self._see)

    def _see(self, entry: Entry) -> None:
        self.state = fold(self.state, entry)

    def record(self, events: Iterable[Event]) -> None:
        self.journal.append(events)

    def model(self, name: str) -> ModelState:
        """The state of a model. Raises NotFound with the nearest name."""
        if name not in self.state:
            import difflib

            near = difflib.get_close_matches(name, self.state, n=1)
            hint = f"did you mean `{near[0]}`?" if near else "`modelyard up` brings a first model in"
            raise NotFound(f"there is no model `{name}`", next=hint)
        return self.state[name]

    def version(self, model: str, version: str | None = None) -> Version:
        """A version of a model, by default the newest. Raises NotFound."""
        versions = self.model(model).versions
        if not versions:
            raise NotFound(f"`{model}` has no version yet", next="run `modelyard build`")
        if version is None:
            return list(versions.values())[-1]
        if version not in versions:
            raise NotFound(f"there is no version {version} of `{model}`", next=f"it has {', '.join(versions)}")
        return versions[version]

    def config(self, model: str) -> Config:
        """The config that was accepted last for a model, with production's values."""
        return Config.model_validate(self.model(model).config["production"])

    def stage_config(self, model: str, stage: Stage) -> Config:
        return Config.model_validate(self.model(model).config[stage])

    def bundle(self, version: Version) -> Path:
        return self.home.bundles / version.digest

    def busy(self, what: str) -> threading.Lock:
        """A lock by name, so that one model is built, and one endpoint changed, by one run at a time."""
        return self._busy.setdefault(what, threading.Lock())

    def close(self) -> None:
        self.runs.stop()
        self.database.close()
