from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve.plan.answers import finish_for
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.interpret import interpret
from modelyard.serve.plan.reading import checked
from modelyard.serve.plan.refused import Refused
from modelyard.serve.plan.scalar import row_function
from modelyard.serve.plan.schema import Input, Plan, Trees
from modelyard.serve.plan.vector import Vector
from modelyard.serve.plan.vector_slots import RefusedSome
from tests.serve.plan.plans import finite, plans, rows, same, signature_of, trees


def held_against_the_interpreter(plan: Plan, table: list[tuple[Any, ...]], vector: Vector) -> None:
    """All rows together, where none is refused, and each by itself."""
    how = finish_for(plan, signature_of(plan))
    good, wanted = [], []
    for values in table:
        try:
            wanted.append(interpret(plan, how, values))
            good.append(values)
        except Refused:
            with pytest.raises(RefusedSome):
                vector([[value] for value in values])
    if good:
        found, _ = vector(list(map(list, zip(*good, strict=True))))
        for values, one, other in zip(good, wanted, found.tolist(), strict=True):
            assert same(one, (other,), 1e-15), (values, one, other)
        alone, _ = vector([[value] for value in good[0]])
        assert same(wanted[0], (alone[0],), 1e-15)


@given(st.data(), plans())
@settings(max_examples=100, deadline=None)
def test_many_rows_are_answered_as_one(data: st.DataObject, plan: Plan) -> None:
    vector = Vector(plan, finish_for(plan, signature_of(plan)))
    held_against_the_interpreter(plan, data.draw(rows(plan, 6)), vector)


@given(st.data(), plans())
@settings(max_examples=100, deadline=None)
def test_so_they_are_of_a_folded_plan(data: st.DataObject, plan: Plan) -> None:
    vector = Vector(fold(plan), finish_for(plan, signature_of(plan)))
    held_against_the_interpreter(plan, data.draw(rows(plan, 6)), vector)


@given(st.data(), trees((0, 1, 2), largest=150))
@settings(max_examples=30, deadline=None)
def test_trees_of_any_number_of_leaves(data: st.DataObject, step: Trees) -> None:
    columns = tuple(Input(f"x{i}", "float", True) for i in range(3))
    plan = Plan(columns, (step,), (3 + data.draw(st.integers(0, step.width - 1)),))
    held_against_the_interpreter(plan, data.draw(rows(plan, 8)), Vector(plan, finish_for(plan, signature_of(plan))))


@pytest.mark.parametrize("threshold", [0.1, 1.0, -2.5, 0.0])
@pytest.mark.parametrize("compare", ["le", "lt"])
@pytest.mark.parametrize("cast", ["f4", "f8"])
@pytest.mark.parametrize("missing_left", [(), (True,) * 200])
@pytest.mark.parametrize("splits", [1, 99])
def test_a_value_at_a_threshold_goes_where_it_should(threshold: float, compare: Any, cast: Any, missing_left: Any, splits: int) -> None:
    """A tree of two leaves goes by masks; one with 98 more splits, which no value here reaches, is walked."""
    feature, left, right = [0] * splits + [-1] * (splits + 1), [0] * (2 * splits + 1), [0] * (2 * splits + 1)
    for node in range(splits):
        left[node], right[node] = splits + node, node + 1 if node < splits - 1 else 2 * splits
    leaf = tuple(float(n) for n in range(2 * splits + 1))
    thresholds = tuple([threshold] + [1e9 + n for n in range(splits - 1)] + [0.0] * (splits + 1))
    step = Trees(
        (0,), (0,), tuple(feature), thresholds, tuple(left), tuple(right), leaf, (0,), 1, (0.0,), compare, cast, missing_left[: len(leaf)]
    )
    plan = checked(Plan((Input("x", "float", True),), (step,), (1,)))
    single = float(np.float32(threshold))
    values = [threshold, single, *(np.nextafter(x, to) for x in (threshold, single) for to in (-9.0, 9.0)), None, -1e300]
    table, how = [(v if v is None else float(v),) for v in values], finish_for(plan, signature_of(plan))
    held_against_the_interpreter(plan, table, Vector(plan, how))
    row = row_function(plan, how)
    assert [row(value) for value in table] == [interpret(plan, how, value) for value in table]


@given(st.lists(st.one_of(st.none(), finite), min_size=1, max_size=5))
def test_arrays_are_columns_too(values: list[float | None]) -> None:
    plan = Plan((Input("x", "float", True), Input("at", "datetime", True)), (), (0,))
    vector = Vector(plan, finish_for(plan, signature_of(plan)))
    some = [1.0 if v is None else v for v in values]
    instants = np.array([0] * len(some), "datetime64[s]")
    assert vector([np.array(some), instants])[0].tolist() == some
