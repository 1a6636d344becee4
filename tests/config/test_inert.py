from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.config import inert
from modelyard.config.load import loads
from modelyard.config.spec import Config

CAPTURED = "no request is captured, so that SageMaker's files would stay empty"
WATCHED = {"bias": {"facets": [{"column": "sex"}], "label_above": 0.5}, "explain": {}}


def words(**parts: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "model": {"name": "small", "problem_type": "regression"},
        "data": {"source": {"using": "csv", "location": "data.csv"}, "target_col": "y", "time_col": "at", **parts.pop("data", {})},
        "train": {"framework": "sklearn", "entry_point": "train.py", **parts.pop("train", {})},
        **parts,
    }


def found(**parts: Any) -> list[tuple[str, str]]:
    loaded = loads(json.dumps(words(**parts)), Path("config.yaml"))
    return [(".".join(map(str, path)), said) for path, said, next in inert.findings(loaded) if next]


@pytest.mark.parametrize(
    ("capture", "empty"),
    [
        ({"sagemaker": True, "mode": "off"}, True),
        ({"sagemaker": True, "sample": 0}, True),
        ({"sagemaker": {"staging": True, "production": False}, "mode": {"staging": "off", "production": "buffered"}}, True),
        ({"sagemaker": True, "sample": {"staging": 0, "production": 0.1}}, False),  # what both stages say is said once
        ({"sagemaker": True}, False),
        ({"mode": "off", "retain": "7d"}, False),  # what is switched off may keep its settings
    ],
)
def test_files_of_what_is_never_captured(capture: dict[str, Any], empty: bool) -> None:
    assert found(deploy={"capture": capture}) == ([("deploy.capture.sagemaker", CAPTURED)] if empty else [])


def test_a_shadow_that_is_never_asked() -> None:
    ((path, said),) = found(deploy={"strategy": {"type": "shadow", "share": 0}})
    assert path == "deploy.strategy.share" and "goes back for want of requests" in said
    assert found(deploy={"strategy": {"type": "shadow", "share": 0.001}}) == []


def test_channels_that_are_never_told_and_segments_that_nobody_judges() -> None:
    assert found(alerts={"to": ["json://localhost/x"], "on": []}) == [
        ("alerts.to", "`alerts.on` names nothing to tell, so that no channel ever hears")
    ]
    assert found(alerts={"to": [], "on": []}) == found(alerts={"to": ["json://localhost/x"]}) == []
    both = {"segments": ["x"], "drift": {"enabled": False}, "performance": {"enabled": False}}
    assert found(monitor=both) == [("monitor.segments", "drift and performance are judged by segment, and both are off")]
    assert found(monitor={**both, "drift": {}}) == found(monitor={**both, "performance": {}}) == []


@pytest.mark.parametrize(
    ("cause", "parts", "why"),
    [
        ("drift", {"monitor": {"drift": {"enabled": False}}}, "`monitor.drift` is off"),
        ("performance", {"monitor": {"performance": {"enabled": False}}}, "`monitor.performance` is off"),
        ("bias", {}, "no comparison is asked for (`bias`)"),
        ("bias", {**WATCHED, "monitor": {"bias": {"enabled": False}}}, "`monitor.bias` is off"),
        ("attribution", {}, "the build explains nothing (`explain`)"),
        ("attribution", {**WATCHED, "monitor": {"attribution": {"enabled": False}}}, "`monitor.attribution` is off"),
        ("drift", {"deploy": {"capture": {"mode": "off"}}}, "no request is captured"),
    ],
)
def test_a_cause_that_nobody_can_give(cause: str, parts: dict[str, Any], why: str) -> None:
    assert found(**parts, retrain={"on": [cause]}) == [("retrain.on.0", f"{cause} never asks for a retraining: {why}")]
    assert found(**parts, retrain={"on": []}) == []


def test_a_cause_that_is_watched_and_brakes_that_hold_one_back() -> None:
    every = ["drift", "performance", "bias", "attribution"]
    assert found(**WATCHED, retrain={"on": every, "after": {"num_windows": 2}, "min_new_labels": 10}) == []
    on = {"on": ["schedule"], "schedule_expression": "0 6 * * 1"}
    assert found(retrain={**on, "after": {"num_windows": 2}, "min_new_labels": 10}) == [
        ("retrain.after", "`after` counts a monitor's windows, and none is named: schedule"),
        ("retrain.min_new_labels", "a schedule asks without new labels, and nothing else does"),
    ]
    both = {**on, "on": ["schedule", "new_data"], "new_data": 1000, "min_new_labels": 10}
    assert found(retrain=both) == found(retrain=on) == found(deploy={"capture": {"mode": "off"}}, retrain=on) == []
    assert found(retrain={"after": {"num_windows": 2}, "min_new_labels": 10}) == [], "what is switched off may keep its settings"


def test_bounds_between_which_nothing_lies() -> None:
    expect = {"min_rows": 10, "max_rows": 9, "columns": {"x": {"min": 2, "max": 1}}}
    assert [path for path, _ in found(data={"expect": expect})] == ["data.expect.min_rows", "data.expect.columns.x.min"]
    assert found(data={"expect": {"min_rows": 9, "max_rows": 9, "columns": {"x": {"min": 1, "max": 1}}}}) == []


def test_spans_that_are_over_as_they_begin() -> None:
    step = {"entry_point": "prepare.py", "max_runtime": "0s"}
    asked = {"preprocess": step, "postprocess": step, "steps": [{**step, "name": "a"}], "train": {"instances": {"max_runtime": "0s"}}}
    approvals = {stage: {"approval": {"expires": "0s"}} for stage in ("staging", "production")}
    assert [path for path, _ in found(**asked, environments=approvals)] == [
        "preprocess.max_runtime",
        "postprocess.max_runtime",
        "steps.0.max_runtime",
        "train.instances.max_runtime",
        "environments.staging.approval.expires",
        "environments.production.approval.expires",
    ]
    sliding = {"on": ["drift"], "window": {"type": "sliding", "length": "0s"}}
    assert found(retrain=sliding) == [("retrain.window.length", "within no time at all, a retrained version learns from no rows")]


def test_a_config_in_force_from_before_is_still_read() -> None:
    odd = words(deploy={"strategy": {"type": "shadow", "share": 0}, "capture": {"mode": "off", "sagemaker": True}})
    assert Config.model_validate(odd).deploy.strategy.share == 0
