from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve import capture
from modelyard.serve.capture import Unwritten, Writer, frames, segment
from modelyard.serve.capture.redaction import Redaction
from modelyard.serve.captured import find, read
from modelyard.serve.routes import Capture, Redact
from modelyard.serve.rows import Rows
from modelyard.serve.stats import CaptureStats
from modelyard.signature import Column, Signature

from .made import NOW, SIGNED, exact, outputs, put, rows, writer


def test_a_row_by_its_lane_is_kept_as_one_among_many_is(tmp_path: Path) -> None:
    w = writer(tmp_path)
    put(w, ["p"])
    w.write("1", SIGNED, rows(["q"]), outputs(1), 1.5)
    one, other = (found for id in ("p", "q") if (found := find(tmp_path, id)) is not None)
    assert {**one, "inference_id": ""} == {**other, "inference_id": ""}
    assert one["f.s"] == "x\n" and one["latency_ms"] == 1.5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4000)), min_size=40, max_size=80))
def test_rows_that_come_either_way_follow_each_other_however_the_segment_grows(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("both")
    w, wanted = writer(folder), list[tuple[str, str]]()
    for number, (count, length) in enumerate(requests):
        ids, text = [f"{number}-{row}" for row in range(count)], "é" * length
        wanted += [(name, text) for name in ids]
        if count == 1:
            w.lane("1", SIGNED).row(NOW, 1.5, ids[0], (None, NOW, text), ("y", 0.25, 0.75))
        else:
            many = rows(ids)
            many.columns["s"] = [text] * count
            w.write("1", SIGNED, many, outputs(count), 1.5)
    assert read(folder).select("inference_id", "f.s").rows() == wanted
    assert w.stats.eligible == w.stats.captured == len(wanted)


def row(w: Writer, name: str, value: int | None = None) -> Any:
    return w.lane("1", SIGNED).row(NOW, 1.5, name, (value, NOW, "x\n"), ("y", 0.25, 0.75))


def _frames(data: bytes) -> int:
    """How many frames a segment has."""
    at = found = 0
    while length := int.from_bytes(data[at : at + frames.LENGTH], "little"):
        at, found = at + frames.LENGTH + length, found + 1
    return found


def test_rows_that_may_wait_are_written_together_and_count_from_then_on(tmp_path: Path) -> None:
    unwritten = Unwritten()
    w = writer(tmp_path, unwritten=unwritten)
    for number in range(20):
        row(w, f"{number}")
    w.write("1", SIGNED, rows(["at once"]), outputs(1), 1.5)
    assert read(tmp_path)["inference_id"].to_list() == ["at once"]
    unwritten.write()
    assert read(tmp_path)["inference_id"].to_list() == ["at once", *map(str, range(20))]
    assert w.segment is not None
    assert _frames(w.segment.path.read_bytes()) == 3, "a head, the one at once, and the others"
    unwritten.write()
    assert w.stats.captured == w.stats.eligible == read(tmp_path).height == 21


def test_a_row_that_waits_is_kept_as_one_at_once_is(tmp_path: Path) -> None:
    unwritten = Unwritten()
    w = writer(tmp_path, unwritten=unwritten)
    row(w, "p")
    unwritten.write()
    w.lane("1", SIGNED).now(NOW, 1.5, "q", (None, NOW, "x\n"), ("y", 0.25, 0.75))
    one, other = (found for id in ("p", "q") if (found := find(tmp_path, id)) is not None)
    assert {**one, "inference_id": ""} == {**other, "inference_id": ""}


@pytest.mark.parametrize("end", ["close", "tick", "count"])
def test_nothing_waits_beyond_its_writer_nor_for_long(tmp_path: Path, end: str) -> None:
    w = writer(tmp_path, unwritten=Unwritten())
    row(w, "p")
    getattr(w, end)()
    assert read(tmp_path)["inference_id"].to_list() == ["p"]
    assert w.stats.captured == 1


def test_a_version_whose_signature_is_another_now_keeps_what_waits_under_the_old_one(tmp_path: Path) -> None:
    w = writer(tmp_path, unwritten=Unwritten())
    row(w, "p")
    other = Signature("regression", (Column("a", "float"),))
    w.lane("1", other).row(NOW, 1.0, "q", (0.5,), (0.25,))
    w.close()
    assert read(tmp_path)["inference_id"].to_list() == ["p", "q"]


def test_where_rows_are_required_none_of_them_waits(tmp_path: Path) -> None:
    w = writer(tmp_path, unwritten=Unwritten(), required=True)

    async def wait() -> None:
        await row(w, "p")

    asyncio.run(wait())
    assert w.stats.captured == 1


def test_chance_and_redaction_have_their_say_in_rows_that_wait(tmp_path: Path) -> None:
    unwritten = Unwritten()
    w = writer(tmp_path, unwritten=unwritten, sample=0.3, redaction=Redaction([Redact("s", "drop")]))
    for number in range(300):
        row(w, f"{number}")
    unwritten.write()
    assert w.stats.eligible + w.stats.sampled_out == 300 and 50 < w.stats.captured < 140
    assert read(tmp_path).height == w.stats.captured and "f.s" not in read(tmp_path).columns


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(
        st.tuples(st.integers(0, 40), st.booleans(), st.sampled_from([0, 0, 0, errno.ENOSPC, errno.EIO]), st.booleans()), max_size=30
    ),
    segment_bytes=st.sampled_from([1, 900, 70_000]),
)
def test_each_row_of_those_that_wait_has_its_own_fate(
    groups: list[tuple[int, bool, int, bool]], segment_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, unwritten = tmp_path_factory.mktemp("capture"), Unwritten()
    w, asked, odd = writer(folder, segment_bytes=segment_bytes, unwritten=unwritten), 0, 0
    real, fault, fired = os.posix_fallocate, [0], [0]

    def faulty(*args: Any) -> None:
        if fault[0]:
            fired[0] += 1
            raise OSError(fault[0], os.strerror(fault[0]))
        real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "posix_fallocate", faulty)
        for count, too_large, fault[0], close in groups:
            for number in range(count):
                row(w, f"{asked + number}", 2**70 if too_large and number == count // 2 else number)
            asked, odd = asked + count, odd + (too_large and count > 0)
            unwritten.write()
            assert exact(w.stats) and w.stats.eligible == asked
            if close:
                w.close()
        fault[0] = 0
    found = read(folder)["inference_id"]
    assert found.n_unique() == len(found) == w.stats.captured
    assert w.stats.failed >= odd
    if not fired[0]:
        assert (w.stats.failed, w.stats.captured) == (odd, asked - odd), "one that cannot be written takes no other with it"


def test_segments_rotate_by_size_and_by_age_and_give_back_their_room(tmp_path: Path) -> None:
    w = writer(tmp_path, segment_bytes=1, segment_seconds=0.0)
    put(w, ["p"])
    put(w, ["q"])
    assert w.segment is not None
    w.tick()
    assert w.segment is None
    sizes = [path.stat().st_size for path in tmp_path.glob("seg-*")]
    assert len(sizes) == 2 and max(sizes) < 1000


def test_an_open_segment_takes_as_much_room_as_it_may_soon_need(tmp_path: Path) -> None:
    w = writer(tmp_path)
    for i in range(3000):
        put(w, [str(i)])
    assert w.segment is not None
    taken = w.segment.path.stat().st_blocks * 512
    assert w.segment.size <= taken <= max(segment.FIRST_ROOM, 2 * w.segment.size) + 8192
    assert read(tmp_path).height == 3000


def test_sampling_counts_what_it_leaves_out_whoever_asks(tmp_path: Path) -> None:
    w = writer(tmp_path, sample=0.3)
    for i in range(300):
        put(w, [f"{i}a", f"{i}b"])
        put(w, ["the same"])
    assert w.stats.eligible + w.stats.sampled_out == 900
    assert w.stats.captured == w.stats.eligible == read(tmp_path).height
    assert 150 < w.stats.captured < 400
    same = read(tmp_path).filter(inference_id="the same").height
    assert 50 < same < 140, "a caller cannot choose to be left out"


def test_a_version_that_changed_a_type_still_reads_as_one_table(tmp_path: Path) -> None:
    w = writer(tmp_path)
    put(w, ["p"])
    w.close()
    other = Signature("regression", (Column("a", "str"),))
    w.write("2", other, Rows({"a": ["z"]}, 1, ["q"], NOW), {"prediction": [0.5]}, 1.0)
    frame = read(tmp_path)
    assert frame["f.a"].to_list() == [None, "z"]
    assert frame["y.prediction"].to_list() == ["y", "0.5"]


def test_a_number_that_no_table_holds_fails_and_is_counted(tmp_path: Path) -> None:
    w = writer(tmp_path)
    w.write("1", SIGNED, rows(["p"]), {**outputs(1), "prediction": [2**70]}, 1.0)
    w.lane("1", SIGNED).row(NOW, 1.0, "q", (2**70, None, ""), ("y", 0.25, 0.75))
    put(w, ["r"])
    assert (w.stats.failed, w.stats.captured, exact(w.stats)) == (2, 1, True)
    assert w.stats.last_error == os.strerror(errno.ERANGE)


def test_what_the_routing_table_asks_for_is_what_is_begun(tmp_path: Path) -> None:
    stats = CaptureStats()
    assert capture.begin(Capture(str(tmp_path), mode="off"), stats) is None
    assert capture.begin(Capture(str(tmp_path), sample=0.0), stats) is None
    w = capture.begin(Capture(str(tmp_path), sample=0.5, mode="required"), stats)
    assert w is not None and w.required and w.sample == 0.5 and w.stats is stats


@contextlib.contextmanager
def file_limit(limit: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond so many bytes (EFBIG).

    For a block and not for a test: what pytest itself writes may be a file too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_grow_drops_and_counts_exactly(tmp_path: Path) -> None:
    w, limit = writer(tmp_path), 100_000
    with file_limit(limit):
        for i in range(900):
            put(w, [f"{i}-{j}" for j in range(1 + i % 3)])
    (path,) = tmp_path.glob("seg-*")
    assert w.stats.dropped > 0 and w.stats.captured > 0  # the fault fired, after some went well
    assert w.stats.last_error == os.strerror(errno.EFBIG)
    assert limit - 1000 < path.stat().st_size <= limit, "the last room is used"
    assert exact(w.stats)
    assert read(tmp_path).height == w.stats.captured


def test_a_mapping_that_cannot_grow_fails_the_row_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a process may map no more memory, while the disk has room."""

    class Mapped(mmap.mmap):
        full = True

        def resize(self, size: int) -> None:
            if Mapped.full:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            super().resize(size)

    monkeypatch.setattr(segment.mmap, "mmap", Mapped)
    w, many = writer(tmp_path), [f"{i}" for i in range(1000)]
    for _ in range(12):
        put(w, many)
    assert w.stats.failed > 0 and w.stats.captured > 0 and exact(w.stats), "the fault fired, after some went well"
    assert w.stats.last_error == os.strerror(errno.ENOMEM)
    failed, Mapped.full = w.stats.failed, False
    put(w, many)
    assert w.stats.failed == failed and exact(w.stats)
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
    for i in range(800):
        put(w, [f"{i}-{j}" for j in range(1 + i % 3)])
    assert w.stats.dropped > 0 and w.stats.captured > 0
    assert w.stats.last_error == os.strerror(errno.ENOSPC)
    assert exact(w.stats) and w.stats.failed == 0
    assert read(small_disk / "capture").height == w.stats.captured
    captured = w.stats.captured
    oldest = min((small_disk / "capture").glob("seg-*"))
    oldest.unlink()
    put(w, ["healed"])
    assert w.stats.captured == captured + 1 and exact(w.stats)
    assert find(small_disk / "capture", "healed") is not None
    w.close()


FRONT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.serve.capture.made import exact, put, writer
w = writer(Path({folder!r}), segment_bytes=9_000, sample=0.8)
for i in range(200):
    put(w, [f"{name}-{{i}}-{{j}}" for j in range(1 + i % 3)])
assert exact(w.stats)
print(w.stats.eligible, w.stats.captured, w.stats.dropped, w.stats.failed)
"""


def test_several_fronts_on_a_full_disk_count_exactly_together(small_disk: Path) -> None:
    folder = small_disk / "capture"
    folder.mkdir()
    fronts = [
        subprocess.Popen([sys.executable, "-c", FRONT.format(tests=str(Path.cwd()), folder=str(folder), name=name)], stdout=subprocess.PIPE)
        for name in "abc"
    ]
    counted = [list(map(int, front.communicate(timeout=60)[0].split())) for front in fronts]
    eligible, captured, dropped, failed = (sum(column) for column in zip(*counted, strict=True))
    assert dropped > 0 and captured > 0 and captured + dropped + failed == eligible
    ids = read(folder)["inference_id"]
    assert len(ids) == ids.n_unique() == captured


def test_a_folder_that_cannot_be_made_counts_as_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    w = writer(tmp_path / "file" / "capture")
    put(w, ["p", "q"])
    assert (w.stats.failed, w.stats.dropped, exact(w.stats)) == (2, 0, True)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0, 0, 0, errno.ENOSPC, errno.EIO]), st.booleans()), max_size=40),
    segment_bytes=st.sampled_from([1, 900, 70_000]),
)
def test_any_history_of_faults_is_counted_exactly(
    steps: list[tuple[int, int, bool]], segment_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("capture")
    w, asked, fired = writer(folder, segment_bytes=segment_bytes), 0, 0
    real = os.posix_fallocate
    fault = [0]

    def faulty(*args: Any) -> None:
        nonlocal fired
        if fault[0]:
            fired += 1
            raise OSError(fault[0], os.strerror(fault[0]))
        real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "posix_fallocate", faulty)
        for count, fault[0], close in steps:
            put(w, [f"{asked + i}" for i in range(count)])
            asked += count
            assert exact(w.stats) and w.stats.eligible == asked
            if close:
                w.close()
        fault[0] = 0
    assert read(folder).height == w.stats.captured
    assert bool(w.stats.dropped or w.stats.failed) == bool(fired)
