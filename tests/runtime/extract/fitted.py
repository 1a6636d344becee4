"""Runs in a model's environment: fits a model on generated data, extracts its row plan, and answers rows as the runner does.

Speaks JSON lines on standard input and output: `fit` (an expression of scikit-learn's, and what to train it on), then `rows`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import warnings
from typing import Any

import numpy as np

from modelyard.runtime import extract, frameworks
from modelyard.runtime.inputs import Inputs
from modelyard.runtime.loading import Served
from modelyard.runtime.outputs import Outputs

try:
    import pandas as pd
except ImportError:
    pd = None

_MODULES = (
    "calibration", "compose", "decomposition", "discriminant_analysis", "dummy", "ensemble", "feature_selection", "frozen", "impute",
    "linear_model", "model_selection", "multiclass", "multioutput", "naive_bayes", "neighbors", "pipeline", "preprocessing", "svm", "tree",
)  # fmt: skip
SPACE: dict[str, Any] = {"np": np, "pd": pd}
for module in _MODULES:
    with contextlib.suppress(ImportError):  # older ones lack some
        SPACE.update(vars(importlib.import_module(f"sklearn.{module}")))
with contextlib.suppress(ImportError):
    SPACE["XGBRegressor"] = importlib.import_module("xgboost").XGBRegressor
COLUMNS = {
    "a": ("float", False), "b": ("float", False), "c": ("float", True), "p": ("float", False), "n": ("int", False), "m": ("int", True),
    "k": ("int", False), "f": ("bool", False), "g": ("bool", True), "t": ("str", False), "u": ("str", True), "d": ("datetime", False),
}  # fmt: skip
CLASSES = {"binary_classification": ["no", "yes"], "multiclass_classification": ["x", "y", "z"], "multilabel_classification": ["v", "w"]}


def table(count: int, seed: int) -> dict[str, list[Any]]:
    """Rows as they come over the wire."""
    r = np.random.RandomState(seed)

    def holes(values: list[Any], share: float) -> list[Any]:
        return [None if r.rand() < share else v for v in values]

    return {
        "a": r.normal(3, 2, count).tolist(),
        "b": np.round(r.normal(0, 1, count), 1).tolist(),
        "c": holes(r.exponential(2, count).tolist(), 0.2),
        "p": (r.exponential(2, count) + 0.1).tolist(),
        "n": r.randint(-5, 30, count).tolist(),
        "m": holes(r.randint(0, 9, count).tolist(), 0.15),
        "k": r.randint(0, 4, count).tolist(),
        "f": (r.rand(count) < 0.4).tolist(),
        "g": holes((r.rand(count) < 0.6).tolist(), 0.1),
        "t": [("red", "green", "blue", "rare")[i] for i in r.choice(4, count, p=[0.4, 0.3, 0.28, 0.02])],
        "u": holes([("north", "south", "east", "5")[i] for i in r.randint(0, 4, count)], 0.2),
        "d": [1_600_000_000_000_000 + i for i in r.randint(0, 10**9, count).tolist()],
    }


def signature(kind: str, names: list[str]) -> dict[str, Any]:
    columns = [{"name": n, "type": COLUMNS[n][0], "nullable": COLUMNS[n][1]} for n in names]
    found: dict[str, Any] = {"problem_type": kind, "columns": columns, "target_col": "label"}
    if kind in CLASSES:
        found["classes"] = CLASSES[kind]
    if kind == "binary_classification":
        found["positive_class"] = "yes"
    if kind == "anomaly_detection":
        found.update(classes=["fine", "odd"], positive_class="odd")
    return found


def target(kind: str, rows: dict[str, list[Any]], seed: int) -> Any:
    r = np.random.RandomState(seed)
    count = len(rows["a"])
    raw = np.array(rows["a"]) + np.array(rows["b"]) * 2 + np.array(rows["k"]) + 2.0 * np.array([t == "red" for t in rows["t"]])
    raw = raw + r.normal(0, 1, count)
    if kind == "binary_classification":
        return np.where(raw > np.median(raw), "yes", "no")
    if kind == "multiclass_classification":
        return np.array(["x", "y", "z"])[np.digitize(raw, np.quantile(raw, [0.3, 0.7]))]
    if kind == "multilabel_classification":
        return np.column_stack([raw > 4, np.array(rows["n"]) > 10]).astype(int)
    return np.abs(raw) + 0.1


def training(rows: dict[str, list[Any]], names: list[str], *, none: bool) -> Any:
    """What a script that read a file would fit on: missing text is NaN, unless `none`."""
    frame = Inputs([{"name": n, "type": COLUMNS[n][0]} for n in names])({n: rows[n] for n in names})
    if pd is None or none:
        return frame
    for name in names:
        if COLUMNS[name][0] == "str" and frame[name].dtype == object:
            frame[name] = pd.Series([np.nan if v is None else v for v in rows[name]], dtype=object)
    return frame


def served(model: Any, signed: dict[str, Any]) -> Served:
    """As the runner holds a model that was loaded."""
    raw, order = frameworks.predictor(model, signed)
    found = Served(raw, Inputs(signed["columns"]), Outputs(signed, order), model, set())
    found.signature = signed
    return found


def fit(message: dict[str, Any]) -> tuple[Served, dict[str, Any]]:
    rows = table(int(message.get("count", 300)), int(message.get("seed", 0)))
    signed = signature(message["kind"], message["columns"])
    model = eval(message["model"], SPACE)  # noqa: S307  (an expression of our own tests)
    x = training(rows, message["columns"], none=bool(message.get("none")))
    x = x.to_numpy() if message.get("array") and pd is not None else x
    model.fit(x, target(message["kind"], rows, int(message.get("seed", 0))))
    found = served(model, signed)
    return found, {"signature": signed, **extract.written({}, found, message["columns"])}


def answers(found: Served, rows: list[list[Any]], names: list[str]) -> list[Any]:
    """For each row, the outputs, or the reason why the model raises."""
    given: list[Any] = []
    for row in rows:
        try:
            made = found.predict({name: [value] for name, value in zip(names, row)}, 1)  # noqa: B905  (Python 3.9)
            given.append([values[0] for values in made.values()])
        except Exception as exc:
            given.append({"raised": f"{type(exc).__name__}: {str(exc).splitlines()[0] if str(exc) else ''}"})
    return given


def main() -> None:
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    found, names = None, []
    for line in sys.stdin:
        message = json.loads(line)
        if "rows" in message:
            assert found is not None
            reply: Any = answers(found, message["rows"], names)
        else:
            names = message["columns"]
            try:
                found, reply = fit(message)
            except Exception as exc:
                reply = {"unfit": f"{type(exc).__name__}: {exc}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
