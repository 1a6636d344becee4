from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from modelyard.errors import BadInput
from modelyard.quality import arms
from modelyard.quality.metrics import compute
from modelyard.signature import Column, Signature

SIGNATURE = Signature("regression", (Column("x", "float"),), target_col="y")


def answered(error: float, rows: int, seed: int, prefix: str) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=rows)
    return pl.DataFrame(
        {
            "inference_id": [f"{prefix}{i}" for i in range(rows)],
            "y.prediction": truth + error * rng.normal(size=rows),
            "label": truth,
        }
    )


def test_each_arm_is_measured_on_its_own_rows() -> None:
    old, new = answered(1.0, 400, 1, "a"), answered(0.5, 300, 2, "b")
    trial = arms.bootstrap((old, SIGNATURE), (new, SIGNATURE), "mae")
    assert trial.rows == 300
    assert trial.champion["mae"] == compute(old, SIGNATURE)["mae"] and trial.challenger["mae"] == compute(new, SIGNATURE)["mae"]
    differences = np.array(trial.differences)
    assert len(differences) == 1000 and (differences < 0).mean() == 1, "plainly better"
    expected = np.sqrt(sum(float((t["y.prediction"] - t["label"]).abs().var()) / len(t) for t in (old, new)))
    assert np.std(differences) == pytest.approx(expected, rel=0.1), "as far apart as two independent means"
    assert trial.differences == arms.bootstrap((old, SIGNATURE), (new, SIGNATURE), "mae").differences, "the same again"


def test_two_alike_differ_by_chance_alone() -> None:
    """How often two arms of one model look better beyond chance: about once in twenty, as it says."""
    wins = 0
    for seed in range(60):
        old, new = answered(1.0, 200, 2 * seed, "a"), answered(1.0, 200, 2 * seed + 1, "b")
        trial = arms.bootstrap((old, SIGNATURE), (new, SIGNATURE), "mae", draws=200)
        wins += float(np.mean(np.array(trial.differences) < 0)) >= 0.95
    assert wins <= 9


def test_rows_without_a_label_are_left_out_and_a_large_arm_is_sampled() -> None:
    old = answered(1.0, 300, 1, "a").with_columns(pl.when(pl.int_range(pl.len()) < 50).then(pl.col("label")).alias("label"))
    trial = arms.bootstrap((old, SIGNATURE), (answered(1.0, 900, 2, "b"), SIGNATURE), "mae", draws=50, max_rows=100)
    assert trial.rows == 50 and len(trial.differences) == 50
    nothing = old.with_columns(pl.lit(None, dtype=pl.Float64).alias("label"))
    assert arms.bootstrap((nothing, SIGNATURE), (old, SIGNATURE), "mae").differences == ()


def test_an_unknown_metric_is_refused() -> None:
    table = answered(1.0, 10, 1, "a")
    with pytest.raises(BadInput, match="there is no metric 'roc_auc' for regression"):
        arms.bootstrap((table, SIGNATURE), (table, SIGNATURE), "roc_auc")
