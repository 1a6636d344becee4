from __future__ import annotations

import errno
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.config.spec import Data
from modelyard.data import snapshots
from modelyard.errors import BadInput, NoRoom, NotFound
from modelyard.signature import Column


def config(**parts: Any) -> Data:
    return Data.model_validate({"source": {"using": "csv", "location": "x.csv"}, "target_col": "late", **parts})


FLIGHTS = pl.DataFrame(
    {
        "flight": ["a", "b", "c", "d", "e"],
        "when": ["2024-01-01 10:00", "2024-01-01 11:00", "2024-01-02 10:00", "2024-01-03 10:00", "2024-01-04 10:00"],
        "carrier": ["UA", "AA", "UA", None, "DL"],
        "distance": [100, 200, 300, 400, 500],
        "origin": ["JFK", "LGA", "JFK", "EWR", "JFK"],
        "late": [1.0, 0.0, None, float("nan"), 1.0],
    }
)
WHOLE = config(
    positive_class=1,
    time_col="when",
    id_col="flight",
    entity_cols=["carrier"],
    schema={"sensitive_not_served": ["origin"], "types": {"distance": "float"}},
)


def test_take_keeps_the_rows_that_have_a_target_and_says_what_it_dropped(home: Path) -> None:
    snapshot = snapshots.take(FLIGHTS, WHOLE, "America/New_York", home)
    assert snapshot.dropped == ("2 rows without late dropped",)
    assert snapshot.rows == 3
    assert snapshot.path == home / "snapshots" / snapshot.digest / "data.parquet"
    frame = snapshots.read(snapshot)
    assert frame["late"].to_list() == [1, 0, 1]  # 1.0 in the file, since a reader makes floats of integers with gaps
    assert frame["when"].to_list()[0] == datetime(2024, 1, 1, 15, tzinfo=UTC)
    assert snapshot.columns == {
        "flight": "str", "when": "datetime", "carrier": "str", "distance": "float", "origin": "str", "late": "int",
    }  # fmt: skip
    assert snapshots.find(snapshot.digest, home) == snapshots.Snapshot(snapshot.digest, snapshot.path, 3, snapshot.columns)


def test_the_same_rows_are_kept_once_and_read_only(home: Path) -> None:
    first = snapshots.take(FLIGHTS, WHOLE, "UTC", home)
    before = first.path.stat().st_ino
    again = snapshots.take(FLIGHTS.with_columns(pl.col("distance").cast(pl.Int16)), WHOLE, "UTC", home)
    assert again == first
    assert again.path.stat().st_ino == before
    assert [p.name for p in (home / "snapshots").iterdir()] == [first.digest]
    assert first.path.stat().st_mode & 0o222 == 0
    assert first.path.parent.stat().st_mode & 0o222 == 0
    assert snapshots.take(FLIGHTS, WHOLE, "Asia/Tokyo", home).digest != first.digest


def test_a_flipped_bit_and_an_edited_file_are_refused(home: Path) -> None:
    snapshot = snapshots.take(FLIGHTS, WHOLE, "UTC", home)
    whole = snapshot.path.read_bytes()
    snapshot.path.chmod(0o644)
    refused = 0
    for place in range(4, len(whole) - 8, 97):
        snapshot.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            frame = snapshots.read(snapshot)
        except BadInput:
            refused += 1
        else:  # the bit lay in a statistic or a label: the rows are the same
            assert frame["distance"].to_list() == [100, 200, 500]
    assert refused > 0
    snapshot.path.write_bytes(whole)
    pl.read_parquet(snapshot.path).with_columns(distance=pl.lit(1.0)).write_parquet(snapshot.path)
    with pytest.raises(BadInput, match="digest mismatch"):
        snapshots.read(snapshot)


def test_a_full_disk_and_a_torn_write_leave_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fired = []

    def full(handle: int) -> None:
        fired.append(handle)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshots.os, "fsync", full)
    with pytest.raises(NoRoom, match="the disk is full"):
        snapshots.take(FLIGHTS, WHOLE, "UTC", home)
    assert fired
    assert list((home / "snapshots").iterdir()) == []
    monkeypatch.undo()
    assert snapshots.take(FLIGHTS, WHOLE, "UTC", home).rows == 3


def test_find_refuses_what_is_no_digest(home: Path) -> None:
    for name in ("0" * 64, "../../etc", ""):
        with pytest.raises(NotFound):
            snapshots.find(name, home)


@pytest.mark.parametrize(
    ("parts", "said", "hint"),
    [
        ({"target_col": "lat"}, "there is no column `lat`", "did you mean `late`?"),
        ({"time_col": "wen"}, "there is no column `wen`", "did you mean `when`?"),
        ({"id_col": "zzz"}, "there is no column `zzz`", "the columns are: flight, when"),
        ({"entity_cols": ["carier"]}, "there is no column `carier`", "did you mean `carrier`?"),
        ({"schema": {"sensitive_not_served": ["orign"]}}, "there is no column `orign`", "origin"),
        ({"schema": {"exclude": ["distanc"]}}, "there is no column `distanc`", "distance"),
        ({"schema": {"types": {"distanc": "int"}}}, "there is no column `distanc`", "distance"),
        ({"schema": {"exclude": ["late"]}}, "is needed here and dropped", ""),
        (
            {"schema": {"types": {"carrier": "int"}}},
            "4 values of column `carrier` cannot be read as int, first 'UA' in row 1",
            "",
        ),
        ({"schema": {"types": {"origin": "bool"}}}, "cannot be read as bool", ""),
        ({"time_col": "carrier"}, "column `carrier` cannot be read as", ""),
        ({"id_col": "origin"}, "1 values of `origin` repeat, such as 'JFK'", "leave `id_col` out"),
        ({"id_col": "carrier", "target_col": "origin"}, "1 rows have no `carrier`", ""),
        ({"positive_class": 2}, "the positive class 2 is not in the target", "the classes are 0, 1"),
        ({"positive_class": "1"}, "the positive class '1' is not in the target", "the classes are 0.0, 1.0"),
    ],
)
def test_bad_columns(home: Path, parts: dict[str, Any], said: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        snapshots.take(FLIGHTS, config(**parts), "UTC", home)
    assert said in caught.value.what
    assert hint in caught.value.next
    assert caught.value.where


def test_bad_rows(home: Path) -> None:
    for target, said in [
        ([1, 1, 1], "has one class only: 1"),
        ([None, None, None], "no row is left: 3 rows without late dropped"),
    ]:
        with pytest.raises(BadInput, match=said):
            snapshots.take(pl.DataFrame({"x": [1, 2, 3], "late": pl.Series(target, dtype=pl.Int64)}), config(), "UTC", home)
    with pytest.raises(BadInput, match="the data has no rows"):
        snapshots.take(pl.DataFrame({"x": [], "late": []}), config(), "UTC", home)


@pytest.mark.parametrize(
    "values",
    [
        [1704103200, 1704106800], [1704103200000, 1704106800000], [1704103200000000, 1704106800000000],
        [1704103200000000000, 1704106800000000000], [1704103200.0, 1704106800.0],
        ["2024-01-01T10:00:00Z", "2024-01-01T11:00:00Z"], ["2024-01-01T12:00:00+02:00", "2024-01-01T13:00:00+02:00"],
    ],
)  # fmt: skip
def test_times_in_many_forms(home: Path, values: list[Any]) -> None:
    snapshot = snapshots.take(pl.DataFrame({"t": values, "late": [0, 1]}), config(time_col="t"), "Asia/Tokyo", home)
    assert snapshots.read(snapshot)["t"].to_list() == [datetime(2024, 1, 1, 10, tzinfo=UTC), datetime(2024, 1, 1, 11, tzinfo=UTC)]


def test_rows_without_a_time_are_dropped_and_said(home: Path) -> None:
    frame = pl.DataFrame({"t": [None, datetime(2024, 1, 1), datetime(2024, 1, 2)], "late": [0, 1, 0]})
    snapshot = snapshots.take(frame, config(time_col="t"), "UTC", home)
    assert (snapshot.rows, snapshot.dropped) == (2, ("1 row without t dropped",))


def test_types_override(home: Path) -> None:
    frame = pl.DataFrame({"i": ["1", " 2", None], "f": [1, 2, 3], "b": ["yes", "No", "1"], "s": [1, 2, 3], "late": [0, 1, 0]})
    data = config(schema={"types": {"i": "int", "f": "float", "b": "bool", "s": "str"}})
    snapshot = snapshots.take(frame, data, "UTC", home)
    assert snapshots.read(snapshot).to_dict(as_series=False) == {
        "i": [1, 2, None], "f": [1.0, 2.0, 3.0], "b": [True, False, True], "s": ["1", "2", "3"], "late": [0, 1, 0],
    }  # fmt: skip
    half = pl.DataFrame({"i": [1.5, 2.0, float("nan")], "late": [0, 1, 0]})
    with pytest.raises(BadInput, match=r"1 value of column `i` cannot be read as int, first 1.5 in row 1"):
        snapshots.take(half, config(schema={"types": {"i": "int"}}), "UTC", home)


def test_signature(home: Path) -> None:
    frame = snapshots.read(snapshots.take(FLIGHTS, WHOLE, "UTC", home))
    signature = snapshots.signature(frame, WHOLE, "binary_classification", 0.3)
    assert signature.columns == (Column("carrier", "str"), Column("distance", "float"))
    assert (signature.classes, signature.positive_class, signature.decision_threshold) == ((0, 1), 1, 0.3)
    assert (signature.id_col, signature.time_col, signature.entity_cols) == ("flight", "when", ("carrier",))
    assert json.loads(json.dumps(signature.to_dict()))


def test_signature_by_problem_type() -> None:
    frame = pl.DataFrame({"x": [1.0, None, 3.0], "late": ["c", "a", "b"], "y": [1.0, 2.0, 3.0], "flag": [True, False, True]})
    many = snapshots.signature(frame, config(), "multiclass_classification", 0.5)
    assert (many.classes, many.positive_class, many.decision_threshold) == (("a", "b", "c"), None, None)
    assert many.columns[0] == Column("x", "float", nullable=True)
    assert snapshots.signature(frame, config(target_col="y"), "regression", 0.5).classes == ()
    flag = snapshots.signature(frame, config(target_col="flag", positive_class=1), "binary_classification", 0.5)
    assert flag.positive_class is True
    with pytest.raises(BadInput, match="needs two classes, and `late` has 3: a, b, c"):
        snapshots.signature(frame, config(positive_class="a"), "binary_classification", 0.5)
    with pytest.raises(BadInput, match="regression needs numbers, and `late` is str"):
        snapshots.signature(frame, config(), "regression", 0.5)
    with pytest.raises(BadInput, match="no feature is left"):
        snapshots.signature(frame.select("late"), config(), "multiclass_classification", 0.5)
    wide = pl.DataFrame({"x": range(1001), "late": range(1001)})
    with pytest.raises(BadInput, match="1001 classes"):
        snapshots.signature(wide, config(), "multiclass_classification", 0.5)
