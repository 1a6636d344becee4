"""XGBoost, LightGBM and CatBoost as row plans: each model in an environment of its own answers rows at its every edge, and the plan, here,
must answer the same. Treelite, which reads their models by itself, must agree with the sums."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.serve.plan.answers import finish_for
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.interpret import interpret, slots_of
from modelyard.serve.plan.reading import read
from modelyard.serve.plan.refused import Refused
from modelyard.serve.plan.schema import Plan, Trees
from modelyard.serve.runner import install_runtime
from modelyard.signature import Signature
from tests.runtime.test_environments import environment

pytestmark = pytest.mark.slow
EXACT = 1e-12
"""The plan's own exponentials may differ from a library's in the last bit."""
DECLINED = {
    "xgboost-dart": "XGBoost's booster dart has no row plan",
    "xgboost-labels": "XGBoost's objective multi:softmax has no row plan",
    "xgboost-vectors": "XGBoost's trees with a vector a leaf have no row plan",
    "lightgbm-float-codes": "a categorical split on a column that is not of whole numbers",
    "lightgbm-zero": "LightGBM was told that zero is a missing value",
    "lightgbm-linear": "LightGBM's linear trees have no row plan",
    "lightgbm-root": "LightGBM's objective `regression sqrt` has no row plan",
    "catboost-categories": "CatBoost's columns of categories and of text have no row plan",
    "catboost-uncertain": "CatBoost's loss RMSEWithUncertainty has no row plan",
}
WRITTEN = (
    *("xgboost-binary", "xgboost-stopped", "xgboost-multi", "xgboost-number", "xgboost-poisson", "xgboost-forest", "xgboost-ranker"),
    *(
        "xgboost-unsplit",
        "xgboost-booster",
        "xgboost-booster-turned",
        "xgboost-booster-parallel",
        "xgboost-booster-base",
        "xgboost-categories",
        "xgboost-sparse",
        "xgboost-sparse-multi",
    ),
    *("lightgbm-binary", "lightgbm-words", "lightgbm-codes", "lightgbm-multi", "lightgbm-ova", "lightgbm-number", "lightgbm-no-missing"),
    *(
        "lightgbm-none-missing",
        "lightgbm-parted",
        "lightgbm-unsplit",
        "lightgbm-forest",
        "lightgbm-dart",
        "lightgbm-poisson",
        "lightgbm-stopped",
        "lightgbm-booster",
        "lightgbm-sparse",
    ),
    *("catboost-binary", "catboost-greatest", "catboost-multi", "catboost-ova", "catboost-number", "catboost-poisson"),
    *("catboost-lopsided", "catboost-lopsided-multi", "catboost-plain", "catboost-sparse"),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `boosted.py` wrote down, by case."""
    folder = tmp_path_factory.mktemp("boosted")
    python = environment(folder / "env", "numpy", "pandas", "scikit-learn", "xgboost-cpu", "lightgbm", "catboost", "treelite")
    (folder / "out").mkdir()
    env = {**os.environ, "PYTHONPATH": str(install_runtime(folder)), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("boosted.py")
    done = subprocess.run([str(python), str(script), str(folder / "out")], env=env, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {path.stem: json.loads(path.read_text()) for path in (folder / "out").glob("*.json")}


def _read(case: dict[str, Any]) -> tuple[Plan, Signature]:
    return read(msgspec.json.encode(case["plan"])), Signature.from_dict(case["signature"])


def _apart(plan: Plan, ours: tuple[Any, ...], theirs: list[Any]) -> bool:
    allowed = plan.scores_tolerance or EXACT
    near = all(abs(a - b) <= allowed * max(1.0, abs(b)) for a, b in zip(ours, theirs, strict=True) if isinstance(b, float))
    return not near or (not isinstance(theirs[0], float) and ours[0] != theirs[0])


def test_every_case_is_written_out_or_declined(found: dict[str, dict[str, Any]]) -> None:
    assert {name: case["declined"] for name, case in found.items() if "declined" in case} == DECLINED
    assert set(found) - set(DECLINED) == set(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_plan_answers_as_the_library_does_and_refuses_what_it_refuses(found: dict[str, dict[str, Any]], name: str) -> None:
    case = found[name]
    plan, signature = _read(case)
    served, how = RowPlan(fold(plan), signature), finish_for(plan, signature)
    answered: list[tuple[Any, ...]] = []
    taken = []
    for row, theirs in zip(case["rows"], case["native"], strict=True):
        try:
            ours = served.row(row)
        except Refused:
            assert theirs is None, f"the plan refuses {row}, and the library answers {theirs}"
            continue
        assert theirs is not None, f"the plan answers {row}, and the library raises"
        assert not _apart(plan, ours, theirs), f"{row}: {ours}, and the library answers {theirs}"
        assert ours == interpret(plan, how, row)
        answered.append(ours)
        taken.append((row, theirs))
    assert len(answered) > 50
    exact = sum(list(ours) == theirs for ours, (_, theirs) in zip(answered, taken, strict=True))
    assert exact > 0.9 * len(answered) or "multi" in name or "poisson" in name  # theirs are exponentials of their own
    columns = {column: [row[k] for row, _ in taken] for k, column in enumerate(signature.names)}
    many = served.many(columns, len(taken))
    for i, (row, theirs) in enumerate(taken):
        ours = tuple(many[output][i] for output in signature.outputs)
        assert not _apart(plan, ours, theirs), f"{row}: {ours} as one of many, and the library answers {theirs}"


@pytest.mark.parametrize("name", [name for name in WRITTEN if "booster" in name])
def test_treelite_sums_up_the_same(found: dict[str, dict[str, Any]], name: str) -> None:
    case = found[name]
    plan, _ = _read(case)
    first = len(plan.inputs)
    (trees,) = [step for step in plan.steps if isinstance(step, Trees)]
    compared = 0
    for row, theirs in zip(case["rows"], case["treelite"], strict=True):
        if any(type(value) is float and 0 < abs(value) < 2e-35 for value in row):
            continue  # LightGBM takes them for 0, and Treelite does not
        try:
            ours = slots_of(plan, row)[first : first + trees.width]
        except Refused:
            continue
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-6)
        compared += 1
    assert compared > 50
