"""Rows that are drawn by chance: evenly, and the same ones however they lie."""

from __future__ import annotations

from datetime import timedelta
from itertools import accumulate, pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.flows import drawing, history
from modelyard.serve import captured

from .watched import DAY, T0, Watched


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(home, monkeypatch)


def test_of_too_many_rows_a_share_is_drawn_by_chance_and_the_same_ones_however_their_files_lie(world: Watched) -> None:
    for part in range(4):
        world.capture([f"{part}-{i}" for i in range(500)] + [f"smoke-test-{part}"], T0 + part * DAY)
    asked = (world.shop, "demo", T0, T0 + 4 * DAY)
    found, share = drawing.at_most(*asked, 600)
    assert share == 0.25 and 400 < found.height <= 600 and found["inference_id"].is_unique().all()
    fewer, less = drawing.at_most(*asked, 300)
    assert less == 0.125 and 150 < fewer.height <= 300 and set(fewer["inference_id"]) < set(found["inference_id"])
    assert {name.partition("-")[0] for name in fewer["inference_id"]} == {"0", "1", "2", "3"}, "of each file"
    whole = pl.concat(history.pieces(*asked))
    assert sorted(whole["inference_id"]) == sorted(history.answers(*asked)["inference_id"]) and whole.height == 2000
    assert drawing.at_most(*asked, 2000)[0].equals(history.answers(*asked)) and drawing.at_most(*asked, 2000)[1] == 1
    merged(world)
    again, _ = drawing.at_most(*asked, 600)
    assert sorted(again["inference_id"]) == sorted(found["inference_id"])
    nothing, share = drawing.at_most(world.shop, "demo", T0 + 9 * DAY, T0 + 10 * DAY, 600)
    assert nothing.is_empty() and share == 1 and nothing.schema == history.answers(world.shop, "demo", T0 + 9 * DAY).schema


def merged(world: Watched) -> None:
    """All that was captured in one file."""
    where = history.folder(world.shop, "demo")
    rows = captured.read(where)
    for path in where.glob("rows-*.parquet"):
        path.unlink()
    captured.add(where, rows)


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 30), st.integers(0, 3))
def test_a_sample_is_the_same_however_the_rows_are_spread(sizes: list[int], count: int, seed: int) -> None:
    times = pl.Series([T0 + timedelta(seconds=i // 3) for i in range(sum(sizes))], dtype=pl.Datetime("us", "UTC"))
    ids = [f"r{i % 7}" for i in range(sum(sizes))]  # callers may send one id again
    rows = pl.DataFrame({"inference_id": ids, "event_time": times, "received_at": times, "version": "1", "f.x": range(sum(sizes))})
    ends = [0, *accumulate(sizes)]
    found = drawing.sample((rows[a:b] for a, b in pairwise(ends)), count, seed)
    whole = drawing.sample([rows], count, seed)
    assert found.rows() == whole.rows() and found.height == min(count, rows.height)
    assert set(found["f.x"] if found.height else []) <= set(rows["f.x"])


def test_a_sample_is_drawn_evenly() -> None:
    times = pl.Series([T0] * 20_000, dtype=pl.Datetime("us", "UTC"))
    rows = pl.DataFrame({"inference_id": [str(i) for i in range(20_000)], "event_time": times, "received_at": times, "f.x": range(20_000)})
    one, other = (drawing.sample([rows], 2000, seed) for seed in (1, 2))
    assert abs(one["f.x"].mean() - 9999.5) < 4 * 5774 / 2000**0.5, one["f.x"].mean()  # type: ignore[operator]
    assert len(set(one["f.x"]) & set(other["f.x"])) < 300, "another seed, other rows"
