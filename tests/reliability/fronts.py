"""Live fronts for the reliability runs: real processes, a capture, asynchronous invocations; one answers by a row plan, one by a runner.

Both versions are the same function, so that one good request has one right answer.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from modelyard.serve import routes
from tests.serve.planned import SIGNED, variant
from tests.serve.world import World

GOOD: dict[str, Any] = {"x": 0.5, "k": 3, "t": "a", "b": True, "at": "2026-01-31T12:00:00Z", "y": 2.0}
RIGHT = 1 / (1 + math.exp(-(0.1 * 0.5 + 0.01 * 3 + 1.0 + 0.5 * 2.0 - 0.25)))
"""The probability of Yes for `GOOD` (see planned.plan)."""
KINDS = ("compiled", "runner")
_SCRIPT = """
import math


def model_fn(folder):
    return {"a": 1.0, "b": 0.0}


def yes(x, k, t, b, at, y, model):
    missing = y is None or y != y
    z = 0.1 * float(x) + 0.01 * float(k) + 0.5 * (0.0 if missing else y) + model[t] - 0.25  # a `t` never seen raises, as with encoders
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def predict_fn(rows, model):
    scores = [yes(*row, model) for row in getattr(rows, "values", rows)]
    return [[1 - score, score] for score in scores]
"""


class LiveFront:
    """A front of the endpoint `demo-production` (model `demo`, version 7), and its runner where it has one."""

    def __init__(self, kind: str) -> None:
        self.world = World()
        home = self.world.home
        if kind == "compiled":
            one = variant(home, example=GOOD)
        else:
            self.world.save("7", None, _SCRIPT)
            self.world.runner("7", SIGNED)
            self.world.ready("7")
            one = routes.Variant("7", 100, (str(self.world.socket("7")),), SIGNED.to_dict(), example=GOOD)
        (home / "inputs").mkdir()
        asked = routes.Async((f"file://{home}/inputs",), f"file://{home}/outputs", str(home / "queue"))
        self.table = routes.RoutingTable(
            "demo-production",
            "demo",
            "production",
            (one,),
            routes.Capture(str(self.world.capture)),
            routes.Limits(timeout_s=20, max_body=2**20, max_rows=10_000),
            asynchronous=asked,
            access_log=str(home / "access.log"),
        )
        routes.write(self.world.routes, self.table)
        self.world.start_front()

    @property
    def port(self) -> int:
        return self.world.port

    @property
    def pids(self) -> dict[str, int]:
        """The processes, by what they are."""
        front = self.world.front
        assert front is not None
        return {"front": front.pid, **{f"runner {v}": child.pid for v, child in self.world.runners.items()}}

    @property
    def stats(self) -> Path:
        return self.world.stats_path

    def alive(self) -> bool:
        """Whether none of them has ended. (Nobody here starts one again.)"""
        return all(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z" for pid in self.pids.values())

    def log(self) -> str:
        """What the front wrote of errors, with their tracebacks."""
        text = (self.world.home / "front.log").read_text(errors="replace")
        return text[text.index(" ERROR ") :][:4000] if " ERROR " in text else ""

    def stop(self) -> None:
        self.world.stop()


def right(answer: bytes) -> bool:
    """Whether this is the right answer to `GOOD`, as JSON."""
    try:
        found = json.loads(answer)
        (one,) = found["predictions"]
        return found["version"] == "7" and one["prediction"] == "Yes" and abs(one["probabilities"]["Yes"] - RIGHT) < 1e-12
    except (ValueError, KeyError, TypeError):
        return False
