"""Exact explanations in the model's own environment, held to Shapley's definition by asking the very model all its coalitions."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from modelyard.runtime import explain_trees
from modelyard.runtime.explain import explain
from modelyard.runtime.inputs import Inputs
from modelyard.serve.runner import install_runtime
from tests.runtime.test_environments import environment

NAMES = ["a", "b", "c", "d"]
INPUTS = Inputs([{"name": n, "type": t} for n, t in zip(NAMES, ("float", "float", "str", "float"), strict=True)])
ROWS, USUAL = 8, 6
Columns = dict[str, list[Any]]


class Served:
    """A model as the runner holds it; `after` is what a script's own code makes of its answers."""

    def __init__(self, model: Any, classes: int, after: Callable[[Any], Any] = lambda values: values, inputs: Any = INPUTS) -> None:
        self.model, self.classes, self.after, self.inputs = model, classes, after, inputs

    def predict(self, columns: Columns, rows: int) -> dict[str, list[Any]]:
        x = self.inputs(columns)
        if not self.classes:
            return {"prediction": self.after(np.ravel(self.model.predict(x))).tolist()}
        shares = self.after(self.model.predict_proba(x))
        return {f"probability_{k}": shares[:, k].tolist() for k in range(self.classes)}


def data(rows: int = 240) -> tuple[Columns, np.ndarray]:
    draw = np.random.default_rng(1)
    a, b, d = draw.normal(size=rows), draw.normal(size=rows), draw.integers(0, 4, rows).astype(float)
    c = draw.choice(["x", "y", "z"], rows)
    signal = 2 * a * (c == "x") - b + (d > 1) * (c == "y") + draw.normal(size=rows) / 3
    holes = draw.random(rows) < 0.1
    return {
        "a": [None if h else v for v, h in zip(a.tolist(), holes, strict=True)],
        "b": b.tolist(),
        "c": c.tolist(),
        "d": d.tolist(),
    }, signal


COLUMNS, SIGNAL = data()
EXPLAINED = {name: values[:ROWS] for name, values in COLUMNS.items()}
BACKGROUND = {name: values[ROWS : ROWS + USUAL] for name, values in COLUMNS.items()}


def encoder() -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    return ColumnTransformer([("numbers", numbers, [0, 1, 3]), ("text", OneHotEncoder(), [2])])


def ask(served: Any, output: str, method: str = "auto", columns: Columns = EXPLAINED, background: Columns = BACKGROUND) -> dict[str, Any]:
    names = list(columns)
    message = {"rows": len(columns[names[0]]), "columns": columns, "output": output, "method": method}
    return explain({**message, "background": {"rows": len(background[names[0]]), "columns": background}}, served, names)


def by_definition(value: Callable[[Columns], np.ndarray], columns: Columns, background: Columns) -> np.ndarray:
    """(features, rows) Shapley values: every coalition, every background row, put to `value`."""
    names = list(columns)
    rows, usual, players = len(columns[names[0]]), len(background[names[0]]), len(names)
    worth = {}
    for joined in product((False, True), repeat=players):
        mixed = {
            name: [v for v in columns[name] for _ in range(usual)] if joined[j] else background[name] * rows for j, name in enumerate(names)
        }
        worth[joined] = value(mixed).reshape(rows, usual).mean(axis=1)
    result = np.zeros((players, rows))
    for joined, before in worth.items():
        size = sum(joined)
        weight = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players) if size < players else 0
        for j in range(players):
            if not joined[j]:
                result[j] += weight * (worth[(*joined[:j], True, *joined[j + 1 :])] - before)
    return result


KINDS = np.digitize(SIGNAL, [-0.7, 0.7])
HOW: dict[str, Callable[[Any, Any], np.ndarray]] = {
    "probability": lambda model, x: model.predict_proba(x),
    "log-odds": lambda model, x: model.decision_function(x),
    "margin": lambda model, x: model.decision_function(x),
    "prediction": lambda model, x: model.predict(x),
    "log-prediction": lambda model, x: np.log(model.predict(x)),
}
CASES: list[tuple[Any, np.ndarray, str, str]] = [
    (RandomForestClassifier(8, max_depth=5, random_state=0), SIGNAL > 0, "tree", "probability"),
    (RandomForestClassifier(5, random_state=0), KINDS, "tree", "probability"),
    (ExtraTreesClassifier(4, random_state=0), SIGNAL > 0, "tree", "probability"),
    (DecisionTreeClassifier(random_state=0), SIGNAL > 0, "tree", "probability"),
    (GradientBoostingClassifier(n_estimators=15, random_state=0), SIGNAL > 0, "tree", "log-odds"),
    (GradientBoostingClassifier(n_estimators=6, random_state=0), KINDS, "tree", "margin"),
    (HistGradientBoostingClassifier(max_iter=10), SIGNAL > 0, "tree", "log-odds"),
    (HistGradientBoostingRegressor(max_iter=10, loss="poisson"), np.exp(SIGNAL), "tree", "log-prediction"),
    (RandomForestRegressor(5, random_state=0), SIGNAL, "tree", "prediction"),
    (GradientBoostingRegressor(n_estimators=15, random_state=0), SIGNAL, "tree", "prediction"),
    (LogisticRegression(), SIGNAL > 0, "linear", "log-odds"),
    (LogisticRegression(), KINDS, "linear", "margin"),
    (Ridge(), SIGNAL, "linear", "prediction"),
    (PoissonRegressor(), np.exp(SIGNAL), "linear", "log-prediction"),
    (GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2), SIGNAL > 0, "linear", "log-odds"),
]


@pytest.mark.parametrize(("model", "target", "method", "unit"), CASES, ids=lambda v: type(v).__name__ if hasattr(v, "fit") else "")
def test_attributions_are_shapley_values_of_the_columns_before_the_encoder(model: Any, target: np.ndarray, method: str, unit: str) -> None:
    fitted = make_pipeline(encoder(), model).fit(INPUTS(COLUMNS), target if target.dtype != bool else target.astype(int))
    classes = len(np.unique(target)) if target.dtype != float else 0
    k = 1 if classes else 0
    with threadpool_limits(1):
        answer = ask(Served(fitted, classes), "probability_1" if classes else "prediction")["explained"]
    assert (answer["method"], answer["output"]) == (method, unit)

    def value(columns: Columns) -> np.ndarray:
        raw = HOW[unit](fitted, INPUTS(columns))
        return raw[:, k] if raw.ndim == 2 else raw

    with threadpool_limits(1):
        expected = by_definition(value, EXPLAINED, BACKGROUND)
    np.testing.assert_allclose(answer["attributions"], expected, atol=1e-9)
    np.testing.assert_allclose(np.sum(answer["attributions"], axis=0) + answer["base"], value(EXPLAINED), atol=1e-9)
    assert answer["error"] < 1e-9


def test_histogram_boosting_on_categories() -> None:
    """Some categories go left; those that training never saw, and missing ones, where missing ones go."""
    draw = np.random.default_rng(3)
    kinds = draw.integers(0, 9, 300).astype(float)
    kinds[draw.random(300) < 0.1] = np.nan
    columns: Columns = {"b": draw.normal(size=300).tolist(), "d": [None if np.isnan(v) else v for v in kinds]}
    inputs = Inputs([{"name": "b", "type": "float"}, {"name": "d", "type": "float"}])
    target = np.isin(kinds, [1, 4, 6]) * 2.0 + np.array(columns["b"]) * np.isnan(kinds)
    model = HistGradientBoostingRegressor(max_iter=10, categorical_features=[1], min_samples_leaf=5)
    fitted = model.fit(inputs(columns), target)
    assert any(part[0].nodes["is_categorical"].any() for part in fitted._predictors)
    some: Columns = {"b": columns["b"][:7], "d": [1.0, 4.0, 0.0, None, 200.0, 11.0, 6.0]}
    usual = {name: values[20:60] for name, values in columns.items()}
    with threadpool_limits(1):
        answer = ask(Served(fitted, 0, inputs=inputs), "prediction", columns=some, background=usual)["explained"]
        expected = by_definition(lambda c: fitted.predict(inputs(c)), some, usual)
    np.testing.assert_allclose(answer["attributions"], expected, atol=1e-9)


def test_the_other_class_gets_the_opposite() -> None:
    fitted = make_pipeline(encoder(), LogisticRegression()).fit(INPUTS(COLUMNS), SIGNAL > 0)
    both = [ask(Served(fitted, 2), f"probability_{k}")["explained"] for k in (0, 1)]
    np.testing.assert_allclose(both[0]["attributions"], -np.array(both[1]["attributions"]))
    assert both[0]["base"] == pytest.approx(-both[1]["base"])


def test_a_bare_model_sees_the_columns_themselves() -> None:
    plain = {name: COLUMNS[name] for name in ("b", "d")}
    inputs = Inputs([{"name": "b", "type": "float"}, {"name": "d", "type": "float"}])
    fitted = LinearRegression().fit(inputs(plain), SIGNAL)
    some = {name: values[:3] for name, values in plain.items()}
    answer = ask(Served(fitted, 0, inputs=inputs), "prediction", columns=some, background=plain)["explained"]
    np.testing.assert_allclose(answer["attributions"], fitted.coef_[:, None] * (inputs(some) - inputs(plain).mean(axis=0)).T, atol=1e-9)


def _reading(model: Any, after: Callable[[Any], Any] = lambda values: values, method: str = "auto", numbers: bool = True) -> str:
    names = ["b", "d"] if numbers else NAMES
    inputs = Inputs([{"name": n, "type": "float"} for n in names]) if numbers else INPUTS
    every = {n: COLUMNS[n] for n in names}
    fitted = model.fit(inputs(every), SIGNAL > 0)
    some = {n: values[:5] for n, values in every.items()}
    said = ask(Served(fitted, 2, after, inputs), "probability_1", method, some, some)
    assert "explained" not in said
    return str(said["declined"])


def test_it_declines_and_says_why_where_it_cannot_be_exact() -> None:
    assert "KNeighborsClassifier is not a tree ensemble nor a linear model" in _reading(KNeighborsClassifier())
    assert "LogisticRegression is not a tree ensemble" in _reading(LogisticRegression(), method="tree")
    assert "makes one column of `b` and `d`" in _reading(make_pipeline(PCA(), LogisticRegression()))
    assert "something comes after it" in _reading(RandomForestClassifier(3), lambda shares: shares / 2 + 0.25)
    assert "CalibratedClassifierCV" in _reading(CalibratedClassifierCV(LogisticRegression(), cv=2))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain_trees, "MOST_LEAVES", 3)
        patch.setattr(explain_trees, "TABLE", 1)
        assert "at most 3 are gone through" in _reading(RandomForestClassifier(3))

    class Odd(KNeighborsClassifier):
        def __getattribute__(self, name: str) -> Any:
            if name == "coef_":
                raise RuntimeError("not to be read")
            return super().__getattribute__(name)

    assert "RuntimeError: not to be read" in _reading(Odd())


@st.composite
def forests(draw: st.DrawFn) -> tuple[list[explain_trees.Tree], np.ndarray]:
    """Trees of up to 12 levels over 6 columns, which belong to 1 to 4 players."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    deepest = draw(st.sampled_from([1, 3, 12]))
    owner = random.integers(0, draw(st.integers(1, 4)), 6)
    owner = np.unique(owner, return_inverse=True)[1]
    trees = []
    for _ in range(draw(st.integers(1, 3))):
        nodes: list[list[float]] = []

        def grow(depth: int, nodes: list[list[float]] = nodes) -> int:
            at = len(nodes)
            nodes.append([-2, 0, -1, -1, 0, random.normal()])
            if depth < deepest and random.random() < (0.95 if deepest == 3 or depth == at else 0.3):
                nodes[at][:5] = [random.integers(6), random.normal(), grow(depth + 1), grow(depth + 1), random.integers(2)]
            return at

        grow(0)
        columns = [np.array(part) for part in zip(*nodes, strict=True)]
        feature, threshold, left, right, missing, value = columns
        trees.append(explain_trees.Tree(feature.astype(int), threshold, left.astype(int), right.astype(int), missing > 0, value))
    return trees, owner


def walk(tree: explain_trees.Tree, row: np.ndarray) -> float:
    node = 0
    while tree.left[node] >= 0:
        value = row[tree.feature[node]]
        goes_left = tree.missing_left[node] if np.isnan(value) else value <= tree.threshold[node]
        node = tree.left[node] if goes_left else tree.right[node]
    return float(tree.value[node])


@settings(max_examples=60)
@given(forests(), st.integers(0, 2**32), st.sampled_from([0, 2, 8]))
def test_trees_by_definition(forest: tuple[list[explain_trees.Tree], np.ndarray], seed: int, tabulated: int) -> None:
    trees, owner = forest
    draw = np.random.default_rng(seed)
    x, z = draw.normal(size=(3, 6)), draw.normal(size=(4, 6))
    x[draw.random(x.shape) < 0.1] = np.nan
    players = int(owner.max()) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain_trees, "TABLE", tabulated)  # short paths and long ones go different ways
        patch.setattr(explain_trees, "CELLS", 40)
        values, base = explain_trees.shap(trees, x, z, owner)

    expected = np.zeros((players, len(x)))
    for i, row in enumerate(x):
        worth = {}
        for joined in product((False, True), repeat=players):
            taken = np.array(joined)[owner]
            worth[joined] = np.mean([sum(walk(t, np.where(taken, row, other)) for t in trees) for other in z])
        for joined, before in worth.items():
            for j in range(players):
                if not joined[j]:
                    weight = math.factorial(sum(joined)) * math.factorial(players - sum(joined) - 1) / math.factorial(players)
                    expected[j, i] += weight * (worth[(*joined[:j], True, *joined[j + 1 :])] - before)
    np.testing.assert_allclose(values, expected, atol=1e-10)
    assert base == pytest.approx(np.mean([sum(walk(t, row) for t in trees) for row in z]))


ORACLE = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np, pandas as pd, shap, catboost, lightgbm, xgboost
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from modelyard.runtime.explain import explain
from modelyard.runtime.inputs import Inputs

draw = np.random.default_rng(0)
names = ["a", "b", "c", "t"]
x = pd.DataFrame(draw.normal(size=(300, 3)), columns=names[:3])
y = (x.a * (x.b > 0) + x.c + draw.normal(size=300) / 4 > 0).astype(int)
text = x.assign(t=draw.choice(["u", "v"], 300))

class Served:
    def __init__(self, model, kinds, predict):
        self.model, self.inputs, self._predict = model, Inputs([{"name": n, "type": k} for n, k in kinds.items()]), predict
    def predict(self, columns, rows):
        return {"probability_1": list(map(float, self._predict(self.inputs(columns))))}

def asked(model, table, predict):
    kinds = {n: "str" if n == "t" else "float" for n in table.columns}
    some, usual = table[:40], table[40:70]
    said = explain({"rows": 40, "columns": some.to_dict("list"), "output": "probability_1", "method": "auto",
                    "background": {"rows": 30, "columns": usual.to_dict("list")}}, Served(model, kinds, predict), list(kinds))
    return np.array(said["explained"]["attributions"]).T if "explained" in said else said, said.get("explained", {}).get("output")

def positive(model):
    return lambda table: model.predict_proba(table)[:, 1]

found = {}
def hold(name, model, table, predict, expected):
    values, unit = asked(model, table, predict)
    found[name] = [unit, float(np.abs(values - expected(table[:40], table[40:70])).max()) if unit else values]

def by_counts(model):
    return lambda some, usual: shap.TreeExplainer(model)(some).values

forest = RandomForestClassifier(10, random_state=0).fit(x, y)
hold("forest", forest, x, positive(forest),
     lambda s, u: shap.TreeExplainer(forest, u, feature_perturbation="interventional").shap_values(s, check_additivity=False)[:, :, 1])
boosted = GradientBoostingRegressor(random_state=0).fit(x, y)
hold("boosted", boosted, x, boosted.predict,
     lambda s, u: shap.TreeExplainer(boosted, u, feature_perturbation="interventional").shap_values(s, check_additivity=False))
linear = LogisticRegression().fit(x, y)
hold("linear", linear, x, positive(linear), lambda s, u: shap.LinearExplainer(linear, u).shap_values(s))
for name, model in (("xgboost", xgboost.XGBClassifier(n_estimators=10)), ("lightgbm", lightgbm.LGBMClassifier(n_estimators=10, verbose=-1)),
                    ("catboost", catboost.CatBoostClassifier(iterations=10, verbose=0))):
    model.fit(x, y)
    hold(name, model, x, positive(model), by_counts(model))
booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, y), 10)
hold("xgboost booster", booster, x, lambda t: booster.predict(xgboost.DMatrix(t)), by_counts(booster))
stopped = xgboost.XGBClassifier(n_estimators=200, early_stopping_rounds=2)
stopped.fit(x[:200], y[:200], eval_set=[(x[200:], y[200:])], verbose=False)
values, unit = asked(stopped, x, positive(stopped))
found["xgboost stopped early"] = [unit, 0.0 if unit else values]
cats = catboost.CatBoostClassifier(iterations=10, verbose=0, cat_features=["t"]).fit(text, y)
values, unit = asked(cats, text, positive(cats))
found["catboost with text"] = [unit, 0.0 if unit else values]
typed = text.astype({"t": "category"})
gbm = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(typed, y)
values, unit = asked(gbm, text, lambda t: gbm.predict_proba(t.astype({"t": "category"}))[:, 1])
found["lightgbm with text"] = [unit, 0.0 if unit else values]

print("FOUND", json.dumps(found, default=str))
"""


@pytest.mark.slow
def test_against_shap_and_the_libraries_own(tmp_path: Path) -> None:
    packages = ["shap>=0.48,<0.52", "scikit-learn", "pandas", "xgboost-cpu", "lightgbm", "catboost"]
    python = environment(tmp_path / "env", *packages, version="3.11")
    runtime = install_runtime(tmp_path / "home")
    env = {**os.environ, "PYTHONPATH": str(runtime), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(python), "-c", ORACLE], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.split("FOUND", 1)[1])
    units = {"forest": "probability", "boosted": "probability"}
    for name, (unit, error) in found.items():
        assert unit == units.get(name, "log-odds"), (name, error)
        assert error < 2e-6, name
