from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from modelyard.errors import BadInput, NotFound
from modelyard.monitor.labels import read_file

ROWS = [{"flight_id": "a1", "late": 1}, {"flight_id": "a2", "late": 0}]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_each_kind_of_file_says_the_same(kind: str, tmp_path: Path) -> None:
    path, frame = tmp_path / f"labels.{kind}", pl.DataFrame(ROWS)
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}[kind](path)
    assert read_file(path, "flight_id", "late").rows() == [("a1", 1), ("a2", 0)]
    assert read_file(path, "flight_id", "late").columns == ["inference_id", "label"]


def test_the_general_names_are_taken_too(tmp_path: Path) -> None:
    path = write(tmp_path, "l.csv", "inference_id,label\nx,1\n")
    assert read_file(path, None, "late").rows() == read_file(path, "flight_id", "late").rows() == [("x", 1)]


def test_ids_keep_their_zeros_and_labels_their_type(tmp_path: Path) -> None:
    ids = write(tmp_path, "ids.csv", "id,y\n007,0.5\n08,\n")
    assert read_file(ids, "id", "y").rows() == [("007", 0.5), ("08", None)]
    odd = write(tmp_path, "odd.csv", "id,y\n1e5,1e5\n12345678901234567890,2\n1.10,3\ntrue,4\n")
    assert read_file(odd, "id", "y").rows() == [("1e5", 1e5), ("12345678901234567890", 2), ("1.10", 3), ("true", 4)]
    big = write(tmp_path, "big.csv", "id,y\n12345678901234567890,1\n12345678901234567891,0\n")
    assert read_file(big, "id", "y").rows() == [("12345678901234567890", 1), ("12345678901234567891", 0)]
    gaps = write(tmp_path, "gaps.csv", "id,y\n7.0,1\n8.0,0\n")
    assert read_file(gaps, "id", "y").rows() == [("7", 1), ("8", 0)], "as a table with gaps writes whole numbers"
    flags = write(tmp_path, "flags.csv", "id,y\na,True\nb,false\n")
    assert read_file(flags, "id", "y")["label"].to_list() == [True, False]
    words = write(tmp_path, "words.csv", "id,y\na,1\nb,two\n")
    assert read_file(words, "id", "y")["label"].to_list() == ["1", "two"]
    mixed = write(tmp_path, "mixed.jsonl", '{"id": 1, "y": 1}\n\n{"id": 2, "y": 0.5}\n')
    assert read_file(mixed, "id", "y")["label"].to_list() == [1.0, 0.5]


def test_times_are_in_utc_and_naive_ones_in_the_zone(tmp_path: Path) -> None:
    path = write(tmp_path, "l.csv", "id,y,labelled_at\na,1,2013-03-01T06:00:00\nb,1,2013-03-01T06:00:00Z\nc,1,\n")
    got = read_file(path, "id", "y", "America/New_York")["labelled_at"].to_list()
    assert got == [datetime(2013, 3, 1, 11, tzinfo=UTC), datetime(2013, 3, 1, 6, tzinfo=UTC), None]
    naive = tmp_path / "l.parquet"
    pl.DataFrame({"id": ["a"], "y": [1], "labelled_at": [datetime(2013, 3, 1, 6)]}).write_parquet(naive)
    assert read_file(naive, "id", "y", "America/New_York")["labelled_at"].to_list() == got[:1]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.txt", "a,b\n", "no csv, parquet or jsonl"),
        ("l.csv", "", "the file is empty"),
        ("l.csv", "flight_id,late\n", "the file has no rows"),
        ("l.jsonl", "\n", "the file has no rows"),
        ("l.parquet", "not parquet at all", "not a readable parquet file"),
        ("l.csv", "flight_id,late\na,1,2,3\n", "not a readable csv file"),
        ("l.jsonl", '{"flight_id": "a", "late": 1}\n{"flight_id"\n', "not JSON"),
        ("l.jsonl", "[1, 2]\n", "not an object"),
        ("l.csv", "flight_id,late,labelled_at\na,1,yesterday\n", "'yesterday' is not a time"),
        ("l.jsonl", '{"flight_id": "a", "late": 1, "labelled_at": 5}\n', "must hold times"),
    ],
)
def test_what_cannot_be_used_is_said_clearly(name: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_file(write(tmp_path, name, text), "flight_id", "late")
    assert said in caught.value.what and caught.value.exit_code == 2


def test_a_bad_line_is_named_and_a_missing_column_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_file(write(tmp_path, "l.jsonl", '{"flight_id": "a", "late": 1}\n{"flight_id"\n'), "flight_id", "late")
    assert caught.value.where == "l.jsonl:2"
    with pytest.raises(BadInput, match="there is no column 'flight_id'") as caught:
        read_file(write(tmp_path, "l.csv", "flightid,late\na,1\n"), "flight_id", "late")
    assert caught.value.next == "did you mean 'flightid'?"
    with pytest.raises(BadInput, match="there is no column 'late'") as caught:
        read_file(write(tmp_path, "l.csv", "flight_id,zzz\na,1\n"), "flight_id", "late")
    assert caught.value.next == "it has: flight_id, zzz"
    with pytest.raises(NotFound, match="no file"):
        read_file(tmp_path / "none.csv", "flight_id", "late")


def test_a_list_of_objects(tmp_path: Path) -> None:
    found = read_file(write(tmp_path, "l.json", '[{"flight_id": "007", "late": 1}, {"flight_id": "8", "late": 0}]'), "flight_id", "late")
    assert found.rows() == [("007", 1), ("8", 0)]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-12:00"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json"])
def test_a_time_that_is_none_in_utc_is_refused_with_its_line(suffix: str, text: str, tmp_path: Path) -> None:
    rows = [{"id": "a", "y": 1, "labelled_at": "2026-03-01T00:00:00Z"}, {"id": "b", "y": 1, "labelled_at": text}]
    said = {
        "csv": "id,y,labelled_at\n" + "".join(f"{row['id']},{row['y']},{row['labelled_at']}\n" for row in rows),
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "json": json.dumps(rows),
    }[suffix]
    path = write(tmp_path, f"l.{suffix}", said)
    with pytest.raises(BadInput, match=f"'{text.replace('+', '.')}' lies before the year 1 or after 9999, once in UTC") as caught:
        read_file(path, "id", "y", "Asia/Tokyo")
    place = {"csv": "l.csv:3", "jsonl": "l.jsonl:2", "json": "l.json, row 2"}[suffix]
    assert caught.value.where == f"{place}, labelled_at"


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        (pl.Datetime("us"), (datetime.min - datetime(1970, 1, 1)) // timedelta(microseconds=1)),
        (pl.Datetime("us", "UTC"), 2**62),
        (pl.Datetime("ms"), 2**62),
        (pl.Datetime("ms", "UTC"), -(2**62)),
        (pl.Date(), 2**31 - 1),
        (pl.Date(), -(2**31)),
    ],
)
def test_so_is_one_of_a_table(dtype: pl.DataType, number: int, tmp_path: Path) -> None:
    physical = pl.Int32 if dtype == pl.Date else pl.Int64
    times = pl.Series("labelled_at", [0, None, number], physical).cast(dtype)
    pl.DataFrame({"id": ["a", "b", "c"], "y": [1, 2, 3]}).with_columns(times).write_parquet(tmp_path / "l.parquet")
    with pytest.raises(BadInput, match="a time lies before the year 1 or after 9999") as caught:
        read_file(tmp_path / "l.parquet", "id", "y", "Asia/Tokyo")
    assert caught.value.where == "l.parquet, row 3, labelled_at"
