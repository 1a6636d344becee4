"""Verdicts on tables."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelyard.config.spec import ColumnDrift, Drift
from modelyard.errors import BadInput
from modelyard.monitor.drift import DriftResult, Seasonal, Segment, columns, figures, judge, kinds_of, known_to, misfits
from modelyard.monitor.profile import baseline, merge, profile
from modelyard.signature import Column, Signature

from .tables import FORTY, MIXED, forty, mixed

REFERENCE = baseline(mixed(np.random.default_rng(0), 20_000), MIXED)


def judged(frame: pl.DataFrame, season: Seasonal | None = None, segments: Any = (), **spec: Any) -> DriftResult:
    result = judge(profile(frame, REFERENCE), REFERENCE, Drift(**spec), MIXED, season, segments)
    json.dumps([result.columns, result.prediction, result.joint, result.segments], allow_nan=False)
    assert len(json.dumps(result.verdict.evidence, allow_nan=False)) < 4096
    return result


def moved(result: DriftResult) -> set[str]:
    return {c["column"] for c in result.columns if c["moved"]}


def test_a_stable_window_is_healthy_and_says_what_moved_most() -> None:
    result = judged(mixed(np.random.default_rng(1), 2000))
    assert result.verdict.status == "healthy"
    top = result.columns[0]
    assert result.verdict.reason == (
        f"drift: none of 11 features moved (most: {top['column']} PSI {top['value']:.2f} of 0.20); "
        f"the score holds (PSI {result.prediction['value']:.2f})"
    )


def test_the_reason_names_what_moved_with_numbers_most_first() -> None:
    frame = mixed(np.random.default_rng(2), 3000)
    frame = frame.with_columns(pl.col("f.n0", "f.n1") + 1, pl.col("f.n2") + 2, pl.lit("a").alias("f.c3"))
    frame = frame.with_columns(pl.col("y.probability_1").sqrt())
    verdict = judged(frame).verdict
    assert verdict.status == "violated"
    names = verdict.evidence["moved"]
    by_name = {c["column"]: c["value"] for c in verdict.evidence["columns"]}
    assert sorted(names) == ["c3", "n0", "n1", "n2"] and names == sorted(names, key=by_name.__getitem__, reverse=True)
    named = f"{names[0]} PSI {by_name[names[0]]:.2f}, " + ", ".join(f"{n} {by_name[n]:.2f}" for n in names[1:])
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
    assert moved(result) == {"c0", "n0", "n1"}
    assert "with new value 'XX' and such in 10%" in result.verdict.reason
    assert "with 10% missing, 0% before" in result.verdict.reason


def test_a_column_that_goes_missing_altogether_moved() -> None:
    for measure in columns.OF_NUMBERS:
        result = judged(mixed(np.random.default_rng(6), 400).drop("f.n3"), overrides={"n3": {"measure": measure}})
        assert result.columns[0]["column"] == "n3" and moved(result) == {"n3"}


def test_whatever_the_threshold_what_chance_explains_is_no_move() -> None:
    rng, found = np.random.default_rng(9), 0
    low = {"numeric": {"threshold": 0.01}, "categorical": {"threshold": 0.01}, "prediction": {"threshold": 0.01}}
    for _ in range(30):
        result = judged(mixed(rng, 200), **low)
        assert sum(c["value"] > 0.01 for c in result.columns) > 5, "above the threshold, and yet"
        found += len(moved(result)) + result.prediction["moved"]
    assert found <= 1, "of 360"


def test_whatever_its_size_a_window_does_not_alarm_on_next_to_nothing() -> None:
    """Half a million rows see a shift of 0.05 deviations with p = 1e-250 and is no drift."""
    rng = np.random.default_rng(10)
    one = Signature("regression", (Column("x", "float"), Column("y", "float")))
    before, now = (
        pl.DataFrame({"f.x": rng.standard_normal(500_000) + d, "f.y": rng.standard_normal(500_000), "y.prediction": rng.random(500_000)})
        for d in (0.0, 0.05)
    )
    made = baseline(before, one)
    result = judge(profile(now, made), made, Drift(), one)
    (x,) = (c for c in result.columns if c["column"] == "x")
    assert x["p"] < 1e-50 and not x["moved"] and result.verdict.status == "healthy"
    asked = Drift.model_validate({"numeric": {"threshold": 0.002}})
    assert judge(profile(now, made), made, asked, one).verdict.evidence["moved"] == ["x"], "unless somebody asks for it"


def test_each_column_by_its_own_measure() -> None:
    frame = mixed(np.random.default_rng(11), 2000).with_columns(pl.col("f.n0") + 1, pl.col("f.n1") + 1, pl.lit("a").alias("f.c0"))
    spec = {
        "numeric": {"measure": "wasserstein", "threshold": 0.9},
        "categorical": {"measure": "cramers_v"},
        "prediction": {"measure": "hellinger"},
        "overrides": {"n1": {"measure": "ks", "threshold": 0.5}},
    }
    result = judged(frame, **spec)
    by_name = {c["column"]: c for c in result.columns}
    assert [by_name[n]["measure"] for n in ("n0", "n1", "c0")] == ["wasserstein", "ks", "cramers_v"]
    assert by_name["n0"]["value"] == pytest.approx(1, abs=0.1) and by_name["n1"]["value"] == pytest.approx(0.383, abs=0.05)
    assert result.prediction["measure"] == "hellinger" and moved(result) == {"n0", "c0"}, "n1's threshold is higher"
    assert "c0 V 0." in result.verdict.reason and "n0 Wasserstein 1." in result.verdict.reason


def test_too_few_rows_are_unknown_however_wild() -> None:
    wild = mixed(np.random.default_rng(7), 199).with_columns(pl.lit(1e6).alias("f.n0"), pl.lit(1.0).alias("y.probability_1"))
    assert judged(wild).verdict.reason == "drift: 199 rows in the window, 200 are needed"
    assert judged(wild).verdict.status == judged(wild.clear(), min_rows=1).verdict.status == "unknown"


@pytest.mark.parametrize("key, named", [("columns", ("n00",)), ("overrides", {"n00": {"measure": "psi"}})])
def test_a_watched_column_that_is_no_feature_is_refused(key: str, named: Any) -> None:
    with pytest.raises(BadInput, match="'n00' is no feature") as caught:
        judged(mixed(np.random.default_rng(8), 300), **{key: named})
    assert caught.value.next == "did you mean 'n0'?"
    assert judge(REFERENCE, REFERENCE, known_to(REFERENCE, Drift(**{key: named})), MIXED).verdict.status == "healthy"


def test_a_measure_that_does_not_fit_its_column_is_refused() -> None:
    with pytest.raises(BadInput, match="'ks' does not measure categories") as caught:
        judged(mixed(np.random.default_rng(8), 300), overrides={"c0": {"measure": "ks"}})
    assert caught.value.where == "monitor.drift.overrides.c0" and "cramers_v" in (caught.value.next or "")
    with pytest.raises(BadInput, match="'cramers_v' does not measure numbers"):
        judged(mixed(np.random.default_rng(8), 300), prediction={"measure": "cramers_v"})


def test_what_a_measure_does_not_fit_is_judged_by_the_usual_one() -> None:
    asked = Drift(
        categorical={"measure": "hellinger"}, overrides={"c0": {"measure": "ks", "threshold": 0.7}}, prediction={"measure": "cramers_v"}
    )
    used = known_to(REFERENCE, asked)
    assert (used.overrides["c0"].measure, used.overrides["c0"].threshold, used.prediction.measure) == ("hellinger", None, "psi")
    assert [(one.name, one.measure, one.kind) for one in misfits(asked, kinds_of(REFERENCE))] == [
        ("c0", "ks", "categorical"),
        ("", "cramers_v", "numeric"),
    ]
    right = Drift(overrides={"c0": {"measure": "cramers_v", "threshold": 0.7}, "gone": {"measure": "ks"}})
    assert misfits(right, kinds_of(REFERENCE)) == [] and known_to(REFERENCE, right).overrides == {"c0": right.overrides["c0"]}


def test_unseen_values_of_a_long_tail_are_no_drift() -> None:
    """A baseline of 300 rows has seen a part of 600 tail numbers: what else comes is expected, by Good's estimate."""
    signature = Signature("regression", (Column("tailnum", "str"),))
    found = 0
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
        found += judge(got, made, Drift(), signature).columns[0]["moved"]
    assert found <= 1


def test_the_report_has_every_measure_of_every_column() -> None:
    frame = mixed(np.random.default_rng(12), 1000).with_columns(pl.col("f.n0") + 1)
    counted = profile(frame, REFERENCE)
    found = figures(counted, REFERENCE, Drift(), MIXED)
    assert found[0]["column"] == "y.probability_1" and found[1]["column"] == "n0" and len(found) == 12
    for column in found:
        assert set(column["measures"]) == set(columns.OF_NUMBERS if column["kind"] == "numeric" else columns.OF_CATEGORIES)
        assert column["measures"][column["measure"]] == column["value"]
    assert figures(profile(frame.clear(), REFERENCE), REFERENCE, Drift(), MIXED) == []
    json.dumps(found, allow_nan=False)


def test_the_evidence_stays_small_whatever_moved() -> None:
    wide = Signature("regression", tuple(Column(f"a_column_with_a_rather_long_name_{i}", "str") for i in range(300)))
    before, now = (
        pl.DataFrame({**{f"f.{n}": [f"{text}{i}" * 30 for i in range(4)] * 100 for n in wide.names}, "y.prediction": [0.5] * 400})
        for text in ("usual", "other")
    )
    made = baseline(before, wide)
    then = Seasonal(1, profile(now, made))
    parts = [Segment(f"segment={i}", profile(now, made), profile(before, made)) for i in range(6)]
    verdict = judge(profile(now, made), made, Drift(), wide, segments=parts).verdict
    assert verdict.evidence["moved_count"] == 300 and verdict.evidence["segments"]["moved_count"] == 6
    assert len(json.dumps(verdict.evidence)) < 8192 and len(verdict.reason) < 4096
    assert len(json.dumps(judge(profile(now, made), made, Drift(), wide, then).verdict.evidence)) < 8192


# --- season ----------------------------------------------------------------------------------------------------------------------


def at_night(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    return mixed(rng, rows).with_columns(pl.col("f.n0", "f.n1", "f.n2", "f.n3") + 1, pl.col("y.probability_1").sqrt())


def seasonal(*frames: pl.DataFrame) -> Seasonal:
    return Seasonal(len(frames), merge([profile(f, REFERENCE) for f in frames]) if frames else None)


def test_what_is_as_ever_at_this_time_did_not_move() -> None:
    rng = np.random.default_rng(13)
    frame, before = at_night(rng, 1000), seasonal(at_night(rng, 800), at_night(rng, 900))
    assert judged(frame).verdict.status == "violated"
    result = judged(frame, before)
    assert result.verdict.status == "healthy" and not moved(result)
    assert set(result.verdict.evidence["season"]["as_ever"]) == {"n0", "n1", "n2", "n3", "y.probability_1"}
    assert "as at the same time of earlier periods: n" in result.verdict.reason
    more = judged(frame.with_columns(pl.col("f.n4") + 1), before)
    assert moved(more) == {"n4"} and more.verdict.status == "warning", "which it never does at this time"


def test_what_is_unlike_the_season_but_like_training_did_not_move() -> None:
    rng = np.random.default_rng(14)
    assert judged(mixed(rng, 1000), seasonal(at_night(rng, 1000))).verdict.status == "healthy"


def test_a_season_of_too_few_rows_decides_nothing_and_says_so() -> None:
    rng = np.random.default_rng(15)
    for before in (seasonal(at_night(rng, 199)), seasonal()):
        result = judged(at_night(rng, 1000), before)
        assert result.verdict.status == "violated" and "held against training alone" in result.verdict.reason


def test_scores_that_another_version_gave_do_not_excuse_this_ones() -> None:
    rng = np.random.default_rng(16)
    then = profile(at_night(rng, 1000), REFERENCE)
    then["score"] = profile(at_night(rng, 1000).clear(), REFERENCE)["score"]
    result = judged(at_night(rng, 1000), Seasonal(1, then))
    assert not moved(result) and result.prediction["moved"] and result.verdict.status == "violated"


# --- segments --------------------------------------------------------------------------------------------------------------------


def segment(name: str, now: pl.DataFrame, before: pl.DataFrame) -> Segment:
    return Segment(name, profile(now, REFERENCE), profile(before, REFERENCE))


def test_a_segment_that_moved_is_named_and_warns() -> None:
    rng = np.random.default_rng(17)
    calm = [segment(f"site={i}", mixed(rng, 400), mixed(rng, 1500)) for i in range(15)]
    broken = segment("site=x", mixed(rng, 400).with_columns(pl.col("f.n2") + 1, pl.lit("a").alias("f.c1")), mixed(rng, 1500))
    result = judged(mixed(rng, 4000), segments=[*calm, broken])
    assert result.verdict.status == "warning" and "moved in a segment: site=x (n2, c1)" in result.verdict.reason
    named = [{"segment": "site=x", "rows": 400, "columns": ["n2", "c1"]}]
    assert result.verdict.evidence["segments"] == {"judged": 16, "moved": named, "moved_count": 1}
    assert judged(mixed(rng, 4000), segments=calm).verdict.status == "healthy"


def test_a_segments_own_values_are_what_it_is_held_against() -> None:
    """It differs from the whole as it always did; a value that is new to training is not new to it."""
    rng = np.random.default_rng(18)

    def there(rows: int) -> pl.DataFrame:
        return mixed(rng, rows).with_columns(pl.col("f.n0") + 3, pl.lit("elsewhere").alias("f.c0"))

    assert judged(mixed(rng, 4000), segments=[segment("site=far", there(400), there(1500))]).verdict.status == "healthy"


def test_many_segments_are_many_tests() -> None:
    """11 columns and a score in 60 segments: at 0.001 each, some would move by chance where a low threshold lets them."""
    rng = np.random.default_rng(19)
    many = [segment(f"site={i}", mixed(rng, 300), mixed(rng, 1000)) for i in range(60)]
    low = {"numeric": {"threshold": 0.001}, "categorical": {"threshold": 0.001}, "significance": 0.01}
    found = judged(mixed(rng, 3000), segments=many, **low, correction="none").segments
    assert sum(len(s["moved"]) for s in found) > 2
    assert not any(s["moved"] for s in judged(mixed(rng, 3000), segments=many, **low).segments)


# --- together --------------------------------------------------------------------------------------------------------------------


def test_columns_that_no_longer_move_together_warn() -> None:
    rng = np.random.default_rng(20)
    made = baseline(forty(rng, 20_000, 0.5), FORTY)
    usual = forty(rng, 1000, 0.5)
    assert judge(profile(usual, made), made, Drift(), FORTY).verdict.status == "healthy"
    torn = usual.with_columns(usual[f"f.x{i}"].shuffle(seed=i) for i in range(10))
    result = judge(profile(torn, made), made, Drift(), FORTY)
    assert not moved(result), "each is distributed as ever"
    assert result.verdict.status == "warning" and "the columns move together otherwise (error +" in result.verdict.reason
    named = judge(profile(torn, made), made, Drift(), FORTY, blamed=lambda: ["x1", "x2"])
    assert "%, most of it x1, x2)" in named.verdict.reason and named.verdict.evidence["joint"]["columns"] == ["x1", "x2"]
    off = Drift.model_validate({"multivariate": {"enabled": False}})
    assert judge(profile(torn, made), made, off, FORTY).joint is None
    lax = Drift.model_validate({"multivariate": {"threshold": 5}})
    assert judge(profile(torn, made), made, lax, FORTY).verdict.status == "healthy"
    some = Drift(columns=tuple(f"x{i}" for i in range(39)))
    assert judge(profile(torn, made), made, some, FORTY).joint is None, "of a column left out it does not tell"
    then = Seasonal(1, profile(forty(rng, 1000, 0.5).with_columns(usual[f"f.x{i}"].shuffle(seed=9) for i in range(10)), made))
    assert judge(profile(torn, made), made, Drift(), FORTY, then).verdict.status == "healthy", "as ever at this time"


def test_times_only_ever_rise_and_are_no_drift_unless_they_are_asked_for() -> None:
    """The rows of March are none of January's; a date of birth is, and has a measure of its own."""
    rng = np.random.default_rng(12)

    def table(month: int, born: int) -> pl.DataFrame:
        day = 86_400_000_000
        times = pl.Series((rng.uniform(30 * month, 30 * month + 30, 2000) * day).astype(int)).cast(pl.Datetime("us", "UTC"))
        births = pl.Series((rng.normal(born, 1000, 2000) * day).astype(int)).cast(pl.Datetime("us", "UTC"))
        return pl.DataFrame({"f.x": rng.standard_normal(2000), "f.at": times, "f.born": births, "y.prediction": rng.standard_normal(2000)})

    signature = Signature("regression", (Column("x", "float"), Column("at", "datetime"), Column("born", "datetime")))
    before = baseline(table(0, 0), signature)
    now = profile(table(2, 5000), before)
    assert judge(now, before, Drift(), signature).verdict.status == "healthy"
    found = judge(now, before, Drift(overrides={"born": ColumnDrift(measure="ks")}), signature)
    assert found.verdict.status == "violated" and moved(found) == {"born"}
    assert moved(judge(now, before, Drift(columns=("at", "x")), signature)) == {"at"}
    assert [c["column"] for c in figures(now, before, Drift(), signature)] == ["y.prediction", "x"]
