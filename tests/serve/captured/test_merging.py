from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve.capture.segment import Segment
from modelyard.serve.captured import compact, folder, merging, read
from modelyard.serve.rows import Rows
from modelyard.signature import Column, Signature

from ..capture.made import NOW, put, writer

DAY = 86_400_000_000


def parquets(where: Path) -> list[str]:
    return sorted(path.name for path in where.glob("*.parquet"))


def die(segment: Segment | None, torn: bytes = b"") -> None:
    """What the death of its writer leaves of a segment: no lock, zeros at the end, perhaps half a frame before them."""
    assert segment is not None
    torn = torn[: segment.room - segment.size]
    segment.map[segment.size : segment.size + len(torn)] = torn
    segment.map.close()
    os.close(segment._file)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.one_of(st.integers(1, 4), st.sampled_from(["close", "compact", "later", "crash", "torn"])), max_size=30),
    segment_bytes=st.sampled_from([1, 900, 10**6]),
)
def test_any_history_of_writing_closing_crashing_and_compacting_keeps_each_row_once(
    steps: list[Any], segment_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    where = tmp_path_factory.mktemp("capture")
    w = writer(where, segment_bytes=segment_bytes)
    wanted: list[str] = []
    for step in steps:
        if isinstance(step, int):
            ids = [f"{len(wanted)}-{i}" for i in range(step)]
            put(w, ids)
            wanted += ids
        elif step == "close":
            w.close()
        elif step in ("compact", "later"):
            compact(where, today="20260921" if step == "compact" else "20990101")
        elif w.segment is not None:
            die(w.segment, b"\0\0\0\0\x93torn" if step == "torn" else b"")
            w = writer(where, segment_bytes=segment_bytes)
            w._number = 1000 + len(wanted)
        assert sorted(read(where)["inference_id"]) == sorted(wanted)
    w.close()
    compact(where)
    assert compact(where) == 0
    assert not list(where.glob("seg-*"))
    assert sorted(read(where)["inference_id"]) == sorted(wanted)


def test_a_days_files_are_merged_as_they_come_and_when_it_is_over(tmp_path: Path) -> None:
    w, ids = writer(tmp_path), []
    most = 0
    for minute in range(60):
        ids.append(f"{minute}")
        put(w, [f"{minute}"], at=NOW + minute)
        w.close()
        assert compact(tmp_path, today="20260921") == 1
        most = max(most, len(parquets(tmp_path)))
    assert most <= 2 * merging.FANOUT, "not a file a minute"
    assert compact(tmp_path, today="20260922") == 0
    assert len(parquets(tmp_path)) == 1
    assert read(tmp_path)["inference_id"].to_list() == ids, "in the order of their time"
    put(w, ["next day"], at=NOW + DAY)
    w.close()
    compact(tmp_path, today="20260922")
    compact(tmp_path, today="20260924")
    assert len(parquets(tmp_path)) == 2, "days stay apart, so that whole files grow old"


def test_a_file_that_is_large_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "LARGE", 10_000)
    w = writer(tmp_path)
    for number in range(6):
        put(w, [f"{number}-{i}" for i in range(40)], at=NOW + number)
        w.close()
        compact(tmp_path, today="20260921")
    before = {name: (tmp_path / name).stat().st_size for name in parquets(tmp_path)}
    compact(tmp_path, today="20260922")
    after = {name: (tmp_path / name).stat().st_size for name in parquets(tmp_path)}
    assert 1 < len(after) < len(before)
    assert max(after.values()) < 2 * 10_000
    assert read(tmp_path).height == 240


def test_another_versions_types_do_not_change_a_rows_own(tmp_path: Path) -> None:
    w = writer(tmp_path)
    put(w, ["p", "q"])
    other = Signature("regression", (Column("a", "str"),))
    w.write("2", other, Rows({"a": ["z"]}, 1, ["r"], NOW), {"prediction": [0.5]}, 1.0)
    w.close()
    compact(tmp_path, today="20990101")
    compact(tmp_path, today="20990101")
    types = sorted(str(pl.read_parquet(tmp_path / name, glob=False).schema["f.a"]) for name in parquets(tmp_path))
    assert types == ["Int64", "String"]
    assert read(tmp_path).height == 3


KILLED: dict[str, Callable[[Path], Any]] = {
    "before its note": lambda where: (where / ".rows-1-2-cafe.parquet.tmp").write_bytes(b"half"),
    "while it renames": lambda where: (where / ".replacing-0000").write_text(
        f'{{"new": ["{parquets(where)[0]}", "rows-1-2-none.parquet"], "old": ["{_segment(where)}"]}}'
    ),
    "before the old ones go": lambda where: (where / ".replacing-0000").write_text(
        f'{{"new": ["{parquets(where)[0]}"], "old": ["{_segment(where)}"]}}'
    ),
}


def _segment(where: Path) -> str:
    return next(where.glob("seg-*")).name


@pytest.mark.parametrize("when", KILLED)
def test_a_kill_anywhere_repeats_and_loses_nothing(tmp_path: Path, when: str) -> None:
    w = writer(tmp_path)
    put(w, ["p", "q"])
    w.close()
    (segment,) = tmp_path.glob("seg-*")
    kept = segment.read_bytes()
    compact(tmp_path)
    segment.write_bytes(kept)  # as it was before the last step
    if when == "before its note":
        (tmp_path / parquets(tmp_path)[0]).unlink()
    KILLED[when](tmp_path)
    assert sorted(read(tmp_path)["inference_id"]) == ["p", "q"]
    compact(tmp_path)
    assert sorted(read(tmp_path)["inference_id"]) == ["p", "q"]
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".parquet"] == [".changing"]
    assert len(parquets(tmp_path)) == 1


def test_a_file_that_does_not_read_as_written_keeps_its_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = writer(tmp_path)
    put(w, ["p", "q"])
    w.close()
    monkeypatch.setattr(pl.DataFrame, "write_parquet", lambda frame, path, **_: path.write_bytes(b"PAR1"))
    with pytest.raises(OSError, match="Errno 5"):
        compact(tmp_path)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("seg-*"))) == 1 and not parquets(tmp_path)
    assert not list(tmp_path.glob(".rows-*"))
    assert read(tmp_path).height == 2


def test_a_full_disk_leaves_what_is_there(tmp_path: Path) -> None:
    mount, where = shutil.which("mount"), tmp_path / "disk"
    where.mkdir()
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=96k", "none", str(where)], capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here (it needs root)")
    try:
        w = writer(where, segment_bytes=60_000)
        while not w.stats.dropped:
            put(w, [uuid.uuid4().hex])
        w.close()
        before = sorted(read(where)["inference_id"])
        with pytest.raises(OSError, match="Errno 28"):
            compact(where)
        assert sorted(read(where)["inference_id"]) == before
    finally:
        subprocess.run(["umount", str(where)], check=True)


def test_two_compactions_at_once_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor and a retraining of one model compact its capture at the same time."""
    w = writer(tmp_path)
    wanted = [f"{n}" for n in range(40)]
    for n in wanted:
        put(w, [n])
        w.close()
    at_work, most, real = [0], [0], folder._write

    def slowly(frame: pl.DataFrame, target: Path) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        time.sleep(0.05)
        real(frame, target)
        at_work[0] -= 1

    monkeypatch.setattr(folder, "_write", slowly)
    with ThreadPoolExecutor(4) as pool:
        turned = list(pool.map(compact, [tmp_path] * 4))
    assert (sum(turned), most[0]) == (40, 1)
    assert sorted(read(tmp_path)["inference_id"]) == sorted(wanted)
    assert not list(tmp_path.glob("seg-*"))


def test_another_process_that_compacts_is_waited_for(tmp_path: Path) -> None:
    w = writer(tmp_path)
    put(w, ["p"])
    w.close()
    handle = os.open(tmp_path / ".changing", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    code = f"from pathlib import Path; from modelyard.serve.captured import compact; print(compact(Path({str(tmp_path)!r})))"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(2)
    assert read(tmp_path).height == 1, "readers go on meanwhile"
    os.close(handle)
    assert other.communicate(timeout=60)[0] == "1\n"


def test_compacting_and_reading_while_a_front_writes_lose_and_repeat_nothing(tmp_path: Path) -> None:
    written: list[str] = []
    stop = threading.Event()

    def front() -> None:
        w = writer(tmp_path, segment_bytes=600)
        while not stop.wait(0.002):
            put(w, [f"{len(written)}"])
            written.append(f"{len(written)}")
        w.close()

    thread = threading.Thread(target=front)
    thread.start()
    compacted, sizes, merged = 0, set(), False
    try:
        while len(written) < 250 and thread.is_alive():
            compacted += compact(tmp_path)
            before = len(written)
            found = read(tmp_path)["inference_id"].to_list()
            assert len(found) == len(set(found))
            assert set(written[:before]) <= set(found)
            sizes.add(len(found))
            merged = merged or len(parquets(tmp_path)) < len(sizes) - 1
    finally:
        stop.set()
        thread.join()
    compacted += compact(tmp_path)
    assert len(sizes) > 3 and compacted > 20  # it went on under our eyes
    assert sorted(read(tmp_path)["inference_id"]) == sorted(written)


def test_the_day_is_that_of_the_clock(tmp_path: Path) -> None:
    """Rows of today stay in several files until there are eight; of yesterday they do not."""
    now = int(datetime.now(UTC).timestamp() * 1e6)
    for at in (now, now + 1, now - 2 * DAY, now - 2 * DAY + 1):
        w = writer(tmp_path)
        put(w, [f"{at}"], at=at)
        w.close()
        compact(tmp_path)
    assert len(parquets(tmp_path)) == 3
