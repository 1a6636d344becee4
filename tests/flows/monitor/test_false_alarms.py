"""Stable windows, of the very same kind as the hold-out: at most one alarm in a hundred, also where the bound is as strict as can be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from modelyard.config.spec import Performance, PerformanceCriterion
from modelyard.flows.monitor import estimating, performance
from modelyard.monitor import performance as judging
from modelyard.monitor.estimate import calibration, dle
from modelyard.monitor.performance import Value, deviations
from modelyard.quality.encode import encode
from modelyard.quality.metrics import GREATER_IS_BETTER, compute

from .scored import SIGNATURES, rows

BINARY, NUMBERS = "binary_classification", "regression"
HOLDOUTS, WINDOWS, LEVEL = 15, 20, Performance().confidence
METRICS = {BINARY: ("roc_auc", "recall", "log_loss"), NUMBERS: ("mae", "rmse")}
Values = dict[str, Value]


def draws(kind: str) -> Iterator[tuple[Values, Values, Values]]:
    """(measured, estimated, the hold-out's) of windows of 200 to 5,000 rows, each hold-out for some of them."""
    random, names, signature = np.random.default_rng(4), METRICS[kind], SIGNATURES[kind]
    for number in range(HOLDOUTS):
        holdout = rows(kind, 2000, 1000 + number)
        before = performance.measured(holdout, signature, LEVEL)
        learned = encode(holdout, signature)
        if kind == BINARY:
            assert learned.scores is not None
            calibrator = calibration.fit(learned.scores, learned.truth)
            spread = {n: (v.high - v.low) / 2 / deviations(LEVEL) for n, v in before.items() if v.low is not None and v.high is not None}
        else:
            words = estimating.vocabulary(holdout, signature, ("x", "shop"))
            assert learned.predicted is not None
            x = estimating.matrix(holdout, signature, ("x", "shop"), words)
            foretold = dle.learn(x, learned.truth, learned.predicted, np.array([0, 3, 0]), names)
        for _ in range(WINDOWS):
            size = int(np.exp(random.uniform(np.log(200), np.log(5000))))
            window = rows(kind, size, int(random.integers(10**9)))
            found = performance.measured(window, signature, LEVEL, names)
            measured = {n: judging.at_least(found[n], before[n], size, 2000) for n in names}
            if kind == BINARY:
                estimated = estimating.expected(encode(window, signature), calibrator, spread, names)
            else:
                x = estimating.matrix(window, signature, ("x", "shop"), words)
                estimated = {n: one.estimate(x, n in dle.ROOTS) for n, one in foretold.items()}
            yield measured, estimated, before


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BINARY, NUMBERS])
def test_stable_windows_raise_one_alarm_in_a_hundred_at_most(kind: str) -> None:
    """By a threshold that is the very truth of the population, and by any drop at all; bands hold what comes true."""
    truth = compute(rows(kind, 400_000, 0), SIGNATURES[kind])
    alarms, held, warned = {"measured": 0, "estimated": 0}, 0, 0
    judged = 0
    for measured, estimated, before in draws(kind):
        plain = {n: Value(v.value) for n, v in before.items()}
        for name in METRICS[kind]:
            judged += 2
            for asked in (PerformanceCriterion(metric=name, threshold=truth[name]), PerformanceCriterion(metric=name, max_drop=1e-9)):
                real = judging.criterion(asked, measured, GREATER_IS_BETTER, before, {}).status
                guess = judging.criterion(asked, estimated, GREATER_IS_BETTER, plain, {}).status
                alarms["measured"] += real == "violated"
                alarms["estimated"] += guess == "violated"
                warned += real == "warning"
            low, high = estimated[name].low, estimated[name].high
            assert low is not None and high is not None
            held += low <= measured[name].value <= high
    assert judged >= 2 * HOLDOUTS * WINDOWS
    assert max(alarms.values()) <= 0.01 * judged, alarms
    assert held >= 0.97 * judged / 2
    assert warned > 0.3 * judged, "the bounds were as strict as they were meant to be"


def test_a_real_loss_is_found_at_the_same_settings() -> None:
    """What never alarms is no monitor: every seventh truth turned round, which costs 0.09 of AUC, on 1,000 rows."""
    flip = dict.fromkeys("abc", 0.15)
    holdout = rows(BINARY, 2000, 1)
    before = performance.measured(holdout, SIGNATURES[BINARY], LEVEL)
    asked, found = PerformanceCriterion(metric="roc_auc", max_drop=0.02), []
    for seed in range(20):
        window = performance.measured(rows(BINARY, 1000, 50 + seed, flip=flip), SIGNATURES[BINARY], LEVEL, ("roc_auc",))
        values = {n: judging.at_least(v, before.get(n), 1000, 2000) for n, v in window.items()}
        found.append(judging.criterion(asked, values, GREATER_IS_BETTER, before, {}).status)
    assert found.count("violated") >= 18 and "healthy" not in found


def test_a_small_part_that_all_failed_is_no_alarm() -> None:
    """Recall of a handful of positives, all missed: a resample of them knows no doubt, the hold-out does."""
    signature, few = SIGNATURES[BINARY], rows(BINARY, 100, 3).with_columns(label=pl.lit(0, pl.Int64))
    few = few.with_columns(pl.when(pl.int_range(pl.len()) < 3).then(1).otherwise(0).alias("label"), pl.lit(0).alias("y.prediction"))
    before = performance.measured(rows(BINARY, 500, 1).with_columns(rare(rows(BINARY, 500, 1))), signature, LEVEL)
    found = performance.measured(few, signature, LEVEL)["recall"]
    assert (found.value, found.low, found.high) == (0, 0, 0)
    judged = judging.at_least(found, before["recall"], 100, 500)
    assert judged.high is not None and judged.high > 0.15


def rare(table: pl.DataFrame) -> pl.Expr:
    """Labels of which few are positive."""
    return pl.when(pl.int_range(table.height) < 30).then(pl.col("label")).otherwise(0).alias("label")
