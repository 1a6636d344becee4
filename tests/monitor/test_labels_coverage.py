"""How much is labelled, and up to when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.monitor import labels
from modelyard.monitor.labels.values import instant

T0 = datetime(2013, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def rows(known: list[bool], at: list[int] | None = None) -> pl.DataFrame:
    times = [T0 + m * MINUTE for m in (at or range(len(known)))]
    given_at = [T0 + timedelta(days=1) + i * MINUTE if k else None for i, k in enumerate(known)]
    columns = {"event_time": pl.Series(times, dtype=instant()), "label": pl.Series([1 if k else None for k in known], dtype=pl.Int64)}
    return pl.DataFrame({**columns, labels.GIVEN_AT: pl.Series(given_at, dtype=instant())})


def at(minute: int) -> str:
    return (T0 + minute * MINUTE).isoformat()


def test_a_window_says_how_much_of_it_is_labelled_and_since_when() -> None:
    found = labels.coverage(rows([True] * 9 + [False] + [False] * 10))
    assert found == {
        "rows": 20,
        "labels": 9,
        "coverage": 0.45,
        "first_label": (T0 + timedelta(days=1)).isoformat(),
        "last_label": (T0 + timedelta(days=1) + 8 * MINUTE).isoformat(),
        "watermark": at(9),
    }, "nine of the first ten: complete until then"


def test_nothing_is_known_of_nothing() -> None:
    nothing = {"labels": 0, "first_label": None, "last_label": None, "watermark": None}
    assert labels.coverage(rows([])) == {"rows": 0, "coverage": None, **nothing}
    assert labels.coverage(rows([False, False])) == {"rows": 2, "coverage": 0.0, **nothing}
    assert labels.coverage(rows([False, False]), usual=0.0)["watermark"] is None, "that no labels ever come makes none complete"


def test_a_table_without_the_time_of_its_labels_is_covered_too() -> None:
    found = labels.coverage(rows([True, False]).drop(labels.GIVEN_AT))
    assert (found["labels"], found["first_label"], found["last_label"]) == (1, None, None)


def test_where_only_some_rows_are_ever_labelled_that_is_the_measure() -> None:
    half = [True, False] * 10
    assert labels.coverage(rows([*half, *[False] * 20]))["watermark"] == at(0), "of all rows, only the first alone"
    assert labels.coverage(rows([*half, *[False] * 20]), usual=0.5)["watermark"] == at(21), "10 of 22, at least 0.45"


def test_rows_of_one_instant_are_complete_together() -> None:
    assert labels.coverage(rows([True, False, False], at=[0, 0, 1]), usual=1.0)["watermark"] is None
    assert labels.coverage(rows([True, True, False], at=[0, 0, 1]), usual=1.0)["watermark"] == at(0)


def test_usual_is_the_median_and_the_watermark_the_newest_complete_window() -> None:
    shares = [0.5, 0.1, 0.6, None, 0.5]
    found = [{"coverage": s, "labels": int(bool(s)), "end": at(i)} for i, s in enumerate(shares)]
    assert labels.usual(found) == 0.5
    assert labels.usual([]) == 1.0 and labels.usual(found[3:4]) == 1.0
    assert labels.watermark(found, 0.5) == at(4)
    assert labels.watermark(found[:4], 0.5) == at(2)
    assert labels.watermark(found[1:2], 0.5) is None
    assert labels.watermark([{"coverage": 0.0, "labels": 0, "end": at(1)}], 0.0) is None


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=12), st.sampled_from([0.2, 0.5, 1.0]))
def test_the_watermark_is_the_one_found_by_hand(given_rows: list[tuple[int, bool]], usual: float) -> None:
    found = labels.coverage(rows([k for _, k in given_rows], at=[m for m, _ in given_rows] or None), usual)
    best = None
    for minute in sorted({m for m, _ in given_rows}):
        until = [k for m, k in given_rows if m <= minute]
        if sum(until) and sum(until) / len(until) >= labels.COMPLETE * usual:
            best = at(minute)
    assert found["watermark"] == best
    assert found["coverage"] == pytest.approx(sum(k for _, k in given_rows) / len(given_rows)) if given_rows else found["coverage"] is None
