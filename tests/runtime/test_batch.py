"""Columns as buffers in a file: the same input for a model as from lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.runtime.batch import Table, batch
from modelyard.runtime.inputs import Inputs
from modelyard.runtime.wire import BadFrame
from modelyard.serve.batch.asking import _put
from modelyard.serve.batch.columns import Values, of_list
from modelyard.signature import Column

KINDS = {
    "int": st.integers(-(2**53), 2**53),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "str": st.text(max_size=4),
    "datetime": st.integers(0, 2**52),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, list[Any]], int]:
    rows = draw(st.integers(1, 12))
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5))
    names = {f"c{i}": kind for i, kind in enumerate(kinds)}
    columns = {}
    for name, kind in names.items():
        cell = st.one_of(st.none(), KINDS[kind]) if draw(st.booleans()) else KINDS[kind]
        columns[name] = draw(st.lists(cell, min_size=rows, max_size=rows))
    return names, columns, rows


def packed(kind: str, values: list[Any]) -> Values:
    bad: dict[int, str] = {}
    if kind == "datetime":
        missing = np.array([v is None for v in values])
        data = np.array([v or 0 for v in values], dtype=np.int64)
        return Values(kind, data, missing if missing.any() else None)
    made = of_list(values, Column("c", kind), bad, text=False)  # type: ignore[arg-type]
    assert not bad
    return made


@settings(max_examples=100, deadline=None)
@given(tables())
def test_lists_and_frames_are_those_of_the_wire(tmp_path_factory: pytest.TempPathFactory, made: Any) -> None:
    kinds, columns, rows = made
    path = tmp_path_factory.mktemp("batch") / "given"
    parts = _put(path, {name: packed(kinds[name], values) for name, values in columns.items()})
    table = Table(str(path), parts, rows)
    assert {name: table.list(name, kinds[name]) for name in columns} == columns
    inputs = Inputs([{"name": name, "type": kind} for name, kind in kinds.items()])
    if inputs.pandas is None and "datetime" not in kinds.values():
        np.testing.assert_array_equal(table.frame(inputs), inputs(columns))
    elif inputs.pandas is not None:
        inputs.pandas.testing.assert_frame_equal(table.frame(inputs), inputs(columns))


def test_frames_are_the_same_where_pandas_is(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    kinds = {"i": "int", "j": "int", "f": "float", "b": "bool", "d": "bool", "s": "str", "t": "datetime"}
    columns = {"i": [1, 2], "j": [1, None], "f": [0.5, None], "b": [True, False], "d": [None, True], "s": ["a", None], "t": [5, None]}
    path = tmp_path / "given"
    parts = _put(path, {name: packed(kinds[name], values) for name, values in columns.items()})
    inputs = Inputs([{"name": name, "type": kind} for name, kind in kinds.items()])
    pandas.testing.assert_frame_equal(Table(str(path), parts, 2).frame(inputs), inputs(columns))


@pytest.mark.parametrize(
    "message",
    [
        {"rows": 0, "file": "f", "out": "o", "columns": {}},
        {"rows": 1, "file": "f", "out": "o"},
        {"rows": 1, "file": "f", "out": "o", "columns": {"a": 1}},
        {"rows": 1, "file": "/none/f", "out": "o", "columns": {"a": {"at": 0}}},
    ],
)
def test_a_message_that_does_not_hold_is_a_bad_frame(message: dict[str, Any]) -> None:
    with pytest.raises(BadFrame):
        batch(message, None, ["a"])
