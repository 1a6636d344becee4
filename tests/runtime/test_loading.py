from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier

from modelyard.runtime import loading, runner
from modelyard.runtime.inputs import Inputs, check
from modelyard.runtime.loading import CannotLoad, defined, load
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


def test_functions_are_found_without_running_the_script(folder: Path) -> None:
    path = folder / "s.py"
    path.write_text("from x import model_fn\npredict_fn = 3\nclass A:\n    def input_fn(self): pass\nraise SystemExit\n")
    assert defined(path) == {"model_fn", "predict_fn"}


@pytest.mark.parametrize("name", ["input_fn", "output_fn", "transform_fn"])
def test_functions_that_are_not_honoured_are_refused_by_name(folder: Path, name: str) -> None:
    with pytest.raises(CannotLoad, match=f"defines {name}, which this release does not honour"):
        at(folder, NUMBER, f"def {name}(*a):\n    pass\n")


def test_a_model_that_cannot_be_loaded_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotLoad, match=r"no model\.joblib or model\.pkl \(it holds nothing\)"):
        at(folder, NUMBER)
    with pytest.raises(CannotLoad, match=r"holds 0 \.onnx files"):
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
    own = type("Own", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Own", own, raising=False)
    joblib.dump(own(), folder / "model" / "model.joblib")
    monkeypatch.delattr(sys.modules["__main__"], "Own")
    with pytest.raises(CannotLoad, match="move it to a module beside the script"):
        at(folder, BINARY)


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
