from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelyard.runtime.outputs import BadOutput, Outputs, class_order, numbers_classes

BINARY = {"problem_type": "binary_classification", "classes": ["n", "y"], "positive_class": "y", "decision_threshold": 0.3}
MANY = {"problem_type": "multiclass_classification", "classes": [1, 2, 3], "positive_class": None, "decision_threshold": None}
SEVERAL = {"problem_type": "multilabel_classification", "classes": ["art", "war"], "decision_threshold": 0.5, "label_separator": "|"}
STRANGE = {"problem_type": "anomaly_detection", "classes": ["ok", "odd"], "positive_class": "odd", "decision_threshold": None}
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
        (BINARY, np.array(["y", "x"]), 1, "'x' in row 1, which is none of the classes"),
        (BINARY, np.array([1, 0]), 0, "1 in row 0, which is none of the classes"),
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
        (MANY, np.array([0.5, 0.5]), 0, "none of the classes"),
        (MANY, np.array([[0.5, 0.5], [0.5, 0.5]]), None, "shape"),
        (SEVERAL, ["war", "peace"], 1, "'peace' in row 1, which is none of the labels"),
        (STRANGE, np.array([0.5, 0.5]), None, "says not which are anomalies"),
        (STRANGE, {"score": [0.5, np.inf], "prediction": [1, -1]}, 1, "not finite"),
        (NUMBER, np.array(["a", "b"]), None, "no numbers"),
        (NUMBER, np.array([1.0]), None, "shape"),
        (NUMBER, np.array([1.0, np.nan]), 1, "not finite"),
    ],
)
def test_what_is_not_promised_is_refused(signature: dict[str, Any], raw: Any, row: int | None, what: str) -> None:
    with pytest.raises(BadOutput, match=what) as caught:
        Outputs(signature)(raw, 2)
    assert caught.value.row == row


@pytest.mark.parametrize(
    ("signature", "raw", "chosen"),
    [
        (BINARY, ["y", "n"], ["y", "n"]),
        (BINARY, {"predicted_label": ["y", "n"]}, ["y", "n"]),
        (MANY, np.array([3.0, 1.0], dtype=np.float32), [3, 1]),  # XGBoost's multi:softmax
        (MANY, ["3", "1"], [3, 1]),  # a CSV answer
        (MANY, [[3], [1]], [3, 1]),
    ],
)
def test_a_label_without_probabilities_has_probability_one(signature: dict[str, Any], raw: Any, chosen: list[Any]) -> None:
    answer = Outputs(signature)(raw, 2)
    assert answer["prediction"] == chosen
    for c in signature["classes"]:
        assert answer[f"probability_{c}"] == [float(c == label) for label in chosen]


def test_scores_by_other_names() -> None:
    for raw in (
        {"n": [0.5, 0.75], "y": [0.5, 0.25]},  # R's matrices have the classes as names
        {"probabilities": [[0.5, 0.5], [0.75, 0.25]]},
        {"probabilities": [{"y": 0.5, "n": 0.5}, {"y": 0.25, "n": 0.75}]},
        {"score": [0.5, 0.25], "predicted_label": ["y", "n"]},  # SageMaker's linear learner
        {"predictions": np.array(["y", "n"]), "probability": [0.5, 0.25]},
        {"predictions": ["y", "n"], "scores": [[0.5, 0.5], [0.75, 0.25]]},
    ):
        assert Outputs(BINARY)(raw, 2) == TWO


def test_one_number_beside_the_label_must_be_the_positive_class_s() -> None:
    with pytest.raises(BadOutput, match=r"row 1 is 'n' with a probability of 0\.9: the label's, or that of 'y'\?") as caught:
        Outputs(BINARY)({"predictions": ["y", "n"], "probability": [0.8, 0.9]}, 2)
    assert caught.value.row == 1
    labels = Outputs(MANY)({"predictions": [3, 1], "probability": [0.8, 0.9]}, 2)
    assert labels == Outputs(MANY)([3, 1], 2), "of three classes, that of the label tells nothing of the others"


def test_numbers_that_stand_for_texts() -> None:
    three = {**MANY, "classes": ["a", "b", "c"]}
    assert Outputs(three, numbered=True)(np.array([2.0, 0.0]), 2)["prediction"] == ["c", "a"]
    with pytest.raises(BadOutput, match="none of the classes"):
        Outputs(three, numbered=True)([3, 0], 2)
    assert numbers_classes(np.array([0, 1]), ["n", "y"])
    assert not numbers_classes([1, 2], ["n", "y"]) and not numbers_classes([0, 1], [1, 2]) and not numbers_classes([1, 0], ["n", "y"])


class Numbered:
    """As much of a DataFrame as is looked at, its columns 0, 1, ...: what MLflow makes of a network's answer."""

    def __init__(self, table: Any) -> None:
        self._table, self.columns = np.asarray(table), list(range(len(table[0])))

    def to_dict(self) -> None: ...

    def to_numpy(self) -> Any:
        return self._table


def test_columns_that_are_numbered_are_the_classes_in_order() -> None:
    answer = Outputs(MANY)(Numbered([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]]), 2)
    assert [answer[f"probability_{c}"] for c in (1, 2, 3)] == [[0.2, 1.0], [0.5, 0.0], [0.3, 0.0]]


def test_labels_that_hold_together() -> None:
    expected = {"prediction": ["art|war", ""], "probability_art": [0.75, 0.25], "probability_war": [0.5, 0.0]}
    sklearn = [np.array([[0.25, 0.75], [0.75, 0.25]]), np.array([[0.5, 0.5], [1.0, 0.0]])]  # a (rows, 2) array a label
    assert Outputs(SEVERAL)(sklearn, 2) == expected
    assert Outputs(SEVERAL)(np.array([[0.75, 0.5], [0.25, 0.0]]), 2) == expected
    certain = {"prediction": ["art|war", "war"], "probability_art": [1.0, 0.0], "probability_war": [1.0, 1.0]}
    for raw in (["war|art", "war"], [["war", "art"], ["war"]], np.array([[1, 1], [0, 1]]), {"prediction": ["art|war", "war"]}):
        assert Outputs(SEVERAL)(raw, 2) == certain
    assert Outputs({**SEVERAL, "decision_threshold": 0.8})(np.array([[0.75, 0.9]]), 1)["prediction"] == ["war"]


def test_anomalies_have_a_score_and_a_verdict() -> None:
    said = {"score": np.array([0.7, 0.4]), "prediction": np.array([-1, 1])}  # as frameworks gives scikit-learn's detectors
    assert Outputs(STRANGE)(said, 2) == {"prediction": ["odd", "ok"], "score": [0.7, 0.4]}
    cut = {**STRANGE, "decision_threshold": 0.3}
    assert Outputs(cut)(said, 2)["prediction"] == ["odd", "odd"], "a threshold goes before the model's own word"
    assert Outputs(cut)(np.array([-2.5, 7.0]), 2) == {"prediction": ["ok", "odd"], "score": [-2.5, 7.0]}
    for words in (np.array([-1, 1]), ["odd", "ok"], {"prediction": ["odd", "ok"]}):
        assert Outputs(STRANGE)(words, 2) == {"prediction": ["odd", "ok"], "score": [1.0, 0.0]}


@pytest.mark.parametrize("kind", ["regression", "ranking", "forecasting"])
def test_numbers(kind: str) -> None:
    for raw in (np.array([[1.5], [2.0]]), [1.5, 2], {"prediction": [1.5, 2.0]}, {"score": [1.5, 2.0]}):
        assert Outputs({"problem_type": kind, "classes": []})(raw, 2) == {"prediction": [1.5, 2.0]}


def test_a_class_that_the_model_never_saw_has_no_probability() -> None:
    """It came up in rows later than those that training had: the hold-out's, in a split by time."""
    signature = {"problem_type": "multiclass_classification", "classes": ["a", "b", "c"]}
    order = class_order(np.array(["c", "a"]), ["a", "b", "c"], fewer=True)
    assert order == [1, -1, 0]
    answer = Outputs(signature, order)(np.array([[0.9, 0.1], [0.2, 0.8]]), 2)
    assert answer["prediction"] == ["c", "a"]
    assert (answer["probability_a"], answer["probability_b"], answer["probability_c"]) == ([0.1, 0.8], [0.0, 0.0], [0.9, 0.2])
    for known in (["a"], ["a", "x"]):
        with pytest.raises(BadOutput):
            class_order(known, ["a", "b", "c"], fewer=True)
    with pytest.raises(BadOutput):
        class_order(["a", "b"], ["a", "b", "c"])
