from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from modelyard.serve.plan import scalar_masks
from modelyard.serve.plan.answers import finish_for
from modelyard.serve.plan.interpret import interpret
from modelyard.serve.plan.reading import checked
from modelyard.serve.plan.scalar import row_function
from modelyard.serve.plan.schema import Input, OneHot, Plan, Trees
from tests.serve.plan.plans import outcome, same, signature_of

EDGES = (-1.5, -0.0, 0.0, 0.5, 2.0, math.inf)
TEXTS = ("a", "b", "c", "unseen", None)


def ensemble(chance: random.Random, count: int, leaves: int) -> Trees:
    """Trees of up to so many leaves over two numbers and the three slots of an encoding."""
    lists: dict[str, list[Any]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "leaf", "missing_left", "roots", "targets")
    }
    for _ in range(count):
        start = len(lists["feature"])
        lists["roots"].append(start)
        lists["targets"].append(chance.randrange(2))
        splits, nodes = chance.randrange(leaves), 1
        for node in range(2 * splits + 1):
            inner = splits > 0 and (nodes - node == 1 or chance.random() < 0.6)
            splits -= inner
            lists["feature"].append(chance.randrange(5) if inner else -1)
            lists["threshold"].append(chance.choice(EDGES) if inner else 0.0)
            lists["left"].append(start + nodes if inner else 0)
            lists["right"].append(start + nodes + 1 if inner else 0)
            lists["leaf"].append(0.0 if inner else chance.uniform(-1, 1))
            lists["missing_left"].append(chance.random() < 0.5)
            nodes += 2 * inner
    if chance.random() < 0.5:
        lists["missing_left"] = []
    shape = {name: tuple(values) for name, values in lists.items()}
    return Trees(
        (0, 1, 3, 4, 5), **shape, width=2, init=(0.25, -0.5), compare=chance.choice(("le", "lt")), cast=chance.choice(("f4", "f8"))
    )


def planned(step: Trees, answer: int = 0) -> Plan:
    inputs = (Input("x", "float", True), Input("k", "int"), Input("t", "str", True))
    return checked(Plan(inputs, (OneHot(2, ("a", "b", "c"), (0, 2, 1), 3, -1, -1), step), (6 + answer,)))


def is_masked(row: Any) -> bool:
    return scalar_masks._LOWEST in [value for value in row.__globals__.values() if isinstance(value, bytes)]


@given(st.integers(0, 2**32 - 1), st.integers(0, 1))
@settings(max_examples=60, deadline=None)
def test_many_small_trees_together_give_what_each_by_itself_gives(seed: int, answer: int) -> None:
    chance = random.Random(seed)  # hundreds of draws: more than Hypothesis lets an example have of its own
    plan = planned(ensemble(chance, chance.randrange(6, 150), 8), answer)
    how = finish_for(plan, signature_of(plan))
    row = row_function(plan, how)
    used = {found for found in plan.steps[1].feature if found >= 0}  # type: ignore[union-attr]
    assert is_masked(row) or len(plan.steps[1].roots) < 2 * len(used) or not used  # type: ignore[union-attr]
    near = [math.nextafter(edge, to) for edge in EDGES for to in (-math.inf, math.inf)]
    for _ in range(20):
        values = (chance.choice((None, *EDGES[:-1], *near)), chance.randrange(-3, 4), chance.choice(TEXTS))
        assert same(outcome(interpret, plan, how, values), outcome(row, values)), values


@pytest.mark.parametrize(
    ("step", "masked"),
    [
        (ensemble(random.Random(1), 20, 8), True),
        (ensemble(random.Random(1), 4, 8), False),  # too few to pay
        (ensemble(random.Random(1), 20, 20), False),  # more leaves than a byte has bits
        (replace(ensemble(random.Random(1), 20, 8), sums="f4"), False),
        (ensemble(random.Random(1), 20, 1), False),  # nothing is tested
    ],
)
def test_where_trees_are_no_small_ones_each_is_an_expression(step: Trees, masked: bool) -> None:
    plan = planned(step)
    assert is_masked(row_function(plan, finish_for(plan, signature_of(plan)))) is masked
