"""Whom a runner waits for after a batch, and for how long."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serve.linger import SHARE, is_whole, patience
from modelyard.serve.link import Link

from .planned import in_a_loop

COUNTS, SECONDS = st.integers(0, 10_000), st.floats(0, 3600)


@given(COUNTS, SECONDS, SECONDS)
def test_nobody_waits_longer_than_may_be_nor_after_one_call(calls: int, seconds: float, most: float) -> None:
    wait = patience(calls, seconds, most)
    assert 0 <= wait <= most and wait <= SHARE * seconds
    assert wait == 0 or calls > 1
    assert calls <= 1 or wait == most or wait == SHARE * seconds, "and no shorter"


@given(COUNTS, COUNTS, COUNTS, st.integers(1, 10_000), COUNTS)
def test_a_batch_is_whole_once_all_are_back_or_there_is_no_more_room_and_stays_so(
    calls: int, rows: int, expected: int, room: int, more: int
) -> None:
    whole = is_whole(calls, rows, expected=expected, max_rows=room)
    assert whole == (calls >= expected or rows >= room)
    assert not whole or is_whole(calls + more, rows + more, expected=expected, max_rows=room)


class Nobody:
    def connected_to(self, link: Link) -> None: ...

    def replied(self, link: Link, batch: Any, body: bytes, seconds: float) -> None: ...

    def ended(self, link: Link, batch: Any) -> None: ...


@in_a_loop
async def test_the_time_begins_once_the_answers_are_written_and_one_that_was_stopped_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, link = asyncio.get_running_loop(), Link(str(tmp_path / "nobody"), Nobody())
    timers: list[tuple[float, Any]] = []
    done: list[str] = []
    try:
        await asyncio.sleep(0)  # it has begun to look for its runner
        real = loop.call_later
        monkeypatch.setattr(loop, "call_later", lambda s, f, *a: (timers.append((s, f)), real(3600, f, *a))[1])
        loop.call_soon(lambda: done.append(f"answers written, {len(timers)} timers"))
        link.linger(0.001, lambda: 0, lambda: done.append("over"))
        assert link.lingers and not timers
        await asyncio.sleep(0)
        assert done == ["answers written, 0 timers"] and [s for s, _ in timers] == [0.001]
        link.stop_lingering()
        timers[0][1]()  # as a timer may that was due when it was cancelled
        for _ in range(5):
            await asyncio.sleep(0)
        assert done[1:] == [] and not link.lingers
        waiting = iter([1, 5, 9, 9])
        link.linger(0.001, lambda: next(waiting), lambda: done.append("over"))
        await asyncio.sleep(0)
        timers[1][1]()
        for _ in range(10):
            await asyncio.sleep(0)
        assert done[1:] == ["over"] and not link.lingers, "for as long as more and more are there"
        assert list(waiting) == []
    finally:
        await link.close()
