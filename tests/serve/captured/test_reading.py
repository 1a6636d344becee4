from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.serve.captured import add, among, compact, earliest, find, newest, read, received

from ..capture.made import NOW, SIGNED, put, writer


def test_what_is_written_is_read_as_a_predictions_table(tmp_path: Path) -> None:
    folder = tmp_path / "capture"
    w = writer(folder)
    put(w, ["p", "q"], extras={"carrier": ["UA", None]}, times=[NOW - 1_000_000, NOW])
    put(w, ["r"], version="2")
    frame = read(folder)  # the open segment is read too
    utc = pl.Datetime("us", "UTC")
    assert dict(frame.schema) == {
        "inference_id": pl.String, "event_time": utc, "received_at": utc, "version": pl.String, "latency_ms": pl.Float64,
        "f.a": pl.Int64, "f.t": utc, "f.s": pl.String,
        "y.prediction": pl.String, "y.probability_n": pl.Float64, "y.probability_y": pl.Float64, "x.carrier": pl.String,
    }  # fmt: skip
    moment = datetime.fromtimestamp(NOW / 1_000_000, UTC)
    assert frame.row(1, named=True) == {
        "inference_id": "q", "event_time": moment, "received_at": moment, "version": "1", "latency_ms": 1.5,
        "f.a": 1, "f.t": moment, "f.s": "x\n",
        "y.prediction": "y", "y.probability_n": 0.25, "y.probability_y": 0.75, "x.carrier": None,
    }  # fmt: skip
    assert read(folder, start=moment)["inference_id"].to_list() == ["q", "r"]
    assert read(folder, end=moment)["inference_id"].to_list() == ["p"]
    found = find(folder, "r")
    assert found is not None and found["version"] == "2"
    assert find(folder, "nobody") is None
    for _ in range(2):  # as a segment, then as Parquet
        assert earliest(folder) == datetime.fromtimestamp(NOW / 1_000_000 - 1, UTC)
        w.close()
        compact(folder)


def test_what_came_since_an_instant_whenever_it_happened(tmp_path: Path) -> None:
    moment = datetime.fromtimestamp(NOW / 1_000_000, UTC)
    assert received(tmp_path, moment).height == received(tmp_path / "none", moment).height == 0
    w = writer(tmp_path)
    put(w, ["p", "q"], times=[NOW - 3_600_000_000, NOW])
    for _ in range(2):  # as a segment, then as Parquet
        found = received(tmp_path, moment)
        assert found["event_time"].to_list() == [moment - timedelta(hours=1), moment] and found["received_at"].to_list() == [moment] * 2
        assert received(tmp_path, moment + timedelta(microseconds=1)).height == 0
        w.close()
        compact(tmp_path)
    assert found.columns == ["event_time", "received_at"]


def test_many_rows_one_by_one_with_others_among_them_keep_their_order_and_their_values(tmp_path: Path) -> None:
    w, wanted = writer(tmp_path), list[tuple[str, int | None, str | None]]()
    for number in range(700):
        if number % 300 == 250:
            put(w, [f"{number}", f"{number}b"], extras={"carrier": ["UA", None]})
            wanted += [(f"{number}", None, "UA"), (f"{number}b", 1, None)]
        else:
            w.lane("1", SIGNED).row(NOW, 1.5, f"{number}", (number, NOW, "x"), ("y", 0.25, 0.75))
            wanted.append((f"{number}", number, None))
    assert read(tmp_path).select("inference_id", "f.a", "x.carrier").rows() == wanted


def test_rows_one_by_one_and_many_at_once_keep_their_order(tmp_path: Path) -> None:
    w = writer(tmp_path)
    for ids in (["a"], ["b"], ["c", "d"], ["e"], ["f", "g"]):
        put(w, ids)
    assert read(tmp_path)["inference_id"].to_list() == list("abcdefg")


def test_nothing_captured_is_an_empty_table(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        frame = read(folder)
        assert (frame.height, frame.columns[:2]) == (0, ["inference_id", "event_time"])
        assert compact(folder) == 0
        assert earliest(folder) is None


def test_the_newest_rows_are_found_without_opening_the_older_files(tmp_path: Path) -> None:
    def rows(day: int) -> pl.DataFrame:
        at = pl.Series([datetime(2026, 3, day, 0, i, tzinfo=UTC) for i in range(3)], dtype=pl.Datetime("us", "UTC"))
        ids = [f"{day}-{i}" for i in range(3)]
        return pl.DataFrame({"inference_id": ids, "event_time": at, "received_at": at, "version": ["1", "2", "1"], "latency_ms": 1.0})

    for day in (1, 2, 3):
        add(tmp_path, rows(day))
    oldest = min(tmp_path.glob("rows-*.parquet"))
    oldest.write_bytes(b"no Parquet: whoever opens it fails")
    assert set(newest(tmp_path, 4)["inference_id"]) == {f"{day}-{i}" for day in (2, 3) for i in range(3)}
    assert newest(tmp_path, 1, version="2")["inference_id"].to_list() == ["3-1"]
    assert newest(tmp_path, 99, since=datetime(2026, 3, 3, 0, 1, tzinfo=UTC))["inference_id"].to_list() == ["3-1", "3-2"]
    assert newest(tmp_path / "none", 4).is_empty()


def test_the_newest_rows_are_found_where_files_overlap(tmp_path: Path) -> None:
    """Quiet minutes are merged into one file around those of a burst."""
    for first, minutes in (("q", [0, 1, 2, 9]), ("b", [5, 6, 7, 8]), ("o", [0, 1, 2, 3])):
        at = pl.Series([datetime(2026, 3, 1, 0, i, tzinfo=UTC) for i in minutes], dtype=pl.Datetime("us", "UTC"))
        ids = [f"{first}{i}" for i in minutes]
        add(tmp_path, pl.DataFrame({"inference_id": ids, "event_time": at, "received_at": at, "version": "1", "latency_ms": 1.0}))
    (oldest,) = [path for path in tmp_path.glob("rows-*.parquet") if pl.read_parquet(path, glob=False)["inference_id"][0] == "o0"]
    oldest.write_bytes(b"no Parquet: whoever opens it fails")
    for last in (1, 2, 3, 4, 5):
        found = newest(tmp_path, last).sort("received_at").tail(last)["inference_id"].to_list()
        assert found == ["b5", "b6", "b7", "b8", "q9"][-last:]


def test_rows_are_found_by_their_ids_and_no_more_files_are_read_than_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3)]
    for day, ids in zip(at, (["a", "b"], ["c", "a"], ["d"]), strict=True):
        times = pl.Series([day] * len(ids), dtype=pl.Datetime("us", "UTC"))
        columns = {"inference_id": ids, "event_time": times, "received_at": times, "version": "1", "latency_ms": 1.0}
        add(tmp_path, pl.DataFrame(columns))
    opened: list[str] = []
    real = pl.scan_parquet
    monkeypatch.setattr(pl, "scan_parquet", lambda path, **how: (opened.append(str(path)), real(path, **how))[1])

    def found(*ids: str, **how: Any) -> list[tuple[str, datetime]]:
        opened.clear()
        return sorted(among(tmp_path, pl.Series(ids, dtype=pl.String), **how).rows())

    assert found("a", "d", "nobody") == [("a", at[0]), ("a", at[1]), ("d", at[2])] and len(opened) == 3
    assert found("a", "d", once=True) == [("a", at[1]), ("d", at[2])] and len(opened) == 2
    assert found("a", "nobody", once=True) == [("a", at[1])] and len(opened) == 3
    assert found("a", "b", start=at[0], end=at[1]) == [("a", at[0]), ("b", at[0])]
    assert found() == [] and opened == []
    assert among(tmp_path / "nothing", pl.Series(["a"])).schema == {"inference_id": pl.String, "event_time": pl.Datetime("us", "UTC")}
