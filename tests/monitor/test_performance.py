from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import Performance, PerformanceCriterion
from modelyard.errors import BadInput
from modelyard.monitor import performance
from modelyard.monitor.performance import Value
from modelyard.monitor.verdicts import Verdict

DIRECTIONS = {"roc_auc": True, "log_loss": False, "rmse": False}
HOLDOUT = {"roc_auc": Value(0.69), "rmse": Value(20.0)}


def judge(
    criteria: list[dict[str, object]], values: dict[str, Value], labels: int = 500, holdout: dict[str, Value] | None = None
) -> Verdict:
    spec = Performance(criteria=tuple(PerformanceCriterion(**c) for c in criteria))  # type: ignore[arg-type]
    facts = {"labels": labels, "rows": 1200, "greater_is_better": DIRECTIONS, "holdout": HOLDOUT if holdout is None else holdout}
    return performance.judge(values, performance=spec, **facts)  # type: ignore[arg-type]


def sure(value: float, by: float = 0.0) -> Value:
    return Value(value, value - by, value + by)


def test_a_drop_from_the_hold_out_is_told_with_its_numbers() -> None:
    verdict = judge([{"metric": "roc_auc", "max_drop": 0.05}], {"roc_auc": sure(0.612, 0.02)})
    assert verdict.status == "violated"
    assert verdict.reason == (
        "performance: roc_auc 0.612 (0.592 to 0.632) does not hold: 0.078 worse than the hold-out's 0.690 (0.050 worse is allowed), "
        "on 500 labelled of 1,200 rows"
    )
    assert verdict.evidence["metrics"] == {"roc_auc": 0.612} and verdict.evidence["intervals"] == {"roc_auc": [0.592, 0.632]}
    json.dumps(verdict.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("criterion", "value", "status"),
    [
        ({"metric": "roc_auc", "threshold": 0.65}, 0.65, "healthy"),
        ({"metric": "roc_auc", "threshold": 0.65}, 0.6499, "violated"),
        ({"metric": "log_loss", "threshold": 0.65}, 0.65, "healthy"),
        ({"metric": "log_loss", "threshold": 0.65}, 0.6501, "violated"),
        ({"metric": "roc_auc", "max_drop": 0.05}, 0.64, "healthy"),
        ({"metric": "roc_auc", "max_drop": 0.05}, 0.6399, "violated"),
        ({"metric": "roc_auc", "max_drop": 0.05}, 0.99, "healthy"),
        ({"metric": "rmse", "max_drop": 2}, 22.0, "healthy"),
        ({"metric": "rmse", "max_drop": 2}, 22.1, "violated"),
        ({"metric": "rmse", "max_drop": 2}, 10.0, "healthy"),
        ({"metric": "roc_auc", "threshold": 0.65}, math.nan, "unknown"),
        ({"metric": "log_loss", "max_drop": 0.1}, 0.5, "unknown"),  # the hold-out has none
    ],
)
def test_bounds_hold_at_equality_and_follow_the_direction(criterion: dict[str, object], value: float, status: str) -> None:
    assert judge([criterion], {str(criterion["metric"]): sure(value)}).status == status


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (sure(0.60, 0.04), "violated"),  # even 0.64 is below
        (sure(0.63, 0.04), "warning"),  # 0.67 is not
        (Value(0.60), "warning"),  # nobody knows how sure it is
        (sure(0.66, 0.04), "healthy"),  # what may lie below is no news
    ],
)
def test_only_what_is_surely_beyond_the_bound_is_violated(value: Value, status: str) -> None:
    assert judge([{"metric": "roc_auc", "threshold": 0.65}], {"roc_auc": value}).status == status


def test_a_warning_says_that_it_is_not_sure() -> None:
    said = judge([{"metric": "roc_auc", "threshold": 0.65}], {"roc_auc": sure(0.63, 0.04)}).reason
    assert said.startswith("performance: roc_auc 0.630 (0.590 to 0.670) may not hold (the least allowed is 0.650)")


def test_a_drop_is_as_unsure_as_both_of_its_ends() -> None:
    """0.69 +- 0.04 against 0.60 +- 0.03: the loss of 0.09 is sure to 0.05."""
    values, asked = {"roc_auc": sure(0.60, 0.03)}, {"metric": "roc_auc", "max_drop": 0.045}
    assert judge([asked], values).status == "violated"
    assert judge([asked], values, holdout={"roc_auc": sure(0.69, 0.04)}).status == "warning"
    assert judge([{**asked, "max_drop": 0.039}], values, holdout={"roc_auc": sure(0.69, 0.04)}).status == "violated"


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_difference_lies_inside_its_interval_which_is_no_narrower_than_either(
    a: float, low: float, high: float, b: float, under: float, over: float
) -> None:
    upper, lower = Value(a, a - low, a + high), Value(b, b - under, b + over)
    found = performance.difference(upper, lower)
    assert found.low is not None and found.high is not None and found.low <= found.value <= found.high
    assert found.value - found.low >= max(low, over) - 1e-9 and found.high - found.value >= max(high, under) - 1e-9
    assert found.value - found.low <= low + over + 1e-9  # and no wider than if both ends were at their worst


def test_a_small_window_is_at_least_as_unsure_as_so_few_rows_of_the_hold_out() -> None:
    """Three rows that all failed know no doubt; the hold-out's 1,000 rows say how much three scatter."""
    usual = Value(0.8, 0.78, 0.83)
    found = performance.at_least(Value(0.0, 0.0, 0.0), usual, 40, 1000)
    assert (found.low, found.high) == pytest.approx((-0.1, 0.15))
    wide = Value(0.5, 0.2, 0.9)
    assert performance.at_least(wide, usual, 40, 1000) == wide  # its own doubt is greater
    assert performance.at_least(Value(0.5), usual, 40, 1000) == Value(0.5)


def test_an_interval_of_one_level_as_one_of_another() -> None:
    found = performance.at_level(Value(0.5, 0.4, 0.7), 0.95, 0.99)
    assert (found.low, found.high) == pytest.approx((0.5 - 0.1 * 2.5758 / 1.95996, 0.5 + 0.2 * 2.5758 / 1.95996), rel=1e-4)
    assert performance.at_level(Value(0.5), 0.95, 0.99) == Value(0.5)


def test_an_interval_ends_where_the_metric_does() -> None:
    assert Value(0.98, 0.93, 1.03).within(0.0, 1.0) == Value(0.98, 0.93, 1.0)
    assert Value(0.02, -0.01, 0.05).within(0.0, 1.0) == Value(0.02, 0.0, 0.05)
    assert Value(0.98).within(0.0, 1.0) == Value(0.98), "nothing is known of where it may lie"


def test_no_data_is_never_healthy() -> None:
    criteria: list[dict[str, object]] = [{"metric": "roc_auc", "threshold": 0.5}]
    few, none = judge(criteria, {"roc_auc": sure(0.9)}, labels=99), judge([], {"roc_auc": sure(0.9)})
    assert (few.status, few.reason) == ("unknown", "performance: 99 of 1,200 predictions have labels, 100 are needed")
    assert none.status == "unknown" and "no criteria" in none.reason
    assert judge(criteria, {}).status == "unknown"


def test_the_worst_criterion_speaks() -> None:
    gone: dict[str, object] = {"metric": "log_loss", "threshold": 1.0}
    bad: dict[str, object] = {"metric": "roc_auc", "threshold": 0.7}
    verdict = judge([gone, bad], {"roc_auc": sure(0.6)})
    assert verdict.status == "violated" and "roc_auc" in verdict.reason and "log_loss" not in verdict.reason
    assert judge([gone, bad], {"roc_auc": sure(0.6, 0.2)}).status == "warning"
    assert judge([gone, bad], {"roc_auc": sure(0.9)}).status == "unknown"
    assert [c["status"] for c in verdict.evidence["criteria"]] == ["unknown", "violated"]


def test_an_unknown_metric_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(BadInput, match="unknown metric 'roc_auk'") as caught:
        judge([{"metric": "roc_auk", "threshold": 0.7}], {})
    assert caught.value.next == "did you mean 'roc_auc'?"


def test_what_is_missing_is_unknown_with_its_reason() -> None:
    """A function of the user's own that failed, or that this version was not built with."""
    spec = Performance(criteria=(PerformanceCriterion(metric="profit", threshold=10.0),))
    verdict = performance.judge(
        {}, labels=500, rows=500, performance=spec, greater_is_better=DIRECTIONS, holdout={}, missing={"profit": "profit failed: no price"}
    )
    assert (verdict.status, verdict.reason) == ("unknown", "performance: profit failed: no price, on 500 labelled of 500 rows")
