from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.monitor.profile import baseline, profile
from modelyard.signature import Column, Signature

NUMBER = Signature("regression", (Column("x", "float"),))
WORD = Signature("regression", (Column("x", "str"),))


def table(values: object, dtype: pl.DataType | None = None) -> pl.DataFrame:
    x = pl.Series("f.x", values, dtype, strict=False)
    return pl.DataFrame([x, pl.Series("y.prediction", np.linspace(0, 1, len(x)))])


def numbers(values: object, against: object) -> dict[str, object]:
    made = json.loads(json.dumps(baseline(table(against, pl.Float64()), NUMBER), allow_nan=False))
    return profile(table(values, pl.Float64()), made)["columns"]["x"]  # type: ignore[no-any-return]


def test_many_numbers_fall_into_twenty_equal_bins() -> None:
    values = np.random.default_rng(1).standard_normal(10_000)
    made = baseline(table(values), NUMBER)["columns"]["x"]
    assert made["counts"] == [0, *[500] * 20, 0] and made["missing"] == 0
    assert (made["low"], made["edges"][-1]) == (values.min(), values.max()) == (made["min"], made["max"])
    assert made["edges"][9] == np.quantile(values, 0.5, method="inverted_cdf")
    assert made["mean"] == pytest.approx(values.mean())


def test_few_values_have_a_bin_each() -> None:
    assert numbers([1, 2, 2, 5], against=[1, 2, 5, 5])["edges"] == [1, 2, 5]
    assert numbers([1, 2, 2, 5], against=[1, 2, 5, 5])["counts"] == [0, 1, 2, 1, 0]


def test_values_outside_the_range_missing_and_infinite_are_counted_apart() -> None:
    got = numbers([0.9, 1, 3, 3.1, None, math.nan, math.inf, -math.inf], against=[1, 2, 3])
    assert got["counts"] == [2, 1, 0, 1, 2] and got["missing"] == 2
    assert got["mean"] is None, "JSON has no NaN"


def test_a_column_without_any_value_in_the_baseline() -> None:
    got = numbers([1.5, None], against=[None, None])
    assert got["counts"] == [0, 1] and got["missing"] == 1


@given(
    st.lists(st.none() | st.floats(width=32), min_size=1, max_size=80),
    st.lists(st.none() | st.floats(width=32) | st.integers(-3, 3).map(float), max_size=80),
)
def test_counts_are_those_of_a_plain_loop(against: list[float | None], values: list[float | None]) -> None:
    got = numbers(values, against)
    edges, low = got["edges"], got["low"]
    expected = [0] * (len(edges) + 2)  # type: ignore[arg-type]
    for v in values:
        if v is None or math.isnan(v):
            continue
        below = low is not None and v < low  # type: ignore[operator]
        expected[0 if below else 1 + sum(v > e for e in edges)] += 1  # type: ignore[attr-defined]
    assert got["counts"] == expected
    assert sum(expected) + int(got["missing"]) == len(values)  # type: ignore[call-overload]


def test_categories_new_ones_and_missing() -> None:
    made = json.loads(json.dumps(baseline(table(["a", "a", "b", None]), WORD)))
    got = profile(table(["a", "z", "z", "y", None, None]), made)["columns"]["x"]
    assert got["counts"] == {"a": 1, "b": 0} and (got["new"], got["other"], got["missing"]) == (3, 0, 2)
    assert list(got["fresh"].items()) == [("z", 2), ("y", 1)]
    assert made["columns"]["x"]["once"] == 1


def test_beyond_a_hundred_categories_the_rest_is_other_and_nothing_is_new() -> None:
    values = [f"v{i}" for i in range(150) for _ in range(200 - i)]
    made = baseline(table(values), WORD)
    column = made["columns"]["x"]
    assert list(column["counts"]) == [f"v{i}" for i in range(100)]
    assert column["other"] == sum(200 - i for i in range(100, 150)) and column["new"] == 0
    got = profile(table(["v0", "v120", "unheard of"]), made)["columns"]["x"]
    assert (got["counts"]["v0"], got["other"], got["new"], got["fresh"]) == (1, 2, 0, {})


def test_every_type_of_a_signature_is_profiled() -> None:
    start = datetime(2013, 1, 1, tzinfo=UTC)
    signature = Signature(
        "binary_classification",
        (Column("i", "int"), Column("b", "bool"), Column("t", "datetime"), Column("s", "str")),
        classes=(0, 1),
        positive_class=1,
    )
    frame = pl.DataFrame(
        {
            "f.i": pl.Series([1, 2, None, 4]),
            "f.b": [True, False, None, True],
            "f.t": [start + timedelta(days=d) for d in range(4)],
            "f.s": pl.Series(["a", "b", "a", None], dtype=pl.Categorical),
            "y.prediction": [0, 1, 1, 0],
            "y.probability_0": [0.9, 0.2, 0.1, 0.8],
            "y.probability_1": [0.1, 0.8, 0.9, 0.2],
        }
    )
    made = baseline(frame, signature)
    assert made["columns"]["b"]["counts"] == {"true": 2, "false": 1}
    assert made["columns"]["t"]["max"] == (start + timedelta(days=3)).timestamp() * 1e6
    assert made["columns"]["s"]["counts"] == {"a": 2, "b": 1}
    assert made["score"]["column"] == "y.probability_1" and made["score"]["counts"] == [0, 1, 1, 1, 1, 0]
    again = profile(frame, json.loads(json.dumps(made)))
    assert again["columns"] == made["columns"] and again["score"] == made["score"]


def test_classes_are_the_same_as_integers_and_as_floats() -> None:
    signature = Signature("multiclass_classification", (Column("x", "float"),), classes=(0, 1, 2))
    whole = pl.DataFrame({"f.x": [1.0, 2.0, 3.0], "y.prediction": [0, 1, 2]})
    made = baseline(whole, signature)
    assert made["score"]["kind"] == "categorical"
    assert profile(whole.cast({"y.prediction": pl.Float64}), made)["score"] == made["score"]


def test_scores_may_come_from_the_hold_out() -> None:
    made = baseline(table([1.0, 2.0]).drop("y.prediction"), NUMBER, scores=table([1.0, 2.0, 3.0]))
    assert (made["rows"], made["score"]["rows"]) == (2, 3)


def test_a_column_that_a_window_lacks_is_missing_and_one_that_the_baseline_lacks_is_an_error() -> None:
    made = baseline(table([1.0, 2.0]), NUMBER)
    assert profile(table([1.0, 2.0]).drop("f.x"), made)["columns"]["x"]["missing"] == 2
    with pytest.raises(BadInput, match=r"lacks 'x', 'y.prediction'"):
        baseline(pl.DataFrame({"z": [1]}), NUMBER)
    with pytest.raises(BadInput, match="no rows"):
        baseline(table([1.0]).clear(), NUMBER)


def test_an_empty_window_has_a_profile() -> None:
    got = profile(table([1.0]).clear(), baseline(table([1.0, 2.0]), NUMBER))
    assert got["rows"] == 0 and got["columns"]["x"]["counts"] == [0, 0, 0, 0]
