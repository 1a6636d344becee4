from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from modelyard.runtime.onnx import OnnxModel
from modelyard.runtime.outputs import BadOutput

SIGNED: dict[str, Any] = {
    "problem_type": "multiclass_classification",
    "classes": ["a", "b"],
    "columns": [{"name": "x", "type": "float"}, {"name": "s", "type": "int"}],
}


class Session:
    """Stands in for onnxruntime's InferenceSession; the real one is tried in test_environments."""

    def __init__(self, inputs: list[tuple[str, str, list[Any]]], answer: Any) -> None:
        self.inputs, self.answer, self.fed = inputs, answer, list[dict[str, Any]]()

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name=n, type=t, shape=s) for n, t, s in self.inputs]

    def get_outputs(self) -> list[Any]:
        return []

    def run(self, names: None, feeds: dict[str, Any]) -> list[Any]:
        self.fed.append(feeds)
        return self.answer(feeds)


def test_a_fixed_batch_is_padded_and_chunked() -> None:
    def answer(feeds: dict[str, Any]) -> list[Any]:
        x = feeds["in"]
        assert x.shape == (3, 2) and x.dtype == np.float32
        return [np.array([1, 1, 1]), np.column_stack([x[:, 0], 1 - x[:, 0]])]

    session = Session([("in", "tensor(float)", [3, 2])], answer)
    values = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    found = OnnxModel(session, SIGNED).predict({"x": values, "s": [1] * 7}, 7)
    np.testing.assert_allclose(found[:, 0], values, rtol=1e-6)
    assert len(session.fed) == 3


def test_one_tensor_a_column_and_a_map_of_classes() -> None:
    def answer(feeds: dict[str, Any]) -> list[Any]:
        return [np.array(["a", "b"]), [{"b": 0.25, "a": 0.75}, {"b": 1.0, "a": 0.0}]]

    session = Session([("x", "tensor(double)", [None, 1]), ("s", "tensor(int64)", [None, 1])], answer)
    model = OnnxModel(session, SIGNED)
    assert model.predict({"x": [1.0, None], "s": [1, 2]}, 2).tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert session.fed[0]["x"].shape == (2, 1) and np.isnan(session.fed[0]["x"][1, 0])
    with pytest.raises(BadOutput, match="row 1 has a missing value"):
        model.predict({"x": [1.0, 1.0], "s": [1, None]}, 2)


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ([("in", "tensor(float)", [None, 3])], "takes 3 columns, the signature has 2"),
        ([("x", "tensor(float)", [None, 1]), ("z", "tensor(float)", [None, 1])], "an input `z`"),
        ([("in", "tensor(float16)", [None, 2])], "tensor.float16., which is not supported"),
    ],
)
def test_a_model_that_does_not_fit_the_signature_is_refused_at_load(inputs: list[Any], what: str) -> None:
    with pytest.raises(BadOutput, match=what):
        OnnxModel(Session(inputs, None), SIGNED)


def test_results_without_probabilities_are_refused() -> None:
    for result in ([np.array([1, 2])], [[{"a": 0.5, "z": 0.5}]]):
        model = OnnxModel(Session([("in", "tensor(float)", [None, 2])], lambda feeds, r=result: r), SIGNED)
        with pytest.raises(BadOutput):
            model.predict({"x": [1.0], "s": [1]}, 1)


def test_regression_takes_the_first_numbers() -> None:
    session = Session([("in", "tensor(float)", [None, 2])], lambda feeds: [np.array([[1.5], [2.5]], dtype=np.float32)])
    assert OnnxModel(session, {**SIGNED, "problem_type": "regression", "classes": []}).predict({"x": [1, 2], "s": [1, 2]}, 2).tolist() == [
        1.5,
        2.5,
    ]
