"""Bias of windows: the build's own comparisons, on rows of production; the library of Clarify is asked in test_bias_smclarify."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelyard.config.spec import Facet
from modelyard.errors import BadInput
from modelyard.quality.bias import production
from modelyard.quality.bias.analysis import Asked, Good, analyse
from modelyard.quality.bias.measure import Interval
from modelyard.signature import Column, Signature

SIGNED = Signature("binary_classification", (Column("amount", "float"),), (0, 1), 1, 0.5, target_col="ok")
FACETS = (Facet(column="sex", privileged=("M",)), Facet(column="race"), Facet(column="weight", above=1.2))
POST = production.MONITORED


def rows(count: int, seed: int, **more: Any) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    sex, race = draw.choice(["F", "M"], count), draw.choice(["A", "B", "C"], count, p=[0.6, 0.3, 0.1])
    amount = draw.normal(size=count) + 0.5 * (sex == "M")
    ok = (amount + draw.normal(size=count) > 0).astype(int)
    words = {"sex": sex, "race": race, "region": draw.choice(["n", "s"], count), "amount": amount, "weight": draw.uniform(0.5, 2, count)}
    score = 1 / (1 + np.exp(-amount))
    answers = {"ok": ok, "label": ok, "f.amount": amount, "y.prediction": (amount > 0).astype(int), "y.probability_1": score}
    return pl.DataFrame({**words, **answers}).with_columns(**more)


def document(table: pl.DataFrame, good: Good | None = None, resamples: int = 200, **asked: Any) -> dict[str, Any]:
    wanted = Asked(FACETS, good or Good((1,)), (("sex", "race"),), "region", post_training=POST, **asked)
    return json.loads(json.dumps(analyse(wanted, table, table, SIGNED, Interval(resamples=resamples)), allow_nan=False))  # type: ignore[no-any-return]


def by(found: list[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    return {(row["facet"], row["metric"]): row["value"] for row in found}


@pytest.mark.parametrize("asked", [{}, {"weight_col": "weight"}, {"good": Good((1,), score_from=0.7)}])
def test_the_hold_out_itself_as_a_window_gives_what_the_build_measured(asked: dict[str, Any]) -> None:
    table = rows(800, 0)
    made = document(table, **asked)
    found = production.measured(made, table, SIGNED, POST)
    before = production.baseline(made, POST)
    assert len(found) == len(before) == len(POST) * len(made["facets"]) and made["facets"][-1]["name"].startswith("sex=")
    was = by(before)
    for row in found:
        key = (row["facet"], row["metric"])
        if was[key] is None:  # JSON has no infinities
            assert math.isinf(row["value"]), key
            continue
        assert row["value"] == pytest.approx(was[key], abs=1e-12), key
        assert row["low"] <= row["value"] <= row["high"]
    assert {(r["facet"], r["rows"], r["others"]) for r in found} == {(f["name"], f["rows"], f["others"]) for f in made["facets"]}


def test_metrics_that_need_labels_look_at_labelled_rows_and_the_others_at_all() -> None:
    made, table = document(rows(400, 0)), rows(400, 1)
    half = table.with_columns(label=pl.when(pl.int_range(pl.len()) < 100).then("label"))
    part, whole = by(production.measured(made, table[:100], SIGNED, POST)), by(production.measured(made, table, SIGNED, POST))
    for key, value in by(production.measured(made, half, SIGNED, POST)).items():
        wanted = whole if key[1] in production.LABEL_FREE else part
        assert value == wanted[key] or value == pytest.approx(wanted[key])
    alone = production.measured(made, table.drop("label"), SIGNED, POST)
    assert {row["metric"] for row in alone} == set(production.LABEL_FREE)


def test_columns_beside_the_table_may_be_called_as_its_own_and_lack_weights() -> None:
    made, table = document(rows(400, 0), weight_col="weight"), rows(400, 1)
    plain = table.with_columns(weight=pl.when(pl.int_range(pl.len()) % 3 > 0).then("weight").otherwise(1.0))
    wanted = production.measured(made, plain, SIGNED, POST)
    beside = plain.select("sex", "race", "region", weight=pl.when(pl.int_range(pl.len()) % 3 > 0).then("weight"))
    assert production.measured(made, table, SIGNED, POST, beside)[0].keys() == wanted[0].keys()
    told = json.loads(json.dumps(made).replace('"sex"', '"label"').replace('"weight_col": "weight"', '"weight_col": "version"'))
    kept = beside.select("race", "region", "weight", label="sex", version="weight")
    weighed = [f for f in told["facets"] if "weight" not in f["columns"]]
    found = by(production.measured({**told, "facets": weighed}, table, SIGNED, POST, kept))
    assert found == {key: value for key, value in by(wanted).items() if "weight" not in key[0]}


def test_rows_without_a_facet_s_value_or_an_answer_are_left_out() -> None:
    made, table = document(rows(400, 0)), rows(400, 1)
    holes = pl.concat([table, table[:50].with_columns(sex=None), table[50:90].with_columns(pl.lit(None, pl.Int64).alias("y.prediction"))])
    mine, whole = by(production.measured(made, holes, SIGNED, ("DPPL",))), by(production.measured(made, table, SIGNED, ("DPPL",)))
    assert mine["sex!=M", "DPPL"] == pytest.approx(whole["sex!=M", "DPPL"])


def test_few_rows_are_not_sure_of_what_they_never_saw() -> None:
    """30 women, none of whom is accepted: the plain bootstrap says 0 for sure."""
    made = document(rows(400, 0), resamples=0)
    table = rows(300, 1).with_columns(pl.when(pl.col("sex") == "F").then(0).otherwise("y.prediction").alias("y.prediction"))
    women = table.filter(pl.col("sex") == "F")[:30]
    few = pl.concat([women, table.filter(pl.col("sex") == "M")])
    many = pl.concat([women] * 20 + [table.filter(pl.col("sex") == "M")])
    widths = []
    for window in (few, many):
        [row] = [r for r in production.measured(made, window, SIGNED, ("DI",)) if r["facet"] == "sex!=M"]
        assert row["value"] == 0.0
        widths.append(row["high"])
    assert 0.02 < widths[0] < 0.4 and widths[1] < widths[0] / 4


def test_a_hold_out_without_intervals_is_not_sure_either() -> None:
    table = rows(400, 0)
    without, with_ = (production.baseline(document(table, resamples=n), ("DPPL",)) for n in (0, 400))
    for bare, drawn in zip(without, with_, strict=True):
        assert bare["high"] - bare["low"] == pytest.approx(drawn["high"] - drawn["low"], rel=0.35)


def test_rows_without_weights_are_held_against_a_hold_out_without_them() -> None:
    table = rows(500, 0)
    plain, weighed = document(table), document(table, weight_col="weight")
    bare = production.unweighted(weighed)
    assert weighed["weight_col"] == "weight" and bare["weight_col"] is None
    wanted, found = by(production.baseline(plain, POST)), by(production.baseline(bare, POST))
    assert set(wanted) - set(found) == {key for key in wanted if key[1] == "CDDPL"}
    assert all(found[key] == wanted[key] or found[key] == pytest.approx(wanted[key]) for key in found)
    assert found != by(production.baseline(weighed, POST))


def test_infinite_and_undefined_values_go_through_json() -> None:
    table = rows(200, 0).with_columns(pl.when(pl.col("sex") == "M").then(0).otherwise("y.prediction").alias("y.prediction"))
    made = document(table)
    [di] = [r for r in production.baseline(made, ("DI",)) if r["facet"] == "sex!=M"]
    assert di["value"] is None and "infinite" in di["error"]
    [now] = [r for r in production.measured(made, table, SIGNED, ("DI",)) if r["facet"] == "sex!=M"]
    assert math.isinf(now["value"])


def test_a_build_that_kept_no_comparisons_is_refused() -> None:
    made = document(rows(200, 0))
    for facet in made["facets"]:
        del facet["conditions"]
    with pytest.raises(BadInput, match="before comparisons were kept") as caught:
        production.measured(made, rows(200, 1), SIGNED, POST)
    assert "build it again" in caught.value.next
