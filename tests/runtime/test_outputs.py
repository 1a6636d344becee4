from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelyard.runtime.outputs import BadOutput, Outputs, class_order

BINARY = {"problem_type": "binary_classification", "classes": ["n", "y"], "positive_class": "y", "decision_threshold": 0.3}
MANY = {"problem_type": "multiclass_classification", "classes": [1, 2, 3], "positive_class": None, "decision_threshold": None}
NUMBER = {"problem_type": "regression", "classes": []}
TWO = {"prediction": ["y", "n"], "probability_n": [0.5, 0.75], "probability_y": [0.5, 0.25]}


@pytest.mark.parametrize(
    "raw",
    [
        np.array([[0.5, 0.5], [0.75, 0.25]]),
        np.array([[0.5, 0.5], [0.75, 0.25]], dtype=np.float32),
        [[0.5, 0.5], [0.75, 0.25]],
        np.array([0.5, 0.25]),
        np.array([[0.5], [0.25]]),
        {"probability_n": [0.5, 0.75], "probability_y": [0.5, 0.25], "more": 1},
        {"probability_n": [0.5, 0.75], "probability_y": [0.5, 0.25], "prediction": np.array(["y", "n"])},
    ],
)
def test_every_way_to_give_binary_probabilities(raw: Any) -> None:
    assert Outputs(BINARY)(raw, 2) == TWO


def test_the_threshold_and_the_order_of_classes() -> None:
    assert Outputs(BINARY, [1, 0])(np.array([[0.29, 0.71]]), 1)["prediction"] == ["n"]
    assert Outputs({**BINARY, "positive_class": "n"})(np.array([0.3]), 1) == {
        "prediction": ["n"], "probability_n": [0.3], "probability_y": [0.7],
    }  # fmt: skip
    order = class_order(np.array([3, 1, 2]), [1, 2, 3])
    assert order == [1, 2, 0]
    found = Outputs(MANY, order)(np.array([[0.5, 0.2, 0.3]]), 1)
    assert found == {"prediction": [3], "probability_1": [0.2], "probability_2": [0.3], "probability_3": [0.5]}
    assert class_order(["2", "1"], [1, 2]) == [1, 0]
    assert class_order(np.array([False, True]), [False, True]) == [0, 1]
    with pytest.raises(BadOutput, match=r"classes \[0, 1\] are not the signature's \['n', 'y'\]"):
        class_order(np.array([0, 1]), ["n", "y"])


def test_regression() -> None:
    for raw in ([1, 2.5], np.array([[1], [2.5]]), {"prediction": [1, 2.5]}):
        assert Outputs(NUMBER)(raw, 2) == {"prediction": [1.0, 2.5]}


@pytest.mark.parametrize(
    ("signature", "raw", "row", "what"),
    [
        (BINARY, np.array(["y", "n"]), None, "labels, not probabilities"),
        (BINARY, np.array([1, 0]), None, "labels, not probabilities"),
        (BINARY, np.array([[0.5, 0.5]]), None, r"shape \(1, 2\) for 2 rows"),
        (BINARY, np.array([[0.5, 0.5], [np.nan, 0.5]]), 1, "not finite in row 1"),
        (BINARY, np.array([0.5, np.inf]), 1, "not finite in row 1"),
        (BINARY, np.array([0.5, 1.5]), 1, "outside 0..1 in row 1"),
        (BINARY, {"probability_y": [0.5, 0.5]}, None, "`probability_n` is missing"),
        (BINARY, {"probability_n": [0.5, 0.5], "probability_y": [0.5, 0.5], "prediction": ["y", "z"]}, 1, "none of the classes"),
        (
            BINARY,
            {"probability_n": [0.5, 0.5], "probability_y": [0.5, 0.5], "prediction": ["y"]},
            None,
            "1 predictions for 2 rows",
        ),
        (MANY, np.array([0.5, 0.5]), None, "shape"),
        (NUMBER, np.array(["a", "b"]), None, "no numbers"),
        (NUMBER, np.array([1.0]), None, "shape"),
        (NUMBER, np.array([1.0, np.nan]), 1, "not finite"),
    ],
)
def test_what_is_not_promised_is_refused(signature: dict[str, Any], raw: Any, row: int | None, what: str) -> None:
    with pytest.raises(BadOutput, match=what) as caught:
        Outputs(signature)(raw, 2)
    assert caught.value.row == row
