from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from modelyard.config.spec import ColumnConstraint, DataQuality
from modelyard.monitor import profile, quality
from modelyard.monitor.quality import Counts, Violation, counting
from modelyard.monitor.quality.constraints import upper
from tests.monitor.quality.made import CARRIERS, SIGNED, found, names, table

BASELINE = profile.baseline(table(5000, 1), SIGNED)
HELD = quality.held(BASELINE, SIGNED, DataQuality())


def test_suggested_by_the_training_data() -> None:
    rows = table(5000, 1)
    assert list(HELD) == ["stops", "wind", "load", "carrier", "late"]
    assert [HELD[name].type for name in HELD] == ["int", "float", "float", "str", "bool"]
    assert (HELD["stops"].min, HELD["stops"].max, HELD["stops"].non_negative) == (0, rows["f.stops"].max(), True)
    assert HELD["carrier"].categories == tuple(sorted(CARRIERS)) and HELD["late"].categories == ("false", "true")
    assert 0.98 < (HELD["load"].completeness or 0) < 0.99
    assert 0.84 < (HELD["wind"].completeness or 0) < 0.88
    assert HELD["load"].range_match is None and HELD["carrier"].domain_match is None


def test_a_small_training_table_leaves_room_in_what_it_suggests() -> None:
    small = quality.suggest(profile.baseline(table(60, 2), SIGNED), SIGNED, 0.01)
    assert small["load"].range_match is not None and small["load"].range_match < 0.9
    assert small["load"].completeness is not None and small["load"].completeness < 0.9


def test_columns_without_a_range_or_a_domain() -> None:
    signed = SIGNED.from_dict({**SIGNED.to_dict(), "columns": [{"name": "id", "type": "str"}, {"name": "at", "type": "datetime"}]})
    at = pl.Series(np.arange(500) * 10**6, dtype=pl.Datetime("us", "UTC"))
    ids = pl.DataFrame({"f.id": [str(i) for i in range(500)], "f.at": at, "y.prediction": 0, "y.probability_1": 0.5})
    held = quality.suggest(profile.baseline(ids, signed), signed, 0.01)
    assert held["id"].categories is None and held["id"].type == "str"
    assert held["at"].type is None and held["at"].min is None


@pytest.mark.parametrize("rows", [60, 500, 20_000])
def test_stable_windows_do_not_alarm(rows: int) -> None:
    """Against baselines of three sizes, with the windows of each: at most one in a hundred, all columns together."""
    alarms = windows = 0
    for size in (200, 2000, 20_000):
        for draw in range(2):
            baseline = profile.baseline(table(size, 1000 + draw), SIGNED)
            held = quality.held(baseline, SIGNED, DataQuality())
            for seed in range(50 if rows < 20_000 else 8):
                alarms += bool(found(table(rows, seed), baseline, held))
                windows += 1
    assert alarms <= windows / 100


def broken(kind: str) -> pl.DataFrame:
    rows = table(400, 3)
    half = pl.int_range(pl.len()) % 2 == 0
    return {
        "lacking": rows.with_columns(pl.when(half).then(pl.col("f.load")).alias("f.load")),
        "all missing": rows.with_columns(pl.lit(None, pl.Float64).alias("f.load")),
        "gone": rows.drop("f.load"),
        "text": rows.with_columns(pl.when(half).then(pl.lit("n/a")).otherwise(pl.col("f.load").cast(pl.String)).alias("f.load")),
        "no whole numbers": rows.with_columns(pl.col("f.stops") + 0.5),
        "negative": rows.with_columns(-pl.col("f.load")),
        "beyond": rows.with_columns(pl.col("f.wind") + 100),
        "new": rows.with_columns(pl.when(half).then(pl.lit("xx")).otherwise(pl.col("f.carrier")).alias("f.carrier")),
        "numbers for text": rows.with_columns(pl.Series("f.carrier", range(400))),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("lacking", [("load", "completeness_check")]),
        ("all missing", [("load", "missing_column_check")]),
        ("gone", [("load", "missing_column_check")]),
        ("text", [("load", "data_type_check")]),
        ("no whole numbers", [("stops", "data_type_check")]),
        ("negative", [("load", "baseline_drift_check")]),
        ("beyond", [("wind", "baseline_drift_check")]),
        ("new", [("carrier", "categorical_values_check")]),
        ("numbers for text", [("carrier", "data_type_check"), ("carrier", "categorical_values_check")]),
    ],
)
def test_what_breaks_says_which_column_and_which_check(kind: str, wanted: list[tuple[str, str]]) -> None:
    assert names(found(broken(kind), BASELINE, HELD)) == wanted


def test_numbers_that_a_table_had_to_make_text_are_numbers_still() -> None:
    rows = table(400, 3).with_columns(pl.col("f.stops").cast(pl.String), pl.col("f.load").cast(pl.String), pl.col("f.late").cast(pl.String))
    assert found(rows, BASELINE, HELD) == []


def test_a_few_rows_are_chance_and_their_share_decides_in_a_big_window() -> None:
    def with_new(rows: int, new: int) -> pl.DataFrame:
        return table(rows, 4).with_columns(
            pl.when(pl.int_range(pl.len()) < new).then(pl.lit("xx")).otherwise(pl.col("f.carrier")).alias("f.carrier")
        )

    assert found(with_new(60, 3), BASELINE, HELD) == []  # 5% of 60 rows
    assert names(found(with_new(20_000, 400), BASELINE, HELD)) == [("carrier", "categorical_values_check")]  # 2%
    assert found(with_new(20_000, 190), BASELINE, HELD) == []  # 0.95%


@given(st.integers(0, 200), st.integers(1, 200), st.sampled_from([0.0, 0.01, 0.2, 1.0]))
def test_violated_as_the_binomial_test_has_it(hits: int, rows: int, allowed: float) -> None:
    """SciPy's own test, one-sided, with the level that the checks share."""
    hits = min(hits, rows)
    held = {"a": ColumnConstraint(categories=("x",), domain_match=1 - allowed)}
    violated = bool(quality.check({"a": Counts(rows, rows, new=hits)}, held, 0.0))
    p = stats.binomtest(hits, rows, 1 - (1 - allowed), alternative="greater").pvalue if hits else 1.0
    assert violated == (hits > (1 - (1 - allowed)) * rows and p < 0.001 / 6)


@given(st.integers(0, 50), st.integers(1, 500), st.sampled_from([1e-5, 1e-3, 0.05]))
def test_the_upper_bound_is_clopper_and_pearsons(hits: int, rows: int, doubt: float) -> None:
    hits = min(hits, rows)
    oracle = stats.binomtest(hits, rows).proportion_ci(confidence_level=1 - 2 * doubt, method="exact").high
    assert upper(hits, rows, doubt) == pytest.approx(oracle, abs=1e-9)


def test_no_row_may_break_what_allows_none() -> None:
    held = {"load": ColumnConstraint(completeness=1.0), "wind": ColumnConstraint(max=10_000.0, range_match=1.0)}
    one = table(5000, 5).with_columns(pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise(pl.col("f.load")).alias("f.load"))
    one = one.with_columns(pl.when(pl.int_range(pl.len()) == 8).then(1e9).otherwise(pl.col("f.wind")).alias("f.wind"))
    assert sorted(names(found(one, BASELINE, held))) == [("load", "completeness_check"), ("wind", "baseline_drift_check")]


def test_the_config_has_the_last_word() -> None:
    written = DataQuality.model_validate(
        {"columns": {"wind": {"max": 12}, "carrier": {"type": "any", "categories": ["c0", "c1"]}, "stops": {"min": 100}}}
    )
    held = quality.held(BASELINE, SIGNED, written)
    assert held["wind"].max == 12 and held["wind"].min == BASELINE["columns"]["wind"]["low"]
    assert held["stops"].min == 100 and held["stops"].max is None  # what the training data suggests contradicts it
    assert held["carrier"].categories == ("c0", "c1") and held["late"] == HELD["late"]
    said = names(found(table(400, 3), BASELINE, held))
    assert set(said) == {("wind", "baseline_drift_check"), ("carrier", "categorical_values_check"), ("stops", "baseline_drift_check")}
    alone = quality.held(BASELINE, SIGNED, written.model_copy(update={"suggest": False}))
    assert list(alone) == ["wind", "carrier", "stops"] and alone["wind"].completeness is None


def test_a_written_constraint_on_what_is_no_feature() -> None:
    held = {"plane": ColumnConstraint(completeness=0.9), "nothing": ColumnConstraint(type="int")}
    rows = table(400, 3).with_columns(pl.lit(None, pl.String).alias("x.plane"))
    assert sorted(names(found(rows, BASELINE, held))) == [("nothing", "missing_column_check"), ("plane", "missing_column_check")]


def test_an_upside_down_range_is_refused() -> None:
    with pytest.raises(ValidationError, match="`min` is greater than `max`"):
        ColumnConstraint(min=2, max=1)


constraints = st.builds(
    ColumnConstraint,
    type=st.sampled_from([None, "any", "int", "float"]),
    min=st.sampled_from([None, "low"]).map(lambda b: b and BASELINE["columns"]["wind"]["low"]),
    max=st.sampled_from([None, "high"]).map(lambda b: b and BASELINE["columns"]["wind"]["edges"][-1]),
    non_negative=st.sampled_from([None, True]),
)


@given(constraints, st.lists(st.one_of(st.none(), st.floats(-50, 50), st.integers(-50, 50).map(float)), min_size=1, max_size=60))
def test_a_profile_tells_what_counting_the_rows_does(held: ColumnConstraint, values: list[float | None]) -> None:
    rows = table(len(values), 6).with_columns(pl.Series("f.wind", values, dtype=pl.Float64))
    counts = quality.of_window(rows, profile.profile(rows, BASELINE), BASELINE, {"wind": held})["wind"]
    known = [v for v in values if v is not None]
    low, high = -math.inf if held.min is None else held.min, math.inf if held.max is None else held.max
    assert (counts.rows, counts.present) == (len(values), len(known))
    assert counts.outside == sum(not low <= v <= high for v in known)
    assert counts.negative == (sum(v < 0 for v in known) if held.non_negative else 0)
    assert counts.mistyped == (sum(v != int(v) for v in known) if held.type == "int" else 0)


@given(
    st.lists(st.sampled_from([*CARRIERS[:3], "new", "newer"]), min_size=1, max_size=60), st.sampled_from([CARRIERS, CARRIERS[:2], ["new"]])
)
def test_domains_are_counted_alike(values: list[str], domain: list[str]) -> None:
    rows = table(len(values), 6).with_columns(pl.Series("f.carrier", values))
    held = {"carrier": ColumnConstraint(categories=tuple(domain))}
    counts = quality.of_window(rows, profile.profile(rows, BASELINE), BASELINE, held)["carrier"]
    outside = [v for v in values if v not in domain]
    assert counts.new == len(outside) and counts.fresh == {v: outside.count(v) for v in dict.fromkeys(outside)}


def test_the_distance_of_a_column_from_the_baseline() -> None:
    held = {"wind": ColumnConstraint(distance=0.1), "carrier": ColumnConstraint(distance=0.1), "load": ColumnConstraint(distance=0.5)}
    assert found(table(5000, 7), BASELINE, held) == []
    moved = table(5000, 7).with_columns(pl.col("f.wind") + 1, pl.lit("c0").alias("f.carrier"), pl.col("f.load") * 2)
    assert sorted(names(found(moved, BASELINE, held))) == [("carrier", "baseline_drift_check"), ("wind", "baseline_drift_check")]
    rows, before = moved["f.wind"].drop_nulls(), table(5000, 1)["f.wind"].drop_nulls()
    exact = stats.ks_2samp(rows, before).statistic
    binned = counting.distance(profile.profile(moved, BASELINE)["columns"]["wind"], BASELINE["columns"]["wind"])
    assert exact - 0.05 < binned <= exact + 1e-12
    assert found(moved.head(30), BASELINE, {"carrier": ColumnConstraint(distance=0.9)}) == []  # chance, in so few rows


def judged(violations: list[Violation], rows: int = 100, **words: Any) -> tuple[str, str]:
    verdict = quality.judge(violations, rows, DataQuality(**words), 5)
    return verdict.status, verdict.reason


def test_verdicts() -> None:
    broken, extra = Violation("a", "data_type_check", "no int", 0.5), Violation("b", "extra_column_check", "unknown", 1.0)
    assert judged([]) == ("healthy", "data_quality: 5 columns as expected")
    assert judged([broken]) == ("violated", "data_quality: 1 violation in 5 columns (a: no int)")
    assert judged([extra])[0] == "warning"
    assert judged([extra], extra_columns="violate")[0] == "violated" and judged([extra], extra_columns="ignore")[0] == "healthy"
    assert judged([], rows=49) == ("unknown", "data_quality: 49 rows in the window, 50 are needed")
    assert judged([], rows=0)[0] == "unknown"
    assert quality.judge([], 100, DataQuality(), 0).status == "unknown"
    named = quality.judge([], 100, DataQuality(), 4, ["tailnum"])
    assert named.status == "healthy" and "tailnum" in named.reason and named.evidence["redacted"] == ["tailnum"]


def test_evidence_stays_small() -> None:
    import json

    many = [Violation(f"column_{i}", "data_type_check", "x" * 400, 1.0) for i in range(500)]
    verdict = quality.judge(many, 100, DataQuality(), 500)
    assert verdict.evidence["violated"] == 500 and len(json.dumps(verdict.evidence)) < 4096
