"""What every flow works with: the home, the clock, the journal and its state, durable runs, MLflow, and a target for each stage."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modelyard.clock import Clock, WallClock
from modelyard.config.spec import Config, Stage
from modelyard.database import Database
from modelyard.durable import Runs
from modelyard.errors import NotFound
from modelyard.events import Event
from modelyard.home import Home
from modelyard.monitor.alarms import Episodes
from modelyard.monitor.book import Book
from modelyard.monitor.outbox import Outbox
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
        self.book = Book(self.database)
        self.episodes = Episodes(self.database)
        self.outbox = Outbox(self.database)
        self.state: State = {}
        self._busy: dict[str, threading.Lock] = {}
        self._configs: dict[tuple[str, Stage], tuple[dict[str, Any], Config]] = {}
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
            there = ", ".join(sorted(self.state)[:5]) + (", ..." if len(self.state) > 5 else "")
            hint = f"did you mean `{near[0]}`?" if near else f"there is {there}" if there else "`modelyard up` brings a first model in"
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
        return self.stage_config(model, "production")

    def stage_config(self, model: str, stage: Stage) -> Config:
        """Read once, not at each look: of a model's config the state keeps the same object until another comes into force."""
        written = self.model(model).config
        kept = self._configs.get((model, stage))
        if kept is None or kept[0] is not written:
            kept = self._configs[model, stage] = (written, Config.model_validate(written[stage]))
        return kept[1]

    def bundle(self, version: Version) -> Path:
        return self.home.bundles / version.digest

    def busy(self, what: str) -> threading.Lock:
        """A lock by name, so that one model is built, and one endpoint changed, by one run at a time."""
        return self._busy.setdefault(what, threading.Lock())

    def close(self) -> None:
        self.runs.stop()
        self.database.close()
