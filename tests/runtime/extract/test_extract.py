"""The message `extract` of real runners: a plan, or why there is none."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

from modelyard.runtime import frameworks
from modelyard.runtime.extract import Cannot, extract
from modelyard.runtime.inputs import Inputs
from modelyard.runtime.loading import Served
from modelyard.runtime.outputs import Outputs
from modelyard.serve.oracle import Declined, asked
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.plan.edges import edge_rows
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.reading import read
from modelyard.serve.plan.refused import Refused
from modelyard.signature import Column, Signature
from tests.serve.world import World, boosting, data, logistic, signature

SIGNED = signature()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.stop()


def served(model: object, signed: dict[str, Any], found: set[str] | None = None) -> Served:
    raw, order = frameworks.predictor(model, signed)
    made = Served(raw, Inputs(signed["columns"]), Outputs(signed, order), model, found or set())
    made.signature = signed
    return made


def test_a_runner_gives_the_plan_of_its_model(world: World) -> None:
    world.save("1", logistic(), "import joblib\ndef model_fn(folder):\n    return joblib.load(folder + '/model.joblib')\n")
    world.runner("1", SIGNED)
    world.ready("1")
    with asked(world.socket("1"), SIGNED) as oracle:
        plan = RowPlan(read(oracle.plan()), SIGNED)
        x, _ = data(40, seed=7)
        columns = {name: x[:, i].tolist() for i, name in enumerate(SIGNED.names)}
        native, own = oracle.answers(columns, len(x)), plan.predict(columns, len(x))
    assert own["prediction"] == native["prediction"]
    np.testing.assert_allclose(own["probability_1"], native["probability_1"], rtol=0, atol=1e-12)


def test_a_linear_model_of_many_numbers_is_proven_at_its_edges() -> None:
    """Native sums are BLAS's, in an order of its own."""
    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    model = LogisticRegression().fit(x, y)
    signed = Signature(
        "binary_classification", tuple(Column(f"x{i}", "float") for i in range(30)), classes=(0, 1), positive_class=1, target_col="y"
    )
    plan = read(json.dumps(extract(served(model, signed.to_dict()), signed.to_dict())).encode())
    rows = edge_rows(plan, fold(plan), x[:100].tolist())
    own = RowPlan(plan, signed)
    answered = []
    for row in rows:
        with contextlib.suppress(Refused):
            answered.append((row, own.row(row)[0]))
    assert len(answered) > 1000
    native = model.predict(np.array([row for row, _ in answered]))
    assert [label for _, label in answered] == native.tolist()


def test_a_runner_declines_where_the_script_predicts(world: World) -> None:
    world.save("1", logistic(), "def predict_fn(x, model):\n    return model.predict_proba(x)\n")
    world.runner("1", SIGNED)
    world.ready("1")
    with asked(world.socket("1"), SIGNED) as oracle, pytest.raises(Declined) as caught:
        oracle.plan()
    assert str(caught.value) == "the script has its own predict_fn"


@pytest.mark.parametrize("hook", ["pre", "post"])
def test_hooks_are_declined(tmp_path: Path, hook: str) -> None:
    (tmp_path / "extract_hooks.py").write_text("def preprocess(x):\n    return x\ndef postprocess(y, x):\n    return y\n")
    found = served(logistic(), SIGNED.to_dict())
    found.hooks(str(tmp_path), *(["extract_hooks.py", ""] if hook == "pre" else ["", "extract_hooks.py"]))
    with pytest.raises(Cannot, match=f"inference.{hook} runs code of the user's"):
        extract(found, SIGNED.to_dict())


@pytest.mark.parametrize("name", ["input_fn", "output_fn", "predict_fn", "transform_fn"])
def test_functions_of_the_script_that_load_are_no_hindrance_and_those_that_predict_are(name: str) -> None:
    signed = SIGNED.to_dict()
    assert extract(served(logistic(), signed, {"model_fn", "model_warmup_fn"}), signed)["steps"]
    with pytest.raises(Cannot, match=f"the script has its own {name}"):
        extract(served(logistic(), signed, {"model_fn", name}), signed)


def test_scores_come_in_the_order_of_the_signatures_classes() -> None:
    x, y = data(200, 2)
    signed = signature(("a", "b"), classes=("no", "yes"), positive_class="yes").to_dict()
    model = LogisticRegression().fit(x, np.where(y == 1, "yes", "no"))
    straight = extract(served(model, signed), signed)["answers"]
    turned = {**signed, "classes": ["yes", "no"]}
    assert extract(served(model, turned), turned)["answers"] == straight[::-1]


def test_a_plan_is_json_and_says_what_it_was_made_from() -> None:
    signed = signature().to_dict()
    plan = extract(served(logistic(), signed), signed)
    assert plan["source"] == "Pipeline(StandardScaler, LogisticRegression)"
    assert [column["name"] for column in plan["inputs"]] == list(SIGNED.names)
    assert json.loads(json.dumps(plan, allow_nan=False)) == json.loads(json.dumps(plan))


def in_mlflow(model: object) -> Any:
    pyfunc = type("PyFuncModel", (), {"get_raw_model": lambda self: model, "metadata": None, "predict": lambda self, x: model.predict(x)})
    pyfunc.__module__ = "mlflow.pyfunc"
    return pyfunc()


def test_a_classifier_inside_an_mlflow_model_is_written_out_and_a_regression_is_not() -> None:
    signed, number = SIGNED.to_dict(), {**SIGNED.to_dict(), "problem_type": "regression", "classes": [], "positive_class": None}
    assert extract(served(in_mlflow(logistic()), signed), signed)["steps"] == extract(served(logistic(), signed), signed)["steps"]
    with pytest.raises(Cannot, match="MLflow checks a table against its own schema"):
        extract(served(in_mlflow(LinearRegression().fit(*data())), number), number)


def test_trees_of_too_many_nodes_are_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.runtime.extract.MOST_NODES", 20)
    signed = SIGNED.to_dict()
    with pytest.raises(Cannot, match=r"its trees have [\d,]+ nodes, and a row plan at most 20"):
        extract(served(boosting(), signed), signed)


def test_a_model_of_another_process_or_of_other_columns_is_declined() -> None:
    signed = signature(("a", "b")).to_dict()
    x, y = data(100, 2)
    gone = served(LogisticRegression().fit(x, y), signed)
    gone.model = None
    with pytest.raises(Cannot, match="another process holds the model"):
        extract(gone, signed)
    wide = LogisticRegression().fit(*data(100, 3))
    with pytest.raises(Cannot, match="was fitted on 3 columns and is given 2"):
        extract(served(wide, signed), signed)
