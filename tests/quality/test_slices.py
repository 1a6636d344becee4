"""Slices: each a part with the very metrics of its rows; and the weakest part, found where there is one and only there."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from modelyard.errors import BadInput
from modelyard.quality.metrics import compute
from modelyard.quality.slices import by_slice, parts, worst
from modelyard.signature import Column, Signature

BIN = Signature("binary_classification", (Column("a", "float"),), classes=(0, 1), positive_class=1, decision_threshold=0.5)
NAN = float("nan")
F = np.ndarray


def binary(y: F, score: F) -> pl.DataFrame:
    return pl.DataFrame({"label": y, "y.prediction": (score >= 0.5).astype(int), "y.probability_1": score})


def close(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or abs(a - b) < 1e-9


def test_slices_partition_the_rows_and_recompute_the_metrics() -> None:
    y, s = np.array([0, 1, 1, 0, 1]), np.array([0.2, 0.9, 0.4, 0.6, 0.8])
    table = binary(y, s).with_columns(pl.Series("x.carrier", ["UA", "UA", None, "UA", "DL"]))
    slices = by_slice(table, BIN, "carrier")
    assert [(x["value"], x["rows"]) for x in slices] == [("UA", 3), ("(missing)", 1), ("DL", 1)]
    part = compute(table.filter(pl.col("x.carrier") == "UA"), BIN)
    assert all(close(slices[0][k], v) for k, v in part.items())
    assert math.isnan(slices[2]["roc_auc"])


def test_slices_of_many_numbers_are_quartiles_and_of_many_words_the_frequent_ones() -> None:
    n = 400
    y = np.arange(n) % 2
    values = [None, NAN, *map(float, range(n - 2))]
    table = binary(y, np.full(n, 0.5)).with_columns(pl.Series("f.age", values), pl.Series("f.word", [f"w{i % 60}" for i in range(n)]))
    ages = by_slice(table, BIN, "age")
    assert len(ages) == 5 and sum(x["rows"] for x in ages) == n and ages[-1] == ages[-1] | {"value": "(missing)", "rows": 2}
    words = by_slice(table, BIN, "word")
    assert len(words) == 51 and sum(x["rows"] for x in words) == n and "(other)" in {x["value"] for x in words}


@pytest.mark.parametrize("width", [1000.0, 1e-6])
def test_quartiles_that_lie_close_to_each_other_are_parts_of_their_own(width: float) -> None:
    """Seconds since 1970, postal codes: four digits of theirs are all alike, and parts of one name would stand for one another."""
    n = 400
    y = np.arange(n) % 2
    seconds = (1.6e9 if width > 1 else 0.5) + np.linspace(0, width, n)
    last = seconds > np.quantile(seconds, 0.75)
    table = binary(y, np.where(last, 1 - y, y).astype(float)).with_columns(pl.Series("f.seconds", seconds))
    found_parts = by_slice(table, BIN, "seconds")
    weak = [x["value"] for x in found_parts if x["accuracy"] == 0.0]
    assert [x["rows"] for x in found_parts] == [100] * 4 and len({x["value"] for x in found_parts}) == 4 and len(weak) == 1
    found = worst(table, BIN, "accuracy", min_rows=50, depth=1)[0]
    assert found is not None and (found.value, found.values) == (0.0, tuple(weak))


def test_the_weakest_of_very_many_rows_is_itself_and_not_one_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.quality.slices.MOST_ROWS", 1000)
    n = 4000
    y, seconds = np.arange(n) % 2, 1.6e9 + np.linspace(0, 1000, n)
    last = seconds > np.quantile(seconds, 0.75)
    table = binary(y, np.where(last, 1 - y, y).astype(float)).with_columns(pl.Series("f.seconds", seconds))
    found = worst(table, BIN, "accuracy", min_rows=50, depth=1)[0]
    assert found is not None and (found.value, found.rows) == (0.0, 1000)


@pytest.mark.parametrize("name", ["n", "rows", "word", "count", "value"])
def test_a_column_may_be_called_as_what_is_counted(name: str) -> None:
    names, codes = parts(pl.Series(name, ["a", "b", "b", None]))
    assert [names[code] for code in codes] == ["a", "b", "b", "(missing)"]


def test_slices_of_an_unknown_column_suggest_the_nearest() -> None:
    table = binary(np.array([0, 1]), np.array([0.2, 0.9])).with_columns(pl.Series("f.carrier", ["a", "b"]))
    with pytest.raises(BadInput, match="carier") as caught:
        by_slice(table, BIN, "carier")
    assert "carrier" in caught.value.next


def world(seed: int, n: int = 4000) -> pl.DataFrame:
    """A good model on columns that say nothing about where it errs."""
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    table = binary((rng.random(n) < score).astype(int), score)
    words = {f"f.c{i}": pl.Series(rng.choice(list("abcdefgh"), n)) for i in range(6)}
    return table.with_columns(**words, **{"f.x": pl.Series(rng.normal(size=n)), "x.sex": pl.Series(rng.choice(["f", "m"], n))})


def test_the_weakest_part_is_found_whatever_the_metric() -> None:
    table = world(1).with_columns(
        pl.when(pl.col("f.c2") == "d").then(1 - pl.col("y.probability_1")).otherwise(pl.col("y.probability_1")).alias("y.probability_1")
    )
    table = table.with_columns((pl.col("y.probability_1") >= 0.5).cast(int).alias("y.prediction"))
    for metric in ("roc_auc", "log_loss", "accuracy", "f1"):
        found, looked = worst(table, BIN, metric, min_rows=50, depth=1)
        assert found is not None and (found.columns, found.values) == (("c2",), ("d",)), metric
        part = table.filter(pl.col("f.c2") == "d")
        assert close(found.value, compute(part, BIN)[metric]) and close(found.overall, compute(table, BIN)[metric])
        assert found.rows == len(part) == len(found.members) and looked == 6 * 8 + 4 + 2 and found.description == "c2 = d"
        again, _ = worst(table, BIN, metric, min_rows=50, depth=1)
        assert again is not None and again.to_dict() == found.to_dict()


def test_a_part_of_two_columns_is_found_by_crossing_them() -> None:
    table = world(2, 12000)
    bad = (pl.col("f.c0") == "a") & (pl.col("f.c1") == "b")
    table = table.with_columns(
        pl.when(bad).then(1 - pl.col("y.probability_1")).otherwise(pl.col("y.probability_1")).alias("y.probability_1")
    )
    found, _ = worst(table, BIN, "roc_auc", min_rows=50, depth=2)
    assert found is not None and found.columns == ("c0", "c1") and found.values == ("a", "b")


def test_where_nothing_is_weaker_nothing_is_found() -> None:
    """54 parts each time: without the correction for looking at many, almost every one of these tables would have its weak part."""
    found = [worst(world(seed), BIN, metric, min_rows=50, depth=1)[0] for seed in range(20) for metric in ("roc_auc", "precision")]
    assert sum(f is not None for f in found) <= 4


def test_of_many_rows_some_are_looked_at_and_the_part_is_told_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    table = world(6, 6000).with_columns(
        pl.when(pl.col("f.x") < -0.7).then(1 - pl.col("y.prediction")).otherwise(pl.col("y.prediction")).alias("y.prediction")
    )
    monkeypatch.setattr("modelyard.quality.slices.MOST_ROWS", 1500)
    found, _ = worst(table, BIN, "accuracy", min_rows=50, depth=1)
    assert found is not None and found.columns == ("x",) and found.rows == 1500 == len(found.members)
    assert close(found.value, compute(table[found.members], BIN)["accuracy"]) and close(found.overall, compute(table, BIN)["accuracy"])


def test_small_parts_are_not_looked_at() -> None:
    table = world(3, 400).with_columns(pl.Series("f.rare", ["odd"] * 20 + ["usual"] * 380))
    table = table.with_columns(label=pl.when(pl.col("f.rare") == "odd").then(1 - pl.col("y.prediction")).otherwise("label"))
    found, _ = worst(table.select("label", "^y.*$", "f.rare"), BIN, "accuracy", min_rows=10, depth=1)
    assert found is not None and found.values == ("odd",) and found.value == 0.0
    none, looked = worst(table.select("label", "^y.*$", "f.rare"), BIN, "accuracy", min_rows=50, depth=1)
    assert none is None and looked == 1


def test_a_ranking_is_sliced_by_what_a_group_shares() -> None:
    signature = Signature("ranking", (Column("a", "float"),), group_col="q")
    rng, groups = np.random.default_rng(4), 300
    q = np.repeat(np.arange(groups), 10)
    y = rng.integers(0, 3, len(q))
    country, good = np.where(q < 100, "nz", "au"), y + rng.normal(0, 0.3, len(q))
    table = pl.DataFrame(
        {"label": y, "y.prediction": np.where(q < 100, -good, good), "x.q": q, "f.country": country, "f.a": rng.normal(size=len(q))}
    )
    found, looked = worst(table, signature, "ndcg_at_5", min_rows=50, depth=1)
    assert found is not None and found.values == ("nz",) and looked == 2
