"""A workshop over the fake target with hand-made versions: whatever a release needs, and no process."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.build import bundle
from modelyard.build.envs import Env
from modelyard.clock import Clock
from modelyard.config.spec import STAGES, Stage
from modelyard.durable import Run, RunRecord, Stopped
from modelyard.errors import YardError
from modelyard.events import ConfigAccepted, ConfigInForce, Event, VersionRegistered
from modelyard.flows import holdout, release, scoring, shifting, watching
from modelyard.flows.site import Order
from modelyard.home import Home
from modelyard.signature import Column, Signature
from modelyard.targets.fake import FakeTarget
from modelyard.workshop import Workshop
from tests.build.test_processes import until

SIGNATURE = Signature("regression", (Column("x", "float"),), target_col="y")
Weights = dict[str, int]


def config(strategy: Mapping[str, Any] | None = None, approval: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A config as it is stored: bake times are zero, so that a step moves on at the first look that shows enough."""
    return {
        "version": 1,
        "model": {"name": "demo", "problem_type": "regression"},
        "environments": {"production": {"approval": {"required": False, **(approval or {})}}},
        "data": {"source": {"using": "csv", "location": "data.csv"}, "target_col": "y"},
        "train": {"framework": "sklearn", "entry_point": "train.py"},
        "deploy": {"strategy": {"type": "canary", "steps": [10, 50], "bake": "0s", **(strategy or {})}},
    }


class World:
    """`wrong` holds versions that answer otherwise than at build time, `silent` those that answer with an error."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, target: FakeTarget | None = None, clock: Clock | None = None) -> None:
        self.home = Home(home)
        self.target, self.clock = target or FakeTarget(), clock
        self.wrong: set[str] = set()
        self.silent: set[str] = set()
        self.aliases: list[tuple[str, str | None]] = []
        monkeypatch.setattr(shifting, "POLL", 0.002)
        monkeypatch.setattr(watching, "SHORTEST", 0.02)
        monkeypatch.setattr(holdout, "ask", self._ask)
        monkeypatch.setattr(scoring.envs, "ensure", lambda lock, home: Env("0", Path(sys.executable), lock))
        self.open()

    def open(self) -> None:
        """The workshop, as after a restart where there was one."""
        if hasattr(self, "shop"):
            self.shop.close()
        self.shop = Workshop(self.home, self.target, self.clock)
        self.shop.store.alias = lambda model, alias, version: self.aliases.append((alias, version and version.version))  # type: ignore[method-assign,assignment]

    def _ask(self, address: str, rows: list[dict[str, Any]], signature: Signature, variant: str, **own: Any) -> list[dict[str, Any]]:
        if variant in self.silent:
            raise YardError("the model failed")
        return [{"prediction": 2 * row["x"] + (0.5 if variant in self.wrong else 0)} for row in rows]

    def accept(self, settings: dict[str, Any], digest: str = "config-1") -> None:
        self.settings, self.settings_digest = {str(stage): settings for stage in STAGES}, digest
        self.shop.record([ConfigAccepted("demo", "build-1", digest, self.settings, "/nowhere")])

    def enforce(self, settings: dict[str, Any], digest: str) -> None:
        self.shop.record([ConfigInForce("demo", "up-0", digest, {str(stage): settings for stage in STAGES}, "/nowhere")])

    def register(self, *versions: str) -> None:
        for version in versions:
            sealed = bundle.seal(self._staging(version), {"entry_point": "serve.py", "framework": "sklearn"}, self.home.path)
            facts = dict.fromkeys(("data_digest", "code_digest", "lock_digest", "config_digest"), "0")
            fact = VersionRegistered("demo", "build-1", version, sealed.digest, commit=None, dirty=False, metrics={}, gates=[], **facts)
            self.shop.record([fact])

    def _staging(self, version: str) -> Path:
        folder = self.home.path / "staging" / version
        texts = {
            "model/weights": version,
            "code/serve.py": "",
            "env/requirements.lock": "",
            "signature.json": json.dumps(SIGNATURE.to_dict()),
        }
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        pl.DataFrame({"f.x": [1.0, 2.0], "y.prediction": [2.0, 4.0]}).write_parquet(folder / "holdout.parquet")
        return folder

    # -- runs ------------------------------------------------------------------------------------------------------------------

    def start(self, id: str | None = None) -> RunRecord:
        order = Order(self.settings, self.settings_digest, "/nowhere", "alice", [])
        return self.shop.runs.start("demo", "deploy", asdict(order), by="alice", id=id)

    def go(self, flow: Callable[[Run], Any], id: str | None = None) -> Any:
        """Run a flow in this thread."""
        return self.shop.runs.execute(self.start(id), flow)

    def release(self, version: str, stages: tuple[Stage, ...] = STAGES, *, id: str | None = None, retrained: bool = False) -> None:
        self.go(lambda run: release.release(self.shop, run, version, by="alice", retrained=retrained, stages=stages), id)

    def waiting(self, version: str, id: str | None = None, **more: Any) -> Waiting:
        """A release into production that has come to the point where it waits for a word."""
        return Waiting(self, version, id, more)

    # -- what came of it -------------------------------------------------------------------------------------------------------

    def events(self, *kinds: type[Event]) -> list[Any]:
        return [entry.event for entry in self.shop.journal.entries("demo") if isinstance(entry.event, kinds)]

    def applied(self, stage: str = "production") -> list[Weights]:
        """Weights that the target was asked for."""
        return [{v.version: v.weight for v in spec.variants} for spec in self.target.applied if spec.stage == stage]

    def serves(self, stage: str = "production") -> tuple[Weights, str | None]:
        """Weights and champion, as the state knows them; the target's own weights are the same."""
        state, live = self.shop.model("demo").stage(stage), self.target.endpoint(f"demo-{stage}")
        assert ({v: s.weight for v, s in live.variants.items()} if live else {}) == state.weights
        return state.weights, state.champion


class Waiting:
    """A release that waits for a word, in a thread; `end` waits for its end and gives its error."""

    def __init__(self, world: World, version: str, id: str | None, more: dict[str, Any]) -> None:
        self._error: list[YardError] = []
        self._thread = threading.Thread(target=self._run, args=(world, version, id, more), daemon=True)
        self._thread.start()
        asked = world.shop.model
        until(lambda: any(w.version == version for w in asked("demo").awaiting.values()) or not self._thread.is_alive())

    def _run(self, world: World, version: str, id: str | None, more: dict[str, Any]) -> None:
        try:
            world.release(version, ("production",), id=id, **more)
        except YardError as exc:
            self._error.append(exc)
        except Stopped:
            pass

    @property
    def still(self) -> bool:
        self._thread.join(0.05)
        return self._thread.is_alive()

    def end(self) -> YardError | None:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self._error[0] if self._error else None
