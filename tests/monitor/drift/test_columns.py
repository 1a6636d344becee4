"""Cells of two profiles, and what is made of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from modelyard.monitor.drift import cells, columns
from modelyard.monitor.profile import baseline, profile
from modelyard.signature import Column, Signature

from .tables import FORTY, forty

NUMBER = Signature("regression", (Column("x", "float"),))
WORD = Signature("regression", (Column("x", "str"),))


def pair(before: Any, now: Any, signature: Signature = NUMBER) -> tuple[dict[str, Any], dict[str, Any]]:
    """The column of a window's profile and of its baseline's."""
    tables = [pl.DataFrame({"f.x": v, "y.prediction": np.zeros(len(v))}, strict=False) for v in (before, now)]
    made = baseline(tables[0], signature)
    return profile(tables[1], made)["columns"]["x"], made["columns"]["x"]


def test_cells_are_pooled_until_each_is_expected_to_hold_enough() -> None:
    rng = np.random.default_rng(10)
    made = baseline(forty(rng, 20_000, 0.0), FORTY)
    for rows, bins in ((200, 10), (1000, 20)):
        window = profile(forty(rng, rows, 0.0), made)
        now, before = cells.of(window["columns"]["x0"], made["columns"]["x0"])
        assert len(now) == cells.ODD + bins and now.sum() == rows and before.sum() == 20_000, "below, missing, above, left, and the bins"
        words, words_before = cells.of(window["columns"]["x35"], made["columns"]["x35"])
        assert words.sum() == rows and words_before.sum() == pytest.approx(20_000)
        assert cells.ODD + 5 < len(words) < len(made["columns"]["x35"]["counts"]), "rare ones together"
        for reference in (before, words_before):
            assert (reference[cells.ODD :] / 20_000 * rows >= cells.MIN_EXPECTED * 0.99).all()


ODD = [0.0, 1.0, float("inf"), float("nan"), 1.7e308, -1.7e308, 5e-324]
NUMBERS = st.lists(st.floats(-100, 100) | st.none() | st.sampled_from(ODD), min_size=1, max_size=80)
WORDS = st.lists(st.sampled_from("abcdefgh") | st.none(), min_size=1, max_size=80)


@given(st.tuples(NUMBERS, NUMBERS, st.just(NUMBER)) | st.tuples(WORDS, WORDS, st.just(WORD)))
def test_every_row_is_in_one_cell_and_every_measure_is_a_number(case: tuple[list[Any], list[Any], Signature]) -> None:
    given_before, given_now, signature = case
    now, before = pair(given_before, given_now, signature)
    a, b = cells.of(now, before)
    assert a.sum() == cells.rows(now) == len(given_now) and b.sum() == pytest.approx(len(given_before))
    fitting = columns.OF_NUMBERS if signature is NUMBER else columns.OF_CATEGORIES
    for measure in fitting:
        value = columns.Pair(now, before).effect(measure)
        assert np.isfinite(value) and value >= 0
        assert measure in ("psi", "wasserstein") or value <= 1 + 1e-12
    assert 0 <= columns.Pair(now, before).p_value() <= 1
    facts = columns.facts("x", now, before)
    assert 0 <= facts["missing"] <= 1 and facts["column"] == "x"


@given(st.tuples(NUMBERS, st.just(NUMBER)) | st.tuples(WORDS, st.just(WORD)))
def test_a_column_does_not_differ_from_itself(case: tuple[list[Any], Signature]) -> None:
    same, signature = case
    now, before = pair(same, same, signature)
    before = {**before, "once": 0}  # of values to come, nothing is expected here
    for measure in columns.OF_NUMBERS if signature is NUMBER else columns.OF_CATEGORIES:
        assert columns.Pair(now, before).effect(measure) == pytest.approx(0, abs=1e-7)
    assert columns.Pair(now, before).p_value() == 1


def test_of_values_in_order_the_profile_errs_by_a_percent_at_most() -> None:
    rng = np.random.default_rng(3)
    for draw in (rng.standard_normal, rng.standard_exponential, partial(rng.lognormal, 1, 1), partial(rng.poisson, 4.0)):
        before, now = draw(size=20_000), draw(size=3000) * 1.3 + 0.4
        got = pair(before, now)
        exact = scipy.stats.ks_2samp(now, before).statistic
        assert exact - 0.02 < columns.Pair(*got).effect("ks") <= exact + 1e-12, "and never too great"
        distance = scipy.stats.wasserstein_distance(now, before) / before.std()
        assert columns.Pair(*got).effect("wasserstein") == pytest.approx(distance, rel=0.02)


def test_thresholds_are_those_of_one_shift() -> None:
    """A bell curve moved by 0.45 of its deviation is at every measure's threshold, but for L-infinity's."""
    rng = np.random.default_rng(4)
    got = pair(rng.standard_normal(200_000), rng.standard_normal(200_000) + 0.447)
    for measure in set(columns.OF_NUMBERS) - {"l_infinity"}:
        assert columns.Pair(*got).effect(measure) == pytest.approx(columns.THRESHOLDS[measure], rel=0.1), measure
    words = pair(*(np.digitize(rng.standard_normal(200_000) + d, np.linspace(-2, 2, 12)).astype(str) for d in (0, 0.447)), WORD)
    for measure in set(columns.OF_CATEGORIES) - {"l_infinity"}:
        assert columns.Pair(*words).effect(measure) == pytest.approx(columns.THRESHOLDS[measure], rel=0.12), measure


def test_v_does_not_depend_on_how_many_rows_a_side_has() -> None:
    p, q = np.array([5, 3, 2]), np.array([4, 3, 3])
    values = {
        columns.Pair(*pair(np.repeat(list("abc"), q * (m // 10)), np.repeat(list("abc"), p * (n // 10)), WORD)).effect("cramers_v")
        for n, m in ((20_000, 20_000), (20_000, 200_000), (200_000, 20_000))
    }
    assert max(values) - min(values) < 0.002 and min(values) == pytest.approx(0.127, abs=0.01)


def test_what_is_missing_moves_every_measure() -> None:
    rng = np.random.default_rng(5)
    usual = rng.standard_normal(2000)
    gone = pair(usual, [None] * 500)
    assert all(columns.Pair(*gone).effect(m) >= columns.THRESHOLDS[m] for m in columns.OF_NUMBERS)
    assert columns.Pair(*gone).p_value() < 1e-9
    came = pair([None] * 2000, usual[:500])
    assert all(columns.Pair(*came).effect(m) >= columns.THRESHOLDS[m] for m in columns.OF_NUMBERS)
    assert columns.Pair(*came).p_value() < 1e-9
    constant = pair(np.ones(2000), np.full(500, 2.0))
    assert (
        all(columns.Pair(*constant).effect(m) >= columns.THRESHOLDS[m] for m in columns.OF_NUMBERS)
        and columns.Pair(*constant).p_value() < 1e-9
    )


def test_the_p_value_holds_where_nothing_moved() -> None:
    """Of 2,000 pairs of samples, of many kinds and with rare cells, at most the share that it says."""
    rng, found = np.random.default_rng(6), []
    for _ in range(500):
        n, m = rng.choice([200, 1000]), rng.choice([500, 5000])
        rare = rng.standard_normal(n + m)
        rare[rng.random(n + m) < 0.005] = np.nan
        found.append(columns.Pair(*pair(rare[:m], rare[m:])).p_value())
        counts = rng.poisson(2, n + m).astype(float)
        found.append(columns.Pair(*pair(counts[:m], counts[m:])).p_value())
        words = rng.zipf(1.7, n + m).clip(max=50).astype(str)
        found.append(columns.Pair(*pair(words[:m], words[m:], WORD)).p_value())
        few = rng.choice(["a", "b", "c"], n + m, p=[0.9, 0.095, 0.005])
        found.append(columns.Pair(*pair(few[:m], few[m:], WORD)).p_value())
    for level in (0.1, 0.01, 0.001):
        said = sum(p <= level for p in found)
        assert scipy.stats.binomtest(said, len(found), level, alternative="greater").pvalue > 0.001, (level, said)


def test_something_rare_that_comes_often_is_no_chance() -> None:
    rng = np.random.default_rng(7)
    usual = rng.standard_normal(20_000)
    for odd in (None, 1e9, -1e9):
        assert columns.Pair(*pair(usual, [*rng.standard_normal(190), *[odd] * 10])).p_value() < 1e-6
        assert columns.Pair(*pair(usual, [*rng.standard_normal(199), odd])).p_value() > 1e-3, "one of 200 is"
    words = rng.choice(["a", "b"], 20_000)
    assert columns.Pair(*pair(words, [*rng.choice(["a", "b"], 190), *["new"] * 10], WORD)).p_value() < 1e-6


def test_a_column_of_almost_only_zeros_is_seen_to_leave_them() -> None:
    """What is left beside the zeros is too little for a bin of its own kind, and yet one: else all would be one cell, and nothing moved."""
    rng = np.random.default_rng(8)
    usual = np.where(rng.random(5000) < 0.025, rng.integers(1, 15, 5000), 0).astype(float)
    shifted = pair(usual, usual[:500] + 0.5)
    assert all(columns.Pair(*shifted).effect(m) >= columns.THRESHOLDS[m] for m in set(columns.OF_NUMBERS) - {"wasserstein"})
    assert columns.Pair(*shifted).p_value() < 1e-9
    words = pair(np.where(usual > 0, "b", "a"), np.where(np.arange(500) % 2, "b", "a"), WORD)
    assert (
        all(columns.Pair(*words).effect(m) >= columns.THRESHOLDS[m] for m in columns.OF_CATEGORIES)
        and columns.Pair(*words).p_value() < 1e-9
    )
