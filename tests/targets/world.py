"""A local target with endpoints whose every answer is checked, for the tests of what it must survive."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import joblib

from modelyard.build.launch import descendants
from modelyard.flows import holdout
from modelyard.home import Home
from modelyard.runners import Loadable
from modelyard.targets.base import EndpointSpec, EndpointState
from modelyard.targets.endpoint import LocalEndpoint
from modelyard.targets.local import LocalTarget
from tests.serve.load import Load
from tests.serve.world import NAMES, data, logistic, signature

from .scripts import ANSWERS, endpoint, scripted

NAME = "demo-production"
ROWS = [dict(zip(NAMES, map(float, row), strict=True)) for row in data(40, seed=9)[0]]
SLOW = ANSWERS.replace("def predict_fn(x, model):", "def predict_fn(x, model):\n    import time\n    time.sleep({seconds})")


class World:
    """A local target, and what it was told of deaths: (version, reason)."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.told: list[tuple[str, str]] = []
        self.target = LocalTarget(Home(home), lambda model, stage, version, reason: self.told.append((version, reason)))
        self.models: dict[str, Any] = {}
        self.versions: dict[str, Loadable] = {}
        self.load: Load

    def sklearn(self, version: str) -> None:
        """A version with a real model that differs from every other's."""
        loadable = scripted(self.home, version, "raise SystemExit('never imported')\n", signature())
        self.models[version] = logistic(seed=int(version))
        joblib.dump(self.models[version], loadable.model / "model.joblib")
        self.versions[version] = loadable

    def script(self, version: str, script: str) -> None:
        self.versions[version] = scripted(self.home, version, script.format(number=float(version), seconds=3600))

    def spec(self, weights: dict[str, int], **more: Any) -> EndpointSpec:
        return endpoint(weights, self.versions, **more)

    def apply(self, weights: dict[str, int], **more: Any) -> EndpointState:
        return self.target.apply(self.spec(weights, **more))

    @property
    def state(self) -> EndpointState:
        state = self.target.endpoint(NAME)
        assert state is not None
        return state

    @property
    def port(self) -> int:
        return urlsplit(self.state.address).port or 0

    def live(self) -> LocalEndpoint:
        return self.target._endpoints[NAME]

    def pids(self, version: str) -> list[int]:
        """The heads of a version's runners."""
        return [p.child.pid for p in self.live()._crews[version].places if p.child is not None]

    def front(self) -> int:
        child = self.live()._front._places[0]._child
        assert child is not None
        return child.pid

    def ready(self, version: str) -> bool:
        return self.state.variants[version].ready

    def settled(self, answered: int) -> bool:
        return sum(v.requests + v.refused for v in self.state.variants.values()) == answered

    def right(self, row: dict[str, float], answer: dict[str, Any]) -> bool:
        model = self.models.get(answer["version"])
        if model is None:
            return bool(answer["prediction"] == float(answer["version"]))
        p = model.predict_proba([[row[n] for n in NAMES]])[0, 1]
        return abs(answer["probabilities"]["1"] - p) < 1e-9

    def under_load(self, scenario: Callable[[], None], rows: list[dict[str, float]] | None = None, **callers: int) -> Load:
        """Run `scenario` in a thread while callers call; `load` are they."""
        return self.calling(self.port, f"{urlsplit(self.state.address).path}/invocations", scenario, rows, **callers)

    def calling(
        self, port: int, path: str, scenario: Callable[[], None], rows: list[dict[str, float]] | None = None, **callers: int
    ) -> Load:
        """Likewise, of an endpoint that may be another owner's."""
        self.load = load = Load(port, rows or [{"x": 1.0}], self.right, path)

        async def run() -> None:
            calling = asyncio.ensure_future(load.run(None, **callers))
            try:
                await asyncio.to_thread(scenario)
            finally:
                load.stop.set()
                await calling

        asyncio.run(run())
        return load

    def ask(self) -> dict[str, Any]:
        """One request, by a connection of its own."""
        answer: dict[str, Any] = json.loads(holdout.post(self.state.address, b'{"x": 1.0}'))
        return answer


def kill(pid: int) -> None:
    """A process and all below it at once: a sandbox's inside would outlive its outside."""
    for doomed in (pid, *descendants(pid)):
        with contextlib.suppress(ProcessLookupError):  # the inside may have gone with the outside
            os.kill(doomed, signal.SIGKILL)
