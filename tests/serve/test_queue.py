from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serve.queue import Awaited, Queue
from modelyard.serve.refusals import QueueFull
from modelyard.serve.routes import Limits
from modelyard.serve.rows import Rows


def in_loop(work: Callable[[], Any]) -> Any:
    async def main() -> Any:
        return work()

    return asyncio.run(main())


def call(size: int, first: int = 0) -> Awaited:
    rows = Rows({"x": list(range(first, first + size))}, size, ["i"] * size, 0)
    made = Awaited(asyncio.get_running_loop().create_future(), rows, size)
    made.over = lambda call, failed: None
    return made


SIZES = st.lists(st.integers(1, 60), max_size=30)


@given(SIZES, st.integers(1, 20), st.lists(st.integers(0, 29), max_size=5))
def test_every_row_goes_once_in_batches_of_at_most_max_batch_and_is_answered_in_its_place(
    sizes: list[int], most: int, gone: list[int]
) -> None:
    def work() -> None:
        queue = Queue(Limits(max_batch=most, max_waiting_rows=10**6))
        calls = [call(size, 1000 * i) for i, size in enumerate(sizes)]
        for one in calls:
            queue.put(one, 0)
        for i in {i for i in gone if i < len(calls)}:
            calls[i].future.cancel()
            queue.drop(calls[i])
        left = [one for one in calls if not one.future.cancelled()]
        assert queue.calls == len(left) and queue.rows == sum(one.size for one in left)
        while batch := queue.take():
            total = sum(piece.rows for piece in batch)
            assert total <= most or (most == 1 and len(batch) == 1)
            assert len({piece.call for piece in batch}) == len(batch)
            for one, start, stop in batch:
                assert one in left and one.rows is not None
                one.answer(start, stop, {"y": [-x for x in one.rows.columns["x"][start:stop]]})
        assert queue.calls == queue.rows == 0
        for one in left:
            assert one.rows is not None
            assert one.future.result() == {"y": [-x for x in one.rows.columns["x"]]}

    in_loop(work)


@given(SIZES, st.lists(st.integers(2, 20), min_size=1))
def test_every_row_goes_once_too_where_the_size_of_a_batch_changes(sizes: list[int], changes: list[int]) -> None:
    def work() -> None:
        queue, often = Queue(Limits(max_batch=20, max_waiting_rows=10**6)), itertools.cycle(changes)
        calls = [call(size, 1000 * i) for i, size in enumerate(sizes)]
        for one in calls:
            queue.most = next(often)
            queue.put(one, 0)
        while True:
            queue.most = next(often)
            if not (batch := queue.take()):
                break
            assert len(batch) == 1 or sum(piece.rows for piece in batch) <= queue.most
            for one, start, stop in batch:
                assert one.rows is not None
                one.answer(start, stop, {"y": one.rows.columns["x"][start:stop]})
        assert queue.calls == queue.rows == 0
        assert [one.future.result() for one in calls] == [{"y": one.rows.columns["x"]} for one in calls if one.rows is not None]

    in_loop(work)


@given(SIZES, st.integers(2, 20))
def test_a_single_row_goes_with_the_very_next_batch_however_large_the_others_are(sizes: list[int], most: int) -> None:
    def work() -> None:
        queue = Queue(Limits(max_batch=most, max_waiting_rows=10**6))
        large = [call(size + most) for size in sizes]
        for one in large:
            queue.put(one, 0)
        single = call(1)
        queue.put(single, 0)
        assert single in [piece.call for piece in queue.take()]

    in_loop(work)


def test_large_bodies_take_turns() -> None:
    def work() -> list[int]:
        queue = Queue(Limits(max_batch=10, max_waiting_rows=10**6))
        calls = [call(30), call(20)]
        for one in calls:
            queue.put(one, 0)
        return [calls.index(queue.take()[0].call) for _ in range(5)]

    assert in_loop(work) == [0, 1, 0, 1, 0]


def test_what_must_go_again_goes_first_and_as_it_is() -> None:
    def work() -> None:
        queue = Queue(Limits())
        one, two, three = call(1), call(1), call(1)
        queue.put(one, 0)
        queue.put(two, 0)
        batch = queue.take()
        queue.put(three, 0)
        queue.again(batch[1:])
        queue.again(batch[:1])
        assert [[p.call for p in queue.take()] for _ in range(3)] == [[one], [two], [three]]
        queue.again(batch)
        one.fail(asyncio.CancelledError())
        assert [p.call for p in queue.take()] == [two], "whose caller is gone does not go"
        assert queue.take() == []

    in_loop(work)


def test_it_is_bounded_by_calls_and_by_rows_but_takes_one_body_of_any_size() -> None:
    def work() -> None:
        queue = Queue(Limits(max_waiting=2, max_waiting_rows=10))
        queue.put(call(50), 0)
        with pytest.raises(QueueFull) as full:
            queue.put(call(1), 0)
        assert full.value.retry_after == 1
        with pytest.raises(QueueFull) as full:
            queue.put(call(1), 10)
        assert full.value.retry_after == 5
        with pytest.raises(QueueFull) as full:
            queue.put(call(1), 0.001)
        assert full.value.retry_after == 60, "nobody is told to come again in an hour"
        queue.take()
        queue = Queue(Limits(max_waiting=2))
        for _ in range(2):
            queue.put(call(1), 0)
        with pytest.raises(QueueFull):
            queue.put(call(1), 0)

    in_loop(work)


def test_clearing_gives_back_who_waits() -> None:
    def work() -> None:
        queue = Queue(Limits(max_batch=4))
        calls = [call(1), call(9), call(1)]
        for one in calls:
            queue.put(one, 0)
        batch = queue.take()
        queue.again(batch[:1])
        assert set(queue.clear()) == set(calls) - {calls[2]}
        assert (queue.calls, queue.rows, queue.take()) == (0, 0, [])

    in_loop(work)
