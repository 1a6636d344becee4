"""What becomes of boosted trees in particular: splits that part missing values from all others, and trees that do not split."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import msgspec

from modelyard.runtime.extract.boosters_lightgbm import booster
from modelyard.runtime.extract.builder import LARGEST, Builder, Fact, Table
from modelyard.serve.plan.interpret import slots_of
from modelyard.serve.plan.reading import read
from modelyard.serve.plan.schema import Plan

PARTED = {
    "split_feature": 0, "threshold": 1e300, "decision_type": "<=", "default_left": False, "missing_type": "NaN",
    "left_child": {"leaf_value": 1.0}, "right_child": {"leaf_value": 2.0},
}  # fmt: skip
"""As LightGBM writes the threshold infinity."""


def lightgbm(tree: dict[str, Any]) -> Any:
    dump = {"max_feature_idx": 0, "num_tree_per_iteration": 1, "tree_info": [{"tree_structure": tree}], "objective": "regression"}
    return SimpleNamespace(dump_model=lambda: dump, pandas_categorical=None)


def plan_of(tree: dict[str, Any], *, squared: bool = False) -> Plan:
    """The plan of one tree over a column, or over its square, which may be infinite."""
    made = Builder({"columns": [{"name": "x", "type": "float"}]}, [Fact(limit=LARGEST)], {}, {})
    slots = made.add("function", [Fact()], slot=0, name="square") if squared else [0]
    answers = booster(made, lightgbm(tree), Table(slots))
    inputs = [{"name": "x", "type": "float", "nullable": True}]
    return read(msgspec.json.encode({"format": 1, "inputs": inputs, "steps": made.steps, "answers": answers}))


def answer(plan: Plan, x: float | None) -> float:
    return float(slots_of(plan, [x])[plan.answers[0]])


def test_a_split_that_parts_missing_values_from_all_others() -> None:
    for plan in (plan_of(PARTED), plan_of(PARTED, squared=True)):
        assert [answer(plan, x) for x in (-LARGEST, 0.0, 1e300, math.nextafter(1e300, math.inf), LARGEST)] == [1.0] * 5
        assert answer(plan, None) == 2.0


def test_trees_that_do_not_split_are_a_plan_all_the_same() -> None:
    plan = plan_of({"leaf_value": 3.0})
    assert (answer(plan, 5.0), answer(plan, None)) == (3.0, 3.0)
