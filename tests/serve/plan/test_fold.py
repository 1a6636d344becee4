from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve.plan.answers import finish_for
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.interpret import interpret
from modelyard.serve.plan.reading import checked
from modelyard.serve.plan.refused import Refused
from modelyard.serve.plan.schema import Arithmetic, Impute, Input, OneHot, Plan, Require, Trees
from tests.serve.plan.plans import plans, rows, same, signature_of


def outcome(plan: Plan, values: tuple[Any, ...]) -> Any:
    try:
        return interpret(plan, finish_for(plan, signature_of(plan)), values)
    except Refused:
        return "refused"


@given(st.data(), plans())
@settings(max_examples=100, deadline=None)
def test_a_folded_plan_answers_and_refuses_as_before(data: st.DataObject, plan: Plan) -> None:
    folded = checked(fold(plan))
    assert fold(folded) == folded
    for values in data.draw(rows(plan, 4)):
        assert same(outcome(plan, values), outcome(folded, values)), values


def stump(threshold: float, slot: int, **more: Any) -> Trees:
    return Trees((slot,), (0,), (0, -1, -1), (threshold, 0.0, 0.0), (1, 0, 0), (2, 0, 0), (0.0, -1.0, 1.0), (0,), 1, (0.0,), **more)


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e3),
    st.floats(-3, 3),
    st.sampled_from(("f4", "f8")),
    st.sampled_from(("le", "lt")),
    st.booleans(),
)
def test_a_scaler_and_the_cast_are_folded_to_the_last_bit(
    mean: float, scale: float, threshold: float, cast: Any, compare: Any, falls: bool
) -> None:
    scaling = Arithmetic(0, (("sub", mean), ("div", -scale if falls else scale)))
    plan = Plan((Input("x", "float"),), (scaling, Require((1,), "float32", "no"), stump(threshold, 1, cast=cast, compare=compare)), (2,))
    folded = checked(fold(plan))
    assert [type(step) for step in folded.steps] == [Require, Trees]
    trees = folded.steps[-1]
    assert isinstance(trees, Trees) and trees.slots == (0,) and (trees.cast, trees.compare) == ("f8", "le")
    edge = trees.threshold[0]
    around = [edge, math.nextafter(edge, math.inf), math.nextafter(edge, -math.inf), edge + scale, edge - scale, 1e300, -1e300]
    for x in around:
        assert outcome(plan, (x,)) == outcome(folded, (x,)), x
    assert outcome(folded, (edge,)) != outcome(folded, (around[1],))


def test_imputing_goes_into_thresholds_and_tables() -> None:
    columns = (Input("x", "float", True), Input("t", "str", True))
    steps = (Impute(0, 5.0), stump(3.0, 2), Impute(1, "b", missing="?"), OneHot(4, ("a", "b"), (0, 1), 2), stump(0.5, 6))
    plan = Plan(columns, (*steps, Arithmetic(3, (("mul", 10.0),))), (8,))
    folded = checked(fold(plan))
    assert not any(isinstance(step, Impute) for step in folded.steps)
    for values in [(None, None), (1.0, "a"), (4.0, "?"), (3.0, "b"), (None, "c")]:
        assert outcome(plan, values) == outcome(folded, values), values
    assert outcome(folded, (1.0, "c")) == "refused"
