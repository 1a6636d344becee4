from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.data import parts
from modelyard.data.canonical import canonical, digest
from modelyard.data.parts import Parts, Writer, joined
from modelyard.errors import BadInput

VALUES = {
    "i": st.integers(-(2**63), 2**63 - 1),
    "x": st.floats(allow_nan=False),
    "s": st.text(),
    "b": st.booleans(),
    "t": st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)),
}
TYPES = {"i": pl.Int64(), "x": pl.Float64(), "s": pl.String(), "b": pl.Boolean(), "t": pl.Datetime("us")}


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    names = draw(st.lists(st.sampled_from("ixsbt"), min_size=1, max_size=5, unique=True))
    rows = draw(st.integers(1, 12))
    columns = {n: draw(st.lists(st.none() | VALUES[n], min_size=rows, max_size=rows)) for n in names}
    return pl.DataFrame(columns, schema={n: TYPES[n] for n in names})


def of(frame: pl.DataFrame, rows: int = 1000) -> str:
    plain = canonical(frame, "UTC")
    return digest(Parts(tuple(plain[i : i + rows] for i in range(0, plain.height, rows)), plain.schema))


@given(tables(), st.integers(1, 5))
def test_neither_chunks_nor_encodings_change_the_digest(frame: pl.DataFrame, size: int) -> None:
    file = io.BytesIO()
    frame.write_parquet(file, compression="snappy", row_group_size=3)
    file.seek(0)
    pieces = pl.concat([frame[i : i + size] for i in range(0, frame.height, size)], rechunk=False)
    padded = pl.concat([frame, frame])[frame.height :]  # a slice with an offset into its buffers
    ipc = pl.DataFrame(pl.from_arrow(frame.to_arrow(compat_level=pl.CompatLevel.oldest())))
    assert {of(f) for f in (frame, pieces, padded, ipc, pl.read_parquet(file))} == {of(frame, size)}


@given(tables(), st.data())
def test_a_changed_value_changes_the_digest(frame: pl.DataFrame, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(frame.columns))
    row = data.draw(st.integers(0, frame.height - 1))
    values = frame[name].to_list()
    new = data.draw((st.none() | VALUES[name]).filter(lambda v: v != values[row]))
    values[row] = new
    changed = frame.with_columns(pl.Series(name, values, dtype=frame.schema[name]))
    assert of(changed) != of(frame)


@given(tables())
def test_order_names_and_number_of_rows_count(frame: pl.DataFrame) -> None:
    others = [
        frame.rename({frame.columns[0]: "other"}),
        pl.concat([frame, frame[:1]]),
        frame.with_columns(pl.lit(1).alias("new")),
    ]
    if not frame.reverse().equals(frame):
        others.append(frame.reverse())
    if frame.width > 1:
        others.append(frame.select(frame.columns[::-1]))
    assert of(frame) not in {of(other) for other in others}


def test_moving_text_across_a_boundary_changes_the_digest() -> None:
    assert of(pl.DataFrame({"s": ["ab", "c"]})) != of(pl.DataFrame({"s": ["a", "bc"]}))
    assert of(pl.DataFrame({"s": ["", None]})) != of(pl.DataFrame({"s": [None, ""]}))
    # 0 in place of a missing 0, where the bitmap alone tells them apart
    assert of(pl.DataFrame({"i": [0, None]})) != of(pl.DataFrame({"i": [None, 0]}))


def test_forms_of_one_value() -> None:
    wide = pl.DataFrame({"i": [1, 2], "x": [0.0, None], "s": ["a", "b"], "n": [None, None]})
    narrow = pl.DataFrame(
        {
            "i": pl.Series([1, 2], dtype=pl.UInt8),
            "x": [-0.0, float("nan")],
            "s": pl.Series(["a", "b"], dtype=pl.Categorical),
            "n": pl.Series([None, None], dtype=pl.Float64),
        }
    )
    assert of(wide) == of(narrow)
    assert of(pl.DataFrame({"i": [1]})) != of(pl.DataFrame({"i": [1.0]})) != of(pl.DataFrame({"i": [True]}))


def test_times_are_utc_across_clock_changes() -> None:
    local = ["2024-03-10T01:30", "2024-03-10T02:30", "2024-03-10T03:30", "2024-11-03T01:30"]
    frame = pl.DataFrame({"t": local}).with_columns(pl.col("t").str.to_datetime(time_unit="ns"))
    assert canonical(frame, "America/New_York")["t"].to_list() == [
        datetime(2024, 3, 10, 6, 30, tzinfo=UTC),
        datetime(2024, 3, 10, 7, 30, tzinfo=UTC),  # 02:30 was skipped: the clock showed 03:30
        datetime(2024, 3, 10, 7, 30, tzinfo=UTC),
        datetime(2024, 11, 3, 5, 30, tzinfo=UTC),  # shown twice: the first
    ]


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "UTC"])
def test_the_ends_of_the_calendar_stay_in_it(zone: str) -> None:
    """The end of 9999, which often stands for no end, is the year 10000 in UTC, of which Python knows nothing."""
    ends = pl.Series("t", [datetime(9999, 12, 31, 23, 59, 59), None, datetime(1, 1, 1)], dtype=pl.Datetime("us"))
    late, missing, early = canonical(ends.to_frame(), zone)["t"].to_list()
    assert late > datetime(9999, 12, 31, tzinfo=UTC) and missing is None and early < datetime(1, 1, 2, tzinfo=UTC)
    days = canonical(ends.cast(pl.Date).to_frame(), zone)["t"].to_list()
    assert days[0].year == 9999 and days[2].year == 1


@pytest.mark.parametrize("beyond", [pl.Series("t", [2**62]).cast(pl.Datetime("us")), pl.Series("t", [10**9], dtype=pl.Int32).cast(pl.Date)])
def test_times_beyond_the_calendar_are_refused(beyond: pl.Series) -> None:
    with pytest.raises(BadInput, match="column `t` holds times beyond the years 1 to 9999"):
        canonical(beyond.to_frame(), "UTC")


@pytest.mark.parametrize("values", [[[1]], [{"a": 1}], [b"x"]])
def test_what_is_no_plain_value(values: list[object]) -> None:
    with pytest.raises(BadInput, match=r"column `odd` holds .*, which is no plain value") as caught:
        canonical(pl.DataFrame({"odd": values}), "UTC")
    assert "exclude: [odd]" in caught.value.next


def test_numbers_beyond_64_bits() -> None:
    with pytest.raises(BadInput, match="64 bits"):
        canonical(pl.DataFrame({"n": pl.Series([2**63], dtype=pl.UInt64)}), "UTC")


def test_a_file_of_one_batch_is_read_once_and_a_larger_one_a_column_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({"a": range(1000), "t": [None if i % 7 else "text" * (i % 5) for i in range(1000)]})
    with Writer(tmp_path / "t.parquet") as writer:
        writer.write(frame)
    table, opened = joined([("t", tmp_path / "t.parquet")]), []
    real = parts.opened
    monkeypatch.setattr(parts, "opened", lambda path: opened.append(path) or real(path))  # type: ignore[func-returns-value]
    known = digest(table)
    assert known == of(frame) and len(opened) == 2  # its size, its rows
    assert table.held().frame().equals(frame)
    monkeypatch.setattr(parts, "BATCH", 1000)
    assert table.held() is table and digest(table) == known and len(opened) > 4
    two = Parts((frame[:500], frame[500:]), frame.schema)
    assert two.held() is two
