"""Measures and p-values against SciPy's, to 1e-9."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from hypothesis import assume, example, given
from hypothesis import strategies as st

from modelyard.monitor.drift import measures, testing

COUNTS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 4000)), min_size=2, max_size=25)
VALUES = st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)) | st.integers(-3, 3).map(float), min_size=1, max_size=60)
P_VALUES = st.lists(st.floats(0, 1), max_size=30)


def sides(cells: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    now, before = (np.array([c[i] for c in cells], float) for i in (0, 1))
    assume(now.sum() and before.sum())
    return now, before


def as_cells(x: list[float], y: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two samples as counts of their values, which is what the measures take, and the values."""
    values = np.unique(x + y)
    now, before = ((np.searchsorted(values, side)) for side in (x, y))
    return np.bincount(now, minlength=len(values)).astype(float), np.bincount(before, minlength=len(values)).astype(float), values


@given(COUNTS)
def test_psi_is_that_of_a_plain_loop(cells: list[tuple[int, int]]) -> None:
    now, before = sides(cells)
    n, m = now.sum(), before.sum()
    expected = 0.0
    for a, b in cells:
        if a == b == 0:
            continue
        p = a / n if a else min(0.5 / n, b / m)
        q = b / m if b else min(0.5 / m, a / n)
        expected += (p - q) * math.log(p / q)
    assert measures.psi(now, before) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_psi_by_hand() -> None:
    p, q = np.array([200.0, 300, 500]), np.array([300.0, 300, 400])
    assert measures.psi(p, q) == pytest.approx(0.1 * math.log(1.5) + 0.1 * math.log(1.25))
    assert measures.psi(q, 10 * q) == pytest.approx(0, abs=1e-15)


@given(COUNTS)
def test_distances_of_shares_are_those_of_scipy(cells: list[tuple[int, int]]) -> None:
    now, before = sides(cells)
    p, q = now / now.sum(), before / before.sum()
    # Under the root a rounding of 1e-16 is one of 1e-8: hence the squares.
    oracle = np.nan_to_num(float(scipy.spatial.distance.jensenshannon(now, before, base=2)))
    assert measures.jensen_shannon(now, before) ** 2 == pytest.approx(oracle**2, abs=1e-9)
    assert measures.l_infinity(now, before) == pytest.approx(scipy.spatial.distance.chebyshev(p, q), abs=1e-9)
    assert measures.hellinger(now, before) == pytest.approx(scipy.spatial.distance.euclidean(np.sqrt(p), np.sqrt(q)) / 2**0.5, abs=1e-9)


@given(COUNTS)
@example([(1, 1), (0, 0)])
@example([(5, 0), (0, 7)])
def test_the_table_of_counts_is_that_of_scipy(cells: list[tuple[int, int]]) -> None:
    now, before = sides(cells)
    statistic, freedom = measures.chi_square(now, before)
    used = now + before > 0
    table = np.stack([now, before])[:, used]
    oracle = scipy.stats.chi2_contingency(table, correction=False)
    assert (statistic, freedom) == (pytest.approx(oracle.statistic, rel=1e-9, abs=1e-9), oracle.dof)
    assert testing.chi_square_p(statistic, freedom) == pytest.approx(oracle.pvalue, rel=1e-9, abs=1e-300)
    if freedom:
        association = scipy.stats.contingency.association(table.astype(int), method="cramer")
        assert measures.cramers_v(now, before, corrected=False) == pytest.approx(association, abs=1e-9)
        assert 0 <= measures.cramers_v(now, before) <= 1


def test_the_corrected_v_is_bergsmas() -> None:
    """By his formulas, written out for one table, and near 0 on average where nothing depends on anything."""
    now, before = np.array([30.0, 20, 10]), np.array([20.0, 30, 40])
    n, phi2 = 150, scipy.stats.chi2_contingency(np.stack([now, before]), correction=False).statistic / 150
    rows, columns = 2 - 1 / (n - 1), 3 - 4 / (n - 1)
    by_hand = math.sqrt(max(0, phi2 - 2 / (n - 1)) / min(rows - 1, columns - 1))
    assert measures.cramers_v(now, before) == pytest.approx(by_hand, rel=1e-12)
    rng = np.random.default_rng(0)
    tables = [(rng.multinomial(100, [0.1] * 10).astype(float), rng.multinomial(100, [0.1] * 10).astype(float)) for _ in range(300)]
    plain, corrected = (np.mean([measures.cramers_v(*t, corrected=c) ** 2 for t in tables]) for c in (False, True))
    assert plain > 0.035 and corrected < 0.015


@given(VALUES, VALUES)
def test_of_samples_ks_and_wasserstein_are_those_of_scipy(x: list[float], y: list[float]) -> None:
    now, before, values = as_cells(x, y)
    distance = measures.ks(now, before)
    assert distance == pytest.approx(scipy.stats.ks_2samp(x, y).statistic, abs=1e-9)
    n, m = len(x), len(y)
    assert testing.ks_p(distance, n, m) == pytest.approx(scipy.stats.kstwobign.sf(math.sqrt(n * m / (n + m)) * distance), abs=1e-9)
    oracle = scipy.stats.wasserstein_distance(x, y)
    assert measures.wasserstein(now, before, values) == pytest.approx(oracle, rel=1e-9, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400), st.floats(-1e3, 1e3)), min_size=1, max_size=25))
def test_wasserstein_takes_weighted_supports_in_any_order(cells: list[tuple[int, int, float]]) -> None:
    now, before = sides([c[:2] for c in cells])
    values = np.array([c[2] for c in cells])
    oracle = scipy.stats.wasserstein_distance(values, values, now, before)
    assert measures.wasserstein(now, before, values) == pytest.approx(oracle, rel=1e-9, abs=1e-9)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(60, 5000), st.integers(60, 5000))
def test_the_test_of_rates_is_two_binomial_tails(now: int, before: int, n: int, m: int) -> None:
    total, share = now + before, n / (n + m)
    low, high = scipy.stats.binom.cdf(now, total, share), scipy.stats.binom.sf(now - 1, total, share)
    assert testing.rare_p(now, before, n, m) == pytest.approx(min(1.0, 2 * min(low, high)), rel=1e-9, abs=1e-300)


@given(P_VALUES)
def test_benjamini_and_hochbergs_correction_is_that_of_scipy(p: list[float]) -> None:
    oracle = scipy.stats.false_discovery_control(p) if p else []
    assert testing.corrected(p, "benjamini_hochberg") == pytest.approx(list(oracle), abs=1e-9)
    assert testing.corrected(p, "none") == p


@given(P_VALUES, st.floats(0.0001, 0.3))
def test_holms_correction_rejects_what_his_steps_do(p: list[float], level: float) -> None:
    rejected, left = set[int](), len(p)
    for i in sorted(range(len(p)), key=p.__getitem__):
        assume(abs(p[i] * left - level) > 1e-12)
        if p[i] * left > level:
            break
        rejected.add(i)
        left -= 1
    assert {i for i, q in enumerate(testing.corrected(p, "holm")) if q <= level} == rejected
