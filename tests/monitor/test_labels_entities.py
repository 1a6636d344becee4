"""Labels of an entity at a time, against a join done by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.monitor import labels
from modelyard.monitor.labels import entities
from modelyard.monitor.labels.values import instant

T0 = datetime(2013, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
COLUMNS = ["carrier", "tail"]


def told(rows: list[tuple[Any, Any, float, Any]]) -> pl.DataFrame:
    """Labels as they come: carrier, tail, minutes after T0, label."""
    at = pl.Series([T0 + m * MINUTE for _, _, m, _ in rows], dtype=instant())
    columns = {"carrier": [r[0] for r in rows], "tail": [r[1] for r in rows], "event_time": at, "label": [r[3] for r in rows]}
    return pl.DataFrame(columns, strict=False)


def asked(rows: list[tuple[Any, Any, float | None]], prediction: Any = 0) -> pl.DataFrame:
    at = pl.Series([None if m is None else T0 + m * MINUTE for _, _, m in rows], dtype=instant())
    ids = [f"p{i}" for i in range(len(rows))]
    columns = {"inference_id": ids, "event_time": at, "x.carrier": [r[0] for r in rows], "f.tail": [r[1] for r in rows]}
    return pl.DataFrame(columns, strict=False).with_columns(pl.lit(prediction).alias("y.prediction"))


def joined(folder: Path, rows: pl.DataFrame, tolerance: timedelta) -> pl.DataFrame:
    return entities.join(rows, labels.between(folder, *entities.ranges(rows, COLUMNS, tolerance)), COLUMNS, tolerance)


def test_the_nearest_label_of_the_same_entity_within_the_tolerance(tmp_path: Path) -> None:
    labels.add(entities.keyed(told([("UA", 7, 0, 1), ("UA", 7, 10, 0), ("AA", 7, 4, 5)]), COLUMNS), tmp_path, T0)
    rows = asked([("UA", 7, 4), ("UA", 7, 5), ("UA", 7, 6), ("UA", 7, 15), ("UA", 7, 15.1), ("UA", 8, 4), (None, 7, 4), ("UA", 7, None)])
    found = joined(tmp_path, rows, 5 * MINUTE)
    assert found["label"].to_list() == [1, 0, 0, 0, None, None, None, None], "of two that are equally near, the later one"
    assert found["inference_id"].to_list() == rows["inference_id"].to_list(), "order and number of rows stay"
    assert joined(tmp_path, rows, timedelta(0))["label"].null_count() == 8
    exact = asked([("UA", 7, 10), ("AA", 7, 4)])
    assert joined(tmp_path, exact, timedelta(0))["label"].to_list() == [0, 5]


def test_late_corrected_and_early_labels_are_those_of_the_ledger(tmp_path: Path) -> None:
    rows = asked([("UA", 7, 0)])
    assert joined(tmp_path, rows, MINUTE)["label"].to_list() == [None]
    first = entities.keyed(told([("UA", 7, 0, 1)]), COLUMNS)
    assert labels.add(first, tmp_path, T0).new == 1
    assert labels.add(first, tmp_path, T0 + MINUTE).repeated == 1
    assert joined(tmp_path, rows, MINUTE)["label"].to_list() == [1]
    assert labels.add(entities.keyed(told([("UA", 7, 0, 0)]), COLUMNS), tmp_path, T0 + 2 * MINUTE).corrected == 1
    found = joined(tmp_path, rows, MINUTE)
    assert found["label"].to_list() == [0] and found[labels.GIVEN_AT].to_list() == [T0 + 2 * MINUTE]


def test_one_label_serves_all_that_asked_for_the_event(tmp_path: Path) -> None:
    labels.add(entities.keyed(told([("UA", 7, 0, 1)]), COLUMNS), tmp_path, T0)
    found = joined(tmp_path, asked([("UA", 7, -1), ("UA", 7, 1)]), MINUTE)
    assert found["label"].to_list() == [1, 1] and found[entities.KEY].n_unique() == 1


@pytest.mark.parametrize(("given", "wanted"), [(7, 7.0), (7.0, 7), ("7", 7), (True, "true"), (7.5, "7.5"), ("007", "007")])
def test_values_are_the_same_whatever_type_they_came_as(given: Any, wanted: Any, tmp_path: Path) -> None:
    labels.add(entities.keyed(told([("UA", given, 0, 1)]), COLUMNS), tmp_path, T0)
    assert joined(tmp_path, asked([("UA", wanted, 0)]), MINUTE)["label"].to_list() == [1]


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), min_size=1, max_size=12, unique=True))
def test_no_two_entities_have_one_id(pairs: list[tuple[str, str]]) -> None:
    keyed = entities.keyed(told([(a, b, 0, 1) for a, b in pairs]), COLUMNS)
    assert keyed["inference_id"].n_unique() == len(pairs)
    assert set(entities.times(keyed["inference_id"])) == {T0}


def test_an_id_of_a_prediction_has_no_time() -> None:
    plain = ["a1", "", "@", "x@2013-03-01T06:00:00.000000", "ann@2013-13-01T06:00:00.000000Z"]
    ids = pl.Series([*plain, '["UA"]@2013-03-01T06:00:00.000001Z'])
    assert entities.times(ids).to_list() == [None] * len(plain) + [datetime(2013, 3, 1, 6, 0, 0, 1, tzinfo=UTC)]


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(BadInput, match="row 2 has no tail"):
        entities.keyed(told([("UA", 7, 0, 1), ("UA", None, 0, 1)]), COLUMNS)
    with pytest.raises(BadInput, match="row 1 has no event_time"):
        entities.keyed(told([("UA", 7, 0, 1)]).with_columns(pl.lit(None, instant()).alias("event_time")), COLUMNS)
    with pytest.raises(BadInput, match="`tail` is in no captured row"):
        entities.ranges(asked([("UA", 7, 0)]).drop("f.tail"), COLUMNS, MINUTE)


WHEN = st.integers(0, 12)
WHO = st.sampled_from(["UA", "AA"])


@given(
    st.dictionaries(st.tuples(WHO, WHEN), st.integers(0, 9), max_size=10), st.lists(st.tuples(WHO, WHEN), max_size=10), st.integers(0, 4)
)
def test_the_join_is_the_one_done_by_hand(
    tmp_path_factory: pytest.TempPathFactory, known: dict[tuple[str, int], int], rows: list[tuple[str, int]], reach: int
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    if known:
        labels.add(entities.keyed(told([(who, 1, at, x) for (who, at), x in known.items()]), COLUMNS), folder, T0)
    found = joined(folder, asked([(who, 1, at) for who, at in rows]), reach * MINUTE) if rows else None
    expected = []
    for who, at in rows:
        near = [(abs(t - at), -t, x) for (w, t), x in known.items() if w == who and abs(t - at) <= reach]
        expected.append(min(near)[2] if near else None)
    assert found is None or found["label"].to_list() == expected
