"""A naive time is one instant, whoever reads it: the build, any body of a request, a batch, captured events, labels."""

from __future__ import annotations

import csv
import io
import json
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.data.canonical import canonical
from modelyard.data.prepare import as_times
from modelyard.errors import BadInput
from modelyard.flows import explanation
from modelyard.monitor import labelfiles, records
from modelyard.serve.batch import columns as batch
from modelyard.serve.coerce import micros, reader
from modelyard.serve.protocols import Formats
from modelyard.serve.protocols.schemas import record
from modelyard.serve.protocols.tensors import Tensor
from modelyard.serve.protocols.tensors import columns as tensors
from modelyard.serve.protocols.writing import ARROW, CSV, JSON, LINES, PARQUET
from modelyard.serve.runner import features
from modelyard.signature import Column, Signature
from modelyard.tables import EVENT_TIME, feature

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = st.sampled_from(sorted(zoneinfo.available_timezones()))
BERLIN = "Europe/Berlin"
ODD = ["2026-03-29T02:30:00", "2026-10-25T02:30:00", "2026-07-01T12:00:00", "1916-05-01T00:00:00", "2090-07-01T00:00:00"]
"""Times that a clock in Berlin skipped, showed twice, and others."""


def signed(timezone: str, **more: Any) -> Signature:
    return Signature("regression", (Column("t", "datetime", nullable=True, timezone=timezone),), timezone=timezone, **more)


def micros_of(times: pl.Series) -> list[int | None]:
    return times.cast(pl.Datetime("us", "UTC")).to_physical().to_list()


def built(times: list[str | None], timezone: str) -> list[int | None]:
    return micros_of(as_times(pl.Series("t", times, pl.String), timezone))


# -- readers: each takes texts without offsets, and a zone, and gives microseconds ------------------------------------------------


def body(write: Callable[[list[Any]], Any], kind: str) -> Callable[[list[Any], str], list[Any]]:
    def read(times: list[Any], timezone: str) -> list[Any]:
        made = write(times)
        data = made if isinstance(made, bytes) else json.dumps(made).encode()
        return Formats(signed(timezone)).parse(data, kind, received_at=0).columns["t"]

    return read


def as_csv(times: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["t"], *[[t or ""] for t in times]])
    return text.getvalue().encode()


def table(times: list[Any], kind: pa.DataType) -> pa.Table:
    return pa.table({"t": pa.array([t and datetime.fromisoformat(t) for t in times], kind)})


def parquet(kind: pa.DataType) -> Callable[[list[Any]], bytes]:
    def write(times: list[Any]) -> bytes:
        stream = io.BytesIO()
        pq.write_table(table(times, kind), stream)
        return stream.getvalue()

    return write


def arrow(times: list[Any]) -> bytes:
    stream, made = io.BytesIO(), table(times, pa.timestamp("us"))
    with pa.ipc.new_stream(stream, made.schema) as writer:
        writer.write_table(made)
    return stream.getvalue()


def tensor(times: list[Any], timezone: str) -> list[Any]:
    formats = Formats(signed(timezone))
    given, count = tensors([Tensor("t", "BYTES", [len(times)], times)], formats.wanted)
    return formats.rows(given, count, 0, coercers=formats.table).columns["t"]


def batch_table(kind: pa.DataType, *, text: bool = False) -> Callable[[list[Any], str], list[Any]]:
    def read(times: list[Any], timezone: str) -> list[Any]:
        made = pa.table({"t": pa.array([t or "" for t in times])}) if text else table(times, kind)
        values, bad = batch.of_table(made, signed(timezone), text=text)
        assert not bad
        return values["t"].list()

    return read


def batch_records(times: list[Any], timezone: str) -> list[Any]:
    bad: dict[int, str] = {}
    values = batch.of_records([{"t": t} for t in times], signed(timezone), bad)
    assert not bad
    return values["t"].list()


def event(times: list[Any], timezone: str) -> list[Any]:
    """An event that SageMaker captured."""
    found = [records.features({"t": t}, signed(timezone))[feature("t")] for t in times]
    return [at and (at - EPOCH) // timedelta(microseconds=1) for at in found]


def explained(times: list[Any], timezone: str) -> list[Any]:
    background = pl.DataFrame({"t": pl.Series([None], dtype=pl.Datetime("us", "UTC"))})
    return micros_of(explanation.typed(pl.DataFrame({"t": pl.Series(times, dtype=pl.String)}), background, signed(timezone))["t"])


def asked(dtype: Any) -> Callable[[list[Any], str], list[Any]]:
    """What a runner is asked."""

    def read(times: list[Any], timezone: str) -> list[Any]:
        values = times if dtype == pl.String else [t and datetime.fromisoformat(t) for t in times]
        return features(pl.DataFrame({"t": pl.Series(values, dtype=dtype)}), signed(timezone))["t"].to_list()

    return read


READERS: dict[str, Callable[[list[Any], str], list[Any]]] = {
    "records": body(lambda times: [{"t": t} for t in times], JSON),
    "instances": body(lambda times: {"instances": [[t] for t in times]}, JSON),
    "inputs": body(lambda times: {"inputs": {"t": times}}, JSON),
    "dataframe_records": body(lambda times: {"dataframe_records": [{"t": t} for t in times]}, JSON),
    "dataframe_split": body(lambda times: {"dataframe_split": {"columns": ["t"], "data": [[t] for t in times]}}, JSON),
    "lines": body(lambda times: b"\n".join(json.dumps({"t": t}).encode() for t in times), LINES),
    "csv": body(as_csv, CSV),
    "parquet": body(parquet(pa.timestamp("us")), PARQUET),
    "arrow": body(arrow, ARROW),
    "tensors": tensor,
    "batch csv": batch_table(pa.string(), text=True),
    "batch parquet": batch_table(pa.timestamp("us")),
    "batch lines": batch_records,
    "captured events": event,
    "explain --rows": explained,
    "runner": asked(pl.Datetime("us")),
    "runner, text": asked(pl.String),
}


@pytest.mark.parametrize("way", READERS)
def test_every_reader_reads_naive_times_as_the_build_does(way: str) -> None:
    times = [None, *ODD]
    for timezone in (BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"):
        wanted = built(times, timezone)
        assert READERS[way](times, timezone) == wanted
    assert built(ODD[:2], BERLIN) == [micros("2026-03-29T01:30:00Z"), micros("2026-10-25T00:30:00Z")], "03:30, and the first of two"


@settings(max_examples=60)
@given(NAMES, st.lists(st.datetimes().map(lambda at: at.isoformat(timespec="microseconds")), min_size=1, max_size=8))
def test_any_naive_time_in_any_zone_is_the_instant_that_it_was_in_the_build(timezone: str, times: list[Any]) -> None:
    frame = pl.DataFrame({"t": [datetime.fromisoformat(t) for t in times]}, schema={"t": pl.Datetime("us")})
    wanted = micros_of(canonical(frame, timezone)["t"])
    assert built(times, timezone) == wanted
    for way, read in READERS.items():
        assert read(times, timezone) == wanted, way


@pytest.mark.parametrize("way", [way for way in READERS if way not in ("parquet", "arrow", "batch parquet", "runner")])
def test_an_offset_in_the_text_wins(way: str) -> None:
    times = ["2026-03-29T02:30:00+05:00", "2026-07-01T12:00:00+00:00", "2026-07-01T12:00:00Z"]
    wanted = [micros("2026-03-28T21:30:00Z"), micros(times[1]), micros(times[1])]
    assert [READERS[way]([one], BERLIN) for one in times] == [[at] for at in wanted]


def test_timestamps_with_a_zone_are_instants_and_days_begin_in_the_zone() -> None:
    aware = pa.table({"t": pa.array([datetime(2026, 7, 1, tzinfo=UTC)], pa.timestamp("us", "America/New_York"))})
    days = pa.table({"t": pa.array([datetime(2026, 7, 1).date()], pa.date32())})
    for given_, wanted in ((aware, "2026-07-01T00:00:00Z"), (days, "2026-06-30T22:00:00Z")):
        stream = io.BytesIO()
        pq.write_table(given_, stream)
        assert Formats(signed(BERLIN)).parse(stream.getvalue(), PARQUET, received_at=0).columns["t"] == [micros(wanted)]
        assert batch.of_table(given_, signed(BERLIN), text=False)[0]["t"].list() == [micros(wanted)]
    assert built(["2026-07-01"], BERLIN) == [micros("2026-06-30T22:00:00Z")]


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_parts_of_a_microsecond_are_cut_off_as_in_the_build(zone: str | None) -> None:
    """Also before 1970, where the microsecond that began before is one less."""
    made = pa.table({"t": pa.array([1_500_000_000_000_000_999, -1_500_000_000_000_000_999, None], pa.timestamp("ns", zone))})
    frame = pl.from_arrow(made)
    assert isinstance(frame, pl.DataFrame)
    wanted, stream = micros_of(canonical(frame, BERLIN)["t"]), io.BytesIO()
    pq.write_table(made, stream)
    assert Formats(signed(BERLIN)).parse(stream.getvalue(), PARQUET, received_at=0).columns["t"] == wanted
    assert batch.of_table(made, signed(BERLIN), text=False)[0]["t"].list() == wanted


def test_event_times_are_in_the_zone_too_and_labels_meet_them(tmp_path: Any) -> None:
    timed, at = signed(BERLIN, time_col="at", entity_cols=("tail",)), "2026-10-25T02:30:00"
    now = micros("2026-10-25T12:00:00Z")
    read = Formats(timed).parse(json.dumps({"t": None, "at": at, "tail": "x"}).encode(), JSON, received_at=now)
    assert read.event_times == [micros("2026-10-25T00:30:00Z")]
    captured = records.features({"t": None, "at": at}, timed)[EVENT_TIME]
    assert captured == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    names = labelfiles.Names(None, "y", BERLIN, ("tail",), "at")
    (tmp_path / "l.csv").write_text(f"tail,y,at\nx,1,{at}\nx,1,2026-03-29T02:30:00\n")
    pl.read_csv(tmp_path / "l.csv", try_parse_dates=True).write_parquet(tmp_path / "l.parquet")
    for file in ("l.csv", "l.parquet"):
        with labelfiles.opened(tmp_path / file, names) as pieces:
            assert labelfiles._together(pieces)[EVENT_TIME].to_list() == [captured, datetime(2026, 3, 29, 1, 30, tzinfo=UTC)]


def test_utc_costs_nothing_and_text_that_is_no_time_is_refused() -> None:
    assert reader("UTC") is micros
    with pytest.raises(BadInput, match="`t` must be an ISO 8601 time"):
        READERS["records"](["29.03.2026"], BERLIN)
    with pytest.raises(BadInput, match="`t` does not fit its type"):
        READERS["runner, text"](["29.03.2026"], BERLIN)


def test_an_instant_beyond_the_calendar_is_its_end() -> None:
    assert [micros("9999-12-31T23:59:59-05:00"), micros("0001-01-01T00:00:00+05:00")] == [253_402_300_799_999_999, -62_135_596_800_000_000]


def test_a_caller_can_read_what_a_naive_time_is() -> None:
    said = record(signed(BERLIN, time_col="at"), (), None)["properties"]
    assert "without an offset it is in Europe/Berlin" in said["t"]["description"] and "in Europe/Berlin" in said["at"]["description"]
    assert record(signed("UTC"), (), None)["properties"]["t"]["description"] == "An ISO 8601 time; without an offset it is UTC."
    assert msgspec.json.encode(said)
