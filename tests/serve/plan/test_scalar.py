from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from modelyard.serve.plan import scalar_trees, source
from modelyard.serve.plan.answers import finish_for
from modelyard.serve.plan.interpret import interpret
from modelyard.serve.plan.reading import checked
from modelyard.serve.plan.scalar import row_function
from modelyard.serve.plan.scalar_walks import Later
from modelyard.serve.plan.schema import Impute, Input, Link, Lookup, Missing, OneHot, Plan, Require, Trees
from modelyard.signature import Column, Signature
from tests.serve.plan.plans import outcome, plans, rows, same, signature_of, trees


@given(st.data(), plans())
@settings(max_examples=100, deadline=None)
def test_the_function_says_of_every_row_what_the_interpreter_says(data: st.DataObject, plan: Plan) -> None:
    checked(plan)
    how = finish_for(plan, signature_of(plan))
    row = row_function(plan, how)
    for values in data.draw(rows(plan, 6)):
        wanted, found = outcome(interpret, plan, how, values), outcome(row, values)
        assert same(wanted, found), (values, wanted, found)


@given(st.data(), trees((0, 1, 2), largest=90))
@settings(max_examples=30, deadline=None)
def test_trees_that_are_walked_give_what_compiled_ones_give(data: st.DataObject, step: Trees) -> None:
    columns = tuple(Input(f"x{i}", "float", True) for i in range(3))
    plan = Plan(columns, (step,), (3 + data.draw(st.integers(0, step.width - 1)),))
    how = finish_for(plan, signature_of(plan))
    compiled = row_function(plan, how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scalar_trees, "COMPILED_NODES", 0)
        walked = row_function(plan, how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scalar_trees, "AT_ONCE", 0)
        patch.setattr(scalar_trees, "_WALKS", 2)
        patch.setattr(scalar_trees, "_CHUNK_NODES", 5)
        later = row_function(plan, how)
    for values in data.draw(rows(plan, 12)):
        wanted = outcome(interpret, plan, how, values)
        for row in (compiled, walked, later):
            assert same(wanted, outcome(row, values)), values


def test_a_large_ensemble_is_compiled_piece_by_piece_while_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scalar_trees, "AT_ONCE", 50)
    monkeypatch.setattr(scalar_trees, "_CHUNK_NODES", 50)
    one = chain_of_splits(30, False).steps[0]
    assert isinstance(one, Trees)
    shifts = range(0, 4 * 61, 61)
    step = replace(
        one, roots=tuple(shifts), targets=(0,) * 4, feature=one.feature * 4, threshold=one.threshold * 4, leaf=one.leaf * 4,
        missing_left=(), left=tuple(n + s for s in shifts for n in one.left), right=tuple(n + s for s in shifts for n in one.right),
    )  # fmt: skip
    plan = checked(Plan((Input("x", "float"),), (step,), (1,)))
    row = row_function(plan, finish_for(plan, signature_of(plan)))
    pieces = [name for name, value in row.__globals__.items() if isinstance(value, Later)]  # type: ignore[attr-defined]
    assert len(pieces) == 4
    left = []
    for call in range(100):
        values = (call % 33 - 0.5,)
        assert row(values) == interpret(plan, finish_for(plan, signature_of(plan)), values)
        left.append(sum(isinstance(row.__globals__[name], Later) for name in pieces))  # type: ignore[attr-defined]
    assert left[19] == 4 and left[20] == 3 and left[99] == 0


def chain_of_splits(depth: int, nan_left: bool) -> Plan:
    """A tree that is as deep as can be: at node i, x <= i goes to a leaf that says i."""
    nodes = range(2 * depth + 1)
    inner = [n % 2 == 0 and n < 2 * depth for n in nodes]
    step = Trees(
        (0,), (0,), tuple(0 if i else -1 for i in inner), tuple(n / 2 for n in nodes),
        tuple(n + 1 if i else 0 for n, i in enumerate(inner)), tuple(n + 2 if i else 0 for n, i in enumerate(inner)),
        tuple(n / 2 for n in nodes), (0,), 1, (0.0,), cast="f8",
        missing_left=tuple(nan_left for _ in nodes),
    )  # fmt: skip
    return checked(Plan((Input("x", "float", True),), (step,), (1,)))


@pytest.mark.parametrize("depth", [30, 40, 41, 200, 5000])
@pytest.mark.parametrize("nan_left", [False, True])
def test_trees_of_any_depth(depth: int, nan_left: bool) -> None:
    plan = chain_of_splits(depth, nan_left)
    row = row_function(plan, finish_for(plan, signature_of(plan)))
    for x in (0.0, 1.0, 17.5, depth - 1.0, depth + 9.0, None):
        assert row((x,)) == interpret(plan, finish_for(plan, signature_of(plan)), (x,))


NASTY = ('");import os;os.abort()#', "'\"\\\n", "__import__('os').abort()", "{0}", "%s", "\x00", "\ud800")


@pytest.mark.parametrize("word", NASTY)
def test_no_word_of_a_plan_gets_into_the_source(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[str] = []
    monkeypatch.setattr(source, "compile", lambda text, *rest: sources.append(text) or compile(text, *rest), raising=False)
    steps = (
        Require((0,), "present", word), Impute(0, word, missing=word), OneHot(1, (word, "b"), (0, 1), 2),
        Lookup(0, (word,), ((1.0,),), (2.0,)),
        Missing(0, missing=word), Link((2, 4), "clip"),
    )  # fmt: skip
    plan = checked(Plan((Input(word, "str", True),), steps, (6, 7), source=word, reason=word))
    columns = (Column(word, "str", True),)
    signature = Signature("binary_classification", columns, classes=(word, "b"), positive_class="b")
    row = row_function(plan, finish_for(plan, signature))
    assert row((word,)) == ("b", 1.0, 1.0)
    assert outcome(row, (None,)) == word
    assert sources and not any(word in text or repr(word) in text or "import" in text for text in sources)


def test_the_functions_see_no_builtins() -> None:
    plan = chain_of_splits(3, False)
    row = row_function(plan, finish_for(plan, signature_of(plan)))
    assert row.__globals__["__builtins__"] == {}  # type: ignore[attr-defined]
