"""The boosted trees against scikit-learn's, and the losses that they foretell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from modelyard.monitor.estimate import dle, trees
from modelyard.quality import metrics as measures
from modelyard.quality.kernels import Rows

from . import worlds

CATEGORIES = np.array([0, 0, 5, 0])
NANNYML = json.loads((Path(__file__).parent / "nannyml.json").read_text(encoding="utf-8"))["numbers"]


def features(made: worlds.Numbers) -> worlds.Floats:
    return np.column_stack([made.x, made.answer])


def learned(made: worlds.Numbers, metrics: tuple[str, ...] = ("mae", "rmse")) -> dict[str, dle.Foretold]:
    return dle.learn(features(made), made.truth, made.answer, CATEGORIES, metrics)


def table(rows: int, seed: int) -> tuple[worlds.Floats, worlds.Floats]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 6))
    x[random.random(x.shape) < 0.1] = np.nan
    group = random.integers(0, 12, rows)
    z = np.nan_to_num(x, nan=-1.0)
    y = 1.5 * np.abs(z[:, 0]) + (z[:, 1] > 0.3) * z[:, 2] + np.sin(7.0 * np.arange(12))[group] + 0.5 * random.normal(size=rows)
    return np.column_stack([x, group]), y


def test_trees_learn_nearly_as_well_as_scikit_learns() -> None:
    (x, y), (other, truth), categories = table(5000, 0), table(5000, 1), np.array([0] * 6 + [12])
    oracle = HistGradientBoostingRegressor(max_iter=60, max_depth=3, categorical_features=[6], early_stopping=False).fit(x, y)

    def r2(predicted: worlds.Floats) -> float:
        return float(1 - ((predicted - truth) ** 2).mean() / truth.var())

    ours = trees.fit(x, y, categories, rounds=60)
    assert r2(ours.predict(other)) > r2(oracle.predict(other)) - 0.03 > 0.6
    np.testing.assert_array_equal(trees.fit(x, y, categories, rounds=60).predict(other), ours.predict(other))
    staged = ours.staged(other)
    np.testing.assert_allclose(staged[0], y.mean())
    np.testing.assert_allclose(staged[-1], ours.predict(other))


def test_trees_take_what_they_never_saw() -> None:
    x, y = table(500, 0)
    made = trees.fit(x, y, np.array([0] * 6 + [12]), rounds=5)
    strange = np.array([[np.nan] * 7, [1e30] * 6 + [99.0], [-np.inf] * 6 + [-1.0]])
    assert np.isfinite(made.predict(strange)).all()


def test_nothing_to_learn_is_a_mean() -> None:
    y = np.array([1.0, 2.0] * 30)
    assert trees.fit(np.zeros((60, 1)), y, np.array([0]), rounds=10).predict(np.zeros((2, 1))) == pytest.approx([1.5, 1.5])
    assert trees.fit(np.zeros((60, 1)), y, np.array([0]), rounds=0).predict(np.zeros((2, 1))) == pytest.approx([1.5, 1.5])
    assert trees.fit(np.full((60, 1), np.nan), y, np.array([0]), rounds=2).predict(np.zeros((1, 1))) == pytest.approx([1.5])


def test_leaves_are_no_smaller_than_they_may_be() -> None:
    """A tree that parts the rows at all puts at least so many to each side."""
    x = np.arange(45.0)[:, None]
    made = trees.fit(x, (x[:, 0] > 40).astype(np.float64), np.array([0]), rounds=1)
    sizes = np.unique(made.predict(x), return_counts=True)[1]
    assert len(sizes) == 2 and sizes.min() >= trees.LEAF


@pytest.mark.parametrize("metric", sorted(dle.LOSSES))
def test_a_loss_is_what_its_metric_is_a_mean_of(metric: str) -> None:
    random = np.random.default_rng(0)
    truth, answer = random.random(200) + 0.1, random.random(200) + 0.1
    mean = float(dle.LOSSES[metric](truth, answer).mean())
    of = Rows(truth, answer, None, 0)
    assert (mean**0.5 if metric in dle.ROOTS else mean) == pytest.approx(measures.values(of, (metric,), of.weighting())[metric][0])


def test_a_shift_to_where_errors_are_large_is_seen_without_a_label() -> None:
    made, shifted = worlds.numbers(4000, 1), worlds.numbers(2000, 2, 1.0)
    errors = np.abs(shifted.answer - shifted.truth)
    now = {"mae": errors.mean(), "rmse": (errors**2).mean() ** 0.5}
    usual = float(np.abs(made.answer - made.truth).mean())
    for metric, found in learned(made).items():
        value = found.estimate(features(shifted), metric in dle.ROOTS)
        assert value.low is not None and value.high is not None and value.low <= now[metric] <= value.high, metric
        assert value.value == pytest.approx(NANNYML[metric], rel=0.1)  # theirs is LightGBM with 31 leaves
        assert found.worth > 0.2
    assert learned(made)["mae"].estimate(features(shifted), root=False).value > 1.3 * usual


def test_where_nothing_foretells_an_error_the_hold_outs_mean_does() -> None:
    random = np.random.default_rng(5)
    x, truth = random.normal(size=(3000, 3)), random.normal(size=3000)
    found = dle.learn(x, truth, np.zeros(3000), np.array([0, 0, 0]), ("mae",))["mae"]
    value = found.estimate(random.normal(3.0, 1.0, size=(500, 3)), root=False)
    assert found.worth < 0.01 and value.value == pytest.approx(np.abs(truth).mean(), rel=0.05)


def test_rows_that_weigh_nothing_count_for_nothing() -> None:
    made = worlds.numbers(4000, 1)
    found, x = learned(made)["mae"], features(made)
    heavy = np.where(made.x[:, 2] == 4, 1.0, 0.0)
    mine = found.estimate(x[made.x[:, 2] == 4], root=False)
    assert found.estimate(x, False, heavy).value == pytest.approx(mine.value)
    assert found.estimate(x, False, heavy).low == pytest.approx(mine.low)


def test_few_rows_and_losses_that_are_undefined_teach_nothing() -> None:
    few = worlds.numbers(dle.FEWEST - 1, 1)
    assert learned(few) == {}
    made = worlds.numbers(500, 1)
    below = worlds.Numbers(made.x, made.truth - 20, made.answer)
    assert list(learned(below, ("mae", "poisson_deviance", "gamma_deviance", "rmsle", "r2"))) == ["mae"]
