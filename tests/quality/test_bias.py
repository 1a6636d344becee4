"""Bias metrics without the oracle (test_bias_smclarify.py has that): groups, intervals, weights, the flip test, the document."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.config.spec import Bias, Facet
from modelyard.config.spec.quality import PostTraining, PreTraining
from modelyard.errors import BadInput
from modelyard.quality.bias import METRICS, NEUTRAL, POST_TRAINING, PRE_TRAINING, facets
from modelyard.quality.bias.analysis import Asked, Good, analyse, asked, measures, verify
from modelyard.quality.bias.flip import Flips, flips
from modelyard.quality.bias.kernels import KERNELS, Cells, tally
from modelyard.quality.bias.measure import Interval, features
from modelyard.signature import Column, Signature

BINARY, NAN = "binary_classification", math.nan
SIGNED = Signature(
    BINARY, (Column("amount", "float"), Column("job", "str")), classes=("bad", "good"), positive_class="good", target_col="risk"
)


def people(rows: int = 400, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    sex = random.choice(["F", "M"], rows, p=[0.4, 0.6])
    risk = random.random(rows) < np.where(sex == "F", 0.4, 0.6)
    return pl.DataFrame(
        {
            "sex": sex,
            "race": random.choice(["a", "b", "c"], rows),
            "age": random.integers(18, 80, rows),
            "amount": random.normal(size=rows),
            "job": random.choice(["x", "y"], rows),
            "risk": np.where(risk, "good", "bad"),
            "answer": np.where(random.random(rows) < np.where(sex == "F", 0.3, 0.7), "good", "bad"),
        }
    )


def scored(table: pl.DataFrame) -> pl.DataFrame:
    """A hold-out of the same people: a predictions table with the facets' columns beside it."""
    named = [pl.col(n).alias(f"f.{n}") for n in SIGNED.names]
    return table.select("sex", "race", "age", *named, pl.col("risk").alias("label"), pl.col("answer").alias("y.prediction"))


def wanted(*compared: Facet, **more: Any) -> Asked:
    return Asked(compared, Good(("good",)), **more)


def value(document: dict[str, Any], metric: str, place: int = 0) -> Any:
    facet = document["facets"][place]
    return next(row for row in (*facet["pre_training"], *facet["post_training"]) if row["metric"] == metric)


def test_names_are_the_config_s_and_come_without_numpy() -> None:
    assert get_args(PreTraining) == PRE_TRAINING and get_args(PostTraining) == POST_TRAINING
    assert {*KERNELS, "FT"} == set(METRICS) and {name for name in NEUTRAL if NEUTRAL[name] != 0} == {"DI"} and NEUTRAL["DI"] == 1
    code = (
        "import sys, modelyard.quality.bias as b; assert len(b.NEUTRAL) == 21; assert not {'numpy', 'polars', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_reference_page_has_every_metric_as_the_catalogue_has_it() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "bias.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `") and line.count(" | ") == 5}
    assert list(rows) == list(METRICS)
    for metric in METRICS.values():
        name, formula = metric.title.rpartition(" (")[0], metric.formula.replace("|", r"\|")
        assert rows[metric.name].startswith(f"| `{metric.name}` | {name} | `{formula}` | ")
        assert rows[metric.name].endswith(f" | {metric.neutral:g} | {metric.meaning} |")


def test_the_document_says_who_is_compared_with_what_result() -> None:
    table = people()
    document = analyse(wanted(Facet(column="sex", privileged=("M",))), table, scored(table), SIGNED, Interval(0.9, 100, 1))
    json.dumps(document, allow_nan=False)
    [facet] = document["facets"]
    assert (facet["name"], facet["column"], facet["value"]) == ("sex!=M", "sex", "F")
    women, men = table.filter(pl.col("sex") == "F"), table.filter(pl.col("sex") == "M")
    assert (facet["rows"], facet["others"]) == (len(women), len(men))
    assert [row["metric"] for row in facet["pre_training"]] == list(PRE_TRAINING)
    assert [row["metric"] for row in facet["post_training"]] == list(POST_TRAINING)
    gap = (men["answer"] == "good").mean() - (women["answer"] == "good").mean()  # type: ignore[operator]
    found = value(document, "DPPL")
    assert abs(found["value"] - gap) < 1e-12 and found["low"] < gap < found["high"]
    assert value(document, "CDDL") == {
        "metric": "CDDL",
        "description": METRICS["CDDL"].title,
        "value": None,
        "low": None,
        "high": None,
        "error": "it needs `group_col`, the column whose values make the subgroups",
    }


def test_sides_swapped_swap_the_signs() -> None:
    table = people()
    documents = [
        analyse(wanted(Facet(column="sex", disadvantaged=(side,))), table, scored(table), SIGNED, Interval(resamples=0)) for side in "FM"
    ]
    for metric in ("CI", "DPL", "DPPL", "SD", "RD", "DAR", "DRR", "AD"):
        one, other = (value(document, metric)["value"] for document in documents)
        assert one == -other != 0
    assert value(documents[0], "DI")["value"] == pytest.approx(1 / value(documents[1], "DI")["value"])
    assert value(documents[0], "DI")["low"] is None


def test_every_value_against_the_rest_crossings_and_thresholds() -> None:
    table = people()
    compared = wanted(Facet(column="race"), Facet(column="age", above=40), intersections=(("sex", "age"),))
    document = analyse(compared, table, scored(table), SIGNED, Interval(resamples=0))
    names = [facet["name"] for facet in document["facets"]]
    assert sorted(names[:3]) == ["race=a", "race=b", "race=c"] and names[3] == "age>40"
    assert set(names[4:]) == {"sex=F, age>40", "sex=F, age<=40", "sex=M, age>40", "sex=M, age<=40"}
    assert document["facets"][3]["threshold"] == 40 and document["facets"][3]["interval"] == f"(40, {table['age'].max()}]"
    crossed = document["facets"][names.index("sex=F, age>40")]
    inside = table.filter((pl.col("sex") == "F") & (pl.col("age") > 40))
    assert (crossed["rows"], crossed["others"]) == (len(inside), len(table) - len(inside)) and crossed["column"] == "sex*age"
    share = (inside["risk"] == "good").mean()
    rest = table.filter((pl.col("sex") != "F") | (pl.col("age") <= 40))
    assert value(document, "DPL", names.index("sex=F, age>40"))["value"] == pytest.approx((rest["risk"] == "good").mean() - share)  # type: ignore[operator]


def test_rows_without_a_facet_s_value_are_in_neither_group() -> None:
    table = people().with_columns(pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise("sex").alias("sex"))
    document = analyse(wanted(Facet(column="sex", privileged=("M",))), table, scored(table), SIGNED, Interval(resamples=0))
    without = table.drop_nulls("sex")
    assert value(document, "DPL") == value(
        analyse(wanted(Facet(column="sex", privileged=("M",))), without, scored(without), SIGNED, Interval(resamples=0)), "DPL"
    )
    assert "100 rows of the training data have no 'sex' and are left out" in document["notes"]


def test_a_group_that_only_the_hold_out_lacks_is_undefined_and_one_that_is_never_accepted_infinite() -> None:
    table = people()
    compared = wanted(Facet(column="sex", privileged=("M",)))
    document = analyse(compared, table, scored(table.filter(pl.col("sex") == "M")), SIGNED, Interval(resamples=20))
    assert (value(document, "DPPL")["value"], value(document, "DPPL")["error"]) == (None, "the facet is empty")
    rejected = table.with_columns(pl.when(pl.col("sex") == "M").then(pl.lit("bad")).otherwise("answer").alias("answer"))
    document = analyse(compared, table, scored(rejected), SIGNED, Interval(resamples=20))
    json.dumps(document, allow_nan=False)
    assert value(document, "DI")["value"] == "Infinity"
    found = {row["metric"]: row for row in measures(document)}
    assert found["DI"] == {"metric": "DI", "facet": "sex!=M", "column": "sex", "value": None, "low": None, "high": None} | {
        "error": "it is infinite"
    }
    assert found["DPPL"]["value"] < 0 and "error" not in found["DPPL"] and found["CDDPL"]["error"].startswith("it needs")


def test_a_row_without_a_weight_counts_once_as_in_all_other_metrics() -> None:
    table = people().with_columns(w=pl.Series([1.0, 2.0, 0.5, 1.0] * 100), holes=pl.Series([None, 2.0, 0.5, NAN] * 100, strict=False))
    beside = table.drop("risk", "answer")
    compared = [wanted(Facet(column="sex", privileged=("M",)), weight_col=name) for name in ("w", "holes")]
    whole, holes = (analyse(one, table, scored(table), SIGNED, Interval(resamples=20), beside)["facets"] for one in compared)
    assert whole == holes and value({"facets": holes}, "DPPL")["value"] is not None


def test_several_classes_and_numbers() -> None:
    table = people().with_columns(pl.Series("risk", ["low", "middle", "high", "low"] * 100), pl.Series("answer", ["low", "high"] * 200))
    signature = Signature("multiclass_classification", SIGNED.columns, classes=("high", "low", "middle"), target_col="risk")
    compared = asked(Bias(facets=(Facet(column="sex", privileged=("M",)),), label_values=("low", "middle")), signature.problem_type, None)
    document = analyse(compared, table, scored(table), signature, Interval(resamples=0))
    two = table.with_columns(pl.col("risk", "answer").replace_strict({"low": "good", "middle": "good", "high": "bad"}))
    same = analyse(wanted(Facet(column="sex", privileged=("M",))), two, scored(two), SIGNED, Interval(resamples=0))
    assert document["facets"] == same["facets"] and document["good"] == "low,middle"
    numbers = two.with_columns(pl.col("risk", "answer").replace_strict({"good": 10.5, "bad": 10.0}))
    scale = Signature("regression", SIGNED.columns, target_col="risk")
    compared = asked(Bias(facets=(Facet(column="sex", privileged=("M",)),), label_above=10), "regression", None)
    document = analyse(compared, numbers, scored(numbers), scale, Interval(resamples=0))
    assert document["facets"] == same["facets"] and document["good_as_clarify"] == "(10.0, 10.5]"


@pytest.mark.parametrize(
    ("kind", "bias", "says"),
    [
        ("regression", {}, "write `label_above` under `bias`"),
        ("multiclass_classification", {}, "write `label_values` under `bias`"),
        ("multiclass_classification", {"label_above": 1}, "write `label_values` in its place"),
        ("regression", {"label_values": ["a"]}, "write `label_above` in its place"),
        ("ranking", {}, "remove `bias`"),
    ],
)
def test_it_must_be_known_which_labels_are_good(kind: str, bias: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        asked(Bias(facets=(Facet(column="sex"),), **bias), kind, None)
    assert caught.value.next == says


@pytest.mark.parametrize(
    ("compared", "what", "hint"),
    [
        (wanted(Facet(column="sexx")), "there is no column 'sexx'", "did you mean 'sex'?"),
        (wanted(Facet(column="sex", privileged=("m",))), "the value 'm' does not occur", "it holds M, F"),
        (wanted(Facet(column="race", disadvantaged=("a", "b", "c"))), "every row has race=a|b|c", ""),
        (wanted(Facet(column="age", above=100)), "no row has age>100", ""),
        (wanted(Facet(column="age")), "different numbers", "write `above: NUMBER`"),
        (wanted(Facet(column="sex", above=1)), "does not hold numbers", ""),
        (wanted(Facet(column="risk")), "'risk' is the target", ""),
        (wanted(Facet(column="sex"), group_col="jobs"), "there is no column 'jobs'", "did you mean 'job'?"),
        (wanted(intersections=(("sex", "rase"),)), "there is no column 'rase'", "did you mean 'race'?"),
        (wanted(intersections=(("sex", "age"),)), "different numbers", "write `above: NUMBER`"),
        (wanted(intersections=(("sex",),)), "two columns or more", ""),
        (wanted(Facet(column="sex"), gated=("CDDL",)), "a gate on CDDL needs the column", ""),
        (wanted(Facet(column="sex"), gated=("DI",), post_training=("DPPL",)), "a gate on DI, which is not measured", ""),
        (Asked((Facet(column="sex"),), Good(("fine",))), "no label of the training data is fine", ""),
        (Asked((Facet(column="sex"),), Good(("good", "bad"))), "every label of the training data is good or bad", ""),
    ],
)
def test_what_cannot_be_compared_is_said_before_training(compared: Asked, what: str, hint: str) -> None:
    with pytest.raises(BadInput, match=".*" + what.replace("|", r"\|")) as caught:
        verify(compared, people(), "risk")
    assert hint in caught.value.next


@pytest.mark.parametrize(
    ("column", "wanted_value", "there"),
    [
        (pl.Series("c", [True, False]), "true", True),
        (pl.Series("c", [True, False]), 1, True),
        (pl.Series("c", [1.0, 2.0]), 1, True),
        (pl.Series("c", [1, 2]), "1", True),
        (pl.Series("c", ["1", "2"], dtype=pl.Categorical), 1, True),
        (pl.Series("c", ["true", "false"]), True, False),
    ],
)
def test_a_value_is_itself_in_any_writing(column: pl.Series, wanted_value: Any, there: bool) -> None:
    table = pl.DataFrame({"c": column})
    facet = Facet(column="c", disadvantaged=(wanted_value,))
    if there:
        assert facets.settle(table, [facet], [])[0][0].find(table)[0].tolist() == [True, False]
    else:
        with pytest.raises(BadInput):
            facets.settle(table, [facet], [])


def test_intervals_are_those_of_drawing_rows_again() -> None:
    """Resampled tallies against resampled rows: the same mean and spread, within what 4,000 draws can tell."""
    table, random = people(120), np.random.default_rng(5)
    bits = [(table[c] == v).to_numpy() for c, v in (("sex", "F"), ("risk", "good"), ("answer", "good"))]
    group = (table["race"] == "a").to_numpy().astype(int)
    counted = tally(bits[0], bits[1], bits[2], group, 2)
    ours = Cells(np.concatenate(list(counted.resample(4000, 1))), True)
    picks = [random.integers(0, 120, 120) for _ in range(4000)]
    rows = Cells(np.concatenate([tally(*(bit[p] for bit in bits), group[p], 2).whole for p in picks]), True)
    assert (ours.counts.sum(axis=(1, 2, 3, 4)) == 120).all()
    for name in ("CI", "KL", "CDDL", "DPPL", "DI", "TE", "GE", "CDDPL"):
        a, b = KERNELS[name](ours), KERNELS[name](rows)
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        assert abs(a.mean() - b.mean()) < 5 * b.std() / math.sqrt(2000) and abs(a.std() / b.std() - 1) < 0.1


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=30))
@settings(deadline=None)
def test_a_row_of_weight_three_counts_as_three_rows(rows: list[tuple[bool, bool, bool, int, int]]) -> None:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    weight = columns[4]
    heavy = tally(*columns[:4], 3, weight.astype(float))
    many = tally(*(np.repeat(column, weight) for column in columns[:4]), 3)
    assert np.array_equal(heavy.whole, many.whole)
    for counts in heavy.resample(20, 0):
        assert counts.shape == (20, 2, 2, 2, 3) and (counts.sum(axis=(1, 2, 3, 4)) <= len(rows) * 4).all()
    assert int(heavy.rows.sum()) == len(rows)


def test_weights_of_the_config_reach_the_metrics() -> None:
    table = people().with_columns(weight=pl.when(pl.col("sex") == "F").then(3.0).otherwise(1.0))
    compared = wanted(Facet(column="sex", privileged=("M",)), weight_col="weight")
    holdout = scored(table).with_columns(table["weight"])
    document = analyse(compared, table, holdout, SIGNED, Interval(resamples=0))
    women, men = 3 * (table["sex"] == "F").sum(), (table["sex"] == "M").sum()
    assert value(document, "CI")["value"] == (men - women) / (men + women)
    assert "FT counts rows, whatever their 'weight'" in document["notes"]


def nearest(features: Any, disadvantaged: Any, predicted: Any) -> float:
    """The flip test by its words: places are shared by all rows that tie for the last ones."""
    a, d = np.flatnonzero(~disadvantaged), np.flatnonzero(disadvantaged)
    k, total = (5 if len(a) > 9 else 1), 0
    for row in d:
        distance = ((features[a] - features[row]) ** 2).sum(axis=1)
        last = np.sort(distance)[k - 1]
        nearer, tied = distance < last, distance == last
        good = predicted[a][nearer].sum() + (k - nearer.sum()) * predicted[a][tied].mean()
        total += int(predicted[row]) - int(good > k / 2 + 1e-9)
    return total / len(d)


GRID = st.tuples(st.integers(0, 4), st.integers(0, 3), st.booleans(), st.booleans())


@given(st.lists(GRID, min_size=2, max_size=120).filter(lambda rows: len({r[2] for r in rows}) == 2))
@settings(deadline=None, max_examples=200)
def test_the_flip_test_does_not_hang_on_the_order_of_rows(rows: list[tuple[int, int, bool, bool]]) -> None:
    """Rows on a grid, most of which tie: against a plain search, and shuffled."""
    table = np.array([r[:2] for r in rows], dtype=float)
    facet, predicted = np.array([r[2] for r in rows]), np.array([r[3] for r in rows])
    found = flips([table], facet, predicted)
    assert found.value == nearest(table, facet, predicted)
    order = np.random.default_rng(0).permutation(len(rows))
    assert flips([table[order][:, :1], table[order][:, 1:]], facet[order], predicted[order]) == found


def test_the_flip_test_of_a_large_table_is_a_sample_near_the_whole() -> None:
    random = np.random.default_rng(2)
    facet = random.random(60_000) < 0.5
    table = random.normal(size=(60_000, 2))
    predicted = (table[:, 0] + 0.5 * ~facet) > 0.3
    drawn, whole = flips([table], facet, predicted, seed=1), flips([table], facet, predicted, exact=True)
    assert drawn.sampled and (drawn.rows, drawn.reference) == (5_000, 25_000) and not whole.sampled
    assert drawn == flips([table], facet, predicted, seed=1)
    assert abs(drawn.value - whole.value) < 0.03 and whole.value < -0.1
    low, high = np.quantile(drawn.resample(2000, 0), [0.001, 0.999])
    assert low < whole.value < high


def test_the_flip_test_of_nobody_is_undefined() -> None:
    nobody = np.zeros(3, dtype=bool)
    assert math.isnan(flips([np.ones((3, 1))], nobody, ~nobody).value) and math.isnan(flips([np.ones((3, 1))], ~nobody, nobody).value)
    assert np.isnan(Flips(0, 0, 0, 3).resample(4, 0)).all()


def test_features_as_the_flip_test_compares_them() -> None:
    days = pl.Series("day", ["2024-01-01", None, "2024-01-03", "2024-01-04"]).str.to_date()
    table = pl.DataFrame({"n": [1, 5, None, 3], "b": [True, False, None, True], "w": ["x", "y", None, "x"], "day": days})
    found, skipped = features(table, table.columns)
    everyone = np.arange(4)
    assert (
        skipped == ["day"] and found["n"][everyone][:, 0].tolist() == [1, 5, 3, 3] and found["b"][everyone][:, 0].tolist() == [1, 0, 1, 1]
    )
    words = found["w"][everyone]
    apart = ((words[:, None] - words[None]) ** 2).sum(axis=2)
    assert np.allclose(apart, [[0, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0]])


def test_a_hold_out_with_rows_that_the_model_did_not_answer_is_refused() -> None:
    table = people()
    holdout = scored(table).with_columns(pl.when(pl.int_range(pl.len()) < 3).then(None).otherwise("y.prediction").alias("y.prediction"))
    with pytest.raises(BadInput, match="3 rows of the hold-out have no prediction"):
        analyse(wanted(Facet(column="sex")), table, holdout, SIGNED, Interval())


@pytest.fixture(scope="module", autouse=True)
def _numbers_are_quiet() -> Iterator[None]:
    """Undefined and infinite values are no cause for warnings."""
    with np.errstate(all="raise", under="ignore"):
        yield
