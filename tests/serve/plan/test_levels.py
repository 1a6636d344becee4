from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve.plan import scalar_levels
from modelyard.serve.plan.answers import finish_for
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.interpret import interpret
from modelyard.serve.plan.levels import Levels
from modelyard.serve.plan.reading import checked
from modelyard.serve.plan.scalar import row_function
from modelyard.serve.plan.schema import Arithmetic, Input, OneHot, Plan, Trees
from tests.serve.plan.plans import outcome, rows, same, signature_of, trees

COLUMNS = (Input("x", "float", True), Input("i", "int", True), Input("t", "str", True))
BEFORE = (Arithmetic(0, (("mul", -2.0), ("add", 0.5))), OneHot(2, ("a", "b", "c"), (0, 1, -1), 3, -1, 2))


@given(st.data(), trees((0, 1, 3, 4, 5, 6), largest=60))
@settings(max_examples=60, deadline=None)
def test_trees_that_go_down_together_answer_as_the_interpreter_does(data: st.DataObject, step: Trees) -> None:
    plan = checked(Plan(COLUMNS, (*BEFORE, step), (7 + data.draw(st.integers(0, step.width - 1)),)))
    how = finish_for(plan, signature_of(plan))
    table = data.draw(rows(plan, 8))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_FEWEST", "_FEWEST_COMPILED", "_UNCACHED"):
            patch.setattr(scalar_levels, name, 0)
        made = [row_function(one, how) for one in (plan, fold(plan))]
    taken = not step.sets and len({target < 0 for target in step.targets}) == 1
    for row in made:
        assert taken == any(isinstance(value, Levels) for value in row.__globals__.values())  # type: ignore[attr-defined]
        for values in table:
            assert same(outcome(interpret, plan, how, values), outcome(row, values)), values


def forest(count: int, leaves: int) -> Plan:
    """A forest of random trees of three columns."""
    drawn = random.Random(0)
    feature, left, right, roots = list[int](), list[int](), list[int](), list[int]()
    for _ in range(count):
        roots.append(len(feature))
        feature.append(-1)
        left.append(0)
        right.append(0)
        ends = [roots[-1]]
        for _ in range(leaves - 1):
            node, child = ends.pop(drawn.randrange(len(ends))), len(feature)
            feature[node], left[node], right[node] = drawn.randrange(3), child, child + 1
            feature += [-1, -1]
            left += [0, 0]
            right += [0, 0]
            ends += [child, child + 1]
    numbers = tuple(drawn.gauss(0, 1) for _ in feature)
    step = Trees(
        (0, 1, 2), tuple(roots), tuple(feature), numbers, tuple(left), tuple(right), numbers, (0,) * count, 1, (0.0,),
        cast="f8", divide=float(count), missing_left=tuple(n > 0 for n in numbers),
    )  # fmt: skip
    return checked(Plan(tuple(Input(f"x{i}", "float", True) for i in range(3)), (step,), (3,)))


def test_a_large_forest_goes_down_together() -> None:
    plan = forest(300, 170)
    how = finish_for(plan, signature_of(plan))
    row = row_function(plan, how)
    assert any(isinstance(value, Levels) for value in row.__globals__.values())  # type: ignore[attr-defined]
    drawn = random.Random(1)
    for _ in range(20):
        values = tuple(drawn.choice((None, drawn.gauss(0, 1))) for _ in range(3))
        assert row(values) == interpret(plan, how, values)
    few = forest(20, 170)
    row = row_function(few, finish_for(few, signature_of(few)))
    assert not any(isinstance(value, Levels) for value in row.__globals__.values())  # type: ignore[attr-defined]
