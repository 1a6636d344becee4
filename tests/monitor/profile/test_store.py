"""The store: what was put is there, whole, after whatever killed the one that wrote."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.monitor.profile import Profiles, baseline, frames, merge, profile
from modelyard.monitor.windows import Span
from modelyard.signature import Column, Signature

from .test_merging import same

T0 = datetime(2026, 2, 27, tzinfo=UTC)
QUARTER, DAY = timedelta(minutes=15), timedelta(days=1)
FRAME = pl.DataFrame({"f.x": np.linspace(0, 1, 500), "f.w": ["a", "b"] * 250, "y.prediction": np.linspace(5, 6, 500)})
BASE = baseline(FRAME, Signature("regression", (Column("x", "float"), Column("w", "str"))))


def counted(seed: int, rows: int = 20) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    words = pl.Series(rng.choice(["a", "b", "new"], rows))
    return profile(pl.DataFrame({"f.x": rng.normal(size=rows), "f.w": words, "y.prediction": rng.normal(size=rows)}), BASE)


def span(at: datetime, length: timedelta = QUARTER) -> Span:
    return Span(at, at + length)


def filled(folder: Path, until: datetime, step: timedelta = timedelta(hours=6)) -> tuple[Profiles, dict[datetime, dict[str, Any]]]:
    store, kept, at = Profiles(folder), {}, T0
    while at < until:
        kept[at] = counted(len(kept))
        store.put("1", span(at, step), kept[at])
        at += step
    return store, kept


def test_the_last_word_on_a_window_holds(tmp_path: Path) -> None:
    store = Profiles(tmp_path / "profiles" / "demo")
    assert store.get("1", span(T0)) is None and store.between("1", T0, T0 + DAY) is None and store.trim(T0) == 0
    store.put("1", span(T0), counted(1))
    store.put("1", span(T0), counted(2))
    store.put("2", span(T0), counted(3))
    store.put_all("1", span(T0), {"w=a": counted(4), "w=b": counted(5)})
    again = Profiles(store.folder)
    assert again.get("1", span(T0)) == counted(2) and again.get("2", span(T0)) == counted(3)
    assert again.get("1", span(T0), "w=a") == counted(4) and again.of_window("1", span(T0)) == {
        "": counted(2),
        "w=a": counted(4),
        "w=b": counted(5),
    }
    assert again.get("1", span(T0 + QUARTER)) is None and again.get("1", span(T0, DAY)) is None
    assert len([*store.folder.iterdir()]) == 1


def test_a_month_is_its_days_and_its_days_their_windows(tmp_path: Path) -> None:
    store, kept = filled(tmp_path, T0 + 5 * DAY)
    found = store.between("1", T0 + timedelta(hours=6), T0 + 5 * DAY)
    assert found is not None
    same(merge(one for at, one in kept.items() if at > T0), found)
    days = [frame for path in sorted(tmp_path.glob("*.days")) for frame in frames.scan(path) if frame.kind == frames.RECORD]
    assert len(days) == 3, "the first day was asked for in part, and the last one may go on; 27 February to 3 March are two months"
    assert store.between("1", T0 + timedelta(hours=6), T0 + 5 * DAY) == found
    assert store.between("1", T0 + 6 * DAY, T0 + 7 * DAY) is None


def test_a_window_that_comes_after_its_day_was_merged_counts(tmp_path: Path) -> None:
    store, kept = filled(tmp_path, T0 + 3 * DAY)
    before = store.between("1", T0, T0 + 2 * DAY)
    store.put("1", span(T0 + 6 * QUARTER, timedelta(hours=6)), counted(99))  # overlaps: the one that began first counts
    same(before, store.between("1", T0, T0 + 2 * DAY))
    store.put("1", span(T0, timedelta(hours=6)), counted(100))
    kept[T0] = counted(100)
    found = store.between("1", T0, T0 + 2 * DAY)
    assert found is not None
    same(merge(one for at, one in kept.items() if at < T0 + 2 * DAY), found)


@settings(max_examples=20)
@given(st.sets(st.integers(0, 50), min_size=1), st.integers(0, 50), st.integers(0, 50), st.integers(-11, 12))
def test_any_stretch_is_the_sum_of_its_windows(tmp_path_factory: Any, hours: set[int], first: int, length: int, zone: int) -> None:
    store, step = Profiles(tmp_path_factory.mktemp("profiles")), timedelta(hours=1)
    local = timezone(timedelta(hours=zone))
    for hour in sorted(hours):
        store.put("1", span((T0 + hour * step).astimezone(local), step), counted(hour, 3))
    for _ in range(2):  # days are merged by the first look, and read by the second
        found = store.between("1", (T0 + first * step).astimezone(local), T0 + (first + length) * step)
        wanted = [counted(h, 3) for h in sorted(hours) if first <= h < first + length]
        assert (found is None) == (not wanted)
        if found is not None:
            same(merge(wanted), found)


def test_what_is_over_is_let_go_of_day_by_day(tmp_path: Path) -> None:
    store, kept = filled(tmp_path, T0 + 5 * DAY)
    whole = store.between("1", T0, T0 + 5 * DAY)
    assert whole is not None and whole["rows"] == 400
    assert store.trim(T0 + timedelta(hours=23)) == 0
    assert store.trim(T0 + 3 * DAY + timedelta(hours=1)) == 5, "three days' windows, February's days, and some of March's"
    assert store.get("1", span(T0 + 2 * DAY, timedelta(hours=6))) is None
    left = store.between("1", T0, T0 + 5 * DAY)
    assert left is not None
    same(merge(one for at, one in kept.items() if at >= T0 + 3 * DAY), left)
    assert store.trim(T0 + 30 * DAY) == 3 and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("lost", [1, 7, 40, 200])
def test_a_torn_tail_is_cut_off_and_what_comes_after_it_is_found(tmp_path: Path, lost: int) -> None:
    store = Profiles(tmp_path)
    for i in range(3):
        store.put("1", span(T0 + i * QUARTER), counted(i))
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-lost])
    assert [store.get("1", span(T0 + i * QUARTER)) is not None for i in range(3)] == [True, True, False]
    store.put("1", span(T0 + 3 * QUARTER), counted(3))
    assert [store.get("1", span(T0 + i * QUARTER)) is not None for i in range(4)] == [True, True, False, True]


def test_a_record_that_is_not_what_was_written_counts_as_never_written(tmp_path: Path) -> None:
    store = Profiles(tmp_path)
    for i in range(3):
        store.put("1", span(T0), counted(i))
    path = next(tmp_path.iterdir())
    data = bytearray(path.read_bytes())
    data[-5] ^= 0xFF
    path.write_bytes(bytes(data))
    assert store.get("1", span(T0)) == counted(1)


def test_a_head_that_is_not_what_was_written_hides_no_other_record(tmp_path: Path) -> None:
    """Each bit of it: by a wrong length, a reader would look for the next frame in the wrong place."""
    store = Profiles(tmp_path)
    for i in range(3):
        store.put("1", span(T0 + i * QUARTER), counted(i))
    (path,) = tmp_path.iterdir()
    whole, (_, first, _, _) = path.read_bytes(), frames.scan(path)
    head = whole.rindex(b"MYP2", 0, first.offset)
    for bit in range(8 * (first.offset - head)):
        raw = bytearray(whole)
        raw[head + bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(raw))
        assert [store.get("1", span(T0 + i * QUARTER)) for i in range(3)] == [None, counted(1), counted(2)], bit


@given(st.data())
@settings(max_examples=60)
def test_a_byte_that_is_not_what_was_written_costs_one_record_at_the_most(tmp_path_factory: Any, data: st.DataObject) -> None:
    """Or all of one's bins, where it lies in these: then none can be read, and all are counted again."""
    store = Profiles(tmp_path_factory.mktemp("profiles"))
    for i in range(4):
        store.put("1", span(T0 + i * QUARTER), counted(i))
    (path,) = store.folder.iterdir()
    written = [frames.encode(f.kind, f.key, frames.read(path, f)) for f in frames.scan(path)]
    shape, raw = len(written[0]), bytearray(path.read_bytes())
    raw[data.draw(st.integers(shape, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(raw))
    for _ in range(2):
        found = [store.get("1", span(T0 + i * QUARTER)) for i in range(4)]
        assert sum(one is None for one in found) <= 1 and all(one in (None, counted(i)) for i, one in enumerate(found))
        store.put("1", span(T0 + 9 * QUARTER), counted(9))
    assert store.get("1", span(T0 + 9 * QUARTER)) == counted(9)


def test_a_month_is_added_up_though_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, kept = filled(tmp_path, T0 + 3 * DAY)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frames, "append", full)
    found = store.between("1", T0, T0 + 3 * DAY)
    assert found is not None
    same(merge(kept.values()), found)


WRITER = """
import sys
from datetime import timedelta
from pathlib import Path
from tests.monitor.profile.test_store import QUARTER, T0, Profiles, counted, span
store, one = Profiles(Path(sys.argv[1])), counted(1)
for i in range(10_000):
    store.put("1", span(T0 + i * QUARTER), one)
    print(i, flush=True)
"""


@pytest.mark.slow
def test_killed_while_it_writes_nothing_that_was_put_is_lost(tmp_path: Path) -> None:
    one, sure = counted(1), -1
    for wait in (1, 40, 90):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(wait):
            sure = max(sure, int(writer.stdout.readline()))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        sure = max([sure, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        store = Profiles(tmp_path)
        assert all(store.get("1", span(T0 + i * QUARTER)) == one for i in range(sure + 1))
        merged = store.between("1", T0, T0 + (sure + 1) * QUARTER)
        assert merged is not None and merged["rows"] == (sure + 1) * one["rows"]
