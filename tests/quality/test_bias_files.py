"""Clarify's files: an `analysis_config.json` as the question, an `analysis.json` as the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelyard.config.spec import Facet
from modelyard.errors import BadInput, NotFound
from modelyard.quality.bias import POST_TRAINING, PRE_TRAINING, clarify
from modelyard.quality.bias.analysis import Good, analyse
from modelyard.quality.bias.measure import Interval
from modelyard.signature import Column, Signature

RANDOM = np.random.default_rng(0)
TABLE = pl.DataFrame(
    {
        "age": RANDOM.integers(18, 80, 200).astype(float),
        "sex": RANDOM.choice(["F", "M"], 200),
        "child": RANDOM.integers(0, 2, 200),
        "score": RANDOM.random(200),
        "approved": RANDOM.integers(0, 2, 200),
    }
)
SIGNED = Signature("binary_classification", (Column("score", "float"),), classes=(0, 1), positive_class=1, target_col="approved")
WHOLE: dict[str, Any] = {
    "dataset_type": "text/csv",
    "headers": ["approved", "age", "sex", "child", "score"],
    "label": "approved",
    "label_values_or_threshold": [1],
    "facet": [
        {"name_or_index": "age", "value_or_threshold": [40]},
        {"name_or_index": 2, "value_or_threshold": ["F"]},
        {"name_or_index": "child"},
    ],
    "group_variable": 3,
    "probability_threshold": 0.7,
    "predictor": {"model_name": "m", "instance_type": "ml.c5.xlarge", "initial_instance_count": 1, "accept_type": "text/csv"},
    "methods": {
        "pre_training_bias": {"methods": ["DPL", "CI"]},
        "post_training_bias": {"methods": "all"},
        "shap": {"baseline": [[1, 2]], "num_samples": 100, "agg_method": "mean_abs"},
        "report": {"name": "report", "title": "Bias"},
    },
}


def setting(**changed: Any) -> clarify.Setting:
    given = {
        "training": TABLE,
        "target": "approved",
        "problem_type": "binary_classification",
        "positive_class": 1,
        "decision_threshold": 0.5,
        "explains": True,
    }
    return clarify.Setting(**{**given, **changed})


def test_a_whole_file_is_taken_as_clarify_takes_it() -> None:
    found = clarify.asked(WHOLE, setting())
    assert found.facets == (Facet(column="age", above=40), Facet(column="sex", disadvantaged=("F",)), Facet(column="child"))
    assert found.good == Good((1,), score_from=0.7) and found.group_col == "child"
    assert found.pre_training == ("CI", "DPL") and found.post_training == POST_TRAINING
    assert found.notes == (
        "dataset_type of analysis_config.json: the rows come from `data.source`",
        "predictor of analysis_config.json: predictions are those of this build's model",
        "methods.shap of analysis_config.json is answered by `explain`, by its own settings",
        "methods.report of analysis_config.json: the report is always written",
    )


def test_the_probability_threshold_decides_what_is_predicted_good() -> None:
    holdout = TABLE.with_columns(
        pl.col("score").alias("f.score"),
        pl.col("approved").alias("label"),
        pl.col("score").alias("y.probability_1"),
        (pl.col("score") >= 0.5).cast(pl.Int64).alias("y.prediction"),
    )
    document = analyse(clarify.asked(WHOLE, setting()), TABLE, holdout, SIGNED, Interval(resamples=0))
    [gap] = [row["value"] for row in document["facets"][1]["post_training"] if row["metric"] == "DPPL"]
    shares = TABLE.group_by("sex").agg((pl.col("score") >= 0.7).mean()).sort("sex")["score"]
    assert gap == pytest.approx(shares[1] - shares[0])


def test_metrics_that_are_not_asked_for_are_not_written() -> None:
    config = {**WHOLE, "methods": {"pre_training_bias": {}}, "probability_threshold": None}
    found = clarify.asked(config, setting())
    assert (found.pre_training, found.post_training) == (PRE_TRAINING, ())
    holdout = TABLE.with_columns(pl.col("score").alias("f.score"), label="approved", **{"y.prediction": "approved"})
    document = analyse(found, TABLE, holdout, SIGNED, Interval(resamples=0))
    assert set(clarify.analysis(document)) == {"version", "pre_training_bias_metrics"}


def without(*keys: str, **more: Any) -> dict[str, Any]:
    return {k: v for k, v in WHOLE.items() if k not in keys} | more


@pytest.mark.parametrize(
    ("config", "where", "what"),
    [
        (without(joinsource_name_or_index="id"), "joinsource_name_or_index", "not supported"),
        (without(methods={"pdp": {}, "text": {}}), "methods.text", "not supported"),
        (without(methods={"pre_training_bias": {"methods": ["DPX"]}}), "methods.pre_training_bias.methods", "no such metric as 'DPX'"),
        (without(methods={"pre_training_bias": {"order": 1}}), "methods.pre_training_bias.order", "not supported"),
        (without(methods={"pre_training_bias": []}), "methods.pre_training_bias", "an object is expected"),
        (without("label", label="accepted"), "label", "no column 'accepted'"),
        (without("label", label="score"), "label", "`data.target_col` is 'approved'"),
        (without("label_values_or_threshold"), "label_values_or_threshold", "a list of the good labels"),
        (without(label_values_or_threshold=[7]), "label_values_or_threshold", "the label 7 does not occur"),
        (without("facet"), "facet", "a list of facets"),
        (without(facet=[{"name": "sex"}]), "facet[0]", "name_or_index"),
        (without(facet=[{"name_or_index": "sec"}]), "facet[0].name_or_index", "no column 'sec'"),
        (without(facet=[{"name_or_index": 9}]), "facet[0].name_or_index", "no column 9: there are 5"),
        (without(facet=[{"name_or_index": "age"}]), "facet[0].value_or_threshold", "a threshold is expected"),
        (without(facet=[{"name_or_index": "age", "value_or_threshold": ["old"]}]), "facet[0].value_or_threshold", "'old' is not a number"),
        (without(group_variable="region"), "group_variable", "no column 'region'"),
        (without(predicted_label="score"), "predicted_label", "'score' is a column of the data"),
        (without(label_values_or_threshold=[0]), "probability_threshold", "the one good label"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(config: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        clarify.asked(config, setting())
    assert caught.value.where == f"analysis_config.json: {where}" and what in caught.value.what


def test_explanations_are_asked_for_elsewhere() -> None:
    with pytest.raises(BadInput) as caught:
        clarify.asked(WHOLE, setting(explains=False))
    assert caught.value.where == "analysis_config.json: methods.shap" and caught.value.next == "add `explain`, or remove shap"


def test_a_label_that_is_a_scale_has_one_threshold() -> None:
    config = without("probability_threshold", "label", label="score", label_values_or_threshold=[0.4])
    found = clarify.asked(config, setting(target="score", problem_type="regression", positive_class=None))
    assert found.good == Good(above=0.4)
    with pytest.raises(BadInput, match="one threshold"):
        clarify.asked({**config, "label_values_or_threshold": [1, 2]}, setting(target="score", problem_type="regression"))


@pytest.mark.parametrize(
    ("column", "wanted", "scale"),
    [
        (pl.Series([0.0, 1.0] * 50), [1], True),
        (pl.Series([0, 1] * 50), [1], False),
        (pl.Series(range(100)), [50], True),
        (pl.Series(range(100)), [1, 2], False),
        (pl.Series(["1", "2"]), ["1"], False),
        (pl.Series([True, False]), [1], False),
    ],
)
def test_categories_and_scales_are_told_apart_by_clarify_s_rule(column: pl.Series, wanted: list[Any], scale: bool) -> None:
    assert clarify.is_scale(column, wanted) is scale


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        clarify.read(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    for name, what in (("broken.json", "cannot be read as JSON"), ("list.json", "a JSON object")):
        with pytest.raises(BadInput, match=what):
            clarify.read(tmp_path / name)


def test_the_answer_has_clarify_s_shape() -> None:
    """Undefined and infinite values, and explanations; the numbers themselves are held to the library's elsewhere."""
    row = {"description": "", "low": None, "high": None}
    facet = {
        "column": "sex",
        "value": "F",
        "pre_training": [{"metric": "KL", "value": 0.5, **row}, {"metric": "CDDL", "value": None, "error": "why", **row}],
        "post_training": [{"metric": "DI", "value": "Infinity", **row}],
    }
    aged = {"column": "age", "threshold": 40.0, "interval": "(40, 79]", "pre_training": [], "post_training": []}
    document = {"label": "approved", "good_as_clarify": "1", "facets": [facet, aged]}
    written = clarify.analysis(document, {"label0": {"age": 0.2}})
    assert json.loads(json.dumps(written, allow_nan=False)) == {
        "version": "1.0",
        "pre_training_bias_metrics": {
            "label": "approved",
            "label_value_or_threshold": "1",
            "facets": {
                "sex": [
                    {
                        "value_or_threshold": "F",
                        "metrics": [
                            {
                                "name": "CDDL",
                                "description": "Conditional Demographic Disparity in Labels (CDDL)",
                                "value": None,
                                "error": "why",
                            },
                            {"name": "KL", "description": "Kullback-Liebler Divergence (KL)", "value": 0.5},
                        ],
                    }
                ],
                "age": [{"value_or_threshold": "(40, 79]", "metrics": []}],
            },
        },
        "post_training_bias_metrics": {
            "label": "approved",
            "label_value_or_threshold": "1",
            "facets": {
                "sex": [
                    {
                        "value_or_threshold": "F",
                        "metrics": [{"name": "DI", "description": "Disparate Impact (DI)", "value": "Infinity"}],
                    }
                ],
                "age": [{"value_or_threshold": "(40, 79]", "metrics": []}],
            },
        },
        "explanations": {"kernel_shap": {"label0": {"global_shap_values": {"age": 0.2}}}},
    }
