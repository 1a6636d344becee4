"""The bootstrap's intervals: against a plain loop, against theory, and what hangs together stays together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from modelyard.quality import resample
from modelyard.quality.metrics import compute
from modelyard.quality.resample import clusters, draw, intervals
from modelyard.signature import Column, Signature

BIN = Signature("binary_classification", (Column("a", "float"),), classes=(0, 1), positive_class=1, decision_threshold=0.5)


def binary(n: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    return pl.DataFrame(
        {"label": (rng.random(n) < score).astype(int), "y.prediction": (score >= 0.5).astype(int), "y.probability_1": score}
    )


def test_an_interval_is_made_of_the_metrics_of_drawn_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    table = binary(60)
    found = intervals(table, BIN, level=0.9, resamples=40, seed=3)
    drawn = [np.repeat(np.arange(60), row.astype(int)) for row in draw(np.random.default_rng(3), 40, 60)]
    each = [compute(table[rows], BIN) for rows in drawn]
    for name, (low, high) in found.items():
        expected = np.quantile([e[name] for e in each if e[name] == e[name]], [0.05, 0.95])
        assert (low, high) == pytest.approx(tuple(expected), abs=1e-9), name
    assert {"roc_auc", "accuracy", "mcc"} <= set(found) and "rows" not in found
    monkeypatch.setattr(resample, "CELLS", 130)  # two resamples at a time
    again = intervals(table, BIN, level=0.9, resamples=40, seed=3)
    assert all(again[name] == pytest.approx(pair, abs=1e-12) for name, pair in found.items())


def test_an_interval_holds_its_level() -> None:
    inside = 0
    for seed in range(150):
        low, high = intervals(binary(300, seed), BIN, level=0.9, resamples=150, seed=seed, names=("accuracy",))["accuracy"]
        inside += low <= 0.75 <= high  # the chance that a score of 0..1 is on the right side
    assert 122 <= inside <= 148  # binomial(150, 0.9) within 3.5 standard deviations


def test_many_rows_are_stood_for_by_some_and_the_interval_narrows_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    table = binary(8000)
    full = intervals(table, BIN, level=0.95, resamples=300, seed=1, names=("roc_auc",))["roc_auc"]
    monkeypatch.setattr(resample, "MOST_ROWS", 2000)
    part = intervals(table, BIN, level=0.95, resamples=300, seed=1, names=("roc_auc",))["roc_auc"]
    assert part[0] < compute(table, BIN)["roc_auc"] < part[1]
    assert 0.7 < (part[1] - part[0]) / (full[1] - full[0]) < 1.4  # unscaled it would be twice as wide


def test_undefined_metrics_have_no_interval_and_no_resamples_give_none() -> None:
    table = binary(50).with_columns(label=pl.lit(1))
    assert "roc_auc" not in (found := intervals(table, BIN, level=0.95, resamples=20, seed=0)) and "accuracy" in found
    assert intervals(table, BIN, level=0.95, resamples=0, seed=0) == {}
    assert intervals(table.head(0), BIN, level=0.95, resamples=20, seed=0) == {}


def test_groups_are_drawn_whole() -> None:
    """100 rows said ten times over are no more than 100 rows."""
    table = pl.concat([binary(100).with_row_index("x.who")] * 10)
    alone = intervals(table, BIN, level=0.95, resamples=300, seed=1, names=("accuracy",))["accuracy"]
    whole = intervals(table, replace(BIN, group_col="who"), level=0.95, resamples=300, seed=1, names=("accuracy",))["accuracy"]
    assert 2.3 < (whole[1] - whole[0]) / (alone[1] - alone[0]) < 4.2  # the root of ten


def test_a_forecast_is_drawn_in_blocks_and_many_series_whole() -> None:
    signature = Signature("forecasting", (Column("a", "float"),), season=7, entity_cols=("shop",))
    table = pl.DataFrame({"label": range(60), "y.prediction": range(60), "event_time": range(60), "x.shop": ["a", "b"] * 30})
    blocks = clusters(table.sample(fraction=1, shuffle=True, seed=1).sort("event_time"), signature)
    assert blocks is not None
    at = (
        pl.DataFrame({"block": blocks, "time": range(60), "shop": ["a", "b"] * 30})
        .group_by("block")
        .agg(pl.col("time"), pl.col("shop").n_unique())
    )
    assert (at["shop"] == 1).all() and at["time"].list.len().max() == 7
    assert all(list(np.diff(times)) == [2] * (len(times) - 1) for times in at["time"].list.sort())
    many = table.with_columns(pl.Series("x.shop", [f"s{i % 30}" for i in range(60)]))
    assert (whole := clusters(many, signature)) is not None and len(set(whole)) == 30
