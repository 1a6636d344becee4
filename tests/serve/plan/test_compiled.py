from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.serve.plan import compiled
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.plan.refused import Refused
from modelyard.serve.plan.schema import Input, Linear, Link, Lookup, OneHot, Plan, Require
from modelyard.serve.plan.vector import BLOCK
from modelyard.signature import Column, Signature
from tests.serve.plan.plans import outcome, plans, rows, same, signature_of

COLUMNS = (Column("x", "float", True), Column("t", "str"))
SIGNED = Signature("binary_classification", COLUMNS, classes=("no", "yes"), positive_class="yes", decision_threshold=0.4)
PLAN = Plan(
    (Input("x", "float", True), Input("t", "str")),
    (Require((0,), "present", "x is missing"), Lookup(1, ("a", "b"), ((0.9,), (0.1,))), Link((2,), "complement")),
    (3, 4),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(PLAN))
    return tmp_path / "plan.json"


def columns(count: int) -> dict[str, list[Any]]:
    return {"more": [1] * count, "t": ["a", "b"] * (count // 2) + ["a"] * (count % 2), "x": [float(i) for i in range(count)]}


def many_from(plan: RowPlan, count: float, monkeypatch: pytest.MonkeyPatch) -> RowPlan:
    """The plan where so many rows count as many."""
    monkeypatch.setattr(plan, "_measured", lambda given: count)
    return plan


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 100, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("many", [9, 1e9])
def test_any_number_of_rows_is_answered_alike(file: Path, count: int, many: float, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = many_from(RowPlan.load(file, SIGNED), many, monkeypatch)
    given = columns(count)
    found = plan.predict(given, count)
    assert list(found) == ["prediction", "probability_no", "probability_yes"]
    assert found["probability_yes"] == [0.9 if t == "a" else 0.1 for t in given["t"]]
    assert found["prediction"] == ["yes" if t == "a" else "no" for t in given["t"]]
    assert all(type(values) is list and len(values) == count for values in found.values())
    if count:
        assert plan.row((given["x"][0], "a")) == tuple(values[0] for values in found.values())
        arrays = plan.table({"x": np.array(given["x"]), "t": np.array(given["t"], object)}, count)
        assert {name: values.tolist() for name, values in arrays.items()} == found
        assert arrays["probability_yes"].dtype == np.float64


@pytest.mark.parametrize("many", [9, 1e9])
def test_a_refused_row_is_named_by_its_place_in_the_body(file: Path, many: float, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = many_from(RowPlan.load(file, SIGNED), many, monkeypatch)
    count = BLOCK + 50
    given = columns(count)
    given["t"][BLOCK + 20] = "never"
    given["x"][BLOCK + 10] = None
    for work in (plan.predict, plan.table):
        with pytest.raises(Refused, match="x is missing") as caught:
            work(given, count)
        assert caught.value.row == BLOCK + 10 and caught.value.where == f"row {BLOCK + 10}"
    given["x"][BLOCK + 10] = 1.0
    with pytest.raises(Refused, match="'never' is a category that training never saw") as caught:
        plan.predict(given, count)
    assert caught.value.row == BLOCK + 20
    arrays = {"x": np.where(np.arange(count) == 30, np.nan, 1.0), "t": np.array(["a"] * count, object)}
    with pytest.raises(Refused) as caught:
        plan.table(arrays, count)
    assert caught.value.row == 30


def test_what_is_many_is_measured_once_and_not_with_refused_rows(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, seen = RowPlan.load(file, SIGNED), []
    real = compiled._seconds
    monkeypatch.setattr(compiled, "_seconds", lambda work: seen.append(work) or real(work))
    plan.predict(columns(8), 8)
    assert not seen
    with pytest.raises(Refused):
        plan.predict({"x": [None] * 20, "t": ["a"] * 20}, 20)
    assert plan._many is None
    plan.predict(columns(20), 20)
    first = len(seen)
    assert first and plan._many is not None and plan._many > 8
    plan.predict(columns(500), 500)
    assert len(seen) == first


@given(st.data(), plans())
@settings(max_examples=60, deadline=None)
def test_many_rows_are_the_rows_one_by_one(data: st.DataObject, plan: Plan) -> None:
    """Tables of 300 rows drawn from a few, with whatever is refused among them."""
    some = data.draw(rows(plan, 5))
    made = RowPlan(plan, signature_of(plan))
    given = {c.name: [row[place] for row in some] * 60 for place, c in enumerate(plan.inputs)}
    wanted = [outcome(made.row, row) for row in some]
    found = outcome(lambda: made._by_blocks([given[c.name] for c in plan.inputs], 300))
    refused = next((one for one in wanted if isinstance(one, str)), None)
    if refused is not None:
        assert found == refused
    else:
        assert all(same(one, (other,), 1e-15) for one, other in zip(wanted, found["prediction"].tolist(), strict=False))


@pytest.mark.parametrize("content", [None, b"{}", b"no json", msgspec.json.encode(Plan((Input("x", "float"),), (), (0,)))])
def test_a_file_that_holds_no_plan_for_the_signature_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        RowPlan.load(path, SIGNED)
    assert caught.value.where == str(path)


def test_numpy_is_not_imported_for_a_few_rows(file: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from modelyard.serve.plan.compiled import RowPlan
from modelyard.signature import Column, Signature
columns = (Column("x", "float", True), Column("t", "str"))
signature = Signature("binary_classification", columns, classes=("no", "yes"), positive_class="yes")
plan = RowPlan.load(Path({str(file)!r}), signature)
assert plan.predict({{"x": [1.0] * 8, "t": ["a"] * 8}}, 8)["prediction"] == ["yes"] * 8
assert "numpy" not in sys.modules, "numpy"
plan.predict({{"x": [1.0] * 99, "t": ["a"] * 99}}, 99)
assert "numpy" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@given(st.data(), plans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_number_that_training_never_saw_missing_is_refused_where_it_is(data: st.DataObject, plan: Plan, as_nan: bool) -> None:
    never = [place for place, column in enumerate(plan.inputs) if column.type != "str" and not column.nullable]
    assume(never)
    served, place, at = RowPlan(plan, signature_of(plan)), data.draw(st.sampled_from(never)), data.draw(st.integers(0, 11))
    table = [list(row) for row in data.draw(rows(plan, 12))]
    good = [row for row in table if not isinstance(outcome(served.row, row), str)]
    assume(len(good) > at)
    gap = float("nan") if as_nan and plan.inputs[place].type == "float" else None
    good[at][place] = gap
    columns = {c.name: [row[i] for row in good] for i, c in enumerate(plan.inputs)}
    arrays = {n: np.array(v, object if plan.inputs[i].type == "str" else float) for i, (n, v) in enumerate(columns.items())}
    for work, given_columns in ((served.many, columns), (served.many, arrays), (served.table, arrays)):
        answer = outcome(work, given_columns, len(good))
        if work == served.many:
            assert isinstance(answer, str)
        if isinstance(answer, str):
            with pytest.raises(Refused) as caught:
                work(given_columns, len(good))
            assert caught.value.row == at


def test_so_it_is_row_by_row() -> None:
    plan = Plan((Input("x", "float"), Input("n", "int"), Input("b", "bool", True)), (Linear((0, 1, 2), ((1.0, 1.0, 1.0),), (0.0,)),), (3,))
    served = RowPlan(plan, signature_of(plan))
    assert served.row((1.0, 2, True)) == (4.0,)
    for row, name in (((None, 2, True), "x"), ((1.0, None, True), "n")):
        with pytest.raises(Refused, match=f"`{name}` is missing; training never saw it missing"):
            served.row(row)
        with pytest.raises(Refused, match=f"`{name}` is missing") as caught:
            served.predict({"x": [1.0, row[0]], "n": [1, row[1]], "b": [False, True]}, 2)
        assert caught.value.row == 1
    with pytest.raises(TypeError):
        served.row(("text", 2, True))
    with pytest.raises(Refused, match="`x` is missing"):
        served.table({"x": np.array([1.0, np.nan]), "n": np.array([1, 2]), "b": np.array([True, False])}, 2)


def test_a_plan_says_which_texts_it_knows_of_its_columns() -> None:
    inputs = (Input("x", "float"), Input("t", "str"), Input("u", "str", True), Input("v", "str"))
    steps = (
        OneHot(1, ("b", "a"), (0, -1), 1, -1, -1),
        Lookup(1, ("a", ""), ((1.0,), (2.0,)), (0.0,), (0.0,)),
        OneHot(0, (1.0, 2.0), (0, 1), 2, -1, -1),
        OneHot(2, ("ä\n", '"'), (0, 1), 2, -1, -1),
    )
    plan = Plan(inputs, steps, (5,))
    assert RowPlan(plan, signature_of(plan)).texts == {"t": ("b", "a", ""), "u": ("ä\n", '"')}
