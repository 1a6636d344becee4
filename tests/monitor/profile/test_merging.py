"""However a table is cut, and in whatever order its pieces are added up: the same profile."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.monitor.profile import baseline, heavy, merge, profile, profile_batches
from modelyard.signature import Column, Signature

SIGNATURE = Signature("regression", (Column("n", "float"), Column("w", "str")))
NUMBERS = st.none() | st.floats(-1e6, 1e6, width=32) | st.integers(-3, 3).map(float) | st.sampled_from([math.inf, -math.inf])
ROWS = st.lists(st.tuples(NUMBERS, st.none() | st.sampled_from("abcdefgh")), max_size=60)


def table(rows: list[tuple[float | None, str | None]]) -> pl.DataFrame:
    schema = {"f.n": pl.Float64, "f.w": pl.String}
    frame = pl.DataFrame(rows, schema, orient="row")
    return frame.with_columns(pl.col("f.n").alias("y.prediction"), pl.col("f.w").alias("x.also"))


def made(rows: list[tuple[float | None, str | None]]) -> dict[str, Any]:
    return json.loads(json.dumps(baseline(table(rows), SIGNATURE), allow_nan=False))  # type: ignore[no-any-return]


def same(a: Any, b: Any, path: str = "") -> None:
    """Equal; floats that are summed to 1e-9."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            same(a[key], b[key], f"{path}/{key}")
    elif path.endswith(("/mean", "/m2", "/sum", "/squares")) and a is not None:
        assert b == pytest.approx(a, rel=1e-9, abs=1e-9), path
    else:
        assert a == b, path


@given(st.data(), st.lists(st.tuples(NUMBERS, st.sampled_from("abc")), min_size=1, max_size=40), ROWS)
def test_any_split_and_any_order_is_the_whole(data: st.DataObject, usual: list[Any], rows: list[Any]) -> None:
    base, whole = made(usual), table(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    pieces = [whole.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    parts = data.draw(st.permutations([profile(piece, base) for piece in pieces]))
    wanted = profile(whole, base)
    same(wanted, merge(parts))
    same(wanted, merge([merge(parts[:1]), *([merge(parts[1:])] if parts[1:] else [])]))
    same(wanted, profile_batches(iter(pieces), base))
    json.dumps(merge(parts), allow_nan=False)


def test_a_day_of_windows_with_the_joint_error() -> None:
    rng = np.random.default_rng(5)
    a = rng.normal(size=3000)
    frame = pl.DataFrame({"f.n": a, "f.w": np.where(a > 0, "up", "down"), "y.prediction": 2 * a})
    base = baseline(frame, SIGNATURE)
    assert base["joint"]["rows"] == 1500, "every other row is fitted on"
    parts = [profile(frame.slice(i, 100), base) for i in range(0, 3000, 100)]
    assert merge(parts)["joint"]["rows"] == 3000
    same(profile(frame, base), merge(parts))


def test_moments_far_from_zero_keep_their_precision() -> None:
    rng = np.random.default_rng(6)
    values = 1e9 + rng.normal(size=200_000)
    frame = pl.DataFrame({"f.n": values, "f.w": "a", "y.prediction": values})
    base = baseline(frame.head(1000), SIGNATURE)
    got = merge([profile(frame.slice(i, 10_000), base) for i in range(0, 200_000, 10_000)])["columns"]["n"]
    exact = values - 1e9
    assert got["mean"] == pytest.approx(1e9 + exact.mean(), rel=1e-12)
    assert got["m2"] == pytest.approx(((exact - exact.mean()) ** 2).sum(), rel=1e-9)


@given(st.lists(st.lists(st.tuples(st.integers(0, 80).map(str), st.integers(1, 50)), max_size=60), min_size=1, max_size=6), st.data())
def test_heavy_hitters_are_wrong_by_at_most_what_they_say(pieces: list[list[tuple[str, int]]], data: st.DataObject) -> None:
    exact: dict[str, int] = {}
    summaries = []
    for piece in pieces:
        counts: dict[str, int] = {}
        for value, n in piece:
            counts[value] = counts.get(value, 0) + n
            exact[value] = exact.get(value, 0) + n
        summaries.append((counts, 0))
    while len(summaries) > 1:  # added up two and two, in any order
        summaries = data.draw(st.permutations(summaries))
        summaries = [heavy.merge(summaries[:2]), *summaries[2:]]
    kept, error = heavy.merge(summaries)
    assert len(kept) <= heavy.KEPT
    assert error <= sum(exact.values()) / (heavy.KEPT + 1)
    for value, n in exact.items():
        assert n - error <= kept.get(value, 0) <= n
    if len(exact) <= heavy.KEPT:
        assert kept == exact and error == 0


def test_very_many_new_values_are_bounded_and_counted_to_the_last() -> None:
    base = baseline(pl.DataFrame({"f.n": 1.0, "f.w": ["a", "b"], "y.prediction": 1.0}), SIGNATURE)
    words = [f"new{i}" for i in range(5000)] + ["often"] * 3000 + ["a"] * 7
    got = profile(pl.DataFrame({"f.n": 1.0, "f.w": words, "y.prediction": 1.0}), base)["columns"]["w"]
    assert got["new"] == 8000 and got["counts"] == {"a": 7, "b": 0} and len(got["fresh"]) <= heavy.KEPT
    assert next(iter(got["fresh"])) == "often" and 3000 - got["fresh_error"] <= got["fresh"]["often"] <= 3000


def test_profiles_of_other_bins_do_not_add_up() -> None:
    one, other = made([(1.0, "a")]), made([(2.0, "a")])
    with pytest.raises(BadInput, match="different bins"):
        merge([one, other])
    with pytest.raises(BadInput, match="different bins"):
        merge([made([(1.0, "a")]), made([(1.0, "b")])])
    with pytest.raises(BadInput, match="no profile"):
        merge([])
