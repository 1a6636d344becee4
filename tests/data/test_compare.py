from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modelyard.data.compare import diff
from modelyard.data.parts import Parts, of


def psi_by_hand(p: list[int], q: list[int]) -> float:
    x, y = np.array([*p, 0]) + 0.5, np.array([*q, 0]) + 0.5
    x, y = x / x.sum(), y / y.sum()
    return float(((x - y) * np.log(x / y)).sum())


def test_diff() -> None:
    a = pl.DataFrame({"n": range(100), "s": ["x"] * 60 + ["y"] * 40, "t": ["1"] * 100, "gone": [0] * 100})
    b = pl.DataFrame({"n": range(50, 150), "s": ["x"] * 20 + ["new"] * 50 + [None] * 30, "t": [1] * 100, "come": [0] * 100})
    found = json.loads(json.dumps(diff(of(a), of(b))))
    assert (found["rows"], found["added"], found["removed"]) == ([100, 100], ["come"], ["gone"])
    assert found["retyped"] == [{"column": "t", "before": "str", "after": "int"}]
    number, text, retyped = found["columns"]
    assert number["mean"] == [49.5, 99.5]
    assert number["psi"] == pytest.approx(psi_by_hand([10] * 10, [0] * 5 + [10] * 4 + [60]))
    assert number["ks"] == 0.5
    assert [sum(counts) for counts in number["histogram"]["counts"]] == [100, 100]
    assert number["histogram"]["counts"][0][-1] == number["histogram"]["counts"][1][0] == 0
    p, q = np.array([60, 40, 0, 0]) + 0.5, np.array([20, 0, 50, 30]) + 0.5  # x, y, the rest, missing
    assert text["psi"] == pytest.approx(float(((p / p.sum() - q / q.sum()) * np.log((p / p.sum()) / (q / q.sum()))).sum()))
    assert text["distinct"] == [2, 2]
    assert text["missing"] == [0, 0.3]
    assert text["new"] == {"count": 1, "rows": 50, "values": ["new"]}
    assert text["gone"] == {"count": 1, "rows": 40, "values": ["y"]}
    assert text["top"] == [["x", 60, 20], ["y", 40, 0], ["new", 0, 50]]
    assert text["cramers_v"] == pytest.approx(stats.contingency.association(np.array([[60, 40, 0], [20, 0, 50]]), method="cramer"))
    assert retyped == {"column": "t", "type": "int", "psi": None, "missing": [0, 0]}
    same = diff(of(a), of(a))
    assert all(column["psi"] == 0 == column.get("ks", column.get("cramers_v")) for column in same["columns"])


NUMBERS = st.lists(st.none() | st.integers(-5, 5) | st.floats(-3, 3), min_size=1, max_size=60)


@given(NUMBERS, NUMBERS, st.integers(1, 20))
def test_the_distances_are_scipys_whatever_the_batches(x: list[float], y: list[float], size: int) -> None:
    a, b = (pl.DataFrame({"v": pl.Series(values, dtype=pl.Float64, strict=False)}) for values in (x, y))
    (column,) = diff(*(Parts(tuple(f[i : i + size] for i in range(0, f.height, size)), f.schema) for f in (a, b)))["columns"]
    assert column == diff(of(a), of(b))["columns"][0]
    seen = [f["v"].drop_nulls().to_numpy() for f in (a, b)]
    if all(len(values) for values in seen):
        assert column["ks"] == pytest.approx(stats.ks_2samp(*seen, method="asymp").statistic)
        assert [sum(c) for c in column["histogram"]["counts"]] == [len(values) for values in seen]
    else:
        assert "ks" not in column


def test_missing_values_that_appear_move_the_psi() -> None:
    (column,) = diff(of(pl.DataFrame({"n": range(100)})), of(pl.DataFrame({"n": [*range(0, 100, 2), *[None] * 50]})))["columns"]
    assert column["missing"] == [0, 0.5]
    assert column["psi"] > 1


def test_times_truths_and_what_no_model_takes() -> None:
    start = datetime(2024, 1, 1)
    a = pl.DataFrame({"t": [start + timedelta(hours=i) for i in range(10)], "b": [True] * 10, "l": [[1]] * 10})
    b = pl.DataFrame({"t": [start + timedelta(hours=i + 5) for i in range(10)], "b": [True] * 5 + [False] * 5, "l": [[1]] * 9 + [None]})
    time, truth, nested = json.loads(json.dumps(diff(of(a), of(b))))["columns"]
    assert time["ks"] == 0.5
    assert truth["new"] == {"count": 1, "rows": 5, "values": [False]}
    assert nested["missing"] == [0, 0.1]


def test_ids_are_counted_and_not_named() -> None:
    a, b = (pl.DataFrame({"id": [f"{word}{i}" for i in range(2000)]}) for word in "ab")
    (column,) = diff(of(a), of(b))["columns"]
    assert column["new"] == {"count": 2000, "rows": 2000, "values": []}


def test_empty_tables() -> None:
    empty, full = pl.DataFrame(schema={"n": pl.Int64, "s": pl.String}), pl.DataFrame({"n": [1], "s": ["x"]})
    assert [c["psi"] for c in diff(of(empty), of(full))["columns"]] == [None, None]
