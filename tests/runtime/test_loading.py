from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelyard.runtime import frameworks, loading, runner
from modelyard.runtime.inputs import Inputs, check
from modelyard.runtime.loading import CannotLoad, load
from modelyard.runtime.outputs import BadOutput
from modelyard.runtime.wire import BadFrame

COLUMNS = [{"name": "a", "type": "float"}, {"name": "b", "type": "int"}]
BINARY = {
    "problem_type": "binary_classification",
    "classes": [0, 1],
    "positive_class": 1,
    "decision_threshold": 0.5,
    "columns": COLUMNS,
}
NUMBER = {"problem_type": "regression", "classes": [], "columns": COLUMNS}
X = np.array([[0.0, 1], [1, 0], [2, 5], [3, 1]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path


def at(folder: Path, signature: dict[str, Any], script: str | None = None, framework: str = "sklearn") -> loading.Served:
    if script is not None:
        (folder / "train.py").write_text(script)
    return load(str(folder / "model"), str(folder), "train.py" if script is not None else "", signature, framework)


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl"])
def test_the_framework_loads_its_own_file(folder: Path, name: str) -> None:
    model = LinearRegression().fit(X, [1, 2, 3, 5])
    joblib.dump(model, folder / "model" / name)
    served = at(folder, NUMBER, "raise SystemExit('never imported')\n")
    assert served.model_fn == "framework"
    found = served.predict({"a": [0.5, None][:1], "b": [2]}, 1)
    np.testing.assert_allclose(found["prediction"], model.predict([[0.5, 2]]))


def test_a_model_that_cannot_be_loaded_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotLoad, match=r"no model\.joblib or model\.pkl \(it holds nothing\)"):
        at(folder, NUMBER)
    with pytest.raises(CannotLoad, match=r"holds no file \.onnx \(it holds nothing\)"):
        at(folder, NUMBER, framework="onnx")
    with pytest.raises(CannotLoad, match="not valid Python"):
        at(folder, NUMBER, "def (\n")
    with pytest.raises(CannotLoad, match="is not in the code"):
        load(str(folder), str(folder / "model"), "train.py", NUMBER, "sklearn")
    joblib.dump(RidgeClassifier().fit(X, [0, 0, 1, 1]), folder / "model" / "model.joblib")
    with pytest.raises(CannotLoad, match="RidgeClassifier has no predict_proba: probabilities are needed"):
        at(folder, BINARY)
    joblib.dump(LogisticRegression().fit(X, ["n", "n", "y", "y"]), folder / "model" / "model.joblib")
    with pytest.raises(CannotLoad, match=r"classes \['n', 'y'\] are not the signature's \[0, 1\]"):
        at(folder, BINARY)
    joblib.dump(LogisticRegression().fit(X, [0, 0, 1, 1]), folder / "model" / "model.joblib")
    with pytest.raises(CannotLoad, match=r"`n` may be 0 .* or 1 .*: train on the labels as they are"):
        at(folder, {**BINARY, "classes": ["n", "y"], "positive_class": "n"})
    own = type("Own", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Own", own, raising=False)
    joblib.dump(own(), folder / "model" / "model.joblib")
    monkeypatch.delattr(sys.modules["__main__"], "Own")
    with pytest.raises(CannotLoad, match="move it to a module beside the script"):
        at(folder, BINARY)


TWO = {"a": [1.5, 0.0], "b": [0, 4]}


@pytest.mark.parametrize("names", [["b", "a"], ["b"]])
@pytest.mark.parametrize("piped", [False, True])
def test_a_model_gets_the_columns_it_was_fitted_on(folder: Path, names: list[str], piped: bool) -> None:
    model = make_pipeline(StandardScaler(), LinearRegression()) if piped else LinearRegression()
    model.fit(pl.DataFrame(X, ["a", "b"])[names], [1, 2, 3, 5])
    joblib.dump(model, folder / "model" / "model.joblib")
    served, truth = at(folder, NUMBER), model.predict(pl.DataFrame(TWO)[names])
    with pytest.warns(UserWarning, match="feature names"):  # there is no pandas here: it gets arrays
        np.testing.assert_allclose(served.predict(TWO, 2)["prediction"], truth)
    assert served.inputs is not None and served.inputs.names == names
    script = "def preprocess(x):\n    import polars\n    return polars.DataFrame({'a': x[:, 0], 'b': x[:, 1], 'more': x[:, 0]})\n"
    (folder / "pre.py").write_text(script)
    served.hooks(str(folder), "pre.py", "")
    np.testing.assert_allclose(served.predict(TWO, 2)["prediction"], truth)


def test_a_script_gets_all_columns_and_bodies_in_the_models_order(folder: Path) -> None:
    joblib.dump(LinearRegression().fit(pl.DataFrame(X, ["a", "b"])[["b"]], [1, 2, 3, 5]), folder / "model" / "model.joblib")
    served = at(folder, NUMBER, "def predict_fn(x, model): return x[:, 0]\n")
    assert served.predict(TWO, 2)["prediction"] == TWO["a"]
    model = LinearRegression().fit(pl.DataFrame(X, ["a", "b"])[["b", "a"]], [1, 2, 3, 5])
    joblib.dump(model, folder / "model" / "model.joblib")
    served = at(
        folder,
        NUMBER,
        "def input_fn(body, kind):\n    import io, numpy\n    return numpy.loadtxt(io.StringIO(body), delimiter=',', ndmin=2)\n",
    )
    with pytest.warns(UserWarning, match="feature names"):
        found = served.predict(TWO, 2)["prediction"]
    np.testing.assert_allclose(found, model.predict(pl.DataFrame(TWO)[["b", "a"]]))


@pytest.mark.parametrize("positive", ["y", None])
def test_a_model_of_encoded_labels_is_taken_in_sorted_order_and_says_so(folder: Path, positive: str | None) -> None:
    classes = ["n", "y"] if positive else ["m", "n", "y"]
    problem = "binary_classification" if positive else "multiclass_classification"
    signature = {**BINARY, "problem_type": problem, "classes": classes, "positive_class": positive}
    model = LogisticRegression().fit(X, [0, 0, 1, 1] if positive else [2, 0, 1, 1])
    joblib.dump(model, folder / "model" / "model.joblib")
    served = at(folder, signature)
    assert served.facts["note"].startswith("the model numbers its classes; taken in sorted order (0 is ")
    found = served.predict(TWO, 2)
    np.testing.assert_allclose([found[f"probability_{c}"] for c in classes], model.predict_proba(np.array([*TWO.values()]).T).T)
    served = at(folder, signature, "def predict_fn(x, model): return model.predict(x)\n")
    assert served.predict(TWO, 2)["prediction"] == [classes[i] for i in model.predict(np.array([*TWO.values()]).T)]


def test_a_script_that_answers_one_row_of_many_is_asked_row_by_row(folder: Path) -> None:
    script = "def model_fn(folder):\n    return 2\ndef predict_fn(x, model):\n    return (model * x['a'].to_numpy())[:1]\n"
    script = script.replace("x['a'].to_numpy()", "__import__('numpy').asarray(x)[:, 0].astype(float)")
    served, columns = at(folder, NUMBER, script), {"a": [1.0, 2.0, 3.0], "b": [1, 2, 3]}
    with pytest.raises(BadOutput, match=r"wants `inference\.batch_strategy: single_record`"):
        served.predict(columns, 3)
    served.single = True
    assert served.predict(columns, 3) == {"prediction": [2.0, 4.0, 6.0]}
    with pytest.raises(BadOutput) as caught:
        served.predict({"a": [1.0, float("inf")], "b": [1, 2]}, 2)
    assert caught.value.row == 1


def test_a_booster_asked_with_other_columns_is_not_asked() -> None:
    class Booster:
        def num_features(self) -> int:
            return 3

    class Matrix:
        def num_col(self) -> int:
            return 2

    with pytest.raises(ValueError, match="trained on 3 features and is given 2"):
        frameworks.fitting(Booster(), Matrix())


def test_answer_turns_everything_into_a_reply(folder: Path) -> None:
    script = "def model_fn(folder):\n    return 2\ndef predict_fn(x, model):\n    if x[0][0] > 9: raise KeyError('boom')\n"
    script += "    x[:, 1][x[:, 1] == 0] = float('nan')\n    return x[:, 0] * model / x[:, 1]\n"
    served = at(folder, NUMBER, script)
    assert (served.model_fn, served.predict_fn) == ("script", "script")
    hello: dict[str, Any] = {"protocol": 1}

    def ask(**message: Any) -> dict[str, Any]:
        return runner.answer({"op": "predict", "id": 5, **message}, served, ["a", "b"], hello)

    assert runner.answer({"op": "hello"}, served, [], hello) is hello
    assert ask(columns={"a": [1.0], "b": [2]}, rows=1) == {"id": 5, "outputs": {"prediction": [1.0]}}
    assert ask(columns={"a": [10.0], "b": [2]}, rows=1)["error"] == {"code": "model_failed", "what": "KeyError: 'boom'"}
    error = ask(columns={"a": [1.0, 0.0], "b": [2, 0]}, rows=2)["error"]
    assert (error["code"], error["row"]) == ("bad_output", 1)
    for bad in (
        {},
        {"columns": [], "rows": 1},
        {"columns": {"a": [1]}, "rows": 1},
        {"columns": {"a": [1], "b": [1]}, "rows": True},
    ):
        assert ask(**bad)["error"]["code"] == "bad_request"
    assert ask(op="train")["error"]["code"] == "bad_request"


def test_without_pandas_the_input_is_an_array() -> None:
    inputs = Inputs(COLUMNS)
    inputs.pandas = None
    table = inputs({"b": [1, None], "a": [0.5, 2.0]})
    assert table.dtype == np.float64 and table[0].tolist() == [0.5, 1.0] and np.isnan(table[1, 1])
    inputs = Inputs([*COLUMNS, {"name": "s", "type": "str"}])
    inputs.pandas = None
    assert inputs({"a": [0.5], "b": [1], "s": ["x"]}).tolist() == [[0.5, 1, "x"]]
    with pytest.raises(BadFrame, match="column `b`"):
        check({"columns": {"a": [1], "b": []}, "rows": 1}, ["a", "b"])
