from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.serve.coerce import json_coercer
from modelyard.serve.plan.edges import edge_rows
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.schema import Arithmetic, Bins, Impute, Input, Linear, OneHot, Plan, Trees
from modelyard.signature import Column
from tests.serve.plan.plans import plans, rows

SCALED = Plan(
    (Input("x", "float"), Input("n", "int", True), Input("t", "str", True), Input("b", "bool"), Input("at", "datetime")),
    (
        Arithmetic(0, (("sub", 1.5), ("div", 3.0))),
        Bins(1, (2.5, 7.0)),
        Impute(2, "red"),
        OneHot(7, ("red", "blue"), (0, 1), 2, -1, -1),
        Trees((5,), (0,), (0, -1, -1), (0.1, 0.0, 0.0), (1, 0, 0), (2, 0, 0), (0.0, 1.0, 2.0), (0,), 1, (0.0,)),
        Linear((6, 8, 9, 10), ((1.0, 2.0, 3.0, 4.0),), (0.0,)),
    ),
    (11,),
)
ROWS: list[tuple[Any, ...]] = [(1.0, 4, "red", True, 5), (2.0, None, None, False, 7)]


def test_each_edge_is_tried_by_itself() -> None:
    found = edge_rows(SCALED, fold(SCALED), ROWS)
    tried = [{values[place] for values in found} for place in range(5)]
    folded = next(step for step in fold(SCALED).steps if isinstance(step, Trees))
    edge = folded.threshold[0]
    assert {edge, math.nextafter(edge, math.inf), 0.0, 1e300, -1e38} <= tried[0]
    assert {2, 3, 7, 8, 6, None, 2**53 + 1, 2**63 - 1, -(2**63)} <= tried[1]
    assert {"red", "blue", "", None} <= tried[2] and max(map(len, filter(None, tried[2]))) == 10_000
    assert tried[3] == {True, False} and None not in tried[4]
    alone = [values for values in found if sum(v in (row[i] for row in ROWS) for i, v in enumerate(values)) >= 4]
    assert len(alone) > 30
    assert any(values[1] is None and values[2] is None for values in found)
    assert any(math.copysign(1, values[0]) < 0 and values[0] == 0 for values in found)


def test_no_row_has_two_numbers_that_overflow_together() -> None:
    """What their sum is depends on the order in which it is added up, and BLAS has another one for each number of rows."""
    plan = Plan(tuple(Input(f"x{i}", "float") for i in range(30)), (Linear(tuple(range(30)), ((1.5,) * 30,), (0.0,)),), (30,))
    found = edge_rows(plan, plan, [(1.0,) * 30])
    huge = [sum(abs(value) >= 1e300 for value in row) for row in found]
    several = [sum(value != 1.0 for value in row) for row in found]
    assert max(huge) == 1 and sum(huge) > 100 and max(several) > 10


def test_they_are_the_same_for_the_same_seed_and_no_more_than_asked_for() -> None:
    assert edge_rows(SCALED, fold(SCALED), ROWS, most=50) == edge_rows(SCALED, fold(SCALED), ROWS, most=50)
    assert edge_rows(SCALED, fold(SCALED), ROWS, most=50, seed=1) != edge_rows(SCALED, fold(SCALED), ROWS, most=50)
    assert len(edge_rows(SCALED, fold(SCALED), ROWS, most=50)) <= 50


@given(st.data(), plans())
@settings(max_examples=60, deadline=None)
def test_the_front_lets_all_of_them_through(data: st.DataObject, plan: Plan) -> None:
    found = edge_rows(plan, fold(plan), data.draw(rows(plan, 2)), most=300)
    for place, column in enumerate(plan.inputs):
        values = [row[place] for row in found]
        if column.type == "datetime":
            assert all(type(v) is int or (v is None and column.nullable) for v in values)
            continue
        try:
            assert json_coercer(Column(column.name, column.type, column.nullable))(values) == values
        except BadInput as exc:
            pytest.fail(str(exc))
