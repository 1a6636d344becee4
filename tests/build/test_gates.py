"""Gates: what passes, what fails, what they say; no data is never good enough."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.build.gates import GateResult, blocking, judge
from modelyard.config.spec import Criterion

GREATER = {"roc_auc": True, "log_loss": False}
NAN = math.nan


def one(value: float | None, champion: dict[str, float] | None = None, metric: str = "roc_auc", **criterion: Any) -> GateResult:
    metrics = {} if value is None else {metric: value}
    (result,) = judge([Criterion(metric=metric, **criterion)], metrics, champion, GREATER)
    return result


@pytest.mark.parametrize(
    ("metric", "value", "ok", "sentence"),
    [
        ("roc_auc", 0.712, True, "roc_auc 0.712 >= 0.7: passed"),
        ("roc_auc", 0.7, True, "roc_auc 0.7 >= 0.7: passed"),
        ("roc_auc", 0.66, False, "roc_auc 0.66 < 0.7: failed"),
        ("log_loss", 0.66, True, "log_loss 0.66 <= 0.7: passed"),
        ("log_loss", 0.7, True, "log_loss 0.7 <= 0.7: passed"),
        ("log_loss", 0.712, False, "log_loss 0.712 > 0.7: failed"),
    ],
)
def test_a_threshold_is_judged_in_the_metrics_own_direction(metric: str, value: float, ok: bool, sentence: str) -> None:
    result = one(value, metric=metric, threshold=0.7)
    assert (result.ok, result.sentence, str(result)) == (ok, sentence, sentence)
    assert (result.value, result.bound, result.champion) == (value, 0.7, None)


def test_a_near_miss_does_not_read_like_a_pass() -> None:
    assert one(0.6999996, threshold=0.7).sentence == "roc_auc 0.6999996 < 0.7: failed"


@pytest.mark.parametrize("value", [None, NAN, math.inf, -math.inf])
@pytest.mark.parametrize("criterion", [{"threshold": 0.7}, {"versus": "champion", "min_absolute_change": -1}])
@pytest.mark.parametrize("champion", [None, {"roc_auc": 0.5}])
def test_what_was_not_measured_fails(value: float | None, criterion: dict[str, Any], champion: dict[str, float] | None) -> None:
    result = one(value, champion, **criterion)
    assert not result.ok and result.blocks and result.value is None and result.sentence.endswith(": failed")


def test_a_metric_stored_as_null_fails() -> None:
    (result,) = judge([Criterion(metric="roc_auc", threshold=0.7)], {"roc_auc": None}, None, GREATER)  # type: ignore[dict-item]
    assert not result.ok and "was not measured" in result.sentence


def test_an_unknown_direction_fails() -> None:
    (result,) = judge([Criterion(metric="homemade", threshold=0.7)], {"homemade": 0.9}, None, GREATER)
    assert not result.ok and "not known" in result.sentence


def test_without_a_champion_there_is_nothing_to_lose() -> None:
    result = one(0.6, None, versus="champion", min_absolute_change=0.1)
    assert result.ok and result.sentence == "roc_auc 0.6, no champion yet: passed" and result.bound is None


@pytest.mark.parametrize("theirs", [{}, {"roc_auc": NAN}, {"roc_auc": None}])
def test_a_champion_that_was_not_measured_is_not_beaten(theirs: dict[str, Any]) -> None:
    result = one(0.6, theirs, versus="champion", min_absolute_change=-1)
    assert not result.ok and "cannot be compared" in result.sentence


@pytest.mark.parametrize(
    ("metric", "value", "change", "ok", "sentence"),
    [
        ("roc_auc", 0.71, 0.0, True, "roc_auc 0.71 is better than the champion's 0.705 by 0.005, at least 0 better is needed: passed"),
        ("roc_auc", 0.70, -0.005, True, "roc_auc 0.7 is worse than the champion's 0.705 by 0.005, a loss up to 0.005 is allowed: passed"),
        ("roc_auc", 0.69, -0.005, False, "roc_auc 0.69 is worse than the champion's 0.705 by 0.015, a loss up to 0.005 is allowed: failed"),
        ("roc_auc", 0.705, 0.001, False, "roc_auc 0.705 equals the champion's, at least 0.001 better is needed: failed"),
        (
            "log_loss",
            0.70,
            0.005,
            True,
            "log_loss 0.7 is better than the champion's 0.705 by 0.005, at least 0.005 better is needed: passed",
        ),
        ("log_loss", 0.71, 0.0, False, "log_loss 0.71 is worse than the champion's 0.705 by 0.005, at least 0 better is needed: failed"),
    ],
)
def test_a_champion_is_compared_in_the_metrics_own_direction(metric: str, value: float, change: float, ok: bool, sentence: str) -> None:
    result = one(value, {metric: 0.705}, metric=metric, versus="champion", min_absolute_change=change)
    assert (result.ok, result.sentence) == (ok, sentence) and result.champion == 0.705
    assert result.bound == pytest.approx(0.705 + change if GREATER[metric] else 0.705 - change)


def test_a_warning_fails_and_does_not_block() -> None:
    warned = one(0.6, threshold=0.7, on_fail="warn")
    refused = one(0.6, threshold=0.7)
    assert not warned.ok and not warned.blocks and warned.sentence == "roc_auc 0.6 < 0.7: failed (only warns)"
    assert blocking([warned, refused, one(0.9, threshold=0.7)]) == [refused]


def test_results_keep_the_order_of_the_criteria() -> None:
    criteria = [Criterion(metric=m, threshold=0.5) for m in ("log_loss", "roc_auc", "log_loss")]
    assert [r.metric for r in judge(criteria, {"roc_auc": 0.6}, None, GREATER)] == ["log_loss", "roc_auc", "log_loss"]


NUMBER = st.one_of(st.none(), st.floats())


@given(NUMBER, st.floats(-10, 10), st.one_of(st.none(), NUMBER), st.booleans(), st.booleans())
def test_any_numbers_get_a_verdict_that_never_passes_what_is_not_finite(
    value: float | None, bound: float, rival: float | None, versus: bool, greater: bool
) -> None:
    how: dict[str, Any] = {"versus": "champion", "min_absolute_change": bound} if versus else {"threshold": bound}
    champion: Any = None if rival is None else {"m": rival}
    metrics: Any = {} if value is None else {"m": value}
    (result,) = judge([Criterion(metric="m", **how)], metrics, champion, {"m": greater})
    finite = value is not None and math.isfinite(value)
    if not finite:
        assert not result.ok
    elif not versus:
        reached = value >= bound if greater else value <= bound  # type: ignore[operator]
        assert result.ok == reached or abs(value - bound) <= 1e-12  # type: ignore[operator]
    elif rival is not None and not math.isfinite(rival):
        assert not result.ok
    assert result.sentence.startswith("m ") and result.sentence.endswith("passed" if result.ok else "failed")


def test_importing_the_gates_is_cheap() -> None:
    code = (
        "import sys, modelyard.build.gates, modelyard.retrain.governor; "
        "heavy = {'numpy', 'polars', 'pydantic', 'matplotlib', 'scipy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
