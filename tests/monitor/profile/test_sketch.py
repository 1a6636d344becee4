from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.monitor.profile import baseline, merge, profile, profile_batches, quantile
from modelyard.monitor.profile.sketch import are_ends, bounds, ends_of, places_of
from modelyard.signature import Column, Signature

SIGNATURE = Signature("regression", (Column("x", "float"),))


def column(values: object, against: object) -> dict[str, object]:
    frames = [
        pl.DataFrame({"f.x": pl.Series(v, dtype=pl.Float64), "y.prediction": pl.Series(v, dtype=pl.Float64)}) for v in (values, against)
    ]
    return profile(frames[0], json.loads(json.dumps(baseline(frames[1], SIGNATURE))))["columns"]["x"]  # type: ignore[no-any-return]


def allowed(x: float, sketch: dict[str, float]) -> float:
    """The documented bound, and rounding."""
    return (abs(x - sketch["centre"]) + sketch["unit"]) / 16 * (1 + 1e-9) + abs(x) * 1e-12


@pytest.mark.parametrize(
    ("now", "before"),
    [
        ("normal", "normal"),
        ("shifted", "normal"),
        ("lognormal", "normal"),
        ("normal", "lognormal"),
        ("whole", "whole"),
        ("uniform", "constant"),
    ],
)
def test_quantiles_are_those_of_numpy_within_the_bound(now: str, before: str) -> None:
    rng = np.random.default_rng(1)
    drawn = {
        "normal": rng.normal(size=20_000),
        "shifted": rng.normal(1000, 5, 20_000),
        "lognormal": rng.lognormal(3, 2, 20_000),
        "whole": rng.integers(0, 50, 20_000).astype(float),
        "uniform": rng.random(20_000),
        "constant": np.full(100, 7.0),
    }
    got = column(drawn[now], drawn[before])
    for q in (0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1):
        exact = float(np.quantile(drawn[now], q, method="inverted_cdf"))
        assert abs(quantile(got, q) - exact) <= allowed(exact, got["sketch"]), q  # type: ignore[arg-type, operator]
    assert quantile(got, 0) == drawn[now].min() and quantile(got, 1) == drawn[now].max()


@given(
    st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=50),
    st.lists(st.floats(-1e30, 1e30) | st.floats(-2, 2), min_size=1, max_size=50),
    st.floats(0, 1),
)
def test_any_quantile_of_anything_is_within_the_bound(values: list[float], against: list[float], q: float) -> None:
    got = column(values, against)
    exact = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    found = quantile(got, q)
    assert found is not None and got["min"] <= found <= got["max"]  # type: ignore[operator]
    assert abs(found - exact) <= allowed(exact, got["sketch"])  # type: ignore[arg-type]


def test_every_value_lies_in_its_bucket_and_buckets_rise() -> None:
    rng = np.random.default_rng(2)
    for value in [*rng.normal(size=200), *rng.lognormal(0, 5, 200), *-rng.lognormal(0, 5, 200)]:
        sketch = column([value], rng.normal(size=50))["sketch"]
        assert sketch["counts"] == [1]  # type: ignore[index]
        low, high = bounds(sketch, sketch["at"][0])  # type: ignore[arg-type, index]
        assert low - 1e-9 * abs(low) - 1e-12 <= value <= high + 1e-9 * abs(high) + 1e-12
    edges = [bounds(sketch, at) for at in (-3, -2, -1, 1, 2, 3)]  # type: ignore[arg-type]
    assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(edges))


def test_a_million_rows_take_a_hundred_buckets() -> None:
    values = np.random.default_rng(3).normal(size=1_000_000)
    assert 60 <= len(column(values, values[:10_000])["sketch"]["at"]) <= 150  # type: ignore[index]


def test_many_values_and_few_at_a_time_make_the_same_sketch() -> None:
    values = np.random.default_rng(4).lognormal(0, 3, 100_000)
    frame, base = pl.DataFrame({"f.x": values, "y.prediction": values}), np.arange(50.0)
    made = baseline(pl.DataFrame({"f.x": base, "y.prediction": base}), SIGNATURE)
    whole = profile(frame, made)
    parts = merge(profile(frame.slice(i, 2500), made) for i in range(0, 100_000, 2500))
    slowly = profile_batches((frame.slice(i, 2500) for i in range(0, 100_000, 2500)), made)
    sketches = [one["columns"]["x"]["sketch"] for one in (whole, parts, slowly)]
    assert sketches[0] == sketches[1] == sketches[2] and sum(sketches[0]["counts"]) == 100_000


anything = st.floats(allow_nan=False, allow_infinity=False)
shapes = st.builds(lambda c, u: {"centre": c, "unit": u}, anything, st.floats(1e-300, 1e300))


@given(st.lists(anything, min_size=2, max_size=30), shapes)
def test_cells_rise_with_the_values(values: list[float], shape: dict[str, float]) -> None:
    rising = np.sort(np.array(values) + 0.0)  # no negative zero, which lies a cell lower
    assert (np.diff(places_of(rising, shape)) >= 0).all()


@given(st.lists(anything, min_size=1, max_size=30), shapes)
@example([0.0, -0.001], {"centre": 0.0, "unit": 1.0})
def test_an_end_is_the_last_value_of_its_cell(values: list[float], shape: dict[str, float]) -> None:
    given_, limit = np.array(values) + 0.0, max(values) + 0.0
    ends = ends_of(given_, limit, shape)
    assert (ends >= given_).all() and (ends <= limit).all()
    assert np.array_equal(places_of(ends, shape), places_of(given_, shape))
    assert (are_ends(ends, shape) | (ends == limit) | (ends == -5e-324)).all(), "-0.0, which it takes for 0.0, may follow in the same cell"
    with np.errstate(over="ignore"):
        beyond = places_of(np.nextafter(ends, math.inf), shape)
    assert np.array_equal(beyond != places_of(ends, shape), are_ends(ends, shape))


def test_nothing_has_no_quantile() -> None:
    assert quantile(column([None, math.nan, math.inf], [1.0]), 0.5) is None  # type: ignore[list-item]
