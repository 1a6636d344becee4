"""The paired bootstrap: against a plain loop over drawn rows, and against what it is for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelyard.errors import BadInput
from modelyard.quality.alike import measured_alike
from modelyard.quality.metrics import METRICS, compute, names_for
from modelyard.quality.paired import bootstrap
from modelyard.quality.resample import draw
from modelyard.signature import Signature

BIN = Signature("binary_classification", (), (0, 1), 1, 0.5)
REG = Signature("regression", ())


def pair(n: int = 300, noise: float = 0.3, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A champion whose score is blurred by `noise`, and a challenger with the clear one; the labels follow the clear score."""
    rng = np.random.default_rng(seed)
    clear = rng.random(n)
    blurred = np.clip(clear + rng.normal(0, noise, n), 0, 1)
    label = (rng.random(n) < clear).astype(int)
    ids = [f"i{k:05d}" for k in range(n)]
    tables = [
        pl.DataFrame({"inference_id": ids, "label": label, "y.prediction": (s >= 0.5).astype(int), "y.probability_1": s})
        for s in (blurred, clear)
    ]
    return tables[0], tables[1]


@pytest.mark.parametrize("metric", names_for("binary_classification"))
def test_each_difference_is_the_metric_of_the_drawn_rows(metric: str) -> None:
    old, new = pair(60)
    trial = bootstrap(old, new, BIN, metric, draws=20, seed=5)
    counts = draw(np.random.default_rng(5), 20, 60).astype(int)
    for row, difference in zip(counts, trial.differences, strict=True):
        drawn = np.repeat(np.arange(60), row)
        expected = compute(new[drawn], BIN)[metric] - compute(old[drawn], BIN)[metric]
        assert math.isclose(difference, expected, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(difference) and math.isnan(expected))


@pytest.mark.parametrize("classes", [(0, 1), (False, True), ("0", "1")])
def test_both_look_for_the_class_that_the_challenger_looks_for(classes: tuple[Any, ...]) -> None:
    """The recall of one class and that of the other are no rivals, whatever the champion was once asked for."""
    old = replace(BIN, classes=classes, positive_class=classes[0], decision_threshold=0.3)
    found = measured_alike(old, replace(BIN, weight_col="w"))
    assert (found.positive_class, found.classes, found.decision_threshold, found.weight_col) == (classes[1], classes, 0.3, "w")
    champion, challenger = pair(60)
    trial = bootstrap(champion, challenger, replace(BIN, positive_class=0), "recall", challenger_signature=BIN, draws=10)
    assert (
        trial.champion == compute(champion, BIN)
        and trial.differences == bootstrap(champion, challenger, BIN, "recall", draws=10).differences
    )


@pytest.mark.parametrize("metric", names_for("regression"))
def test_regression_differences_too(metric: str) -> None:
    rng = np.random.default_rng(2)
    label = rng.normal(20, 3, 50)
    ids = [str(i) for i in range(50)]
    old, new = (pl.DataFrame({"inference_id": ids, "label": label, "y.prediction": label + rng.normal(0, s, 50)}) for s in (2, 1))
    trial = bootstrap(old, new, REG, metric, draws=15, seed=9)
    order = np.argsort(ids)  # rows are put in the order of their ids
    for row, difference in zip(draw(np.random.default_rng(9), 15, 50).astype(int), trial.differences, strict=True):
        drawn = order[np.repeat(np.arange(50), row)]
        assert math.isclose(difference, compute(new[drawn], REG)[metric] - compute(old[drawn], REG)[metric], rel_tol=1e-9, abs_tol=1e-9)


def test_resamples_keep_the_number_of_rows_and_vary() -> None:
    w = draw(np.random.default_rng(0), 500, 40)
    assert w.shape == (500, 40) and (w.sum(axis=1) == 40).all()
    assert abs(w.mean() - 1) < 1e-12 and abs(w.var() - (1 - 1 / 40)) < 0.1  # a multinomial's variance


def test_it_is_repeatable_whatever_the_order_of_the_rows_and_the_size_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = pair()
    first = bootstrap(old, new, BIN, "roc_auc", draws=50)
    assert bootstrap(old.reverse(), new.sample(fraction=1, shuffle=True, seed=4), BIN, "roc_auc", draws=50) == first
    assert bootstrap(old, new, BIN, "roc_auc", draws=50, seed=1) != first
    monkeypatch.setattr("modelyard.quality.resample.CELLS", 700)  # two resamples at a time
    assert bootstrap(old, new, BIN, "roc_auc", draws=50).differences == pytest.approx(first.differences, abs=1e-12)


def test_only_rows_that_both_answered_and_whose_label_is_known_count() -> None:
    old, new = pair(100)
    unlabelled = new.with_columns(label=pl.when(pl.int_range(100) < 10).then(None).otherwise(pl.col("label")))
    trial = bootstrap(old.head(80), unlabelled, BIN, "accuracy", draws=5)
    assert trial.rows == 70
    assert trial.champion == compute(old[10:80], BIN) and trial.challenger == compute(new[10:80], BIN)


def test_rows_are_capped_by_a_seeded_sample() -> None:
    old, new = pair(500)
    trial = bootstrap(old, new, BIN, "accuracy", draws=5, max_rows=100)
    assert trial.rows == 100 and trial == bootstrap(old, new, BIN, "accuracy", draws=5, max_rows=100)
    assert trial.champion["rows"] == trial.challenger["rows"] == 100


def test_no_common_rows_say_nothing() -> None:
    old, new = pair(20)
    trial = bootstrap(old.head(5), new.tail(5), BIN, "roc_auc", draws=5)
    assert trial.rows == 0 and trial.differences == () and math.isnan(trial.champion["roc_auc"])


def test_a_model_without_scores_has_no_difference() -> None:
    old, new = pair(20)
    trial = bootstrap(old.drop("y.probability_1"), new, BIN, "roc_auc", draws=5)
    assert len(trial.differences) == 5 and all(map(math.isnan, trial.differences))


def test_what_cannot_be_matched_is_refused() -> None:
    old, new = pair(20)
    with pytest.raises(BadInput, match="different labels"):
        bootstrap(old, new.with_columns(label=1 - pl.col("label")), BIN, "roc_auc")
    with pytest.raises(BadInput, match="missing or repeated"):
        bootstrap(pl.concat([old, old]), new, BIN, "roc_auc")
    with pytest.raises(BadInput, match="missing or repeated"):
        bootstrap(old.drop("inference_id"), new, BIN, "roc_auc")
    with pytest.raises(BadInput, match="no metric 'rmse' for binary"):
        bootstrap(old, new, BIN, "rmse")


def test_labels_may_be_written_differently_in_the_two_tables() -> None:
    old, new = pair(40)
    for written in (float, str, bool):
        assert bootstrap(old, new.with_columns(pl.col("label").cast(written)), BIN, "accuracy", draws=3).rows == 40


def test_the_lower_bound_holds_its_promise() -> None:
    """A one-sided 95% bound lies above the true gain (here 0: same model, fresh noise) in about 1 of 20 trials, not in 1 of 5."""
    above = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        label, ids = rng.normal(size=80), [str(i) for i in range(80)]
        old, new = (pl.DataFrame({"inference_id": ids, "label": label, "y.prediction": label + rng.normal(size=80)}) for _ in range(2))
        gains = -np.array(bootstrap(old, new, REG, "mae", draws=200).differences)
        above += np.quantile(gains, 0.05) > 0
    assert 2 <= above <= 22  # binomial(200, 0.05) beyond 4 standard deviations, and a little for the bootstrap's own bias


def test_every_metric_has_its_kernel() -> None:
    from modelyard.quality.catalogue import FAMILIES
    from modelyard.quality.kernels import FAMILIES as PLACED
    from modelyard.quality.kernels import KERNELS

    assert set(KERNELS) == {name for name, metric in METRICS.items() if metric.needs != "build"} and set(PLACED) == set(FAMILIES)
