"""ZenML: a pipeline of six steps on its local stack."""

from typing import Any

import clock
import pandas as pd
import steps
from sklearn.base import ClassifierMixin
from zenml import pipeline, step


@step(enable_cache=False)
def load() -> pd.DataFrame:
    return steps.load()


@step(enable_cache=False)
def preprocess(rows: pd.DataFrame) -> dict[str, Any]:
    return steps.preprocess(rows)


@step(enable_cache=False)
def train(data: dict[str, Any]) -> ClassifierMixin:
    return steps.train(data)


@step(enable_cache=False)
def evaluate(model: ClassifierMixin, data: dict[str, Any]) -> dict[str, float]:
    return steps.evaluate(model, data)


@step(enable_cache=False)
def register(model: ClassifierMixin, metrics: dict[str, float]) -> str:
    return steps.register(model, metrics)


@step(enable_cache=False)
def postprocess(version: str, metrics: dict[str, float]) -> int:
    return steps.postprocess(version, metrics)


@pipeline(enable_cache=False)
def bench() -> None:
    data = preprocess(load())
    model = train(data)
    metrics = evaluate(model, data)
    postprocess(register(model, metrics), metrics)


if __name__ == "__main__":
    clock.go(lambda: bench())
