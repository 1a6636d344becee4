"""SageMaker Model Monitor's files: the shapes of its developer guide, as its container fills them in."""

from __future__ import annotations

import copy
import json
import math
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config import constraints as reading
from modelyard.config.spec import ColumnConstraint, DataQuality
from modelyard.errors import BadInput
from modelyard.monitor import profile, quality
from modelyard.monitor.quality import Violation, sagemaker
from modelyard.monitor.quality.checking import Check
from tests.monitor.quality.made import SIGNED, found, names, table

BASELINE = profile.baseline(table(5000, 1), SIGNED)
HELD = quality.held(BASELINE, SIGNED, DataQuality())
STATISTICS: dict[str, Any] = {
    "version": 0.0,
    "dataset": {"item_count": 1000},
    "features": [
        {
            "name": "stops",
            "inferred_type": "Integral",
            "numerical_statistics": {
                "common": {"num_present": 1000, "num_missing": 0},
                "mean": 5.0,
                "sum": 5000.0,
                "std_dev": 2.2,
                "min": -3.0,
                "max": 12.0,
                "distribution": {
                    "kll": {
                        "buckets": [{"lower_bound": -3.0, "upper_bound": -1.5, "count": 100.0}],
                        "sketch": {
                            "parameters": {"c": 0.64, "k": 2048.0},
                            "data": [[4.0, 5.0] * 18, [], [-3.0] * 25, [5.0] * 108],
                        },
                    }
                },
            },
        },
        {
            "name": "wind",
            "inferred_type": "Fractional",
            "numerical_statistics": {
                "common": {"num_present": 400, "num_missing": 600},
                "mean": 10.0,
                "sum": 4000.0,
                "std_dev": 2.0,
                "min": 4.0,
                "max": 16.0,
                "distribution": {"kll": {"buckets": [{"lower_bound": 4.0, "upper_bound": 16.0, "count": 400.0}]}},
            },
        },
        {
            "name": "load",
            "inferred_type": "String",
            "string_statistics": {
                "common": {"num_present": 1000, "num_missing": 0},
                "distinct_count": 2.0,
                "distribution": {"categorical": {"buckets": [{"value": "high", "count": 600}, {"value": "low", "count": 400}]}},
            },
        },
        {
            "name": "carrier",
            "inferred_type": "String",
            "string_statistics": {
                "common": {"num_present": 1000, "num_missing": 0},
                "distinct_count": 2.0,
                "distribution": {"categorical": {"buckets": [{"value": "c0", "count": 700}, {"value": "zz", "count": 300}]}},
            },
        },
        {"name": "gate", "inferred_type": "Unknown"},
    ],
}
CONSTRAINTS: dict[str, Any] = {
    "version": 0.0,
    "features": [
        {"name": "stops", "inferred_type": "Integral", "completeness": 1.0, "num_constraints": {"is_non_negative": True}},
        {
            "name": "wind",
            "inferred_type": "Fractional",
            "completeness": 0.9,
            "num_constraints": {"is_non_negative": False},
            "monitoringConfigOverrides": {"distribution_constraints": {"perform_comparison": "Enabled", "comparison_threshold": 0.3}},
        },
        {"name": "carrier", "inferred_type": "String", "completeness": 1.0, "string_constraints": {"domains": ["c0", "c1"]}},
        {
            "name": "spare",
            "inferred_type": "Unknown",
            "completeness": 0.0,
            "monitoringConfigOverrides": {"evaluate_constraints": "Disabled"},
        },
    ],
    "monitoring_config": {
        "evaluate_constraints": "Enabled",
        "emit_metrics": "Enabled",
        "datatype_check_threshold": 1.0,
        "domain_content_threshold": 0.95,
        "distribution_constraints": {
            "perform_comparison": "Enabled",
            "comparison_threshold": 0.1,
            "comparison_method": "Robust",
            "categorical_comparison_threshold": 0.2,
            "categorical_drift_method": "LInfinity",
        },
    },
}


def test_a_constraints_file_of_sagemakers_is_honoured_key_by_key() -> None:
    assert reading.read(CONSTRAINTS) == {
        "stops": ColumnConstraint(type="int", completeness=1.0, non_negative=True, type_match=1.0, distance=0.1),
        "wind": ColumnConstraint(type="float", completeness=0.9, non_negative=False, type_match=1.0, distance=0.3),
        "carrier": ColumnConstraint(type="str", completeness=1.0, categories=("c0", "c1"), type_match=1.0, domain_match=0.95, distance=0.2),
    }


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "no list `features`"),
        ({"features": [{"inferred_type": "String"}]}, "feature 0 has no `name`"),
        ({"features": [{"name": "a", "inferred_type": "Date"}]}, "feature `a`: `inferred_type` is none of"),
        ({"features": [{"name": "a", "completeness": 3}]}, "feature `a`"),
        ({"features": [{"name": "a", "num_constraints": 7}]}, "feature `a`"),
        ({"features": [], "monitoring_config": 1}, "`monitoring_config` is no object"),
    ],
)
def test_what_is_no_constraints_file(document: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        reading.read(document)


def test_unknown_keys_are_let_be() -> None:
    odd = json.loads(json.dumps(CONSTRAINTS)) | {"future": 1}
    odd["features"][0] |= {"also": {"new": True}}
    assert reading.read(odd) == reading.read(CONSTRAINTS)


shares = st.one_of(st.none(), st.floats(0, 1))
columns = st.builds(
    ColumnConstraint,
    type=st.sampled_from([None, "any", "int", "float", "str", "bool"]),
    completeness=shares,
    min=st.one_of(st.none(), st.floats(-10, 0)),
    max=st.one_of(st.none(), st.floats(0, 10)),
    non_negative=st.sampled_from([None, True, False]),
    categories=st.one_of(st.none(), st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4, unique=True).map(tuple)),
    distance=shares,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), columns, max_size=4), st.sampled_from([0.0, 0.01, 0.2]))
def test_what_is_written_reads_back(held: dict[str, ColumnConstraint], tolerance: float) -> None:
    """With the tolerances said for each column, since SageMaker's file says them all."""
    back = reading.read(json.loads(json.dumps(sagemaker.constraints(held, tolerance), allow_nan=False)))
    for name, one in held.items():
        said = {"type_match": 1 - tolerance} if one.type != "any" else {}
        said |= {"domain_match": 1 - tolerance} if one.categories is not None else {}
        assert back[name].model_dump() == {**one.model_dump(), **said}


def test_matches_of_single_columns_are_overrides() -> None:
    held = {"a": ColumnConstraint(type="int", type_match=0.5, range_match=0.7, categories=(1, 2.0, True), domain_match=0.9)}
    back = reading.read(sagemaker.constraints(held, 0.01))["a"]
    assert (back.type_match, back.range_match, back.domain_match, back.categories) == (0.5, 0.7, 0.9, ("1", "2", "true"))


def test_statistics_of_a_window() -> None:
    rows = table(3000, 2)
    document = sagemaker.statistics(profile.profile(rows, BASELINE), SIGNED)
    assert json.loads(json.dumps(document, allow_nan=False)) == document and document["dataset"] == {"item_count": 3000}
    stops, wind, _, carrier, late = document["features"]
    assert [f["inferred_type"] for f in document["features"]] == ["Integral", "Fractional", "Fractional", "String", "String"]
    values, numbers = rows["f.wind"].drop_nulls(), wind["numerical_statistics"]
    assert numbers["common"] == {"num_present": len(values), "num_missing": 3000 - len(values)}
    assert (numbers["min"], numbers["max"]) == (values.min(), values.max())
    assert numbers["mean"] == pytest.approx(values.mean()) and numbers["sum"] == pytest.approx(values.sum())
    assert numbers["std_dev"] == pytest.approx(values.std(ddof=0))
    buckets = numbers["distribution"]["kll"]["buckets"]
    assert len(buckets) == 10 and sum(b["count"] for b in buckets) == len(values)
    for bucket in buckets:
        assert bucket["count"] == pytest.approx(
            values.is_between(bucket["lower_bound"], bucket["upper_bound"]).sum(), abs=0.03 * len(values)
        )
    for feature, name in ((stops, "f.stops"), (wind, "f.wind")):
        levels = feature["numerical_statistics"]["distribution"]["kll"]["sketch"]["data"]
        assert sum(2**level * len(held) for level, held in enumerate(levels)) == rows[name].count()
        heavy = sorted(value for level, held in enumerate(levels) for value in held for _ in range(2**level))
        assert heavy[len(heavy) // 2] == pytest.approx(rows[name].median(), abs=0.2)
    assert all(v == int(v) for level in stops["numerical_statistics"]["distribution"]["kll"]["sketch"]["data"] for v in level)
    counted = {b["value"]: b["count"] for b in carrier["string_statistics"]["distribution"]["categorical"]["buckets"]}
    assert counted == dict(rows["f.carrier"].value_counts().iter_rows()) and carrier["string_statistics"]["distinct_count"] == 12
    assert {b["value"] for b in late["string_statistics"]["distribution"]["categorical"]["buckets"]} == {"true", "false"}


def test_statistics_of_a_column_without_a_value() -> None:
    rows = table(100, 2).with_columns(pl.lit(None, pl.Float64).alias("f.wind"))
    wind = sagemaker.statistics(profile.profile(rows, BASELINE), SIGNED)["features"][1]
    assert wind["numerical_statistics"] == {"common": {"num_present": 0, "num_missing": 100}}


def test_a_statistics_file_of_sagemakers_is_held_against_constraints() -> None:
    counts, others = sagemaker.of_statistics(STATISTICS, HELD, BASELINE)
    assert others == ["gate"] and counts["late"].absent
    assert (counts["stops"].present, counts["stops"].negative) == (1000, 100)
    assert counts["wind"].present == 400 and counts["load"].mistyped == 1000 and counts["carrier"].fresh == {"zz": 300}
    said = names(quality.check(counts, HELD, 0.01))
    assert set(said) == {
        ("stops", "baseline_drift_check"),
        ("wind", "completeness_check"),
        ("load", "data_type_check"),
        ("carrier", "categorical_values_check"),
        ("late", "missing_column_check"),
    }


@given(st.integers(0, 30), st.sampled_from([0.0, 3.0, 50.0]))
def test_our_own_statistics_break_what_the_rows_do(seed: int, shift: float) -> None:
    held = {**HELD, "wind": HELD["wind"].model_copy(update={"distance": 0.2})}
    rows = table(400, seed).with_columns(pl.col("f.wind") + shift)
    document = json.loads(json.dumps(sagemaker.statistics(profile.profile(rows, BASELINE), SIGNED)))
    counts, _ = sagemaker.of_statistics(document, held, BASELINE)
    assert names(quality.check(counts, held, 0.01)) == names(found(rows, BASELINE, held))


@pytest.mark.parametrize(
    "document",
    [[], {}, {"features": [1]}, {"features": [{"name": "stops", "numerical_statistics": {"common": {"num_present": "many"}}}]}],
)
def test_what_is_no_statistics_file(document: Any) -> None:
    with pytest.raises(BadInput):
        sagemaker.of_statistics(document, HELD, BASELINE)


@pytest.mark.parametrize(
    ("feature", "path", "value", "said"),
    [
        (0, "common.num_present", -5, "feature `stops`: numerical_statistics.common.num_present is -5, and no count"),
        (0, "common.num_missing", math.nan, "feature `stops`: numerical_statistics.common.num_missing is nan, and no count"),
        (0, "common.num_present", 1001, "feature `stops`: num_present is 1,001, and the data set has 1,000 rows"),
        (0, "max", math.nan, "feature `stops`: numerical_statistics.max is nan, and no number"),
        (1, "min", -math.inf, "feature `wind`: numerical_statistics.min is -inf, and no number"),
        (1, "max", "16", "feature `wind`: numerical_statistics.max is 16, and no number"),
        (1, "distribution.kll.buckets", [{"lower_bound": 1, "upper_bound": 2, "count": -1}], "kll.buckets[0].count is -1, and no count"),
        (1, "distribution.kll.buckets", [{"lower_bound": math.nan, "upper_bound": 2, "count": 1}], "kll.buckets[0].lower_bound is nan"),
        (0, "distribution.kll.sketch.data", [[1.0], [2.0, math.nan]], "kll.sketch.data[1][1] is nan, and no number"),
    ],
)
def test_figures_that_cannot_be_are_told_with_their_place(feature: int, path: str, value: Any, said: str) -> None:
    document = copy.deepcopy(STATISTICS)
    part, *_, last = document["features"][feature]["numerical_statistics"], *path.split(".")
    for key in path.split(".")[:-1]:
        part = part[key]
    part[last] = value
    with pytest.raises(BadInput) as caught:
        sagemaker.of_statistics(document, HELD, BASELINE)
    assert said in caught.value.what


def test_a_feature_that_is_there_twice_is_refused() -> None:
    for document, read in (
        (STATISTICS, lambda found: sagemaker.of_statistics(found, HELD, BASELINE)),
        (CONSTRAINTS, reading.read),
    ):
        twice = {**document, "features": [*document["features"], document["features"][0]]}
        name, place = document["features"][0]["name"], len(document["features"])
        with pytest.raises(BadInput, match=f"feature {place}: `{name}` is there twice"):
            read(twice)


def test_a_column_without_a_value_may_have_no_least_one() -> None:
    document = copy.deepcopy(STATISTICS)
    document["features"][1]["numerical_statistics"] = {"common": {"num_present": 0, "num_missing": 1000}, "min": math.nan, "max": math.nan}
    assert sagemaker.of_statistics(document, HELD, BASELINE)[0]["wind"].present == 0


@given(st.lists(st.builds(Violation, st.text(max_size=8), st.sampled_from(get_args(Check)), st.text(max_size=20))))
def test_violations_read_back(violations: list[Violation]) -> None:
    document = json.loads(json.dumps(sagemaker.violations(violations)))
    assert all(set(v) == {"feature_name", "constraint_check_type", "description"} for v in document["violations"])
    assert sagemaker.read_violations(document) == violations


def test_violations_of_sagemakers() -> None:
    theirs = {"feature_name": "wind", "constraint_check_type": "completeness_check", "description": "60% missing", "later": 1}
    assert names(sagemaker.read_violations({"violations": [theirs]})) == [("wind", "completeness_check")]
    for bad in ({}, {"violations": [{}]}, {"violations": [{**theirs, "constraint_check_type": "vibes"}]}):
        with pytest.raises(BadInput):
            sagemaker.read_violations(bad)


def test_a_constraints_file_is_no_statistics_file() -> None:
    """It too is a list of features, and would read as one of no rows."""
    with pytest.raises(BadInput, match="none of its features has statistics"):
        sagemaker.of_statistics(CONSTRAINTS, HELD, BASELINE)
