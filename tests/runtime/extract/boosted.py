"""Runs in an environment with XGBoost, LightGBM, CatBoost and Treelite: fits models of each kind, and writes down what becomes of them.

    python boosted.py FOLDER

writes FOLDER/<case>.json: {"signature", "plan" or "declined", "rows" (each in the signature's order), "native": what the runner's own way
to predict answers for each row by itself, a list of the outputs or null where it raises, "treelite": margins a row, or null}.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import treelite
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from modelyard.runtime import frameworks
from modelyard.runtime.extract import Cannot, extract
from modelyard.runtime.inputs import Inputs
from modelyard.runtime.loading import Served
from modelyard.runtime.outputs import Outputs

N = 900
RANDOM = np.random.default_rng(3)
TABLE = pd.DataFrame(
    {
        "a": np.where(RANDOM.random(N) < 0.1, np.nan, RANDOM.normal(size=N)),
        "f": RANDOM.lognormal(size=N),
        "i": RANDOM.integers(0, 9, N),
        "b": RANDOM.random(N) < 0.5,
    }
)
WORDS = pd.Categorical(RANDOM.choice(["x", "y", "z", "w"], N))
Z = (TABLE.a.fillna(0.3) + 0.3 * TABLE.i - 1.2 + TABLE.b * 0.7 + RANDOM.normal(0, 0.5, N)).to_numpy()
TWO, THREE, COUNT = (Z > 0).astype(int), np.digitize(Z, [-0.5, 0.7]), np.exp(Z / 2)
WORDED = TABLE.assign(c=WORDS)
TWO_WORDED = (Z + (WORDS == "x") > 0).astype(int)

COLUMNS = [{"name": n, "type": t, "nullable": n != "f"} for n, t in (("a", "float"), ("f", "float"), ("i", "int"), ("b", "bool"))]
BINARY = {"problem_type": "binary_classification", "columns": COLUMNS, "classes": [0, 1], "positive_class": 1}
TURNED = {**BINARY, "positive_class": 0}
MULTI = {"problem_type": "multiclass_classification", "columns": COLUMNS, "classes": [0, 1, 2]}
NUMBER = {"problem_type": "regression", "columns": COLUMNS}
WORDY = {**BINARY, "columns": [*COLUMNS, {"name": "c", "type": "str", "nullable": True}]}


def xgb(parameters: dict[str, Any], y: Any, rounds: int = 25, table: Any = TABLE, **data: Any) -> Any:
    return xgboost.train({"max_depth": 4, **parameters}, xgboost.DMatrix(table, label=y, **data), rounds)


def lgb(parameters: dict[str, Any], y: Any, rounds: int = 25, **data: Any) -> Any:
    return lightgbm.train({"verbose": -1, **parameters}, lightgbm.Dataset(TABLE, label=y, **data), rounds)


def lgbm(kind: Any, y: Any, table: Any = TABLE, **parameters: Any) -> Any:
    return kind(n_estimators=25, verbose=-1, **parameters).fit(table, y)


def sparse(model: Any, y: Any) -> Any:
    """Over a table with zeros in each column."""
    given = WORDED.assign(a=TABLE.a.round(1), f=TABLE.f.where(TABLE.f > 0.5, 0.0), c=WORDS.astype(object))
    hot = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(make_column_transformer((hot, ["c"]), ("passthrough", ["a", "f", "i"]), sparse_threshold=1.0), model).fit(given, y)


def cat(kind: Any, y: Any, **parameters: Any) -> Any:
    return kind(iterations=25, depth=4, verbose=0, allow_writing_files=False, random_seed=1, **parameters).fit(TABLE, y)


def stopped(model: Any, **how: Any) -> Any:
    return model.fit(TABLE[:600], TWO[:600], eval_set=[(TABLE[600:], TWO[600:])], **how)


CLASSIFIER, REGRESSOR, FOREST = xgboost.XGBClassifier, xgboost.XGBRegressor, xgboost.XGBRFClassifier
LGBC, LGBR, CATC, CATR = lightgbm.LGBMClassifier, lightgbm.LGBMRegressor, catboost.CatBoostClassifier, catboost.CatBoostRegressor
CASES: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "xgboost-binary": (BINARY, lambda: CLASSIFIER(n_estimators=25, max_depth=4).fit(TABLE, TWO)),
    "xgboost-stopped": (BINARY, lambda: stopped(CLASSIFIER(n_estimators=200, early_stopping_rounds=3), verbose=0)),
    "xgboost-multi": (MULTI, lambda: CLASSIFIER(n_estimators=10).fit(TABLE, THREE)),
    "xgboost-number": (NUMBER, lambda: REGRESSOR(n_estimators=25).fit(TABLE, Z)),
    "xgboost-poisson": (NUMBER, lambda: REGRESSOR(n_estimators=25, objective="count:poisson").fit(TABLE, COUNT)),
    "xgboost-forest": (BINARY, lambda: FOREST(n_estimators=25).fit(TABLE, TWO)),
    "xgboost-unsplit": (MULTI, lambda: CLASSIFIER(n_estimators=5, gamma=1e9).fit(TABLE, THREE)),
    "xgboost-ranker": (NUMBER, lambda: xgboost.XGBRanker(n_estimators=20).fit(TABLE, THREE, qid=np.arange(N) // 10)),
    "xgboost-booster": (BINARY, lambda: xgb({"objective": "binary:logistic"}, TWO)),
    "xgboost-booster-turned": (TURNED, lambda: xgb({"objective": "binary:logistic"}, TWO)),
    "xgboost-booster-parallel": (MULTI, lambda: xgb({"objective": "multi:softprob", "num_class": 3, "num_parallel_tree": 3}, THREE, 5)),
    "xgboost-booster-base": (NUMBER, lambda: xgb({"objective": "reg:logistic", "base_score": 0.2}, 1 / (1 + np.exp(-Z)))),
    "xgboost-categories": (
        BINARY,
        lambda: xgb(
            {"objective": "binary:logistic", "max_cat_to_onehot": 2},
            TWO,
            table=TABLE.astype(float),
            feature_types=["q", "q", "c", "q"],
            enable_categorical=True,
        ),
    ),
    "xgboost-sparse": (WORDY, lambda: sparse(CLASSIFIER(n_estimators=25, max_depth=4), TWO_WORDED)),
    "xgboost-sparse-multi": (
        {**WORDY, "problem_type": "multiclass_classification", "classes": [0, 1, 2]},
        lambda: sparse(CLASSIFIER(n_estimators=10), THREE),
    ),
    "xgboost-dart": (BINARY, lambda: CLASSIFIER(n_estimators=5, booster="dart").fit(TABLE, TWO)),
    "xgboost-labels": (MULTI, lambda: xgb({"objective": "multi:softmax", "num_class": 3}, THREE, 5)),
    "xgboost-vectors": (NUMBER, lambda: REGRESSOR(n_estimators=5, multi_strategy="multi_output_tree").fit(TABLE, np.column_stack([Z, Z]))),
    "lightgbm-binary": (BINARY, lambda: lgbm(LGBC, TWO)),
    "lightgbm-words": (WORDY, lambda: lgbm(LGBC, TWO_WORDED, WORDED)),
    "lightgbm-codes": (BINARY, lambda: lgb({"objective": "binary"}, TWO, categorical_feature=["i"])),
    "lightgbm-float-codes": (NUMBER, lambda: lgb({"objective": "regression", "min_data_per_group": 5}, TABLE.f, categorical_feature=["f"])),
    "lightgbm-multi": (MULTI, lambda: lgbm(LGBC, THREE)),
    "lightgbm-ova": (MULTI, lambda: lgbm(LGBC, THREE, objective="multiclassova", sigmoid=1.7)),
    "lightgbm-number": (NUMBER, lambda: lgbm(LGBR, Z)),
    "lightgbm-no-missing": (NUMBER, lambda: lgbm(LGBR, Z, use_missing=False)),
    "lightgbm-none-missing": (NUMBER, lambda: lgbm(LGBR, Z, TABLE.fillna(0.0))),
    "lightgbm-parted": (NUMBER, lambda: lgbm(LGBR, TABLE.a.isna() * 1.0)),
    "lightgbm-unsplit": (BINARY, lambda: lgbm(LGBC, TWO, min_child_samples=N)),
    "lightgbm-forest": (BINARY, lambda: lgbm(LGBC, TWO, boosting_type="rf", bagging_freq=1, bagging_fraction=0.5)),
    "lightgbm-dart": (BINARY, lambda: lgbm(LGBC, TWO, boosting_type="dart")),
    "lightgbm-poisson": (NUMBER, lambda: lgbm(LGBR, COUNT, objective="poisson")),
    "lightgbm-stopped": (
        BINARY,
        lambda: stopped(LGBC(n_estimators=300, verbose=-1), callbacks=[lightgbm.early_stopping(3, verbose=False)]),
    ),
    "lightgbm-booster": (BINARY, lambda: lgb({"objective": "binary", "sigmoid": 0.7}, TWO)),
    "lightgbm-sparse": (WORDY, lambda: sparse(LGBC(n_estimators=25, verbose=-1), TWO_WORDED)),
    "lightgbm-zero": (NUMBER, lambda: lgbm(LGBR, Z, zero_as_missing=True)),
    "lightgbm-linear": (NUMBER, lambda: lgbm(LGBR, Z, linear_tree=True)),
    "lightgbm-root": (NUMBER, lambda: lgbm(LGBR, Z, reg_sqrt=True)),
    "catboost-binary": (BINARY, lambda: cat(CATC, TWO)),
    "catboost-greatest": (BINARY, lambda: cat(CATC, TWO, nan_mode="Max")),
    "catboost-multi": (MULTI, lambda: cat(CATC, THREE)),
    "catboost-ova": (MULTI, lambda: cat(CATC, THREE, loss_function="MultiClassOneVsAll")),
    "catboost-number": (NUMBER, lambda: cat(CATR, Z)),
    "catboost-poisson": (NUMBER, lambda: cat(CATR, COUNT, loss_function="Poisson")),
    "catboost-lopsided": (BINARY, lambda: cat(CATC, TWO, grow_policy="Lossguide")),
    "catboost-lopsided-multi": (MULTI, lambda: cat(CATC, THREE, grow_policy="Depthwise")),
    "catboost-sparse": (WORDY, lambda: sparse(CATC(iterations=25, depth=4, verbose=0, allow_writing_files=False), TWO_WORDED)),
    "catboost-plain": (NUMBER, lambda: catboost.CatBoost({"iterations": 25, "verbose": 0, "allow_writing_files": False}).fit(TABLE, Z)),
    "catboost-categories": (BINARY, lambda: cat(CATC, TWO, cat_features=["i"])),
    "catboost-uncertain": (NUMBER, lambda: cat(CATR, Z, loss_function="RMSEWithUncertainty")),
}
ODD = {
    "float": [0.0, -0.0, 1e300, -1e300, 1.7e308, 3.5e38, 5e-324, -5e-324, 1.0000000180025095e-35, -1.0000000180025095e-35, None],
    "int": [0, -1, 3, 2**53 + 1, 2**62, -(2**62), None],
    "bool": [True, False, None],
    "str": ["x", "y", "z", "w", "never seen", "", None],
}
ROWS = 150


def edges(plan: dict[str, Any], columns: list[dict[str, Any]]) -> list[list[Any]]:
    """Rows of values at the thresholds, one step of float64 and of float32 beside them, and odd ones."""
    found: dict[int, set[float]] = {}
    for step in plan["steps"]:
        for feature, threshold in zip(step.get("feature", ()), step.get("threshold", ()), strict=True):
            if feature >= 0:
                found.setdefault(step["slots"][feature], set()).add(threshold)
    values = []
    for place, column in enumerate(columns):
        at = sorted(found.get(place, ()))
        near = [v for t in at for v in (t, _up(t), _down(t), _up32(t), _down32(t)) if math.isfinite(v)]  # the wire has no infinity
        whole = [f(t) for t in at for f in (math.floor, math.ceil) if abs(t) < 2**62]
        odd = [value for value in ODD[column["type"]] if value is not None or column["nullable"]]
        values.append(odd + (near if column["type"] == "float" else whole if column["type"] == "int" else []))
    return [[own[RANDOM.integers(len(own))] for own in values] for _ in range(ROWS)]


def _up(value: float) -> float:
    return math.nextafter(value, math.inf)


def _down(value: float) -> float:
    return math.nextafter(value, -math.inf)


def _up32(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))


def _down32(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(-np.inf)))


def native(served: Served, names: list[str], row: list[Any]) -> list[Any] | None:
    try:
        answer = served.predict({name: [value] for name, value in zip(names, row, strict=True)}, 1)
    except Exception:
        return None
    return [values[0] for values in answer.values()]


def margins(model: Any, rows: list[list[Any]]) -> list[Any] | None:
    """What Treelite, which reads models of XGBoost and LightGBM, sums up before the link."""
    if isinstance(model, xgboost.Booster):
        read = treelite.frontend.from_xgboost(model)
    elif isinstance(model, lightgbm.Booster):
        read = treelite.frontend.from_lightgbm(model)
    else:
        return None
    kind = np.float32 if isinstance(model, xgboost.Booster) else np.float64
    table = np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64).astype(kind)
    return np.asarray(treelite.gtil.predict(read, table, pred_margin=True), dtype=np.float64).reshape(len(rows), -1).tolist()


def main(folder: Path) -> None:
    for name, (signature, fit) in CASES.items():
        model = fit()
        raw, order = frameworks.predictor(model, signature)
        served = Served(raw, Inputs(signature["columns"]), Outputs(signature, order), model, set())
        found: dict[str, Any] = {"signature": signature}
        try:
            found["plan"] = extract(served, signature)
        except Cannot as exc:
            found["declined"] = str(exc)
        else:
            names = [column["name"] for column in signature["columns"]]
            found["rows"] = edges(found["plan"], signature["columns"])
            found["native"] = [native(served, names, row) for row in found["rows"]]
            found["treelite"] = margins(model, found["rows"])
        (folder / f"{name}.json").write_text(json.dumps(found, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main(Path(sys.argv[1]))
