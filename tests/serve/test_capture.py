from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve import captured
from modelyard.serve.capture import Writer, compact, find, read
from modelyard.serve.captured import earliest
from modelyard.serve.rows import Rows
from modelyard.serve.stats import CaptureStats
from modelyard.signature import Column, Signature

SIGNED = Signature(
    "binary_classification",
    (Column("a", "int", nullable=True), Column("t", "datetime", nullable=True), Column("s", "str")),
    classes=("n", "y"),
    positive_class="y",
)
NOW = 1_790_000_000_000_000


def rows(ids: list[str], *, at: int = NOW, extras: dict[str, list[Any]] | None = None, times: list[int] | None = None) -> Rows:
    n = len(ids)
    return Rows({"a": [None, *range(1, n)], "t": [NOW] * n, "s": ["x\n"] * n}, n, ids, at, times, extras or {})


def outputs(n: int) -> dict[str, list[Any]]:
    return {"prediction": ["y"] * n, "probability_n": [0.25] * n, "probability_y": [0.75] * n}


def writer(folder: Path, **more: Any) -> Writer:
    return Writer(folder, stats=CaptureStats(), **more)


def put(w: Writer, ids: list[str], version: str = "1", **more: Any) -> None:
    w.write(version, SIGNED, rows(ids, **more), outputs(len(ids)), 1.5)


def exact(stats: CaptureStats) -> bool:
    return stats.captured + stats.dropped + stats.failed == stats.eligible


def test_what_is_written_is_read_as_a_predictions_table(tmp_path: Path) -> None:
    w = writer(tmp_path / "capture")
    put(w, ["p", "q"], extras={"carrier": ["UA", None]}, times=[NOW - 1_000_000, NOW])
    put(w, ["r"], version="2")
    frame = read(tmp_path / "capture")  # the open segment is read too
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
    assert read(tmp_path / "capture", start=moment)["inference_id"].to_list() == ["q", "r"]
    assert read(tmp_path / "capture", end=moment)["inference_id"].to_list() == ["p"]
    found = find(tmp_path / "capture", "r")
    assert found is not None and found["version"] == "2"
    assert find(tmp_path / "capture", "nobody") is None
    for _ in range(2):  # as lines, then as Parquet
        assert earliest(tmp_path / "capture") == datetime.fromtimestamp(NOW / 1_000_000 - 1, UTC)
        w.close()
        compact(tmp_path / "capture")


def test_nothing_captured_is_an_empty_table(tmp_path: Path) -> None:
    frame = read(tmp_path / "capture")
    assert (frame.height, frame.columns[:2]) == (0, ["inference_id", "event_time"])
    assert compact(tmp_path / "capture") == 0
    assert earliest(tmp_path / "capture") is None


@settings(max_examples=30)
@given(
    steps=st.lists(st.one_of(st.integers(1, 4), st.sampled_from(["close", "compact", "crash", "torn"])), max_size=25),
    segment_bytes=st.sampled_from([1, 900, 10**6]),
)
def test_any_history_of_writing_closing_crashing_and_compacting_keeps_each_row_once(
    steps: list[Any], segment_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("capture")
    w = writer(folder, segment_bytes=segment_bytes)
    wanted: list[str] = []
    for step in steps:
        if isinstance(step, int):
            ids = [f"{len(wanted)}-{i}" for i in range(step)]
            put(w, ids)
            wanted += ids
        elif step == "close":
            w.close()
        elif step == "compact":
            compact(folder)
        elif w._file >= 0:  # a killed writer: its lock goes, its file stays, perhaps with a torn line at its end
            if step == "torn":
                os.write(w._file, b'{"version":"1","ids":["torn"')
            os.close(w._file)
            w = writer(folder, segment_bytes=segment_bytes)
            w._number = 1000 + len(wanted)
        assert sorted(read(folder)["inference_id"]) == sorted(wanted)
    w.close()
    compact(folder)
    assert compact(folder) == 0
    assert not list(folder.glob("*.jsonl"))
    assert sorted(read(folder)["inference_id"]) == sorted(wanted)


def test_a_kill_between_parquet_and_unlink_repeats_nothing(tmp_path: Path) -> None:
    w = writer(tmp_path)
    put(w, ["p", "q"])
    w.close()
    (segment,) = tmp_path.glob("*.jsonl")
    kept = segment.read_bytes()
    assert compact(tmp_path) == 1
    segment.write_bytes(kept)  # as if the process had ended before the segment was removed
    assert read(tmp_path).height == 2
    assert compact(tmp_path) == 0
    assert (read(tmp_path).height, list(tmp_path.glob("*.jsonl"))) == (2, [])


def test_a_torn_parquet_is_written_anew_before_its_segment_goes(tmp_path: Path) -> None:
    w = writer(tmp_path)
    put(w, ["p", "q"])
    w.close()
    (segment,) = tmp_path.glob("*.jsonl")
    torn = tmp_path / f"{segment.stem}.parquet"
    torn.write_bytes(b"PAR1 and no more")
    (tmp_path / f".{torn.name}.0.tmp").write_bytes(b"left by a killed one")
    compact(tmp_path)
    assert sorted(read(tmp_path)["inference_id"]) == ["p", "q"]
    assert [p.name for p in tmp_path.iterdir()] == [torn.name]


def test_a_parquet_that_does_not_read_as_written_keeps_its_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = writer(tmp_path)
    put(w, ["p", "q"])
    w.close()
    (segment,) = tmp_path.glob("*.jsonl")
    monkeypatch.setattr(captured, "_write_parquet", lambda frame, target: target.write_bytes(b"PAR1"))
    with pytest.raises(OSError, match="does not read as it was written"):
        compact(tmp_path)
    assert segment.exists()


def test_two_compactions_at_once_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor and a retraining of one model compact its capture at the same time."""
    w = writer(tmp_path)
    wanted = [f"{n}" for n in range(40)]
    for n in wanted:
        put(w, [n])
        w.close()
    at_work, most, real = [0], [0], captured._write_parquet

    def slowly(frame: pl.DataFrame, target: Path) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        time.sleep(0.005)
        real(frame, target)
        at_work[0] -= 1

    monkeypatch.setattr(captured, "_write_parquet", slowly)
    with ThreadPoolExecutor(4) as pool:
        turned = list(pool.map(compact, [tmp_path] * 4))
    assert (sum(turned), most[0]) == (40, 1)
    assert sorted(read(tmp_path)["inference_id"]) == sorted(wanted)
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".parquet"]


def test_another_process_that_compacts_is_waited_for(tmp_path: Path) -> None:
    w = writer(tmp_path)
    put(w, ["p"])
    w.close()
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    code = f"from pathlib import Path; from modelyard.serve.capture import compact; print(compact(Path({str(tmp_path)!r})))"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(2)
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
    compacted, sizes = 0, set()
    try:
        while len(written) < 150 and thread.is_alive():
            compacted += compact(tmp_path)
            before = len(written)
            found = read(tmp_path)["inference_id"].to_list()
            assert len(found) == len(set(found))
            assert set(written[:before]) <= set(found)
            sizes.add(len(found))
    finally:
        stop.set()
        thread.join()
    compacted += compact(tmp_path)
    assert len(sizes) > 3 and compacted > 20  # it went on under our eyes
    assert sorted(read(tmp_path)["inference_id"]) == sorted(written)


def test_segments_rotate_by_size_and_by_age(tmp_path: Path) -> None:
    w = writer(tmp_path, segment_bytes=1, segment_seconds=0.0)
    put(w, ["p"])
    put(w, ["q"])
    w.tick()
    assert len(list(tmp_path.glob("seg-*.jsonl"))) == 2
    assert not list(tmp_path.glob("*.open.jsonl"))


def test_sampling_counts_what_it_leaves_out(tmp_path: Path) -> None:
    w = writer(tmp_path, sample=0.3)
    for i in range(300):
        put(w, [f"{i}a", f"{i}b"])
    stats = w.stats
    assert stats.eligible + stats.sampled_out == 600
    assert stats.captured == stats.eligible == read(tmp_path).height
    assert 60 < stats.captured < 320


def test_a_version_that_changed_a_type_still_reads_as_one_table(tmp_path: Path) -> None:
    w = writer(tmp_path)
    put(w, ["p"])
    w.close()
    other = Signature("regression", (Column("a", "str"),))
    w.write("2", other, Rows({"a": ["z"]}, 1, ["q"], NOW), {"prediction": [0.5]}, 1.0)
    frame = read(tmp_path)
    assert frame["f.a"].to_list() == [None, "z"]
    assert frame["y.prediction"].to_list() == ["y", "0.5"]


@contextlib.contextmanager
def file_limit(limit: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond so many bytes (EFBIG, after a partial write).

    For a block and not for a test: what pytest itself writes may be a file too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_grow_drops_and_counts_exactly(tmp_path: Path) -> None:
    w, limit = writer(tmp_path), 2000
    with file_limit(limit):
        for i in range(50):
            put(w, [f"{i}-{j}" for j in range(1 + i % 3)])
    (segment,) = tmp_path.glob("*.jsonl")
    size = segment.stat().st_size
    assert w.stats.dropped > 0 and w.stats.captured > 0  # the fault fired, after some went well
    assert w.stats.last_error == os.strerror(errno.EFBIG)
    assert size <= limit and segment.read_bytes().endswith(b"\n")  # the torn part was taken back
    assert exact(w.stats)
    assert read(tmp_path).height == w.stats.captured


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here (it needs root); RLIMIT_FSIZE covers the same path")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_drops_counts_exactly_and_heals(small_disk: Path) -> None:
    w = writer(small_disk / "capture", segment_bytes=20_000)
    for i in range(400):
        put(w, [f"{i}-{j}" for j in range(1 + i % 3)])
    assert w.stats.dropped > 0 and w.stats.captured > 0
    assert w.stats.last_error == os.strerror(errno.ENOSPC)
    assert exact(w.stats) and w.stats.failed == 0
    assert read(small_disk / "capture").height == w.stats.captured
    captured = w.stats.captured
    oldest = min((small_disk / "capture").iterdir())
    oldest.unlink()
    put(w, ["healed"])
    assert w.stats.captured == captured + 1 and exact(w.stats)
    assert find(small_disk / "capture", "healed") is not None
    w.close()


def test_a_folder_that_cannot_be_made_counts_as_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    w = writer(tmp_path / "file" / "capture")
    put(w, ["p", "q"])
    assert (w.stats.failed, w.stats.dropped, exact(w.stats)) == (2, 0, True)
