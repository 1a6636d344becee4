"""What a build's folder and a bundle say of a row plan."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.flows import compiling, evaluation, plans
from modelyard.serve.oracle import Declined

COMPILED = {"status": "compiled", "reason": "", "rows_proven": 7032, "edge_rows": 20000, "microseconds": 6.64}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (COMPILED, "row plan: 6.64 us a row, equal on 7,032 + 20,000 rows"),
        ({"status": "declined", "reason": "KNeighborsClassifier has no row plan"}, "runner: KNeighborsClassifier has no row plan"),
        ({"status": "unequal", "reason": "row 3: 1, and 0"}, "runner: the row plan is refused, row 3: 1, and 0"),
        ({"status": "off", "reason": "`inference.compile` is off"}, "runner: `inference.compile` is off"),
    ],
)
def test_a_line_says_how_a_version_answers(tmp_path: Path, found: dict[str, Any], said: str) -> None:
    assert plans.said(found) == said
    assert plans.answers(tmp_path) == ""
    (tmp_path / "compile.json").write_text(json.dumps(found))
    assert plans.answers(tmp_path) == said


def test_latency_is_the_plans_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "latency.json").write_text('{"p50_ms": 5.0, "p99_ms": 9.0, "requests": 50, "by": "runner"}')
    assert plans.latency(tmp_path)["by"] == "runner"
    (tmp_path / "compile.json").write_text('{"status": "declined", "reason": "x"}')
    assert plans.latency(tmp_path)["by"] == "runner"
    (tmp_path / "compile.json").write_text(json.dumps({**COMPILED, "latency": {"p50_ms": 0.007, "p99_ms": 0.01, "by": "row plan"}}))
    assert plans.latency(tmp_path) == {"p50_ms": 0.007, "p99_ms": 0.01, "by": "row plan"}


def test_a_plan_that_is_slower_than_the_model_is_not_worth_it(tmp_path: Path) -> None:
    (tmp_path / "latency.json").write_text('{"p50_ms": 1.5}')
    site: Any = SimpleNamespace(folder=tmp_path)
    compiling._worth_it(site, {"p50_ms": 1.4})
    with pytest.raises(Declined, match=r"a row takes 7.12 ms by its row plan, and 1.5 ms by the model itself"):
        compiling._worth_it(site, {"p50_ms": 7.123})


def test_a_plan_of_another_format_leaves_the_version_to_its_runner(tmp_path: Path) -> None:
    assert plans.plan_of(tmp_path) is None
    (tmp_path / "plan.json").write_text('{"steps": [], "format": 2}')
    assert plans.plan_of(tmp_path) is None
    (tmp_path / "plan.json").write_text('{"steps": [], "format": 1}')
    assert plans.plan_of(tmp_path) == tmp_path / "plan.json"


def test_plans_are_compared_byte_by_byte(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    assert plans.compared(old, new) == ""
    (old / "plan.json").write_text("{}")
    assert plans.compared(old, new) == "; its row plan could not be made again"
    (new / "plan.json").write_text("{}")
    assert plans.compared(old, new) == "; the row plan is the same"
    (new / "plan.json").write_text("{ }")
    assert plans.compared(old, new) == "; the row plan is another, and was proven equal to the model too"


def test_what_the_step_leaves_is_sealed() -> None:
    assert {"compile.json", "plan.json"} <= set(evaluation.BUNDLED)
