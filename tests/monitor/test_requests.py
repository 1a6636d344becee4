from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from modelyard.monitor import profile, requests
from modelyard.signature import Column, Signature

COLUMNS = (Column("a", "float"), Column("b", "float"), Column("c", "str"))
BINARY = Signature("binary_classification", COLUMNS, classes=(0, 1), positive_class=1)


def table(rows: int, seed: int, **columns: Any) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    p = rng.random(rows)
    frame = pl.DataFrame(
        {
            "inference_id": [f"r{i:06}" for i in range(rows)],
            "f.a": rng.normal(0, 1, rows),
            "f.b": rng.normal(0, 1, rows),
            "f.c": rng.choice(["x", "y", "z"], rows),
            "y.prediction": (p > 0.5).astype(int),
            "y.probability_0": 1 - p,
            "y.probability_1": p,
        }
    )
    return frame.with_columns(**columns)


BASELINE = profile.baseline(table(2000, 0), BINARY)


def test_what_the_model_is_unsure_of_comes_first() -> None:
    rows = table(1000, 1)
    chosen = requests.choose(rows, BINARY, BASELINE, 20, by_chance=0)
    assert (chosen["y.probability_1"] - 0.5).abs().max() < 0.06  # type: ignore[operator]
    assert all(reason.startswith("1 is 0.") and "likely, 0.5 decides" in reason for reason in chosen["reason"])


def test_the_threshold_is_what_decides() -> None:
    signed = Signature("binary_classification", COLUMNS, classes=(0, 1), positive_class=1, decision_threshold=0.9)
    chosen = requests.choose(table(1000, 1), signed, BASELINE, 20, by_chance=0)
    assert (chosen["y.probability_1"] - 0.9).abs().max() < 0.1  # type: ignore[operator]


def test_several_classes_and_several_labels() -> None:
    rng = np.random.default_rng(2)
    shares = rng.dirichlet((1, 1, 1), 500)
    rows = table(500, 2, **{f"y.probability_{n}": pl.Series(shares[:, i]) for i, n in enumerate("pqr")})
    signed = Signature("multiclass_classification", COLUMNS, classes=("p", "q", "r"))
    two = np.sort(requests.choose(rows, signed, BASELINE, 15, by_chance=0).select(r"^y\.probability_[pqr]$").to_numpy(), 1)
    assert (two[:, 2] - two[:, 1]).max() < np.median(np.sort(shares, 1)[:, 2] - np.sort(shares, 1)[:, 1])
    many = Signature("multilabel_classification", COLUMNS, classes=("p", "q", "r"))
    chosen = requests.choose(rows, many, BASELINE, 15, by_chance=0)
    assert np.abs(chosen.select(r"^y\.probability_[pqr]$").to_numpy() - 0.5).min(1).max() < 0.05


def test_anomalies_near_what_decides() -> None:
    signed = Signature("anomaly_detection", COLUMNS, classes=("no", "yes"), positive_class="yes", decision_threshold=3.0)
    rows = table(500, 3, **{"y.score": pl.Series(np.linspace(0, 100, 500))})
    assert (requests.choose(rows, signed, BASELINE, 5, by_chance=0)["y.score"] - 3).abs().max() < 4  # type: ignore[operator]


def test_numbers_are_asked_about_where_training_never_was() -> None:
    signed = Signature("regression", COLUMNS)
    far = pl.when(pl.int_range(pl.len()) < 5).then(pl.lit(9.0))
    rows = table(1000, 4).with_columns(far.otherwise(pl.col("f.a")).alias("f.a"), far.otherwise(pl.col("f.b")).alias("f.b"))
    chosen = requests.choose(rows.drop(r"^y\.probability.*$"), signed, BASELINE, 5, by_chance=0)
    assert chosen["inference_id"].is_in([f"r{i:06}" for i in range(5)]).sum() >= 1
    assert chosen["reason"].str.contains("less like the training data than").all()


def test_rows_of_a_drifted_segment_are_wanted_and_said() -> None:
    new = pl.int_range(pl.len()) % 5 == 0
    rows = table(1000, 5).with_columns(pl.when(new).then(pl.lit("w")).otherwise(pl.col("f.c")).alias("f.c"))
    chosen = requests.choose(rows, BINARY, BASELINE, 40, by_chance=0)
    assert 0.45 < (chosen["f.c"] == "w").mean() < 0.8  # type: ignore[operator]  # 0.2 of all rows are
    assert "c is a value that training rarely or never saw: 20% of the rows, 0% in training" in chosen["reason"][1]
    above = table(1000, 5).with_columns(pl.when(new).then(pl.lit(8.0)).otherwise(pl.col("f.a")).alias("f.a"))
    assert "a is above" in requests.choose(above, BINARY, BASELINE, 5, by_chance=0)["reason"][1]


def test_nothing_has_drifted_in_rows_like_the_training_data() -> None:
    for seed in range(20):
        assert not requests.choose(table(500, 100 + seed), BINARY, BASELINE, 20, by_chance=0)["reason"].str.contains("in training").any()


def test_near_duplicates_are_not_asked_about_again_and_again() -> None:
    same = pl.int_range(pl.len()) < 500
    rows = table(800, 6).with_columns(
        [
            *(pl.when(same).then(pl.lit(v)).otherwise(pl.col(n)).alias(n) for n, v in (("f.a", 0.1), ("f.b", 0.2), ("f.c", "x"))),
            pl.when(same).then(pl.lit(0.5)).otherwise(pl.col("y.probability_1")).alias("y.probability_1"),
        ]
    )
    chosen = requests.choose(rows, BINARY, BASELINE, 50, by_chance=0)
    assert chosen["inference_id"].is_in([f"r{i:06}" for i in range(500)]).sum() <= 2


def test_of_very_many_the_last_are_taken_as_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing each of ten thousand with all candidates would take hours."""
    rows, compared = table(600, 6), list[int]()
    distances = requests._distances
    monkeypatch.setattr(requests, "_distances", lambda matrix, ordered, i: compared.append(len(matrix)) or distances(matrix, ordered, i))
    monkeypatch.setattr(requests, "WORK", 3 * 500 * 40)
    chosen = requests.choose(rows, BINARY, BASELINE, 500, by_chance=0)
    assert chosen.height == chosen["inference_id"].n_unique() == 500
    assert len(compared) <= 64 + 40 and max(compared) == 500, "the first 40, and what is near in these rows"
    last = chosen["priority"][40:]
    assert last.is_sorted(descending=True)


def test_a_part_is_drawn_by_chance() -> None:
    rows = table(2000, 7)
    chosen = requests.choose(rows, BINARY, BASELINE, 400, by_chance=0.5)
    even = chosen.filter(pl.col("priority").is_null())
    assert even.height == 200 and even["reason"].str.contains("by chance").all()
    assert 0.4 < even["y.probability_1"].mean() < 0.6  # type: ignore[operator]
    assert 0.25 < even["y.probability_1"].std() < 0.33  # type: ignore[operator]  # even from 0 to 1: 0.289


@settings(max_examples=40)
@given(
    st.integers(0, 60),
    st.integers(1, 70),
    st.floats(0, 1),
    st.sampled_from([BINARY, Signature("regression", COLUMNS), Signature("multiclass_classification", COLUMNS, classes=(0, 1))]),
    st.randoms(),
)
def test_every_row_once_whatever_the_order(rows: int, count: int, by_chance: float, signed: Signature, random: Any) -> None:
    found = table(rows, rows).with_columns(
        pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise(pl.col("f.a")).alias("f.a"),
        pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise(pl.col("f.c")).alias("f.c"),
    )
    chosen = requests.choose(found, signed, BASELINE, count, by_chance=by_chance)
    assert chosen.height == min(rows, count) and chosen["inference_id"].is_unique().all()
    assert chosen["priority"].null_count() == round(min(rows, count) * by_chance)
    assert all(chosen["reason"])
    mixed = found[random.sample(range(rows), rows)] if rows else found
    assert requests.choose(mixed, signed, BASELINE, count, by_chance=by_chance).equals(chosen)


def test_a_redacted_column_and_a_baseline_without_values() -> None:
    assert requests.choose(table(50, 8).drop("f.a", "f.c"), BINARY, BASELINE, 5).height == 5
    empty = profile.baseline(table(50, 8).with_columns(pl.lit(None, pl.Float64).alias("f.a")), BINARY)
    assert requests.choose(table(50, 9), BINARY, empty, 5).height == 5
    assert requests.choose(table(50, 8).drop("f.a", "f.b", "f.c"), BINARY, BASELINE, 5).height == 5


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_were_asked_for_teach_more_than_as_many_by_chance(seed: int) -> None:
    """A model of 60 rows learns from 60 more: asked for, and drawn evenly; the mean over draws of the share it gets right."""
    rng = np.random.default_rng(seed)

    def world(rows: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(0, 1, (rows, 6))
        return x, (x @ np.array([3.0, -2, 1, 0.5, 0, 0]) + rng.normal(0, 0.3, rows) > 0).astype(int)

    columns = tuple(Column(f"x{i}", "float") for i in range(6))
    signed = Signature("binary_classification", columns, classes=(0, 1), positive_class=1)
    test_x, test_y = world(20_000)
    gained = []
    for _ in range(8):
        (x, y), (pool_x, pool_y) = world(60), world(2000)
        model = LogisticRegression(C=100).fit(x, y)

        def predictions(given: np.ndarray, model: LogisticRegression = model) -> pl.DataFrame:
            p = model.predict_proba(given)[:, 1]
            names = {f"f.x{i}": given[:, i] for i in range(6)}
            ids = [f"{i:05}" for i in range(len(given))]
            return pl.DataFrame({"inference_id": ids, **names, "y.prediction": p.round(), "y.probability_1": p})

        asked = requests.choose(predictions(pool_x), signed, profile.baseline(predictions(x), signed), 60, by_chance=0)
        scores = []
        for more in (asked["inference_id"].cast(pl.Int64).to_numpy(), rng.choice(2000, 60, replace=False)):
            both = np.concatenate([x, pool_x[more]]), np.concatenate([y, pool_y[more]])
            scores.append(LogisticRegression(C=100).fit(*both).score(test_x, test_y))
        gained.append(scores[0] - scores[1])
    assert np.mean(gained) > 0.003


def test_a_float_behind_a_text_feature_is_in_the_cell_that_training_named() -> None:
    codes = pl.Series("f.c", ["1", "2"] * 1000)
    baseline = profile.baseline(table(2000, 0).with_columns(codes), BINARY)
    values = pl.Series("f.c", [1.0, 2.0, 2.5, float("nan"), None])
    cell, _, names, _ = requests._categories(values, baseline["columns"]["c"])
    assert [names[i] for i in cell] == ["'1'", "'2'", "a value that training rarely or never saw", "missing", "missing"]
