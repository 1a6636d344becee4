"""What the builder knows of slots, and which steps that spares."""

from __future__ import annotations

import math

import pytest

from modelyard.runtime.extract.builder import FLAG, LARGEST, LARGEST32, Builder, Cannot, Fact, Table


def builder(*facts: Fact) -> Builder:
    return Builder({}, list(facts), {}, {})


def test_what_was_required_once_is_not_required_again() -> None:
    made = builder(Fact(limit=LARGEST), FLAG)
    made.require([0, 0, 1], "finite", "no")
    made.require([0, 1], "present", "no")
    made.require([0], "bounded", "no")
    assert made.steps == [{"do": "require", "slots": [0], "what": "finite", "message": "no"}]
    made.require([0, 1], "float32", "no")
    assert made.steps[1:] == [{"do": "require", "slots": [0], "what": "float32", "message": "no"}]
    assert made.facts[0] == Fact(limit=LARGEST32, missing=False)


def test_positive_is_never_taken_for_granted() -> None:
    made = builder(FLAG)
    made.require([0], "positive", "no")
    assert [step["what"] for step in made.steps] == ["positive"]


def test_numbers_that_change_nothing_make_no_step() -> None:
    made = builder(Fact(limit=10.0))
    assert made.arithmetic(0, ("mul", 1.0), ("sub", 0.0), ("div", 1.0)) == 0
    assert made.arithmetic(0, ("sub", 2.0), ("div", 0.5)) == 1
    assert made.facts[1].limit == 24.0
    assert made.steps == [{"do": "arithmetic", "slot": 0, "ops": [("sub", 2.0), ("div", 0.5)]}]


def test_a_sum_that_may_overflow_may_be_no_number() -> None:
    made = builder(Fact(limit=LARGEST, missing=False), Fact(limit=3.0, missing=False))
    wide, narrow = made.linear([0, 1], [[2.0, 1.0]], [0.0])[0], made.linear([1], [[2.0]], [-1.0])[0]
    assert made.facts[wide] == Fact(limit=math.inf, missing=True)
    assert made.facts[narrow] == Fact(limit=7.0, missing=False)


def test_numbers_that_are_not_finite_and_text_are_declined() -> None:
    made = builder(Fact(kind="text"))
    with pytest.raises(Cannot, match="not finite"):
        made.arithmetic(0, ("mul", math.nan))
    with pytest.raises(Cannot, match="a column that is no number"):
        made.numbers(made, Table([0]))


def test_a_column_of_a_frame_is_found_by_its_name_or_declined() -> None:
    table = Table([4, 7], names=["a", "b"], frame=True)
    assert table.place("b") == 1
    with pytest.raises(Cannot, match="the model wants a column `c`, which the signature does not have"):
        table.place("c")
