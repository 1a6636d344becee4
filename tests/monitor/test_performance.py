from __future__ import annotations

import json
import math

import pytest

from modelyard.config.spec import Performance, PerformanceCriterion
from modelyard.errors import BadInput
from modelyard.monitor import performance
from modelyard.monitor.verdicts import Verdict

DIRECTIONS = {"roc_auc": True, "log_loss": False, "rmse": False}


def judge(
    criteria: list[dict[str, object]], metrics: dict[str, float], labels: int = 500, holdout: dict[str, float] | None = None
) -> Verdict:
    spec = Performance(criteria=tuple(PerformanceCriterion(**c) for c in criteria))  # type: ignore[arg-type]
    return performance.judge(
        metrics,
        labels=labels,
        rows=1200,
        performance=spec,
        greater_is_better=DIRECTIONS,
        holdout=holdout or {"roc_auc": 0.69, "rmse": 20},
    )


def test_a_drop_from_the_hold_out_is_told_with_its_numbers() -> None:
    verdict = judge([{"metric": "roc_auc", "max_drop": 0.05}], {"roc_auc": 0.612})
    assert verdict.status == "violated"
    assert verdict.reason == (
        "performance: roc_auc 0.612 does not hold: 0.078 worse than the hold-out's 0.690 (0.050 worse is allowed), "
        "on 500 labelled of 1,200 rows"
    )
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
    assert judge([criterion], {str(criterion["metric"]): value}).status == status


def test_no_data_is_never_healthy() -> None:
    criteria: list[dict[str, object]] = [{"metric": "roc_auc", "threshold": 0.5}]
    few, none = judge(criteria, {"roc_auc": 0.9}, labels=99), judge([], {"roc_auc": 0.9})
    assert (few.status, few.reason) == ("unknown", "performance: 99 of 1,200 predictions have labels, 100 are needed")
    assert none.status == "unknown" and "no criteria" in none.reason
    assert judge(criteria, {}).status == "unknown"


def test_a_failed_criterion_outweighs_one_that_cannot_be_judged() -> None:
    verdict = judge([{"metric": "log_loss", "threshold": 1.0}, {"metric": "roc_auc", "threshold": 0.7}], {"roc_auc": 0.6})
    assert verdict.status == "violated" and "roc_auc" in verdict.reason and "log_loss" not in verdict.reason


def test_an_unknown_metric_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(BadInput, match="unknown metric 'roc_auk'") as caught:
        judge([{"metric": "roc_auk", "threshold": 0.7}], {})
    assert caught.value.next == "did you mean 'roc_auc'?"
