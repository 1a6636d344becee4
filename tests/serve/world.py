"""A small live endpoint for the tests: real runners with scikit-learn models from this environment, a real front."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import joblib
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelyard.serve import routes
from modelyard.serve.processes import Child, spawn_front, wait_front
from modelyard.serve.runner import install_runtime, spawn_runner, wait_ready
from modelyard.signature import Column, Signature

NAMES = tuple(f"c{i}" for i in range(12))


def signature(names: tuple[str, ...] = NAMES, **more: Any) -> Signature:
    columns = tuple(Column(n, "float", nullable=True) for n in names)
    given = {"classes": (0, 1), "positive_class": 1, "decision_threshold": 0.5, "id_col": "id", "time_col": "at", **more}
    return Signature("binary_classification", columns, **given)


def data(rows: int = 400, width: int = len(NAMES), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(rows, width))
    return x, (x[:, 0] + x[:, 1] > 0).astype(int)


class World:
    """A folder with models, runners and a front; `stop`, or the end of a `with` block, ends all of it."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="my-"))
        self.runtime = install_runtime(self.home)
        self.runners: dict[str, Child] = {}
        self.front: Child | None = None
        self.port = 0
        self.generation = 0
        self.routes, self.stats_path = self.home / "routes.json", self.home / "stats.json"
        self.capture = self.home / "capture"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def save(self, version: str, model: object, script: str = "") -> None:
        folder = self.home / version
        (folder / "model").mkdir(parents=True, exist_ok=True)
        (folder / "code").mkdir(exist_ok=True)
        joblib.dump(model, folder / "model" / "model.joblib")
        (folder / "code" / "train.py").write_text(script or "raise SystemExit('a script without inference functions is never imported')\n")

    def socket(self, version: str) -> Path:
        return self.home / f"{version}.sock"

    def runner(self, version: str, signed: Signature, framework: str = "sklearn", python: str = sys.executable, **more: Any) -> Child:
        folder = self.home / version
        path = folder / "signature.json"
        path.write_text(json.dumps(signed.to_dict()))
        child = spawn_runner(
            python=Path(python),
            runtime=self.runtime,
            model_dir=folder / "model",
            code_dir=folder / "code",
            entry_point="train.py",
            signature=path,
            framework=framework,
            socket_path=self.socket(version),
            log=folder / "runner.log",
            **more,
        )
        self.runners[version] = child
        return child

    def ready(self, version: str, timeout: float = 60) -> dict[str, Any]:
        return wait_ready(self.socket(version), timeout, self.runners[version])

    def table(self, weights: dict[str, float], signed: Signature, **more: Any) -> routes.RoutingTable:
        self.generation += 1
        variants = tuple(routes.Variant(v, w, (str(self.socket(v)),), signed.to_dict()) for v, w in weights.items())
        fields = {"capture": routes.Capture(str(self.capture)), "limits": routes.Limits(timeout_s=20), **more}
        return routes.RoutingTable("demo-production", "demo", "production", variants, generation=self.generation, **fields)

    def route(self, weights: dict[str, float], signed: Signature, **more: Any) -> routes.RoutingTable:
        table = self.table(weights, signed, **more)
        routes.write(self.routes, table)
        return table

    def start_front(self, port: int = 0, **more: Any) -> Child:
        self.front = spawn_front(routes=self.routes, stats_path=self.stats_path, log=self.home / "front.log", port=port, **more)
        self.port = wait_front(self.front, self.stats_path).port
        return self.front

    def stop(self) -> None:
        for child in [*([self.front] if self.front else []), *self.runners.values()]:
            child.stop(5)
        shutil.rmtree(self.home, ignore_errors=True)


def logistic(seed: int = 0) -> object:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*data(seed=seed))


def boosting() -> object:
    return make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=100)).fit(*data(4000))
