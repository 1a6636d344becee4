"""Rows that must be on disk before the answer."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from modelyard.serve.captured import compact, read
from modelyard.serve.refusals import NotCaptured

from .made import exact, put, writer


class Disk:
    """`os.fdatasync` in a test's hands: what was asked for, what it waits for, what it raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.fail: set[int] = set()
        self.go = threading.Event()
        self.go.set()
        self._real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self)

    def __call__(self, file: int) -> None:
        number = len(self.asked)
        self.asked.append(Path(f"/proc/self/fd/{file}").readlink().name)
        assert self.go.wait(10)
        if number in self.fail:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._real(file)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def settled(*futures: Any) -> list[Any]:
    return await asyncio.gather(*futures, return_exceptions=True)


def test_the_answer_waits_for_the_disk_and_one_sync_does_for_all_that_wait(tmp_path: Path, disk: Disk) -> None:
    w = writer(tmp_path, required=True)

    async def story() -> None:
        disk.go.clear()
        first = put(w, ["p"])
        await asyncio.sleep(0.05)
        assert not first.done() and w.stats.eligible == 0
        rest = [put(w, [f"{i}", f"{i}+"]) for i in range(50)]
        await asyncio.sleep(0.05)
        disk.go.set()
        assert await settled(first, *rest) == [None] * 51

    asyncio.run(story())
    assert len(disk.asked) == 2
    assert (w.stats.captured, exact(w.stats)) == (101, True)
    assert read(tmp_path).height == 101


def test_a_sync_that_fails_is_never_asked_again_and_its_rows_are_gone(tmp_path: Path, disk: Disk) -> None:
    w = writer(tmp_path, required=True)

    async def story() -> None:
        await put(w, ["kept"])
        disk.fail = {1}
        disk.go.clear()
        lost = [put(w, ["lost"])]
        await asyncio.sleep(0.05)
        lost += [put(w, ["lost too", "and this"])]  # on the same segment while the disk is at work
        disk.go.set()
        for refused in await settled(*lost):
            assert isinstance(refused, NotCaptured) and refused.http_status == 503
        await put(w, ["after"])

    asyncio.run(story())
    assert len(disk.asked) == 3, "the fault fired"
    assert disk.asked[2] != disk.asked[1] == disk.asked[0], "another segment, not the same bytes again"
    assert (w.stats.captured, w.stats.failed, exact(w.stats)) == (2, 3, True)
    assert w.stats.last_error == os.strerror(errno.EIO)
    assert sorted(read(tmp_path)["inference_id"]) == ["after", "kept"]


def test_a_full_disk_refuses_at_once(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    w = writer(tmp_path, required=True)

    async def story() -> None:
        with pytest.raises(NotCaptured, match="No space left"):
            put(w, ["p"])

    asyncio.run(story())
    assert (w.stats.dropped, exact(w.stats), disk.asked) == (1, True, [])


def test_a_caller_who_goes_away_is_counted_all_the_same(tmp_path: Path, disk: Disk) -> None:
    w = writer(tmp_path, required=True)

    async def story() -> None:
        disk.go.clear()
        gone, stays = put(w, ["gone"]), put(w, ["stays"])
        gone.cancel()
        disk.go.set()
        await stays

    asyncio.run(story())
    assert (w.stats.captured, exact(w.stats)) == (2, True)


def test_a_segment_that_is_full_or_old_is_closed_once_nobody_waits_for_it(tmp_path: Path, disk: Disk) -> None:
    w = writer(tmp_path, required=True, segment_bytes=1)

    async def story() -> None:
        disk.go.clear()
        waiting = [put(w, [f"{i}"]) for i in range(5)]
        w.close()
        assert compact(tmp_path) == 0, "they are open"
        disk.go.set()
        assert await settled(*waiting) == [None] * 5

    asyncio.run(story())
    assert len(set(disk.asked)) == 5
    assert compact(tmp_path) == 5
    assert read(tmp_path).height == 5
