from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from modelyard.data.snapshots import diff
from modelyard.errors import BadInput, NotFound


def psi_by_hand(p: list[int], q: list[int]) -> float:
    x, y = np.array([*p, 0]) + 0.5, np.array([*q, 0]) + 0.5
    x, y = x / x.sum(), y / y.sum()
    return float(((x - y) * np.log(x / y)).sum())


def test_diff(tmp_path: Path) -> None:
    a = pl.DataFrame({"n": range(100), "s": ["x"] * 60 + ["y"] * 40, "t": ["1"] * 100, "gone": [0] * 100})
    b = pl.DataFrame({"n": range(50, 150), "s": ["x"] * 20 + ["y"] * 30 + ["new"] * 50, "t": [1] * 100, "come": [0] * 100})
    a.write_parquet(tmp_path / "a.parquet")
    b.write_csv(tmp_path / "b.csv")
    found = json.loads(json.dumps(diff(tmp_path / "a.parquet", tmp_path / "b.csv")))
    assert (found["rows"], found["added"], found["removed"]) == ([100, 100], ["come"], ["gone"])
    assert found["retyped"] == [{"column": "t", "before": "str", "after": "int"}]
    number, text, retyped = found["columns"]
    assert number["mean"] == [49.5, 99.5]
    assert number["psi"] == pytest.approx(psi_by_hand([10] * 10, [0] * 5 + [10] * 4 + [60]))
    assert text["psi"] == pytest.approx(psi_by_hand([60, 40, 0], [20, 30, 50]))
    assert text["distinct"] == [2, 3]
    assert retyped["psi"] is None
    same = diff(tmp_path / "a.parquet", tmp_path / "a.parquet")
    assert all(column["psi"] == 0 for column in same["columns"])


def test_missing_values_that_appear_move_the_psi(tmp_path: Path) -> None:
    pl.DataFrame({"n": range(100)}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"n": [*range(0, 100, 2), *[None] * 50]}).write_parquet(tmp_path / "b.parquet")
    (column,) = diff(tmp_path / "a.parquet", tmp_path / "b.parquet")["columns"]
    assert column["missing"] == [0, 0.5]
    assert column["psi"] > 1


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("nothing")
    with pytest.raises(NotFound):
        diff(tmp_path / "a.parquet", tmp_path)
    with pytest.raises(BadInput, match="cannot be read"):
        diff(tmp_path / "bad.parquet", tmp_path / "bad.parquet")
