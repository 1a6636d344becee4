from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from modelyard.serve.plan import scalar_symmetric, symmetric
from modelyard.serve.plan.answers import finish_for
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.interpret import interpret
from modelyard.serve.plan.reading import checked
from modelyard.serve.plan.scalar import row_function
from modelyard.serve.plan.schema import Arithmetic, Input, OneHot, Plan, Trees
from modelyard.serve.plan.vector import Vector
from tests.serve.plan.plans import finite, outcome, rows, signature_of, small

Test = tuple[int, float, bool]


def symmetric_trees(trees: list[list[Test]], slots: tuple[int, ...], leaf: Any, width: int = 1, **more: Any) -> Trees:
    """Trees given as what their levels ask: (feature, threshold, whether a missing value goes left). `leaf` gives what a leaf adds."""
    lists: dict[str, list[Any]] = {name: [] for name in ("roots", "feature", "threshold", "left", "right", "leaf", "missing_left")}
    for tests in trees:
        first = len(lists["feature"])
        lists["roots"].append(first)
        for node in range(2 ** (len(tests) + 1) - 1):
            level = (node + 1).bit_length() - 1
            inner = level < len(tests)
            feature, threshold, missing_left = tests[level] if inner else (-1, 0.0, False)
            lists["feature"].append(feature)
            lists["threshold"].append(threshold)
            lists["missing_left"].append(missing_left)
            lists["left"].append(first + 2 * node + 1 if inner else 0)
            lists["right"].append(first + 2 * node + 2 if inner else 0)
            lists["leaf"].append(0.0 if inner else leaf())
    made = {name: tuple(values) for name, values in lists.items()}
    return Trees(slots, **made, width=width, **more)


@st.composite
def ensembles(draw: st.DrawFn, slots: tuple[int, ...]) -> Trees:
    """Symmetric trees of several depths, of all that the schema knows of but sets."""
    test = st.tuples(st.integers(0, len(slots) - 1), st.one_of(small, small, finite), st.booleans())
    deep = draw(st.sampled_from((4, 4, 4, 9)))
    trees = draw(st.lists(st.lists(test, max_size=deep), min_size=1, max_size=12))
    width, target = draw(st.sampled_from(((1, 0), (1, 0), (1, -1), (3, -1), (17, -1))))
    drawn = random.Random(draw(st.integers(0, 2**32 - 1)))  # more numbers than Hypothesis lets an example have of its own

    def leaf() -> Any:
        return drawn.uniform(-4, 4) if target == 0 else tuple(drawn.uniform(-4, 4) for _ in range(width))

    step = symmetric_trees(
        trees, slots, leaf, width, targets=(target,) * len(trees), init=tuple(draw(small) for _ in range(width)),
        compare=draw(st.sampled_from(("le", "lt"))), cast=draw(st.sampled_from(("f4", "f8"))),
        sums=draw(st.sampled_from(("f8", "f8", "f4"))), scale=draw(st.sampled_from((None, 0.1))), divide=draw(st.sampled_from((1.0, 3.0))),
    )  # fmt: skip
    return step if draw(st.booleans()) else replace(step, missing_left=())


COLUMNS = (Input("x", "float", True), Input("i", "int", True), Input("t", "str", True), Input("y", "float"))
BEFORE = (Arithmetic(0, (("mul", -2.0), ("add", 0.5))), OneHot(2, ("a", "b", "c"), (0, 1, -1), 3, -1, 2))
SLOTS = (0, 1, 3, 4, 5, 6, 7, 0)
"""Three columns of numbers, one that falls, an encoding of three, and the first column once more."""


@given(st.data(), ensembles(SLOTS), st.sampled_from((1, 3, 1024)))
@settings(max_examples=60, deadline=None)
def test_symmetric_trees_answer_as_the_interpreter_does(data: st.DataObject, step: Trees, block: int) -> None:
    plan = checked(Plan(COLUMNS, (*BEFORE, step), (8 + data.draw(st.integers(0, step.width - 1)),)))
    how = finish_for(plan, signature_of(plan))
    table = data.draw(rows(plan, 6))
    wanted = [outcome(interpret, plan, how, values) for values in table]
    for made in (plan, fold(plan)):
        ensemble = next(s for s in made.steps if isinstance(s, Trees))
        assert symmetric.symmetric(ensemble) is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scalar_symmetric, "FEWEST_LEVELS", 0)
            patch.setattr(symmetric, "BLOCK", block)
            row, vector = row_function(made, how), Vector(made, how)
            found, _ = vector(list(map(list, zip(*table, strict=True))))
            alone, _ = vector([[value] for value in table[0]])
        assert any("sums_of" in repr(value) for value in row.__globals__.values())  # type: ignore[attr-defined]
        assert [row(values) for values in table] == wanted
        assert found.tolist() == [one[0] for one in wanted]
        assert alone[0] == wanted[0][0]


def test_trees_that_ask_otherwise_on_a_level_are_not_symmetric() -> None:
    step = symmetric_trees([[(0, 1.0, True), (1, 2.0, False)]], (0, 1), lambda: 1.0, targets=(0,), init=(0.0,))
    assert symmetric.symmetric(step) is not None
    for name, value in (("threshold", 7.0), ("feature", 0), ("missing_left", True)):
        values = list(getattr(step, name))
        values[2] = value
        assert symmetric.symmetric(replace(step, **{name: tuple(values)})) is None
    assert symmetric.symmetric(replace(step, sets={"2": (1,)})) is None
    huge = symmetric_trees([[(0, 1.0, True)]] * 2, (0, 1), lambda: 1e308, targets=(0, 0), init=(0.0,))
    assert symmetric.symmetric(huge) is None
    deep = symmetric_trees([[(0, float(n), True) for n in range(17)]], (0, 1), lambda: 1.0, targets=(0,), init=(0.0,))
    assert symmetric.symmetric(deep) is None
