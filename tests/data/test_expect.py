from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from modelyard.config.spec import Expect
from modelyard.data.expect import judge
from modelyard.data.parts import Parts, of

ROWS = pl.DataFrame(
    {
        "age": [20, 35, None, 50],
        "score": [0.5, float("nan"), 1.5, 2.5],
        "carrier": ["UA", "AA", "UA", None],
        "flag": [True, False, True, True],
        "code": [1, 2, 3, 4],
        "empty": pl.Series([None] * 4, dtype=pl.Float64),
    }
)
PIECES = Parts((ROWS[:1], ROWS[1:]), ROWS.schema)


@pytest.mark.parametrize(
    ("asked", "ok", "sentence"),
    [
        ({"min_rows": 4}, True, "4 rows, at least 4 wanted: passed"),
        ({"min_rows": 5}, False, "4 rows, at least 5 wanted: failed"),
        ({"max_rows": 3}, False, "4 rows, at most 3 allowed: failed"),
        ({"columns": {"age": {"completeness": 0.75}}}, True, "age: 75% of rows have a value, at least 75% wanted: passed"),
        ({"columns": {"score": {"completeness": 1}}}, False, "score: 75% of rows have a value, at least 100% wanted: failed"),
        ({"columns": {"age": {"min": 20}}}, True, "age: the least value is 20, at least 20 wanted: passed"),
        ({"columns": {"age": {"min": 21}}}, False, "age: the least value is 20, at least 21 wanted: failed"),
        ({"columns": {"score": {"max": 2}}}, False, "score: the greatest value is 2.5, at most 2 allowed: failed"),
        ({"columns": {"flag": {"max": 1}}}, True, "flag: the greatest value is 1, at most 1 allowed: passed"),
        ({"columns": {"empty": {"max": 1}}}, True, "empty: no value to bound: passed"),
        ({"columns": {"carrier": {"min": 1}}}, False, "carrier: `min` needs numbers, and the column holds String: failed"),
        ({"columns": {"carrier": {"categories": ["UA", "AA", "DL"]}}}, True, "carrier: only allowed values: passed"),
        ({"columns": {"carrier": {"categories": ["UA"]}}}, False, "carrier: values 'AA' are not among those allowed: failed"),
        ({"columns": {"code": {"categories": [1, 2.0, 3, 4]}}}, True, "code: only allowed values: passed"),
        ({"columns": {"code": {"categories": ["1", 2, 3, 4]}}}, False, "code: values 1 are not among those allowed: failed"),
        ({"columns": {"flag": {"categories": [1, 0]}}}, False, "flag: values False, True are not among those allowed: failed"),
        ({"columns": {"code": {"unique": True}}}, True, "code: no value repeats: passed"),
        ({"columns": {"carrier": {"unique": True}}}, False, "carrier: 1 values repeat: failed"),
        ({"columns": {"cod": {"unique": True}}}, False, "cod: there is no such column (did you mean `code`?): failed"),
    ],
)
def test_each_check(asked: dict[str, Any], ok: bool, sentence: str) -> None:
    (found,) = judge(PIECES, Expect.model_validate(asked))
    assert (found.ok, found.sentence) == (ok, sentence)


def test_all_are_judged_in_order_with_their_severity() -> None:
    asked = {
        "min_rows": 10,
        "columns": {"age": {"completeness": 0.9, "min": 0, "max": 30, "on_fail": "warn"}, "code": {"unique": True}},
    }
    found = judge(PIECES, Expect.model_validate(asked))
    assert [(e.column, e.check, e.ok, e.on_fail) for e in found] == [
        (None, "min_rows", False, "block"),
        ("age", "completeness", False, "warn"),
        ("age", "min", True, "warn"),
        ("age", "max", False, "warn"),
        ("code", "unique", True, "block"),
    ]


def test_almost_complete_never_reads_as_complete() -> None:
    frame = pl.DataFrame({"x": [*range(99_999), None]})
    (found,) = judge(of(frame), Expect.model_validate({"columns": {"x": {"completeness": 1}}}))
    assert not found.ok
    assert found.sentence.startswith("x: under 100% of rows")


def test_nothing_asked_nothing_judged() -> None:
    assert judge(PIECES, Expect()) == []
