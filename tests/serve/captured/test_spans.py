"""Which files a span of time is read from: none is left out that holds a row of it, however late that came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.serve import captured
from modelyard.serve.captured import reading

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = st.integers(0, 200)


def frame(events: list[int], came: int) -> pl.DataFrame:
    """Rows of these hours, all received at once."""
    at = pl.Series([T0 + timedelta(hours=hour) for hour in events], dtype=pl.Datetime("us", "UTC"))
    fixed = {"inference_id": [f"{came}-{i}" for i in range(len(events))], "event_time": at}
    received = pl.lit(T0 + timedelta(hours=came)).cast(pl.Datetime("us", "UTC")).alias("received_at")
    return pl.DataFrame(fixed).with_columns(received, pl.lit("1").alias("version"), pl.lit(1.0).alias("latency_ms"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.lists(HOURS, min_size=1, max_size=5), HOURS), min_size=1, max_size=5), HOURS, HOURS)
def test_a_span_is_what_all_rows_filtered_by_it_are(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[list[int], int]], a: int, b: int
) -> None:
    folder = tmp_path_factory.mktemp("capture")
    for events, came in files:
        captured.add(folder, frame(events, came))
    start, end = T0 + timedelta(hours=min(a, b)), T0 + timedelta(hours=max(a, b))
    rows = captured.read(folder)
    time = pl.col("event_time")
    for begin, until, wanted in (
        (start, end, rows.filter(time >= start, time < end)),
        (start, None, rows.filter(time >= start)),
        (None, end, rows.filter(time < end)),
    ):
        found = captured.read(folder, begin, until)
        assert (
            found.sort("inference_id", "event_time").equals(wanted.sort("inference_id", "event_time")) or found.height == wanted.height == 0
        )
    assert captured.earliest(folder) == rows["event_time"].min()


def test_of_many_files_only_those_of_the_window_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(20):
        captured.add(tmp_path, frame([24 * day, 24 * day + 5], 24 * day + 6))
    captured.earliest(tmp_path)  # notes when each file's rows happened
    opened: list[Path] = []
    scan = pl.scan_parquet
    monkeypatch.setattr(pl, "scan_parquet", lambda path, **how: opened.append(path) or scan(path, **how))  # type: ignore[func-returns-value]
    found = captured.read(tmp_path, T0 + timedelta(days=3), T0 + timedelta(days=4))
    assert found.height == 2 and len(opened) == 1
    opened.clear()
    assert captured.earliest(tmp_path) == T0 and opened == []
    assert reading.among(tmp_path, pl.Series(["78-0"]), T0 + timedelta(days=3), T0 + timedelta(days=4)).height == 1 and len(opened) == 1
