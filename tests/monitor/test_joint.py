from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA

from modelyard.monitor import joint
from modelyard.signature import Column, Signature

REAL = {"breast cancer": load_breast_cancer, "diabetes": load_diabetes, "digits": load_digits, "wine": load_wine}


def numbers(matrix: Any) -> tuple[pl.DataFrame, Signature]:
    names = [f"c{i}" for i in range(matrix.shape[1])]
    return pl.DataFrame({f"f.{n}": matrix[:, i] for i, n in enumerate(names)}), Signature(
        "regression", tuple(Column(n, "float") for n in names)
    )


def fit(table: pl.DataFrame, signature: Signature) -> dict[str, Any]:
    fitted = joint.fit(table, signature)
    assert fitted is not None
    json.dumps(fitted, allow_nan=False)
    return fitted


def test_errors_are_the_coordinates_on_scikit_learns_minor_components() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((4000, 8)) @ np.triu(rng.uniform(0.3, 1, (8, 8)))
    table, signature = numbers(matrix)
    z = np.clip((matrix - matrix.mean(0)) / matrix.std(0), -joint.CLIP, joint.CLIP)
    whole = PCA().fit(z)
    left_out = len(joint.fit(table, signature)["directions"])  # type: ignore[index]
    assert whole.explained_variance_ratio_[:-left_out].sum() >= joint.KEPT > whole.explained_variance_ratio_[: -left_out - 1].sum()
    coordinates = whole.transform(z)[:, -left_out:] / np.sqrt(np.maximum(whole.explained_variance_[-left_out:], joint.FLOOR))
    expected = np.sqrt((np.clip(coordinates, -joint.CLIP, joint.CLIP) ** 2).mean(1))
    assert joint.errors(table, fit(table, signature)) == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", REAL)
def test_of_real_rows_a_broken_relation_is_seen_and_none_where_nothing_broke(name: str) -> None:
    """Rows of real data drawn again, against the same with a fifth of the columns shuffled: each is distributed as ever."""
    rng, data = np.random.default_rng(1), REAL[name]().data
    drawn, signature = numbers(data[rng.integers(0, len(data), 6000)])
    usual, fitted = joint.errors(drawn[3000:], fit(drawn[:3000], signature)).mean(), fit(drawn[:3000], signature)
    torn = drawn[3000:].with_columns(drawn[3000:][c].shuffle(seed=i) for i, c in enumerate(drawn.columns[::5]))
    assert joint.errors(torn, fitted).mean() / usual - 1 > joint.THRESHOLD
    for _ in range(20):
        again, _ = numbers(data[rng.integers(0, len(data), 2000)])
        assert abs(joint.errors(again, fitted).mean() / usual - 1) < joint.THRESHOLD


def test_the_columns_that_no_longer_go_with_the_others_are_blamed() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((5000, 8))
    x[:, 1] = 0.8 * x[:, 0] + 0.6 * x[:, 1]
    x[:, 5] = x[:, 4] + x[:, 3] + 0.3 * x[:, 5]
    table, signature = numbers(x)
    fitted = fit(table, signature)
    assert joint.blamed(table.clear(), fitted) == []
    for torn, among in (("c5", {"c3", "c4", "c5"}), ("c1", {"c0", "c1"})):
        found = joint.blamed(table.with_columns(table[f"f.{torn}"].shuffle(seed=1)), fitted, most=len(among))
        assert set(found) == among
    words = pl.Series(np.where(x[:, 7] > 0, "above", "below"))
    kinds = Signature("regression", (*signature.columns[:6], Column("c6", "str"), Column("c7", "float")))
    mixed = table.with_columns(words.alias("f.c6"))
    assert set(joint.blamed(mixed.with_columns(pl.col("f.c6").shuffle(seed=2)), fit(mixed, kinds), most=2)) == {"c6", "c7"}


def test_categories_that_no_longer_go_with_numbers_are_seen() -> None:
    rng = np.random.default_rng(2)
    x, noise = rng.standard_normal(5000), rng.standard_normal(5000)
    words = np.where(x > 0, np.where(x > 1, "high", "above"), "below")
    signature = Signature("regression", (Column("x", "float"), Column("noise", "int"), Column("w", "str"), Column("b", "bool")))
    table = pl.DataFrame({"f.x": x, "f.noise": noise, "f.w": words, "f.b": x + noise > 0})
    fitted = fit(table, signature)
    assert set(fitted["categories"]) == {"w", "b"} and len(fitted["categories"]["w"]) == 2, "the third is what they are not"
    usual = joint.errors(table, fitted).mean()
    assert joint.errors(table.with_columns(pl.col("f.w").shuffle(seed=1)), fitted).mean() > 1.2 * usual
    assert joint.errors(table.with_columns(pl.col("f.b").cast(pl.String)), fitted).mean() == pytest.approx(usual), "as the profile reads it"


def test_whatever_comes_there_is_a_finite_error() -> None:
    signature = Signature("regression", (Column("a", "float"), Column("b", "float", True), Column("w", "str"), Column("t", "datetime")))
    rng = np.random.default_rng(3)
    a = rng.lognormal(0, 5, 300)
    table = pl.DataFrame(
        {"f.a": a, "f.b": np.where(a > 1, np.nan, -a), "f.w": rng.choice(["u", "v", None], 300).tolist(), "f.t": range(300)}
    )
    fitted = fit(table, signature)
    assert "t" not in fitted["numbers"], "time only ever rises"
    odd = pl.DataFrame({"f.a": [np.inf, -1e300, None, 0.0], "f.w": ["new", None, "u", "v"]})
    columns = ([[1], None], [{"a": 1}, None], [b"\xff", b"1"], [timedelta(1), None], [object(), None])
    types = [pl.DataFrame({"f.a": pl.Series(values), "f.w": pl.Series(values)}) for values in columns]
    types.append(odd.select(pl.col("f.w", "f.a").cast(pl.String).cast(pl.Categorical)))
    for rows in (table, odd, odd.clear(), pl.DataFrame({"f.w": [1.0, 2.5]}), odd.with_columns(pl.col("f.a").cast(pl.String)), *types):
        errors = joint.errors(rows, fitted)
        assert errors.shape == (rows.height,) and np.isfinite(errors).all() and (errors >= 0).all() and (errors <= joint.CLIP).all()


def test_what_is_missing_counts_as_the_median() -> None:
    rng = np.random.default_rng(6)
    table, signature = numbers(100 + rng.standard_normal((500, 3)).cumsum(1))
    fitted = fit(table, signature)
    typical = table.with_columns(pl.lit(table["f.c1"].median()).alias("f.c1"))
    for gone in (None, float("nan"), float("inf")):
        assert joint.errors(table.with_columns(pl.lit(gone, pl.Float64).alias("f.c1")), fitted) == pytest.approx(
            joint.errors(typical, fitted)
        )
    assert joint.errors(table.drop("f.c1"), fitted) == pytest.approx(joint.errors(typical, fitted))


@pytest.mark.parametrize(
    "columns", [{"f.a": [1.0] * 100, "f.b": range(100)}, {"f.a": range(49), "f.b": range(49)}, {"f.a": [None] * 60, "f.b": [np.inf] * 60}]
)
def test_where_nothing_can_be_related_there_is_nothing(columns: dict[str, Any]) -> None:
    signature = Signature("regression", (Column("a", "float"), Column("b", "float")))
    assert joint.fit(pl.DataFrame(columns, strict=False), signature) is None


def test_it_is_small_and_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    table, signature = numbers(rng.standard_normal((2000, 200)))
    fitted = fit(table, signature)
    assert len(fitted["directions"]) <= joint.DIRECTIONS and len(json.dumps(fitted)) < 120_000
    whole = joint.errors(table, fitted)
    monkeypatch.setattr(joint, "CHUNK", 300)
    assert joint.errors(table, fitted) == pytest.approx(whole, rel=1e-12)
    monkeypatch.setattr(joint, "ALONE", 10**9)
    assert joint.errors(table, fitted) == pytest.approx(whole, rel=1e-12)


def test_a_float_behind_a_text_feature_is_written_in_one_way_whatever_else_is_in_its_chunk() -> None:
    signed = Signature("regression", (Column("code", "str"), Column("x", "float")))
    rng = np.random.default_rng(0)
    codes = [1, 2, 3, 1, 2] * 200
    table = pl.DataFrame({"f.code": [str(code) for code in codes], "f.x": [code + rng.normal() / 10 for code in codes]})
    fitted = fit(table, signed)
    assert set(fitted["categories"]["code"]) <= {"1", "2", "3"}
    whole = pl.DataFrame({"f.code": [1.0, 2.0], "f.x": [1.0, 2.0]})
    mixed = pl.concat([whole, pl.DataFrame({"f.code": [2.5, float("nan"), None], "f.x": [1.0, 1.0, 1.0]})])
    found = joint.errors(mixed, fitted)
    assert found[:2] == pytest.approx(joint.errors(whole, fitted)) and found[2] > found[:2].max()
    assert found[3] == found[4], "what is no number is missing"
