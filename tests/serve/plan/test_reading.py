from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from modelyard.errors import BadInput
from modelyard.serve.plan import reading
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.schema import (
    AnyStep,
    Arithmetic,
    Bins,
    Function,
    Gauss,
    Impute,
    Input,
    Isotonic,
    Linear,
    Link,
    Lookup,
    OneHot,
    Plan,
    Products,
    Require,
    Trees,
)  # fmt: skip
from tests.serve.plan.plans import plans

COLUMNS = (Input("x", "float", True), Input("t", "str", True))


def stump(**more: Any) -> Trees:
    lists: dict[str, Any] = {
        "feature": (0, -1, -1),
        "threshold": (1.0, 0.0, 0.0),
        "left": (1, 0, 0),
        "right": (2, 0, 0),
        "leaf": (0.0, 1.0, 2.0),
    }
    made: dict[str, Any] = {"slots": (0,), "roots": (0,), "targets": (0,), "width": 1, "init": (0.0,), **lists}
    return Trees(**{**made, **more})


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = Plan(COLUMNS, (stump(), OneHot(1, ("a", "b"), (0, 1), 2, -1, None), Lookup(0, (1.0, True + 1.0), ((1.0,), (None,)))), (2, 5))
    assert reading.read(msgspec.json.encode(plan)) == plan


@given(plans())
@settings(max_examples=100, deadline=None)
def test_so_is_any_plan_folded_or_not(plan: Plan) -> None:
    for made in (plan, fold(plan)):
        assert reading.read(msgspec.json.encode(made)) == made


WRONG: list[tuple[AnyStep, str]] = [
    (Arithmetic(2, ()), "no slot 2"),
    (Arithmetic(-1, ()), "no slot -1"),
    (Arithmetic(1, ()), "is text"),
    (Arithmetic(0, (("div", 0.0),)), "divides by 0"),
    (Require((1,), "finite", "no"), "is text"),
    (Function(0, "box_cox"), "its parameter"),
    (Function(0, "log", 1.0), "its parameter"),
    (Impute(1, 3.0), "not text"),
    (Impute(0, "a"), "not a number"),
    (Bins(0, (2.0, 1.0)), "do not rise"),
    (Isotonic(0, (0.0, 1.0), (0.0,)), "do not rise"),
    (OneHot(0, ("a",), (0,), 1), "not a number"),
    (OneHot(1, ("a", "a"), (0, 0), 1), "twice"),
    (OneHot(0, (1.0, True), (0, 0), 1), "twice"),
    (OneHot(1, ("a",), (1,), 1), "outside its width"),
    (OneHot(1, ("a",), (0,), 1, 3), "outside its width"),
    (OneHot(1, ("a",), (), 1), "differ in number"),
    (Lookup(1, ("a", "b"), ((1.0,), (1.0, 2.0))), "not 1 long"),
    (Lookup(1, ("a",), ((1.0,),), unknown=(1.0, 2.0)), "not 1 long"),
    (Linear((0,), ((1.0, 2.0),), (0.0,)), "not 1 long"),
    (Linear((0,), ((1.0,),), ()), "bias"),
    (Gauss((0,), ((0.0,),), ((0.0,),), (0.0,)), "not above 0"),
    (Products(((0, 7),)), "no slot 7"),
    (Link((0, 0), "complement"), "complement of 2"),
    (stump(left=(0, 0, 0)), "children of node 0"),
    (stump(left=(2, 0, 0)), "children of node 0"),
    (stump(right=(3, 0, 0)), "children of node 0"),
    (stump(feature=(1, -1, -1)), "feature of node 0"),
    (stump(roots=(1,)), "node 0 belongs to no tree"),
    (stump(roots=(0, 0), targets=(0, 0)), "root of tree 1"),
    (stump(roots=(0, 1), targets=(0, 0)), "children of node 0"),
    (stump(targets=(1,)), "target lies outside"),
    (stump(targets=(-1,)), "is not 1 numbers"),
    (stump(leaf=(0.0, 1.0, (2.0,))), "is not one number"),
    (stump(threshold=(1.0,)), "differ in length"),
    (stump(missing_left=(True,)), "differ in length"),
    (stump(sets={"1": (1,)}), "belongs to no inner node"),
    (stump(sets={"00": (1,)}), "belongs to no inner node"),
    (stump(sets={"x": (1,)}), "belongs to no inner node"),
    (stump(divide=0.0), "divides by 0"),
    (stump(init=()), "width and init"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "what"), WRONG)
def test_a_step_that_does_not_hold_is_named(step: AnyStep, what: str) -> None:
    with pytest.raises(BadInput, match="step 0 of the row plan") as caught:
        reading.read(msgspec.json.encode(Plan(COLUMNS, (step,), (0,))))
    assert what in caught.value.what


@pytest.mark.parametrize(
    "plan",
    [
        Plan((), (), ()),
        Plan((Input("x", "float"), Input("x", "int")), (), (0,)),
        Plan(COLUMNS, (), ()),
        Plan(COLUMNS, (), (1,)),
        Plan(COLUMNS, (), (2,)),
        Plan(COLUMNS, (), (0,), decided=9),
    ],
)
def test_inputs_and_answers_must_hold(plan: Plan) -> None:
    with pytest.raises(BadInput):
        reading.read(msgspec.json.encode(plan))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"\xff", b"[" * 100_000, b'{"inputs":[],"steps":[],"answers":[],"format":2}',
        b'{"inputs":[{"name":"x","type":"float"}],"steps":[{"do":"python","code":"1"}],"answers":[0]}',
        b'{"inputs":[{"name":"x","type":"float"}],"steps":[],"answers":[0],"more":1}',
        b'{"inputs":[{"name":"x","type":"float"}],"steps":[{"do":"binarize","slot":0,"threshold":NaN}],"answers":[0]}',
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        reading.read(data)


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(COLUMNS, (OneHot(1, ("a",), (0,), 50), Products(((0,),) * 60)), (0,))
    assert reading.checked(plan) == plan
    monkeypatch.setattr(reading, "MAX_SLOTS", 100)
    with pytest.raises(BadInput, match="more than 100 slots"):
        reading.checked(plan)
    monkeypatch.setattr(reading, "MAX_NODES", 2)
    with pytest.raises(BadInput, match="1 to 2 are allowed"):
        reading.checked(Plan(COLUMNS, (stump(),), (0,)))
    monkeypatch.setattr(reading, "MAX_NUMBERS", 3)
    with pytest.raises(BadInput, match="more than 3 numbers"):
        reading.checked(Plan(COLUMNS, (Linear((0, 0), ((1.0, 1.0),) * 2, (0.0, 0.0)),), (2,)))
    monkeypatch.setattr(reading, "MAX_BYTES", 10)
    with pytest.raises(BadInput, match="10 are allowed"):
        reading.read(msgspec.json.encode(plan))
