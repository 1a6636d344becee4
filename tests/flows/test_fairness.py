"""The bias step on a build's own files: the facets are found whatever the preparing steps made of their columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from modelyard.config.spec import Config
from modelyard.errors import BadInput, NotFound
from modelyard.flows import fairness, steps
from modelyard.flows.scoring import as_predictions
from modelyard.flows.site import Site
from modelyard.signature import Column, Signature

RANDOM = np.random.default_rng(0)
ROWS = pl.DataFrame(
    {
        "id": [f"p{i}" for i in range(300)],
        "sex": RANDOM.choice(["F", "M"], 300),
        "region": RANDOM.choice(["north", "south"], 300),
        "amount": RANDOM.normal(size=300),
        "ok": RANDOM.integers(0, 2, 300),
    }
)
TRAIN, TEST = ROWS[:200], ROWS[200:]
SIGNED = Signature("binary_classification", (Column("amount", "float"),), (0, 1), 1, 0.5, target_col="ok")
BIAS = {"facets": [{"column": "sex", "privileged": ["M"]}], "group_col": "region", "criteria": [{"metric": "DPPL", "within": 0.2}]}


def site(
    folder: Path,
    bias: dict[str, Any],
    *,
    prepared: pl.DataFrame = TEST,
    id_col: str | None = None,
    data_of: Callable[[pl.DataFrame], pl.DataFrame] = lambda table: table,
    **more: Any,
) -> Site:
    """A build after `predict`, whose preparing step made `prepared` of the hold-out; `data_of` makes the source's rows of ours."""
    config = Config.model_validate(
        {
            "version": 1,
            "model": {"name": "m", "problem_type": "binary_classification"},
            "data": {
                "source": {"using": "csv", "location": "data.csv"},
                "target_col": "ok",
                "positive_class": 1,
                "id_col": id_col,
                "schema": {"sensitive_not_served": data_of(TEST).columns[1:2]},
            },
            "train": {"framework": "sklearn", "entry_point": "train.py"},
            "preprocess": {"entry_point": "prepare.py"} if prepared is not TEST else None,
            "bias": bias,
            **more,
        }
    )
    built = Site(
        cast(Any, SimpleNamespace(home=SimpleNamespace(runs=folder))),
        cast(Any, SimpleNamespace(id="run", model="m")),
        cast(Any, SimpleNamespace(folder=str(folder), file="config.yaml")),
        config,
    )
    for file, table in ((built.raw("train"), TRAIN), (built.raw("test"), TEST), (built.part("test"), prepared)):
        file.parent.mkdir(parents=True, exist_ok=True)
        data_of(table).write_parquet(file)
    signed = Signature(**{**SIGNED.__dict__, "id_col": id_col})
    scored = data_of(prepared).with_columns((pl.col("amount") > 0).cast(pl.Int64).alias("y.prediction"))
    as_predictions(scored, signed, "candidate", (*data_of(TEST).columns[1:3],)).write_parquet(built.folder / "holdout.parquet")
    (built.folder / "signature.json").write_text(json.dumps(asdict(signed)), encoding="utf-8")
    return built


def gap(table: pl.DataFrame) -> float:
    shares = table.group_by("sex").agg((pl.col("amount") > 0).mean()).sort("sex")["amount"]
    return float(shares[1] - shares[0])


def test_the_step_measures_writes_and_tells_the_gates(tmp_path: Path) -> None:
    built = site(tmp_path, BIAS)
    assert fairness.verify(built).value == ["sex!=M"]
    outcome = fairness.bias(built, {"label0": {"amount": 0.3}})
    json.dumps(outcome.value, allow_nan=False)
    rows = {row["metric"]: row for row in outcome.value["measures"]}
    assert len(rows) == 21 and rows["DPPL"]["facet"] == "sex!=M" and rows["DPPL"]["column"] == "sex"
    assert rows["DPPL"]["value"] == pytest.approx(gap(TEST)) and rows["DPPL"]["low"] <= rows["DPPL"]["value"] <= rows["DPPL"]["high"]
    women = (TRAIN["sex"] == "F").sum()
    assert rows["CI"]["value"] == pytest.approx((200 - 2 * women) / 200)
    document = json.loads((built.folder / "bias.json").read_text(encoding="utf-8"))
    assert document["label"] == "ok" and document["group_col"] == "region" and document["level"] == 0.95
    written = json.loads((built.folder / "analysis.json").read_text(encoding="utf-8"))
    assert written["explanations"]["kernel_shap"]["label0"]["global_shap_values"] == {"amount": 0.3}
    assert outcome.summary == "21 measures of 1 comparison"


def test_a_column_that_is_neither_feature_nor_kept_is_found_in_the_source(tmp_path: Path) -> None:
    """Without a preparing step the hold-out's rows are the source's, in their order."""
    built = site(tmp_path, {**BIAS, "group_col": None, "criteria": []})
    holdout = pl.read_parquet(built.folder / "holdout.parquet")
    holdout.drop("x.sex").write_parquet(built.folder / "holdout.parquet")
    [found] = [r["value"] for r in fairness.bias(built).value["measures"] if r["metric"] == "DPPL"]
    assert found == pytest.approx(gap(TEST))


def test_rows_that_were_dropped_and_shuffled_are_matched_by_id(tmp_path: Path) -> None:
    prepared = TEST.sample(60, shuffle=True, seed=3).with_columns(sex=pl.lit(0), region=pl.lit(0))
    [found] = [
        r["value"] for r in fairness.bias(site(tmp_path, BIAS, prepared=prepared, id_col="id")).value["measures"] if r["metric"] == "DPPL"
    ]
    assert found == pytest.approx(gap(TEST.filter(pl.col("id").is_in(prepared["id"].implode()))))


def test_without_an_id_a_kept_column_serves_and_a_recoded_one_is_refused(tmp_path: Path) -> None:
    kept = TEST[10:]
    [found] = [r["value"] for r in fairness.bias(site(tmp_path / "a", BIAS, prepared=kept)).value["measures"] if r["metric"] == "DPPL"]
    assert found == pytest.approx(gap(kept))
    recoded = kept.with_columns(pl.col("sex").replace_strict({"F": "female", "M": "male"}))
    with pytest.raises(BadInput, match="'sex' did not come through") as caught:
        fairness.bias(site(tmp_path / "b", BIAS, prepared=recoded))
    assert "id_col" in caught.value.next


def test_what_cannot_be_compared_stops_the_build_before_training(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no column 'sexx'"):
        fairness.verify(site(tmp_path / "a", {"facets": [{"column": "sexx"}]}))
    with pytest.raises(BadInput, match="a gate on CDDPL"):
        fairness.verify(site(tmp_path / "b", {**BIAS, "group_col": None, "criteria": [{"metric": "CDDPL", "within": 0.1}]}))


def test_clarify_s_own_file_is_the_source_of_facets_group_and_methods(tmp_path: Path) -> None:
    config = {
        "label": "ok",
        "label_values_or_threshold": [1],
        "facet": [{"name_or_index": "sex", "value_or_threshold": ["F"]}],
        "group_variable": "region",
        "methods": {"post_training_bias": {"methods": ["DPPL", "CDDPL"]}},
    }
    built = site(tmp_path, {"analysis_config": "analysis_config.json", "criteria": BIAS["criteria"]})
    (tmp_path / "analysis_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert fairness.verify(built).value == ["sex=F"]
    (tmp_path / "analysis_config.json").write_text("edited while the build runs", encoding="utf-8")
    rows = fairness.bias(built).value["measures"]
    assert [row["metric"] for row in rows] == ["DPPL", "CDDPL"] and rows[0]["value"] == pytest.approx(gap(TEST))
    (tmp_path / "analysis_config.json").write_text(
        json.dumps({**config, "methods": {"post_training_bias": {"methods": ["DI"]}}}), encoding="utf-8"
    )
    with pytest.raises(BadInput, match="a gate on DPPL, which is not measured"):
        fairness.verify(built)


def test_what_was_accepted_of_clarify_s_file_counts_whatever_lies_there_by_then(tmp_path: Path) -> None:
    """A retraining goes by the config in force; the file may have been edited since, or be gone."""
    asked = {
        "label": "ok",
        "label_values_or_threshold": [1],
        "facet": [{"name_or_index": "sex", "value_or_threshold": ["F"]}],
        "methods": {"post_training_bias": {"methods": ["DPPL"]}},
    }
    built = site(tmp_path, {"analysis_config": "analysis_config.json", "asks": asked, "criteria": BIAS["criteria"]})
    (tmp_path / "analysis_config.json").write_text(json.dumps({**asked, "facet": []}), encoding="utf-8")
    assert fairness.verify(built).value == ["sex=F"] and fairness.packaged(built) == []
    (tmp_path / "analysis_config.json").unlink()
    assert fairness.verify(built).value == ["sex=F"] and fairness.packaged(built) == []
    assert [row["metric"] for row in fairness.bias(built).value["measures"]] == ["DPPL"]


def test_what_stands_in_the_file_is_not_written_beside_it() -> None:
    from modelyard.config.spec import Bias

    with pytest.raises(ValueError, match="`group_col` stands in the file"):
        Bias(analysis_config="analysis_config.json", group_col="region")


def test_an_edited_analysis_config_makes_another_version_wherever_it_lies(tmp_path: Path) -> None:
    train = {"framework": "sklearn", "entry_point": "train.py", "source_dir": "src"}
    built = site(tmp_path, {"analysis_config": "analysis_config.json"}, train=train)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("", encoding="utf-8")

    def digest(asked: str) -> str:
        (tmp_path / "analysis_config.json").write_text(asked, encoding="utf-8")
        return steps.packaged(built, tmp_path / "packed" / "code", tmp_path / "packed" / "preprocess-code")

    assert digest('{"facet": []}') == digest('{"facet": []}') != digest('{"facet": [{"name_or_index": "sex"}]}')
    (tmp_path / "analysis_config.json").unlink()
    with pytest.raises(NotFound, match=r"there is no file analysis_config\.json"):
        steps.packaged(built, tmp_path / "packed" / "code", tmp_path / "packed" / "preprocess-code")


@pytest.mark.parametrize("name", ["version", "label", "event_time", "inference_id"])
def test_a_facet_may_be_called_as_a_column_of_a_predictions_table(tmp_path: Path, name: str) -> None:
    """The build's own column of that name is another: all rows would be of one version, or grouped by their target."""
    bias = {**BIAS, "facets": [{"column": name, "privileged": ["M"]}]}
    built = site(tmp_path, bias, id_col="id", data_of=lambda table: table.rename({"sex": name}))
    rows = {row["metric"]: row["value"] for row in fairness.bias(built).value["measures"]}
    assert rows["DPPL"] == pytest.approx(gap(TEST)) and rows["AD"] is not None
    prepared = site(tmp_path / "b", bias, prepared=TEST[20:], id_col="id", data_of=lambda table: table.rename({"sex": name}))
    rows = {row["metric"]: row["value"] for row in fairness.bias(prepared).value["measures"]}
    assert rows["DPPL"] == pytest.approx(gap(TEST[20:]))


def test_only_what_is_compared_is_read_of_the_training_rows(tmp_path: Path) -> None:
    built = site(tmp_path, BIAS)
    read = fairness._training(built)
    assert read.columns == TRAIN.columns and [n for n in read.columns if read[n].dtype != pl.Null] == ["sex", "region", "ok"]
    assert read.height == TRAIN.height


def test_a_gate_on_a_facet_that_clarify_s_file_does_not_compare_stops_the_build_before_training(tmp_path: Path) -> None:
    facet = {"name_or_index": 1, "value_or_threshold": ["F"]}
    config = {"label": "ok", "label_values_or_threshold": [1], "facet": [facet], "methods": {"post_training_bias": {"methods": "all"}}}
    criteria = [{"metric": "DPPL", "within": 0.2, "facet": "region"}]
    built = site(tmp_path, {"analysis_config": "analysis_config.json", "criteria": criteria})
    (tmp_path / "analysis_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(BadInput, match="`region` is none of the facets") as caught:
        fairness.verify(built)
    assert (caught.value.where, caught.value.next) == ("bias.criteria[0].facet", "the facets: sex")
