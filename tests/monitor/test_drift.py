from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
import scipy.spatial.distance
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from modelyard.config.spec import Drift
from modelyard.errors import BadInput
from modelyard.monitor import drift
from modelyard.monitor.drift import DriftResult, judge
from modelyard.monitor.profile import baseline, profile
from modelyard.signature import Column, Signature

COUNTS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 4000)), min_size=2, max_size=25)


def shares(cells: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray, float, float]:
    now, before = (np.array([c[i] for c in cells], float) for i in (0, 1))
    assume(now.sum() and before.sum())
    return now, before, float(now.sum()), float(before.sum())


@given(COUNTS)
def test_psi_is_that_of_a_plain_loop(cells: list[tuple[int, int]]) -> None:
    now, before, n, m = shares(cells)
    expected = 0.0
    for a, b in cells:
        if a == b == 0:
            continue
        p = a / n if a else min(0.5 / n, b / m)
        q = b / m if b else min(0.5 / m, a / n)
        expected += (p - q) * math.log(p / q)
    assert drift.psi(now / n, before / m, n, m) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_psi_by_hand() -> None:
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.3, 0.4])
    assert drift.psi(p, q, 1e9, 1e9) == pytest.approx(0.1 * math.log(1.5) + 0.1 * math.log(1.25))
    assert drift.psi(q, q, 10, 10) == 0


@given(COUNTS)
def test_evidence_is_that_of_scipy(cells: list[tuple[int, int]]) -> None:
    now, before, n, m = shares(cells)
    assert drift.jensen_shannon(now / n, before / m) == pytest.approx(
        float(scipy.spatial.distance.jensenshannon(now / n, before / m, base=2)), abs=1e-7
    )
    codes = np.arange(len(cells))
    exact = scipy.stats.ks_2samp(np.repeat(codes, now.astype(int)), np.repeat(codes, before.astype(int)), method="asymp")
    distance, p_value = drift.kolmogorov_smirnov(now, before)
    assert distance == pytest.approx(exact.statistic, abs=1e-12)
    assert p_value == pytest.approx(scipy.stats.kstwobign.sf(math.sqrt(n * m / (n + m)) * distance), abs=1e-12)
    used = now + before > 0
    assume(used.sum() > 1)
    oracle = scipy.stats.chi2_contingency(np.stack([now, before])[:, used], correction=False)
    assert drift.chi_square(now, before) == pytest.approx(oracle.pvalue, rel=1e-9, abs=1e-300)


def test_what_chance_explains_is_a_quantile_of_chi_square() -> None:
    assert drift.psi_by_chance(20, 200, 1000) == pytest.approx((1 / 200 + 1 / 1000) * scipy.stats.chi2.isf(0.001, 19))
    assert drift.psi_by_chance(1, 200, 1000) == 0


# --- verdicts, on tables -------------------------------------------------------------------------------------------------------

MIXED = Signature(
    "binary_classification",
    tuple(Column(f"n{i}", "float") for i in range(6)) + tuple(Column(f"c{i}", "str") for i in range(5)),
    classes=(0, 1),
    positive_class=1,
)


def mixed(rng: np.random.Generator, rows: int, **changed: object) -> pl.DataFrame:
    columns: dict[str, object] = {f"f.n{i}": rng.standard_normal(rows) for i in range(6)}
    columns |= {f"f.c{i}": rng.choice(list("abcde"), rows, p=[0.4, 0.3, 0.15, 0.1, 0.05]) for i in range(5)}
    columns["y.probability_1"] = rng.beta(2, 5, rows)
    return pl.DataFrame({**columns, **changed})


REFERENCE = baseline(mixed(np.random.default_rng(0), 20_000), MIXED)


def judged(frame: pl.DataFrame, **spec: object) -> DriftResult:
    result = judge(profile(frame, REFERENCE), REFERENCE, Drift(**spec), MIXED)
    json.dumps([result.verdict.to_dict(), result.columns, result.prediction], allow_nan=False)
    return result


def test_a_stable_window_is_healthy_and_says_what_moved_most() -> None:
    result = judged(mixed(np.random.default_rng(1), 2000))
    assert result.verdict.status == "healthy"
    top = result.columns[0]
    assert result.verdict.reason == (
        f"drift: none of 11 features moved (most: {top['column']} PSI {top['psi']:.2f} of 0.20); "
        f"the score holds (PSI {result.prediction['psi']:.2f})"
    )


def test_the_reason_names_what_moved_with_numbers_most_first() -> None:
    rng = np.random.default_rng(2)
    frame = mixed(rng, 3000)
    frame = frame.with_columns(pl.col("f.n0", "f.n1") + 1, pl.col("f.n2") + 2, pl.lit("a").alias("f.c3"))
    frame = frame.with_columns(pl.col("y.probability_1").sqrt())
    verdict = judged(frame).verdict
    assert verdict.status == "violated"
    moved = verdict.evidence["moved"]
    by_name = {c["column"]: c["psi"] for c in verdict.evidence["columns"]}
    assert sorted(moved) == ["c3", "n0", "n1", "n2"] and moved == sorted(moved, key=by_name.__getitem__, reverse=True)
    named = f"{moved[0]} PSI {by_name[moved[0]]:.2f}, " + ", ".join(f"{n} {by_name[n]:.2f}" for n in moved[1:])
    assert verdict.reason.startswith(f"drift: 4 of 11 features moved ({named}); the score moved (PSI ")
    assert by_name["n0"] == pytest.approx(1.0, abs=0.2), "PSI of two normals one apart is 1"


def test_fewer_than_the_share_is_a_warning() -> None:
    frame = mixed(np.random.default_rng(3), 2000).with_columns(pl.col("f.n0") + 1)
    assert judged(frame).verdict.status == "warning"
    assert "below the 30% that count" in judged(frame).verdict.reason
    assert judged(frame, columns=("n0", "n1", "n2")).verdict.status == "violated", "one of three watched"
    assert judged(frame, columns=("n1", "n2")).verdict.status == "healthy"


def test_the_score_alone_is_enough() -> None:
    verdict = judged(mixed(np.random.default_rng(4), 2000).with_columns(pl.col("y.probability_1").sqrt())).verdict
    assert verdict.status == "violated" and "none of 11 features moved" in verdict.reason and "the score moved" in verdict.reason


def test_a_fresh_category_and_fresh_missing_values_count() -> None:
    frame = mixed(np.random.default_rng(5), 400).with_row_index()
    frame = frame.with_columns(
        pl.when(pl.col("index") % 10 == 0).then(pl.lit("XX")).otherwise("f.c0").alias("f.c0"),
        pl.when(pl.col("index") % 10 != 0).then("f.n0").alias("f.n0"),
        pl.when(pl.col("index") % 10 == 0).then(1e9).otherwise("f.n1").alias("f.n1"),
    )
    result = judged(frame)
    assert {c["column"] for c in result.columns if c["moved"]} == {"c0", "n0", "n1"}
    assert "with new value 'XX' and such in 10%" in result.verdict.reason
    assert "with 10% missing, 0% before" in result.verdict.reason


def test_a_column_that_goes_missing_altogether_moved() -> None:
    assert judged(mixed(np.random.default_rng(6), 400).drop("f.n3")).columns[0]["column"] == "n3"


def test_whatever_the_threshold_what_chance_explains_is_no_move() -> None:
    rng, moved = np.random.default_rng(9), 0
    for _ in range(30):
        result = judged(mixed(rng, 200), psi=0.01, prediction_psi=0.01)
        assert sum(c["psi"] > 0.01 for c in result.columns) > 5, "above the threshold, and yet"
        moved += sum(c["moved"] for c in [*result.columns, result.prediction])
    assert moved <= 3, "of 360"


def test_cells_are_pooled_so_that_the_least_window_still_shows_a_psi_of_the_default_threshold() -> None:
    rng = np.random.default_rng(10)
    made = baseline(forty(rng, 20_000, 0.0), FORTY)
    for rows, cells in ((200, 10), (1000, 20)):
        window = profile(forty(rng, rows, 0.0), made)
        assert all(c["chance"] < 0.2 for c in judge(window, made, Drift(), FORTY).columns)
        now, before = drift._numeric_cells(window["columns"]["x0"], made["columns"]["x0"], rows)
        assert len(now) == 3 + cells and now.sum() == rows and before.sum() == 20_000, "below, missing, above, and the bins"
        assert (before[3:] / 20_000 * rows >= drift.MIN_EXPECTED).all()
        words, words_before = drift._categories(window["columns"]["x35"], made["columns"]["x35"], rows)
        assert words.sum() == rows and words_before.sum() == pytest.approx(20_000)
        assert len(words) < len(made["columns"]["x35"]["counts"])


def test_too_few_rows_are_unknown_however_wild() -> None:
    wild = mixed(np.random.default_rng(7), 199).with_columns(pl.lit(1e6).alias("f.n0"), pl.lit(1.0).alias("y.probability_1"))
    assert judged(wild).verdict.reason == "drift: 199 rows in the window, 200 are needed"
    assert judged(wild).verdict.status == judged(wild.clear(), min_rows=1).verdict.status == "unknown"


def test_a_watched_column_that_is_no_feature_is_refused() -> None:
    with pytest.raises(BadInput, match="'n00' is no feature") as caught:
        judged(mixed(np.random.default_rng(8), 300), columns=("n00",))
    assert caught.value.next == "did you mean 'n0'?"


def test_unseen_values_of_a_long_tail_are_no_drift() -> None:
    """A baseline of 300 rows has seen a part of 600 tail numbers: what else comes is expected, by Good's estimate."""
    signature = Signature("regression", (Column("tailnum", "str"),))
    violated = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        before, now = (
            pl.DataFrame({"f.tailnum": rng.zipf(1.7, rows).clip(max=600).astype(str), "y.prediction": rng.random(rows)})
            for rows in (300, 400)
        )
        made = baseline(before, signature)
        assert made["columns"]["tailnum"]["other"] == 0
        got = profile(now, made)
        assert got["columns"]["tailnum"]["new"] > 0
        violated += judge(got, made, Drift(), signature).columns[0]["moved"]
    assert violated <= 2


# --- seeded simulations: 40 features, 10 of them categories, at default thresholds --------------------------------------------

FORTY = Signature(
    "binary_classification",
    tuple(Column(f"x{i}", "float" if i < 30 else "str") for i in range(40)),
    classes=(0, 1),
    positive_class=1,
)


def forty(rng: np.random.Generator, rows: int, alike: float, shifted: int = 0) -> pl.DataFrame:
    """Normal features that share a factor of weight `alike`, the first `shifted` of them by 0.5 sd; a score of them all."""
    x = np.sqrt(alike) * rng.standard_normal((rows, 1)) + np.sqrt(1 - alike) * rng.standard_normal((rows, 40))
    x[:, :shifted] += 0.5
    score = 1 / (1 + np.exp(-x.sum(1) / 6))
    words = np.char.add("v", np.floor(np.abs(x[:, 30:]) * 12).astype(int).astype(str))  # about 40 categories, most of them rare
    columns = {f"f.x{i}": x[:, i] if i < 30 else words[:, i - 30] for i in range(40)}
    return pl.DataFrame({**columns, "y.probability_1": score})


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.0, 0.9])
@pytest.mark.parametrize("before", [1000, 20_000])
def test_at_most_one_in_a_hundred_stable_windows_of_the_least_size_is_violated(before: int, alike: float) -> None:
    rng, violated, windows = np.random.default_rng(11), 0, 300
    for number in range(windows):
        if number % 30 == 0:
            made = baseline(forty(rng, before, alike), FORTY)
        violated += judge(profile(forty(rng, 200, alike), made), made, Drift(), FORTY).verdict.status == "violated"
    assert violated <= windows // 100


@pytest.mark.slow
def test_half_a_deviation_in_a_third_of_the_columns_is_found() -> None:
    rng, windows, found, by_features = np.random.default_rng(12), 60, 0, 0
    made = baseline(forty(rng, 20_000, 0.0), FORTY)
    for _ in range(windows):
        found += judge(profile(forty(rng, 200, 0.0, 13), made), made, Drift(), FORTY).verdict.status == "violated"
        large = judge(profile(forty(rng, 1000, 0.0, 13), made), made, Drift(), FORTY)
        by_features += len(large.verdict.evidence["moved"]) >= 12
        assert set(large.verdict.evidence["moved"]) <= {f"x{i}" for i in range(13)}, "and nothing else is blamed"
    assert found == windows, "200 rows, with the score, which moves along"
    assert by_features >= 0.9 * windows, "1,000 rows, by the features alone"
