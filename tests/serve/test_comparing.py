from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serve.comparing import TOLERANCE, disagrees
from modelyard.signature import Column, Signature

COLUMNS = (Column("x", "float"),)
NUMBER = Signature("regression", COLUMNS)
CLASS = Signature("binary_classification", COLUMNS, classes=("No", "Yes"), positive_class="Yes")
NUMBERS = st.none() | st.floats()


def differ(one: Any, other: Any, signature: Signature = NUMBER, scale: float = 0.0) -> bool:
    (found,) = disagrees({"prediction": [one]}, {"prediction": [other]}, signature, scale)
    return found


@pytest.mark.parametrize(
    ("one", "other", "scale", "differs"),
    [
        (100.0, 104.9, 0, False),
        (100.0, 106.0, 0, True),
        (-100.0, -104.9, 0, False),
        (-1.0, 1.0, 0, True),
        (0.0, 0.0, 0, False),
        (0.0, 1e-12, 0, True),
        (0.0, 0.4, 10, False),
        (0.0, 0.6, 10, True),
        (None, None, 0, False),
        (None, 0.0, 1e9, True),
        (math.nan, math.nan, 0, False),
        (math.nan, 1.0, 0, True),
        (math.inf, math.inf, 0, False),
        (math.inf, -math.inf, 0, True),
        (math.inf, 1.0, 0, True),
    ],
)
def test_numbers(one: float | None, other: float | None, scale: float, differs: bool) -> None:
    assert differ(one, other, scale=scale) is differs


@given(NUMBERS, NUMBERS, st.floats(0, 1e6))
def test_it_does_not_matter_which_is_which(one: float | None, other: float | None, scale: float) -> None:
    assert differ(one, other, scale=scale) == differ(other, one, scale=scale)
    assert not differ(one, one, scale=scale)


@given(st.floats(1e-3, 1e9), st.floats(-2 * TOLERANCE, 2 * TOLERANCE), st.floats(1e-3, 1e3))
def test_units_do_not_matter(size: float, step: float, unit: float) -> None:
    if abs(abs(step) - TOLERANCE) > 0.01:
        assert differ(size, size * (1 + step)) == differ(size * unit, size * (1 + step) * unit) == (abs(step) > TOLERANCE)


def test_the_error_of_a_naive_forecast_is_a_scale() -> None:
    forecast = Signature("forecasting", COLUMNS, naive_error=10.0)
    assert not differ(0.0, 0.4, forecast) and differ(0.0, 0.6, forecast)


def test_a_class_is_another_one_whatever_its_scores() -> None:
    one = {"prediction": ["Yes", "No"], "probability_No": [0.1, 0.9]}
    assert disagrees(one, {"prediction": ["Yes", "Yes"], "probability_No": [0.4, 0.49]}, CLASS) == [False, True]
    labels = Signature("multilabel_classification", COLUMNS, classes=("a", "b"), label_separator="|")
    assert differ("a|b", "a", labels) and not differ("a|b", "a|b", labels)


def test_answers_to_other_rows_cannot_be_compared() -> None:
    with pytest.raises(ValueError):
        disagrees({"prediction": [1.0]}, {"prediction": [1.0, 2.0]}, NUMBER)
