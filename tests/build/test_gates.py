"""Gates: what passes, what fails, what they say; no data is never good enough."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.build.gates import GateResult, Measure, blocking, judge, judge_baseline, judge_bias
from modelyard.config.spec import BiasCriterion, Criterion

GREATER = {"roc_auc": True, "log_loss": False}
NAN = math.nan


def one(value: float | None, champion: dict[str, float] | None = None, metric: str = "roc_auc", **criterion: Any) -> GateResult:
    measures = [] if value is None else [Measure(metric, value, GREATER.get(metric))]
    (result,) = judge([Criterion(metric=metric, **criterion)], measures, champion)
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
    (result,) = judge([Criterion(metric="roc_auc", threshold=0.7)], [Measure("roc_auc", None, True)])
    assert not result.ok and "was not measured" in result.sentence


def test_an_unknown_direction_fails() -> None:
    (result,) = judge([Criterion(metric="homemade", threshold=0.7)], [Measure("homemade", 0.9)])
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
    assert [r.metric for r in judge(criteria, [Measure("roc_auc", 0.6, True)])] == ["log_loss", "roc_auc", "log_loss"]


NUMBER = st.one_of(st.none(), st.floats())


@given(NUMBER, st.floats(-10, 10), st.one_of(st.none(), NUMBER), st.booleans(), st.booleans())
def test_any_numbers_get_a_verdict_that_never_passes_what_is_not_finite(
    value: float | None, bound: float, rival: float | None, versus: bool, greater: bool
) -> None:
    how: dict[str, Any] = {"versus": "champion", "min_absolute_change": bound} if versus else {"threshold": bound}
    champion: Any = None if rival is None else {"m": rival}
    (result,) = judge([Criterion(metric="m", **how)], [Measure("m", value, greater)], champion)
    finite = value is not None and math.isfinite(value)
    if not finite:
        assert not result.ok
    elif not versus:
        reached = value >= bound if greater else value <= bound  # type: ignore[operator]
        assert result.ok == reached or abs(value - bound) <= 1e-12  # type: ignore[operator]
    elif rival is not None and not math.isfinite(rival):
        assert not result.ok
    assert result.sentence.startswith("m ") and result.sentence.endswith("passed" if result.ok else "failed")


def test_a_change_may_be_relative_and_the_rival_the_baseline() -> None:
    measures = [Measure("log_loss", 0.5, False), Measure("r2", -0.2, True)]

    def ask(metric: str, rival: float, **how: Any) -> GateResult:
        rivals = {metric: rival}
        return judge([Criterion(metric=metric, **how)], measures, None if how["versus"] == "baseline" else rivals, rivals)[0]

    kept = ask("log_loss", 0.495, versus="champion", min_relative_change=-0.02)
    assert kept.ok and kept.bound == pytest.approx(0.495 * 1.02) and "a loss up to 0.02 of it is allowed" in kept.sentence
    assert not ask("log_loss", 0.485, versus="champion", min_relative_change=-0.02).ok
    assert not ask("log_loss", 0.5, versus="baseline", min_relative_change=0.01).ok
    better = ask("log_loss", 0.693, versus="baseline", min_absolute_change=0.1)
    assert (
        better.ok
        and better.baseline == 0.693
        and better.champion is None
        and "better than the baseline's 0.693 by 0.193" in better.sentence
    )
    assert ask("r2", -0.3, versus="champion", min_relative_change=0.1).bound == pytest.approx(-0.27)  # better is up, below 0 too
    (absent,) = judge([Criterion(metric="r2", versus="baseline", min_absolute_change=0)], measures)
    assert not absent.ok and "the baseline was not measured" in absent.sentence


SLICED = [
    Measure("roc_auc", 0.8, True, 0.78, 0.82, rows=1000),
    Measure("roc_auc", 0.75, True, slice=("carrier", "UA"), rows=600),
    Measure("roc_auc", 0.66, True, slice=("carrier", "AA"), rows=370),
    Measure("roc_auc", math.nan, True, slice=("carrier", "(missing)"), rows=30),
    Measure("roc_auc", 0.6, True, 0.5, 0.7, slice=("worst", "origin = JFK"), rows=80),
]


@pytest.mark.parametrize(
    ("criterion", "min_rows", "ok", "sentence"),
    [
        ({"slice": {"column": "carrier", "value": "UA"}}, 50, True, "roc_auc of carrier = UA 0.75 >= 0.7: passed"),
        ({"slice": {"column": "carrier", "value": None}}, 50, False, "roc_auc of carrier = (missing) is nan, not a finite number: failed"),
        ({"slice": {"column": "carrier", "value": "DL"}}, 50, False, "roc_auc of carrier = DL was not measured: failed"),
        (
            {"slice": "carrier"},
            50,
            False,
            "roc_auc of carrier = AA 0.66 < 0.7 (1 of 2 parts failed, 1 smaller parts were not judged): failed",
        ),
        (
            {"slice": "carrier", "threshold": 0.65},
            500,
            True,
            "roc_auc of carrier = UA 0.75 >= 0.65 (the weakest of every carrier, 2 smaller",
        ),
        (
            {"slice": "carrier", "threshold": 0.1},
            1,
            False,
            "roc_auc of carrier = (missing) is nan, not a finite number (1 of 3 parts failed)",
        ),
        ({"slice": "carrier"}, 2000, False, "roc_auc of every carrier cannot be judged, no part has 2,000 rows: failed"),
        ({"slice": "origin"}, 50, False, "roc_auc of every origin was not measured: failed"),
        ({"slice": "worst"}, 50, False, "roc_auc of the weakest part (origin = JFK) 0.6 < 0.7: failed"),
        ({"slice": "worst", "bound": "upper"}, 50, True, "roc_auc of the weakest part (origin = JFK) (upper bound) 0.7 >= 0.7: passed"),
        ({"bound": "lower", "threshold": 0.78}, 50, True, "roc_auc (lower bound) 0.78 >= 0.78: passed"),
        ({"bound": "lower", "threshold": 0.79}, 50, False, "roc_auc (lower bound) 0.78 < 0.79: failed"),
        (
            {"bound": "lower", "slice": {"column": "carrier", "value": "UA"}},
            50,
            False,
            "roc_auc of carrier = UA (lower bound) has no interval",
        ),
    ],
)
def test_slices_and_bounds(criterion: dict[str, Any], min_rows: int, ok: bool, sentence: str) -> None:
    (result,) = judge([Criterion(metric="roc_auc", **{"threshold": 0.7, **criterion})], SLICED, min_rows=min_rows)
    assert result.ok == ok and result.sentence.startswith(sentence), result.sentence


def test_a_hold_out_without_a_part_that_is_large_enough_fails_a_gate_on_the_weakest() -> None:
    (result,) = judge([Criterion(metric="roc_auc", threshold=0.5, slice="worst")], [Measure("roc_auc", 0.9, True)], min_rows=50)
    assert str(result) == "roc_auc of the weakest part was not measured, no part of 50 rows has it: failed" and result.blocks


def test_a_slice_is_itself_in_any_writing() -> None:
    measures = [Measure("m", 1.0, True, slice=("age", "1")), Measure("m", 1.0, True, slice=("vip", "True"))]
    for column, value in (("age", 1), ("age", 1.0), ("age", "1"), ("vip", True)):
        (result,) = judge([Criterion(metric="m", threshold=0, slice={"column": column, "value": value})], measures)  # type: ignore[arg-type]
        assert result.ok, result.sentence


def test_bias_is_judged_by_its_distance_from_neutral() -> None:
    measures = [
        Measure("DPPL", -0.3, facet="carrier=UA", column="carrier", low=-0.4, high=-0.2),
        Measure("DPPL", 0.1, facet="sex=f", column="sex"),
        Measure("DI", 0.85, facet="sex=f", column="sex"),
        Measure("TE", None, facet="sex=f", column="sex"),
        Measure("TE", 0.0, facet="carrier=UA", column="carrier"),
    ]
    asked = [
        ("DPPL", 0.2, None),
        ("DPPL", 0.2, "sex"),
        ("DI", 0.2, None),
        ("DI", 0.1, None),
        ("TE", 9, None),
        ("AD", 9, None),
        ("DPPL", 9, "se"),
    ]
    results = judge_bias([BiasCriterion(metric=m, within=w, facet=f) for m, w, f in asked], measures)  # type: ignore[arg-type]
    assert [r.ok for r in results] == [False, True, True, False, False, False, False]
    assert results[0].sentence == "DPPL of carrier=UA -0.3 is not within 0.2 of 0: failed" and results[0].of == "carrier=UA"
    assert results[2].sentence == "DI of sex=f 0.85 is within 0.2 of 1: passed" and results[3].bound == 0.9
    assert results[4].sentence == "TE of sex=f is undefined: failed" and "was not measured" in results[5].sentence


@pytest.mark.parametrize(
    ("value", "rival", "greater", "ok"),
    [
        (0.7, 0.5, True, True),
        (0.5, 0.5, True, False),
        (0.4, 0.5, False, True),
        (NAN, 0.5, True, False),
        (0.7, NAN, True, False),
        (None, 0.5, True, False),
    ],
)
def test_what_learned_nothing_must_be_beaten(value: float | None, rival: float, greater: bool, ok: bool) -> None:
    result = judge_baseline("m", value, rival, greater, "warn", "most frequent class")
    assert (
        result.ok == ok
        and not result.blocks
        and result.versus == "baseline"
        and result.sentence.endswith("passed" if ok else "failed (only warns)")
    )


def test_a_result_says_what_it_was_held_against_though_that_has_no_number() -> None:
    assert (one(0.7, versus="champion", min_absolute_change=0).versus, one(0.7, threshold=0.5).versus) == ("champion", None)
    assert (one(0.7, threshold=0.5, bound="lower").end, one(0.7, threshold=0.5).end) == ("lower", None)


def test_importing_the_gates_is_cheap() -> None:
    code = (
        "import sys, modelyard.build.gates, modelyard.retrain.governor; "
        "heavy = {'numpy', 'polars', 'pydantic', 'matplotlib', 'scipy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
