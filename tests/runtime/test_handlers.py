"""Inference scripts as people write them for SageMaker, against the model asked directly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from modelyard.runtime.loading import CannotLoad, Served, load

X = np.array([[0.0, 1], [1, 0], [2, 5], [3, 1]])
COLUMNS = {"a": X[:, 0].tolist(), "b": [int(v) for v in X[:, 1]]}
SIGNED: dict[str, Any] = {"columns": [{"name": "a", "type": "float"}, {"name": "b", "type": "int"}]}
BINARY = {**SIGNED, "problem_type": "binary_classification", "classes": ["n", "y"], "positive_class": "y", "decision_threshold": 0.5}
NUMBER = {**SIGNED, "problem_type": "regression", "classes": []}
CLASSIFIER = LogisticRegression().fit(X, ["n", "n", "y", "y"])
REGRESSOR = LinearRegression().fit(X, [1, 2, 3, 5])
LOAD = "import io, json, os, joblib, numpy as np\ndef model_fn(d):\n    return joblib.load(os.path.join(d, 'model.joblib'))\n"


def served(folder: Path, script: str, signature: dict[str, Any], model: Any, **more: str) -> Served:
    (folder / "model").mkdir()
    joblib.dump(model, folder / "model" / "model.joblib")
    (folder / "inference.py").write_text(script)
    hooks = {name: more.pop(name, "") for name in ("pre", "post")}
    found = load(str(folder / "model"), str(folder), "inference.py", signature, "sklearn", **more)
    found.hooks(str(folder), **hooks)
    return found


READ = {
    "text/csv": "    assert isinstance(body, str)\n    return np.loadtxt(io.StringIO(body), delimiter=',', ndmin=2)\n",
    "application/json": "    return np.array(json.loads(body), dtype=np.float32)\n",
    "application/jsonlines": "    return np.array([[r['a'], r['b']] for r in map(json.loads, body.splitlines())])\n",
    "application/x-npy": "    assert isinstance(body, bytes)\n    return np.load(io.BytesIO(body))\n",
}


@pytest.mark.parametrize("kind", READ)
def test_input_fn_is_given_the_content_type_that_is_asked_for(tmp_path: Path, kind: str) -> None:
    script = f"{LOAD}def input_fn(body, content_type):\n    assert content_type == {kind!r}\n{READ[kind]}"
    found = served(tmp_path, script, BINARY, CLASSIFIER, content_type=kind).predict(COLUMNS, 4)
    np.testing.assert_allclose(found["probability_y"], CLASSIFIER.predict_proba(X)[:, 1], rtol=1e-6)


WRITE = {
    "a json list": "    return json.dumps(prediction.tolist())\n",
    "predictions": "    return json.dumps({'predictions': prediction.tolist()}), accept\n",
    "csv": "    return '\\n'.join(str(v) for v in prediction), 'text/csv'\n",
    "npy": "    out = io.BytesIO(); np.save(out, prediction); return out.getvalue(), 'application/x-npy'\n",
    "a response": "    import types\n    return types.SimpleNamespace(response=json.dumps(prediction.tolist()), mimetype=accept)\n",
}


@pytest.mark.parametrize("how", WRITE)
def test_output_fn_is_read_back(tmp_path: Path, how: str) -> None:
    script = f"{LOAD}def predict_fn(data, model):\n    assert data.dtype == np.float32\n    return model.predict(data)\n"
    found = served(tmp_path, f"{script}def output_fn(prediction, accept):\n{WRITE[how]}", NUMBER, REGRESSOR)
    np.testing.assert_allclose(found.predict(COLUMNS, 4)["prediction"], REGRESSOR.predict(X))
    assert (found.model_fn, found.predict_fn) == ("script", "script")


def test_an_output_fn_without_predict_fn_gets_labels_as_the_container_gives_them(tmp_path: Path) -> None:
    script = f"{LOAD}def output_fn(prediction, accept):\n    return json.dumps(prediction.tolist())\n"
    found = served(tmp_path, script, BINARY, CLASSIFIER).predict(COLUMNS, 4)
    assert found["prediction"] == CLASSIFIER.predict(X).tolist()
    assert found["probability_y"] == [float(v == "y") for v in found["prediction"]]


def test_transform_fn(tmp_path: Path) -> None:
    script = f"{LOAD}def transform_fn(model, body, content_type, accept):\n    rows = np.array(json.loads(body))\n"
    script += "    return json.dumps([{'predicted_label': str(l), 'score': p} for l, p in\n"
    script += "        zip(model.predict(rows), model.predict_proba(rows)[:, 1])]), accept\n"
    found = served(tmp_path, script, BINARY, CLASSIFIER, content_type="application/json").predict(COLUMNS, 4)
    np.testing.assert_allclose(found["probability_y"], CLASSIFIER.predict_proba(X)[:, 1])


def test_the_functions_around_loading_and_the_context(tmp_path: Path) -> None:
    script = "SEEN = []\ndef pre_model_fn(d):\n    SEEN.append('pre')\n"
    script += "def model_fn(d, context=None):\n    SEEN.append(context.system_properties['model_dir'] == d)\n    return SEEN\n"
    script += "def model_warmup_fn(d, model):\n    model.append('warm')\n"
    script += "def predict_fn(x, model):\n    return [float(SEEN == ['pre', True, 'warm'])] * len(x)\n"
    assert served(tmp_path, script, NUMBER, REGRESSOR).predict(COLUMNS, 4)["prediction"] == [1.0] * 4


def test_preprocess_and_postprocess_stand_around_the_model(tmp_path: Path) -> None:
    (tmp_path / "pre.py").write_text(
        "def preprocess(inputs):\n    return {'a': inputs['a'] + 1, 'b': inputs['b']} if hasattr(inputs, 'columns') else inputs + [1, 0]\n"
    )
    (tmp_path / "post.py").write_text("def postprocess(outputs, inputs):\n    return outputs * 2 + len(inputs)\n")
    script = "import numpy as np\ndef predict_fn(x, model):\n    x = np.column_stack([x['a'], x['b']]) if isinstance(x, dict) else x\n"
    script += "    return model.predict(x)\n"
    found = served(tmp_path, script, NUMBER, REGRESSOR, pre="pre.py", post="post.py").predict(COLUMNS, 4)
    np.testing.assert_allclose(found["prediction"], REGRESSOR.predict(X + np.array([1, 0])) * 2 + 4)


def test_preprocess_changes_the_body_too_and_must_keep_the_rows(tmp_path: Path) -> None:
    (tmp_path / "pre.py").write_text("def preprocess(inputs):\n    return {'z': [5.0] * len(inputs)}\n")
    script = f"{LOAD}def transform_fn(model, body, content_type, accept):\n    return body\n"
    found = served(tmp_path, script, NUMBER, REGRESSOR, pre="pre.py", accept="text/csv")
    assert found.predict(COLUMNS, 4)["prediction"] == [5.0] * 4
    assert found.inputs is None
    (tmp_path / "pre.py").write_text("def preprocess(inputs):\n    return inputs[:2]\n")
    found.hooks(str(tmp_path), "pre.py", "")
    with pytest.raises(ValueError, match="2 rows for 4"):
        found.predict(COLUMNS, 4)
    with pytest.raises(CannotLoad, match=r"pre\.py defines no postprocess"):
        found.hooks(str(tmp_path), "", "pre.py")
