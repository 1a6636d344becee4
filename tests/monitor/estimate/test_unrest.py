from __future__ import annotations

import numpy as np
import pytest

from modelyard.monitor.estimate import dle
from modelyard.monitor.estimate.unrest import STRETCHES, remaining, stretches, unrest

from . import worlds


def test_stretches_follow_time_and_are_of_one_size() -> None:
    times = np.random.default_rng(0).permutation(1000).astype(np.float64)
    found = stretches(times)
    assert found is not None
    assert np.bincount(found).tolist() == [100] * STRETCHES
    assert (np.diff(found[np.argsort(times)]) >= 0).all()


def test_too_few_rows_or_times_have_none() -> None:
    assert stretches(np.arange(299.0)) is None
    assert stretches(np.zeros(1000)) is None
    assert stretches(np.append(np.arange(999.0), np.nan)) is None


def test_chance_is_no_unrest_and_what_is_beyond_it_is_measured() -> None:
    random, usual = np.random.default_rng(0), np.full(STRETCHES, 0.1)
    quiet = [unrest(random.normal(0, 0.1, STRETCHES), usual) for _ in range(2000)]
    assert sum(q > 0 for q in quiet) <= 0.02 * len(quiet)
    moved = [unrest(random.normal(0, 0.1, STRETCHES) + random.normal(0, 0.5, STRETCHES), usual) for _ in range(500)]
    assert np.sqrt(np.mean(np.square(moved))) == pytest.approx(0.5, rel=0.1)
    assert unrest(np.zeros(STRETCHES), np.zeros(STRETCHES)) == 0 and unrest(np.array([1.0, np.nan]), np.array([0.1, 0.1])) == 0


def test_a_hold_out_whose_errors_come_and_go_makes_wide_bands() -> None:
    made, days = worlds.numbers(4000, 1), stretches(np.arange(4000.0))
    assert days is not None
    x, categories = np.column_stack([made.x, made.answer]), np.array([0, 0, 5, 0])
    restless = made.answer + (made.truth - made.answer) * np.where(days % 2, 0.5, 1.5)

    def reach(truth: worlds.Floats) -> float:
        value = dle.learn(x, truth, made.answer, categories, ("mae",), stretches=days)["mae"].estimate(x, root=False)
        assert value.high is not None
        return value.high - value.value

    mean = float(np.abs(made.truth - made.answer).mean())
    assert reach(restless) > 3 * 0.4 * mean  # half of it, up and down
    assert reach(made.truth) < 0.25 * mean


def test_a_long_window_averages_over_stretches() -> None:
    assert remaining(1.0, 0.01) == remaining(1.0, 1.0) == pytest.approx(1.1)
    assert remaining(1.0, 30.0) == pytest.approx(1 / 30 + 0.1)
