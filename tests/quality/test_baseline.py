"""A model that learned nothing is as good as its definition says, and no better."""

from __future__ import annotations

import math
import warnings

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from sklearn.dummy import DummyClassifier, DummyRegressor

from modelyard.quality.baseline import measure, naive_error
from modelyard.signature import Column, Signature

COLUMNS = (Column("a", "float"),)


def test_classes_equal_sklearns_dummy() -> None:
    rng = np.random.default_rng(0)
    signed = Signature("multiclass_classification", COLUMNS, classes=("a", "b", "c"), target_col="y", weight_col="w")
    y, test, w = rng.choice(["a", "b", "c"], 300, p=[0.2, 0.5, 0.3]), rng.choice(["a", "b", "c"], 100), rng.integers(1, 4, 300)
    holdout = pl.DataFrame({"label": test, "y.prediction": test, **{f"y.probability_{c}": [1.0] * 100 for c in "abc"}})
    found = measure(holdout, signed, pl.DataFrame({"y": y, "w": w}))
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((300, 1)), y, sample_weight=w)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["metrics"]["log_loss"] == pytest.approx(sk.log_loss(test, dummy.predict_proba(np.zeros((100, 1)))))
        assert found["metrics"]["accuracy"] == pytest.approx(sk.accuracy_score(test, dummy.predict(np.zeros((100, 1)))))
    assert found["kind"] == "most frequent class" and found["metrics"]["roc_auc"] == 0.5


def test_numbers_get_the_constant_that_is_best_by_each_metric() -> None:
    rng = np.random.default_rng(1)
    y, test = rng.gamma(2, 2, 301), rng.gamma(2, 2, 50)
    signed = Signature("regression", COLUMNS, target_col="y")
    found = measure(pl.DataFrame({"label": test, "y.prediction": test}), signed, pl.DataFrame({"y": y}))["metrics"]
    for strategy, name, score in (("mean", "rmse", sk.root_mean_squared_error), ("median", "mae", sk.mean_absolute_error)):
        dummy = DummyRegressor(strategy=strategy).fit(np.zeros((301, 1)), y)
        assert found[name] == pytest.approx(score(test, dummy.predict(np.zeros((50, 1)))))


def test_the_threshold_counts_and_anomalies_are_never_called() -> None:
    holdout = pl.DataFrame({"label": [0, 1, 1], "y.prediction": [0, 1, 1], "y.probability_0": [1.0, 0, 0], "y.probability_1": [0.0, 1, 1]})
    learned = pl.DataFrame({"y": [0, 0, 1]})
    for cut, recall in ((0.5, 0.0), (0.3, 1.0)):
        signed = Signature("binary_classification", COLUMNS, classes=(0, 1), positive_class=1, decision_threshold=cut, target_col="y")
        assert measure(holdout, signed, learned)["metrics"]["recall"] == recall
    odd = Signature("anomaly_detection", COLUMNS, classes=(0, 1), positive_class=1, target_col="y")
    found = measure(holdout.with_columns(pl.lit(3.0).alias("y.score")), odd, learned)["metrics"]
    assert found["roc_auc"] == 0.5 and found["recall"] == 0 and found["share_flagged"] == 0


def test_labels_and_rankings() -> None:
    signed = Signature(
        "multilabel_classification", COLUMNS, classes=("a", "b"), decision_threshold=0.5, target_col="y", label_separator="|"
    )
    holdout = pl.DataFrame({"label": ["a", "a|b"], "y.prediction": ["", ""], "y.probability_a": [0.0, 0], "y.probability_b": [0.0, 0]})
    assert measure(holdout, signed, pl.DataFrame({"y": ["a", "a|b", ""]}))["metrics"]["subset_accuracy"] == 0.5
    ranked = Signature("ranking", COLUMNS, group_col="q", target_col="y")
    table = pl.DataFrame({"label": [0, 0, 0, 1] * 2000, "y.prediction": 1.0, "x.q": np.repeat(np.arange(2000), 4)})
    assert measure(table, ranked, table)["metrics"]["mrr_at_5"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=0.02)


def test_a_forecast_repeats_the_season_before() -> None:
    signed = Signature("forecasting", COLUMNS, target_col="y", time_col="at", entity_cols=("shop",), season=2)
    learned = pl.DataFrame({"shop": ["a", "b"] * 4, "at": [1, 1, 2, 2, 3, 3, 4, 4], "y": [1.0, 10, 2, 20, 3, 30, 4, 40]})
    holdout = pl.DataFrame(
        {"f.shop": ["b", "a", "a", "a", "new"], "event_time": [5, 5, 6, 7, 5], "label": [30.0, 3, 4, 3, 1], "y.prediction": 0.0}
    )
    found = measure(holdout, signed, learned)["metrics"]
    # shop a: 3 and 4 from training, then the hold-out's own 3; b: 30; a new shop: the mean of training, 13.75
    assert found["mae"] == pytest.approx((0 + 0 + 0 + 0 + 12.75) / 5) and math.isnan(found["mase"])
    assert naive_error(learned, signed) == pytest.approx((2 + 2 + 20 + 20) / 4)
    assert naive_error(learned.head(2), signed) is None
