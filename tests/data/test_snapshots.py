from __future__ import annotations

import errno
import json
import subprocess
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import Data
from modelyard.data import incremental, snapshots
from modelyard.data.incremental import Highest
from modelyard.data.parts import Parts, of
from modelyard.errors import BadInput, NoRoom, NotFound
from modelyard.serve.protocols import Formats
from modelyard.serve.runner import features
from modelyard.signature import Column, Signature


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
    snapshot = snapshots.take(of(FLIGHTS), WHOLE, "America/New_York", home)
    assert snapshot.dropped == ("2 rows without late dropped",)
    assert snapshot.rows == 3
    assert snapshot.files == (home / "snapshots" / snapshot.digest / "data.parquet",)
    frame = snapshots.read(snapshot)
    assert frame["late"].to_list() == [1, 0, 1]  # 1.0 in the file, since a reader makes floats of integers with gaps
    assert frame["when"].to_list()[0] == datetime(2024, 1, 1, 15, tzinfo=UTC)
    assert snapshot.columns == {
        "flight": "str", "when": "datetime", "carrier": "str", "distance": "float", "origin": "str", "late": "int",
    }  # fmt: skip
    assert snapshots.find(snapshot.digest, home) == snapshots.Snapshot(snapshot.digest, snapshot.files, 3, snapshot.columns)


def test_the_same_rows_are_kept_once_and_read_only(home: Path) -> None:
    first = snapshots.take(of(FLIGHTS), WHOLE, "UTC", home)
    before = first.files[0].stat().st_ino
    again = snapshots.take(of(FLIGHTS.with_columns(pl.col("distance").cast(pl.Int16))), WHOLE, "UTC", home)
    assert again == first
    assert again.files[0].stat().st_ino == before
    assert [p.name for p in (home / "snapshots").iterdir()] == [first.digest]
    assert first.files[0].stat().st_mode & 0o222 == 0
    assert first.files[0].parent.stat().st_mode & 0o222 == 0
    assert snapshots.take(of(FLIGHTS), WHOLE, "Asia/Tokyo", home).digest != first.digest


def test_a_flipped_bit_and_an_edited_file_are_refused(home: Path) -> None:
    snapshot = snapshots.take(of(FLIGHTS), WHOLE, "UTC", home)
    whole = snapshot.files[0].read_bytes()
    snapshot.files[0].chmod(0o644)
    refused = 0
    for place in range(4, len(whole) - 8, 97):
        snapshot.files[0].write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            frame = snapshots.read(snapshot)
        except BadInput:
            refused += 1
        else:  # the bit lay in a statistic or a label: the rows are the same
            assert frame["distance"].to_list() == [100, 200, 500]
    assert refused > 0
    snapshot.files[0].write_bytes(whole)
    pl.read_parquet(snapshot.files[0]).with_columns(distance=pl.lit(1.0)).write_parquet(snapshot.files[0])
    with pytest.raises(BadInput, match="digest mismatch"):
        snapshots.read(snapshot)


def test_a_full_disk_and_a_torn_write_leave_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fired = []

    def full(handle: int) -> None:
        fired.append(handle)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshots.files.os, "fsync", full)
    with pytest.raises(NoRoom, match="the disk is full"):
        snapshots.take(of(FLIGHTS), WHOLE, "UTC", home)
    assert fired
    assert list((home / "snapshots").iterdir()) == []
    monkeypatch.undo()
    assert snapshots.take(of(FLIGHTS), WHOLE, "UTC", home).rows == 3


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
        snapshots.take(of(FLIGHTS), config(**parts), "UTC", home)
    assert said in caught.value.what
    assert hint in caught.value.next
    assert caught.value.where


def test_bad_rows(home: Path) -> None:
    for target, said in [
        ([1, 1, 1], "has one class only: 1"),
        ([None, None, None], "no row is left: 3 rows without late dropped"),
    ]:
        with pytest.raises(BadInput, match=said):
            snapshots.take(of(pl.DataFrame({"x": [1, 2, 3], "late": pl.Series(target, dtype=pl.Int64)})), config(), "UTC", home)
    with pytest.raises(BadInput, match="the data has no rows"):
        snapshots.take(of(pl.DataFrame({"x": [], "late": []})), config(), "UTC", home)


@pytest.mark.parametrize(
    "values",
    [
        [1704103200, 1704106800], [1704103200000, 1704106800000], [1704103200000000, 1704106800000000],
        [1704103200000000000, 1704106800000000000], [1704103200.0, 1704106800.0],
        ["2024-01-01T10:00:00Z", "2024-01-01T11:00:00Z"], ["2024-01-01T12:00:00+02:00", "2024-01-01T13:00:00+02:00"],
    ],
)  # fmt: skip
def test_times_in_many_forms(home: Path, values: list[Any]) -> None:
    snapshot = snapshots.take(of(pl.DataFrame({"t": values, "late": [0, 1]})), config(time_col="t"), "Asia/Tokyo", home)
    assert snapshots.read(snapshot)["t"].to_list() == [datetime(2024, 1, 1, 10, tzinfo=UTC), datetime(2024, 1, 1, 11, tzinfo=UTC)]


@pytest.mark.parametrize("form", [pl.Int64, pl.Int32, pl.Float64])
def test_days_that_are_written_as_numbers_are_days(home: Path, form: Any) -> None:
    """As warehouses key them; as seconds all of them would be an hour of August 1970."""
    table = pl.DataFrame({"when": pl.Series([20231231, None, 19650228], dtype=form), "late": [0, 1, 1]})
    batches = Parts(tuple(table[i : i + 1] for i in range(3)), table.schema)
    rows = snapshots.read(snapshots.take(batches, config(time_col="when"), "Asia/Tokyo", home))
    assert rows["when"].to_list() == [datetime(2023, 12, 30, 15, tzinfo=UTC), datetime(1965, 2, 27, 15, tzinfo=UTC)]
    seconds = table.with_columns(when=pl.Series([20231231, 20231232, 3], dtype=form))
    rows = snapshots.read(snapshots.take(of(seconds), config(time_col="when"), "UTC", home))
    assert [moment.year for moment in rows["when"]] == [1970] * 3


def test_rows_without_a_time_are_dropped_and_said(home: Path) -> None:
    frame = pl.DataFrame({"t": [None, datetime(2024, 1, 1), datetime(2024, 1, 2)], "late": [0, 1, 0]})
    snapshot = snapshots.take(of(frame), config(time_col="t"), "UTC", home)
    assert (snapshot.rows, snapshot.dropped) == (2, ("1 row without t dropped",))


@pytest.mark.parametrize("sample", [None, {"rows": 100}])
def test_a_row_of_several_labels_may_have_none(home: Path, sample: dict[str, int] | None) -> None:
    table = of(pl.DataFrame({"x": range(300), "y": ["a|b", None, "b"] * 100}))
    taken = snapshots.take(table, config(label_separator="|", target_col="y", sample=sample), "UTC", home)
    found = snapshots.scan(taken).collect()
    assert taken.rows == (100 if sample else 300)
    assert set(found["y"].unique()) == {"a|b", "", "b"}


def test_types_override(home: Path) -> None:
    frame = pl.DataFrame({"i": ["1", " 2", None], "f": [1, 2, 3], "b": ["yes", "No", "1"], "s": [1, 2, 3], "late": [0, 1, 0]})
    data = config(schema={"types": {"i": "int", "f": "float", "b": "bool", "s": "str"}})
    snapshot = snapshots.take(of(frame), data, "UTC", home)
    assert snapshots.read(snapshot).to_dict(as_series=False) == {
        "i": [1, 2, None], "f": [1.0, 2.0, 3.0], "b": [True, False, True], "s": ["1", "2", "3"], "late": [0, 1, 0],
    }  # fmt: skip
    half = pl.DataFrame({"i": [1.5, 2.0, float("nan")], "late": [0, 1, 0]})
    with pytest.raises(BadInput, match=r"1 value of column `i` cannot be read as int, first 1.5 in row 1"):
        snapshots.take(of(half), config(schema={"types": {"i": "int"}}), "UTC", home)


def test_signature(home: Path) -> None:
    frame = snapshots.read(snapshots.take(of(FLIGHTS), WHOLE, "UTC", home))
    signature = snapshots.signature(frame, WHOLE, "binary_classification", 0.3, "UTC")
    assert signature.columns == (Column("carrier", "str"), Column("distance", "float"))
    assert (signature.classes, signature.positive_class, signature.decision_threshold) == ((0, 1), 1, 0.3)
    assert (signature.id_col, signature.time_col, signature.entity_cols) == ("flight", "when", ("carrier",))
    assert json.loads(json.dumps(signature.to_dict()))


def test_the_signature_says_in_which_zone_naive_times_were_read(home: Path) -> None:
    """And serving reads them there: the clock changes too."""
    local = ["2026-03-29T02:30:00", "2026-07-01T12:00:00", "2026-10-25T02:30:00", None]
    rows = pl.DataFrame({"seen": local, "x": [1, 2, 3, 4], "late": [0, 1, 0, 1]})
    data = config(schema={"types": {"seen": "datetime"}})
    frame = snapshots.read(snapshots.take(of(rows), data, "Europe/Berlin", home))
    signature = snapshots.signature(frame, data, "multiclass_classification", 0.5, "Europe/Berlin")
    assert signature.columns == (Column("seen", "datetime", nullable=True, timezone="Europe/Berlin"), Column("x", "int"))
    assert signature.timezone == "Europe/Berlin"
    sent = json.dumps(rows.select("seen", "x").to_dicts()).encode()
    read = Formats(Signature.from_dict(json.loads(json.dumps(signature.to_dict())))).parse(sent, None, received_at=0).columns
    assert read["seen"] == frame["seen"].to_physical().to_list()


def test_naive_times_that_a_step_wrote_are_what_the_clock_shows() -> None:
    """A model that learned from them is given the same numbers, whatever the zone: they count as UTC."""
    frame = pl.DataFrame({"seen": [datetime(2026, 7, 1, 12), datetime(2026, 7, 2)], "day": [date(2026, 7, 1)] * 2, "late": [0, 1]})
    signature = snapshots.signature(frame, config(), "multiclass_classification", 0.5, "Europe/Berlin")
    assert [(c.type, c.timezone) for c in signature.columns] == [("datetime", "UTC")] * 2
    sent = frame.select("seen", "day").write_json().encode()
    read = Formats(signature).parse(sent, None, received_at=0).columns
    wanted = {name: values.to_list() for name, values in features(frame, signature).items()}
    assert read == wanted and wanted["seen"] == frame["seen"].to_physical().to_list()


def test_signature_by_problem_type() -> None:
    frame = pl.DataFrame({"x": [1.0, None, 3.0], "late": ["c", "a", "b"], "y": [1.0, 2.0, 3.0], "flag": [True, False, True]})
    many = snapshots.signature(frame, config(), "multiclass_classification", 0.5, "UTC")
    assert (many.classes, many.positive_class, many.decision_threshold) == (("a", "b", "c"), None, None)
    assert many.columns[0] == Column("x", "float", nullable=True)
    assert snapshots.signature(frame, config(target_col="y"), "regression", 0.5, "UTC").classes == ()
    flag = snapshots.signature(frame, config(target_col="flag", positive_class=1), "binary_classification", 0.5, "UTC")
    assert flag.positive_class is True
    with pytest.raises(BadInput, match="needs two classes, and `late` has 3: a, b, c"):
        snapshots.signature(frame, config(positive_class="a"), "binary_classification", 0.5, "UTC")
    with pytest.raises(BadInput, match="regression needs numbers, and `late` is str"):
        snapshots.signature(frame, config(), "regression", 0.5, "UTC")
    with pytest.raises(BadInput, match="no feature is left"):
        snapshots.signature(frame.select("late"), config(), "multiclass_classification", 0.5, "UTC")
    wide = pl.DataFrame({"x": range(1001), "late": range(1001)})
    with pytest.raises(BadInput, match="1001 classes"):
        snapshots.signature(wide, config(), "multiclass_classification", 0.5, "UTC")


MIXED = {
    "i": st.none() | st.integers(0, 9),
    "t": st.none() | st.sampled_from(["2024-01-01 10:00", "2024-01-02 11:30", "2023-12-31 00:00"]),
    "n": st.none() | st.sampled_from(["1", " 2", "3.5", "x"]),
    "late": st.none() | st.sampled_from([0.0, 1.0, float("nan")]),
}


@given(st.lists(st.fixed_dictionaries(MIXED), min_size=1, max_size=40), st.integers(1, 9))
def test_a_snapshot_is_the_same_whatever_the_batches(rows: list[dict[str, Any]], size: int) -> None:
    types = {"i": pl.Int32(), "t": pl.String(), "n": pl.String(), "late": pl.Float64()}
    frame = pl.DataFrame(rows, schema=types)
    data = config(positive_class=1, time_col="t", schema={"types": {"n": "float"}})
    pieces = Parts(tuple(frame[i : i + size] for i in range(0, frame.height, size)), frame.schema)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for table in (of(frame), pieces):
            try:
                found.append(str(snapshots.take(table, data, "Europe/Berlin", Path(folder)).digest))
            except BadInput as exc:
                found.append(exc.what)
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    assert found[0] == found[1]


def test_what_is_lost_is_counted_over_all_batches(home: Path) -> None:
    frame = pl.DataFrame({"n": ["1", "x", "2", "y", "z"], "late": [0, 1, 0, 1, 0]})
    pieces = Parts((frame[:1], frame[1:3], frame[3:]), frame.schema)
    with pytest.raises(BadInput, match="3 values of column `n` cannot be read as int, first 'x' in row 2"):
        snapshots.take(pieces, config(schema={"types": {"n": "int"}}), "UTC", home)


GROWING = config(source={"using": "csv", "location": "x.csv", "incremental": "n"})


def more(first: int, rows: int, **columns: Any) -> Parts:
    return of(pl.DataFrame({"n": range(first, first + rows), "x": [0.5] * rows, "late": [i % 2 for i in range(rows)], **columns}))


def test_new_rows_are_added_and_old_files_are_shared(home: Path) -> None:
    first = snapshots.take(more(0, 10), GROWING, "UTC", home)
    base = snapshots.Base(first, Highest(9))
    second = snapshots.take(more(5, 10, x=[1] * 10), GROWING, "UTC", home, base)  # 5 to 9 are known; x comes as int
    assert second.rows == 15
    assert second.lineage == {"parent": first.digest, "above": "9", "rows": 5}
    assert snapshots.find(second.digest, home).lineage == second.lineage
    assert snapshots.read(second)["n"].to_list() == list(range(15))
    assert [path.name for path in second.files] == ["data.parquet", "more-00001.parquet"]
    assert second.files[0].stat().st_ino == first.files[0].stat().st_ino
    assert snapshots.scan(second).collect()["x"].to_list() == [0.5] * 10 + [1.0] * 5
    # how rows came to be there is no part of the digest
    whole = pl.concat([more(0, 10).frame(), snapshots.read(second)[10:]])
    assert snapshots.take(of(whole), GROWING, "UTC", home).digest == second.digest
    again = snapshots.take(more(0, 10), GROWING, "UTC", home, snapshots.Base(second, Highest(14)))
    assert (again.digest, again.rows, again.lineage) == (second.digest, 15, second.lineage)


def test_new_rows_that_do_not_fit_are_no_addition(home: Path) -> None:
    base = snapshots.Base(snapshots.take(more(0, 10), GROWING, "UTC", home), Highest(9))
    with pytest.raises(snapshots.Moved, match="columns have changed"):
        snapshots.take(more(10, 5, z=[1] * 5), GROWING, "UTC", home, base)
    with pytest.raises(snapshots.Moved, match="`x` was float and is str now"):
        snapshots.take(more(10, 5, x=["a"] * 5), GROWING, "UTC", home, base)
    assert snapshots.take(more(10, 5, x=[None] * 5), GROWING, "UTC", home, base).rows == 15


def test_many_additions_become_one_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MOST_FILES", 3)
    snapshot = snapshots.take(more(0, 10), GROWING, "UTC", home)
    for i in range(1, 6):
        snapshot = snapshots.take(more(10 * i, 10), GROWING, "UTC", home, snapshots.Base(snapshot, Highest(10 * i - 1)))
        assert len(snapshot.files) <= 3
    assert snapshots.read(snapshot)["n"].to_list() == list(range(60))


@pytest.mark.parametrize("value", [3, 1.5, "a", date(2024, 1, 2), datetime(2024, 1, 2, 3), datetime(2024, 1, 2, 3, tzinfo=UTC)])
def test_what_was_seen_is_remembered_by_its_kind(home: Path, value: Any) -> None:
    seen = incremental.Seen("d" * 64, Highest(value))
    incremental.remember(home, "k", seen, "demo")
    assert incremental.recall(home, "k") == seen
    assert incremental.highest(of(pl.DataFrame({"c": [None, value]})), "c") == Highest(value)
    assert incremental.forget(home, "other") == 0
    assert incremental.forget(home, "demo") == 1
    assert incremental.recall(home, "k") is None
