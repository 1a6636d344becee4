"""Releases over real endpoints: versions that are small scripts, a front, runners, and callers who note every answer."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from modelyard.flows import holdout
from modelyard.serve.plan.schema import Input, Linear, Plan
from modelyard.targets.local import LocalTarget

from .releases import World

GOOD = """
def model_fn(folder):
    return None


def predict_fn(table, model):
    return [answer(float(x)) for x in table.ravel()]


def answer(x):
    return 2 * x
"""
"""Answers 2 x. Callers ask with x from 100 on, and the smoke test below that: a version can be good in the one and bad in the other."""


def bad(line: str, answer: str = "2 * x") -> str:
    """A version that does something when a caller asks."""
    return GOOD.replace("    return 2 * x", f"    import os, time\n\n    if x >= 100:\n        {line}\n    return {answer}")


FAILS = bad("if x % 20 == 0: raise ValueError('no such luck')")
SLOW = bad("time.sleep(0.12)")
HANGS = bad("time.sleep(3600)")
DIES = bad("os._exit(9)")
OTHERWISE = bad("return 3 * x")
CANNOT_LOAD = GOOD.replace("    return None", "    raise RuntimeError('the weights are not there')")


class Live(World):
    """Versions by their scripts, on this machine's own target."""

    def __init__(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, scripts: dict[str, str], slopes: dict[str, float] | None = None
    ) -> None:
        """`slopes`: versions that have a row plan, and so no runner; theirs answer slope x."""
        self.scripts, self.slopes = scripts, slopes or {}
        real = holdout.ask
        super().__init__(home, monkeypatch)
        monkeypatch.setattr(holdout, "ask", real)

    def open(self) -> None:
        self.target = LocalTarget(self.home, lambda *_: None) if hasattr(self, "home") else self.target  # type: ignore[assignment]
        super().open()

    def close(self) -> None:
        self.shop.close()
        self.target.close()

    def _staging(self, version: str) -> Path:
        folder = super()._staging(version)
        (folder / "code" / "serve.py").write_text(self.scripts.get(version, CANNOT_LOAD))
        if (slope := self.slopes.get(version)) is not None:
            plan = Plan((Input("x", "float"),), (Linear((0,), ((slope,),), (0.0,)),), (1,))
            (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
            pl.DataFrame({"f.x": [1.0, 2.0], "y.prediction": [slope, 2 * slope]}).write_parquet(folder / "holdout.parquet")
        return folder

    @property
    def port(self) -> int:
        return int(self.shop.model("demo").stage("production").address.rpartition(":")[2])


@dataclass
class Callers:
    """What callers were answered: (when, status, version, right)."""

    answers: list[tuple[float, int, str, bool]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def call(self, port: int, seed: int) -> None:
        rng, connection = random.Random(seed), http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not self.stop.wait(0.01):
            x = rng.randint(100, 199)
            try:
                connection.request("POST", "/invocations", json.dumps({"x": x}), {"Content-Type": "application/json", **self.headers})
                response = connection.getresponse()
                body, version = json.loads(response.read()), response.headers.get("x-modelyard-version", "")
            except (OSError, http.client.HTTPException):
                self.answers.append((time.monotonic(), 0, "", False))
                connection.close()
                continue
            right = response.status == 200 and body["predictions"][0]["prediction"] in (2 * x, 3 * x)
            self.answers.append((time.monotonic(), response.status, version, right))
        connection.close()

    def times(self, version: str) -> list[float]:
        return [at for at, _, answered, _ in self.answers if answered == version]

    def statuses(self, version: str) -> list[int]:
        return [status for _, status, answered, _ in self.answers if answered == version]


@contextmanager
def calling(port: int, count: int = 4, **headers: str) -> Iterator[Callers]:
    """Callers for as long as the block lasts, and half a second longer."""
    callers = Callers(headers={name.replace("_", "-"): value for name, value in headers.items()})
    threads = [threading.Thread(target=callers.call, args=(port, i), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield callers
        time.sleep(0.5)
    finally:
        callers.stop.set()
        for thread in threads:
            thread.join(30)


def words(**deploy: Any) -> dict[str, Any]:
    """A config whose bake time is short. Its alarm of latency leaves much to the noise of a machine that does other work meanwhile."""
    asked = deploy.pop("strategy", {})
    strategy = {"bake": "2s", **({} if "type" in asked else {"steps": [20, 50]}), **asked}
    rollback = {"latency_p99_ratio": 50, **deploy.pop("rollback", {})}
    return {
        "version": 1,
        "model": {"name": "demo", "problem_type": "regression"},
        "environments": {"production": {"approval": {"required": False}}},
        "data": {"source": {"using": "csv", "location": "data.csv"}, "target_col": "y"},
        "train": {"framework": "sklearn", "entry_point": "train.py"},
        "deploy": {"strategy": strategy, "rollback": rollback, "realtime": {"timeout": "3s", "linger": "1s"}, **deploy},
    }
