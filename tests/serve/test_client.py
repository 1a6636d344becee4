from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.serve import client as module
from modelyard.serve import link
from modelyard.serve.client import Runners
from modelyard.serve.deadlines import Deadlines
from modelyard.serve.link import Link
from modelyard.serve.queue import Awaited, Call
from modelyard.serve.refusals import ModelFailed, NoRunner, QueueFull, TimedOut
from modelyard.serve.routes import Limits
from modelyard.serve.rows import Rows

from .fake import Columns, FakeRunner, double

Scenario = Callable[[Runners, FakeRunner], Awaitable[Any]]


def rows(*xs: float) -> Rows:
    return Rows({"x": list(xs)}, len(xs), ["i"] * len(xs), 0)


class Gate:
    """Holds the runner's first call until it is opened, so that others must wait."""

    def __init__(self) -> None:
        self.open, self.held = threading.Event(), threading.Event()

    def predict(self, columns: Columns, count: int) -> Columns:
        self.held.set()
        assert self.open.wait(20)
        return double(columns, count)


def run(path: Path, predict: Callable[[Columns, int], Columns], scenario: Scenario, **limits: Any) -> Any:
    async def main() -> Any:
        fake = FakeRunner(path, predict, ["x"])
        runners = Runners("1", ("prediction",), Limits(**limits))
        try:
            runners.follow([str(path)], runners.limits)
            await asyncio.wait_for(runners.ready.wait(), 5)
            return await asyncio.wait_for(scenario(runners, fake), 20)
        finally:
            await runners.close()

    return asyncio.run(main())


def only(runners: Runners) -> link.Link:
    (one,) = runners._links.values()
    return one


def cut(runners: Runners) -> None:
    """End the connection as the death of the runner does."""
    one = only(runners)
    assert one._frames is not None
    one.lost(one._frames)


def test_a_call_is_answered(tmp_path: Path) -> None:
    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        return await runners.predict(rows(1.0, 2.5))

    assert run(tmp_path / "s", double, scenario) == {"prediction": [2.0, 5.0]}


def test_another_message_is_passed_on(tmp_path: Path) -> None:
    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        return await runners.ask("nonsense", {"rows": 1}, 1)

    reply = run(tmp_path / "s", double, scenario)
    assert reply["error"]["code"] == "bad_request" and "nonsense" in reply["error"]["what"]


def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        return await runners.predict(rows(1.0))

    assert run(folder / "runner.sock", double, scenario) == {"prediction": [2.0]}


async def _held(gate: Gate, runners: Runners) -> asyncio.Task[Any]:
    first = asyncio.ensure_future(runners.predict(rows(0.0)))
    await asyncio.to_thread(gate.held.wait, 5)
    return first


def test_what_waits_is_gathered_and_a_large_body_shares_batches_with_small_ones(tmp_path: Path) -> None:
    gate = Gate()

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        first = await _held(gate, runners)
        big = asyncio.ensure_future(runners.predict(rows(*map(float, range(3000)))))
        waiting = [asyncio.ensure_future(runners.predict(rows(*[float(i)] * 100))) for i in range(12)]
        await asyncio.sleep(0.05)
        gate.open.set()
        answers = await asyncio.gather(first, *waiting, big)
        assert [a["prediction"] for a in answers[:-1]] == [[0.0], *[[2.0 * i] * 100 for i in range(12)]]
        assert answers[-1]["prediction"] == [2.0 * i for i in range(3000)]
        return fake.calls

    # 512 rows of each batch are for the small ones, 5 of 100, as long as the large body waits
    assert run(tmp_path / "s", gate.predict, scenario) == [1, 1024, 1024, 1024, 1024, 104]


def test_a_single_row_waits_for_one_piece_of_a_large_body_only(tmp_path: Path) -> None:
    gate = Gate()

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        places: list[int] = []
        fake._predict = lambda c, n: (places.append(len(fake.calls)) if 3.0 in c["x"] else None, gate.predict(c, n))[1]
        first = await _held(gate, runners)
        big = asyncio.ensure_future(runners.predict(rows(*[1.0] * 50_000)))
        await asyncio.sleep(0.01)
        one = asyncio.ensure_future(runners.predict(rows(3.0)))
        await asyncio.sleep(0.05)
        gate.open.set()
        await one
        assert not big.done()
        assert len((await big)["prediction"]) == 50_000
        await first
        return places[0]

    assert run(tmp_path / "s", gate.predict, scenario) <= 3


def test_rows_that_take_their_time_go_few_at_once_so_that_a_single_one_need_not_wait_for_a_large_body(tmp_path: Path) -> None:
    def slowly(columns: dict[str, list[Any]], rows: int) -> dict[str, Any]:
        time.sleep(0.02 * rows)
        return double(columns, rows)

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        for known in (1, 4):  # what one row takes, and what four do
            await runners.predict(rows(*[0.0] * known))
        big = asyncio.ensure_future(runners.predict(rows(*map(float, range(60)))))
        await asyncio.sleep(0.03)
        assert await runners.predict(rows(3.0)) == {"prediction": [6.0]}
        assert not big.done() and (await big)["prediction"] == [2.0 * i for i in range(60)]
        return fake.calls

    calls = run(tmp_path / "s", slowly, scenario)
    assert calls[:2] == [1, 4] and sum(calls[2:]) == 61 and max(calls[2:]) < 20


def test_a_model_that_is_not_row_wise_is_given_each_body_whole(tmp_path: Path) -> None:
    gate = Gate()

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        first = await _held(gate, runners)
        waiting = [asyncio.ensure_future(runners.predict(rows(*[float(i)] * n))) for i, n in enumerate((3, 2000, 1))]
        await asyncio.sleep(0.05)
        gate.open.set()
        await asyncio.gather(first, *waiting)
        return fake.calls

    assert run(tmp_path / "s", gate.predict, scenario, max_batch=1) == [1, 3, 2000, 1]


def test_a_bad_row_fails_only_its_own_request(tmp_path: Path) -> None:
    gate = Gate()

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        first = await _held(gate, runners)
        calls = [asyncio.ensure_future(runners.predict(rows(x))) for x in (1.0, -1.0, 2.0, -2.0)]
        await asyncio.sleep(0.05)
        gate.open.set()
        return await asyncio.gather(first, *calls, return_exceptions=True), fake.calls

    answers, calls = run(tmp_path / "s", gate.predict, scenario)
    assert calls == [1, 4, 2, 1, 1, 2, 1, 1], "halves of the batch that failed"
    assert [a["prediction"] for a in (answers[0], answers[1], answers[3])] == [[0.0], [2.0], [4.0]]
    assert isinstance(answers[2], ModelFailed) and answers[2].what == "ValueError: x is -1 in row 0"
    assert isinstance(answers[4], ModelFailed) and "does not have the signature's outputs" in answers[4].what


def test_a_full_queue_says_when_to_come_again_and_a_caller_that_is_gone_leaves_it(tmp_path: Path) -> None:
    gate = Gate()

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        first = await _held(gate, runners)
        second = asyncio.ensure_future(runners.predict(rows(1.0)))
        third = asyncio.ensure_future(runners.predict(rows(2.0)))
        await asyncio.sleep(0.05)
        runners._pace.rows_per_second = 0.25  # two that wait take 8 s
        with pytest.raises(QueueFull) as full:
            await runners.predict(rows(3.0))
        assert full.value.retry_after == 8
        second.cancel()
        await asyncio.sleep(0)
        fourth = asyncio.ensure_future(runners.predict(rows(4.0)))  # there is room again
        await asyncio.sleep(0.01)
        gate.open.set()
        assert [(await c)["prediction"] for c in (first, third, fourth)] == [[0.0], [4.0], [8.0]]
        assert runners.load == 0
        return fake.calls

    assert run(tmp_path / "s", gate.predict, scenario, max_waiting=2) == [1, 2]


def test_a_runner_that_never_answers_times_out(tmp_path: Path) -> None:
    gate = Gate()

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        with pytest.raises(TimedOut, match=r"version 1 did not answer within 0\.2 s"):
            await runners.predict(rows(1.0))
        busy = next(iter(runners.states().values())).busy_seconds
        gate.open.set()
        return busy

    assert run(tmp_path / "s", gate.predict, scenario, timeout_s=0.2) >= 0.2


def test_each_call_has_its_own_time_and_one_that_was_answered_is_not_told_of(tmp_path: Path) -> None:
    async def main() -> None:
        told: list[Call] = []
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(lambda call: (told.append(call), call.fail(TimedOut("late")))[0])
        calls = [Awaited(loop.create_future(), None, 1) for _ in range(4)]
        for call in calls:
            call.over = lambda call, failed: deadlines.over(call)
        for call, seconds in zip(calls, (30.0, 0.05, 0.02, 0.05), strict=True):
            deadlines.set(call, seconds)
        calls[1].finish({})
        while len(told) < 2:
            await asyncio.sleep(0.01)
        assert told == [calls[2], calls[3]] and not calls[0].future.done()
        for call in calls[2:]:
            assert isinstance(call.future.exception(), TimedOut)
        calls[0].finish({})
        assert not deadlines._calls

    asyncio.run(main())


def test_after_a_batch_of_several_the_runner_waits_for_their_callers_and_after_one_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    linger = Link.linger
    monkeypatch.setattr(Link, "linger", lambda link, seconds, *more: (waits.append(seconds), linger(link, seconds, *more))[1])

    def slowly(columns: Columns, count: int) -> Columns:
        threading.Event().wait(0.05)
        return double(columns, count)

    async def caller(runners: Runners) -> None:
        for _ in range(6):
            await runners.predict(rows(1.0))
            await asyncio.sleep(0.002)  # the callers' way; less than 0.15 of what a call takes

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        await asyncio.gather(*(caller(runners) for _ in range(4)))
        several, together = list(fake.calls), len(waits)
        fake.calls.clear()
        await caller(runners)
        return several, fake.calls, (together, len(waits))

    several, alone, (together, afterwards) = run(tmp_path / "s", slowly, scenario, max_batch_wait_s=0.02)
    assert several.count(4) >= 4 and len(several) <= 9, "they stay together"
    assert alone == [1] * 6 and together == afterwards > 0, "nobody is waited for after one"


def test_what_a_dead_runner_held_and_what_waits_is_answered_by_the_next(tmp_path: Path) -> None:
    gate = Gate()
    path = tmp_path / "s"

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        first = await _held(gate, runners)
        second = asyncio.ensure_future(runners.predict(rows(1.0)))
        third = asyncio.ensure_future(runners.predict(rows(2.0)))
        await asyncio.sleep(0.05)
        fake.refuse_more()
        cut(runners)
        assert not runners.connected
        back = FakeRunner(path, double, ["x"])
        assert [(await c)["prediction"] for c in (first, second, third)] == [[0.0], [2.0], [4.0]]
        gate.open.set()
        return back.calls

    assert run(path, gate.predict, scenario) == [1, 2], "what it held goes alone"


def test_nobody_waits_for_a_runner_that_stays_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    gate = Gate()

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        first = await _held(gate, runners)
        second = asyncio.ensure_future(runners.predict(rows(1.0)))
        await asyncio.sleep(0.05)
        fake.refuse_more()
        cut(runners)
        failed = await asyncio.gather(first, second, return_exceptions=True)
        assert [(type(e), getattr(e, "sent", None)) for e in failed] == [(NoRunner, True), (NoRunner, False)]
        with pytest.raises(NoRunner):
            await asyncio.wait_for(runners.predict(rows(1.0)), 0.05)
        gate.open.set()
        back = FakeRunner(tmp_path / "s", double, ["x"])
        await asyncio.wait_for(runners.ready.wait(), 5)
        assert await runners.predict(rows(4.0)) == {"prediction": [8.0]}
        return back.calls

    assert run(tmp_path / "s", gate.predict, scenario) == [1]


def test_a_row_that_kills_the_runner_twice_is_refused_and_its_company_is_answered(tmp_path: Path) -> None:
    """The runner here dies by hanging up; tests/targets has one that ends its process."""
    gate = Gate()
    path = tmp_path / "s"
    deaths: list[int] = []

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        loop, current = asyncio.get_running_loop(), [fake]

        def die() -> None:
            deaths.append(1)
            current[0].refuse_more()
            cut(runners)
            current[0] = FakeRunner(path, killing, ["x"])

        def killing(columns: Columns, count: int) -> Columns:
            if 666.0 in columns["x"]:
                loop.call_soon_threadsafe(die)
                threading.Event().wait(0.2)
            return double(columns, count)

        current[0]._predict = lambda c, n: killing(gate.predict(c, n) and c, n)
        first = await _held(gate, runners)
        calls = [asyncio.ensure_future(runners.predict(rows(x))) for x in (1.0, 666.0, 2.0)]
        await asyncio.sleep(0.05)
        gate.open.set()
        answers = await asyncio.gather(first, *calls, return_exceptions=True)
        assert [a["prediction"] for a in (answers[0], answers[1], answers[3])] == [[0.0], [2.0], [4.0]]
        assert isinstance(answers[2], ModelFailed) and "this row has killed the runner 2 times" in answers[2].what
        with pytest.raises(ModelFailed, match="it is not tried again"):
            await runners.predict(rows(666.0))
        assert await runners.predict(rows(1.0)) == {"prediction": [2.0]}
        return runners.stats.quarantined

    assert run(path, gate.predict, scenario) == 1
    assert len(deaths) == 2


def test_requests_wait_for_a_runner_that_sleeps_and_tell_so(tmp_path: Path) -> None:
    async def main() -> Any:
        told: list[int] = []
        runners = Runners("1", ("prediction",), Limits(timeout_s=0.5, wake_s=5), on_wanted=lambda: told.append(1))
        runners.follow([], runners.limits, sleeps=True)
        calls = [asyncio.ensure_future(runners.predict(rows(x))) for x in (1.0, 2.0)]
        await asyncio.sleep(0.8)  # longer than an answer may take
        assert runners.wanted == 2 and told
        FakeRunner(tmp_path / "s", double, ["x"])
        runners.follow([str(tmp_path / "s")], runners.limits, sleeps=True)
        answers = [(await c)["prediction"] for c in calls]
        assert runners.wanted == 0
        runners.follow([], runners.limits, sleeps=True, trouble="the weights are not there")
        with pytest.raises(NoRunner, match="the weights are not there"):
            await runners.predict(rows(1.0))
        await runners.close()
        return answers

    assert asyncio.run(main()) == [[2.0], [4.0]]


def test_who_asks_soon_after_a_runner_was_put_to_sleep_waits_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)

    async def main() -> Any:
        FakeRunner(tmp_path / "s", double, ["x"])
        runners = Runners("1", ("prediction",), Limits(wake_s=10))
        runners.follow([str(tmp_path / "s")], runners.limits, sleeps=True)
        await asyncio.wait_for(runners.ready.wait(), 5)
        runners.follow([], runners.limits, sleeps=True)  # it has had nothing to do for long
        while runners._closing:
            await asyncio.sleep(0.01)
        asked = asyncio.ensure_future(runners.predict(rows(1.0)))
        await asyncio.sleep(0.5)  # longer than one waits for a runner that died
        assert not asked.done() and runners.wanted == 1
        runners.follow([str(tmp_path / "s")], runners.limits, sleeps=True)
        answer = await asyncio.wait_for(asked, 10)
        await runners.close()
        return answer

    assert asyncio.run(main()) == {"prediction": [2.0]}


def test_who_waits_for_one_that_cannot_be_started_is_told_why() -> None:
    async def main() -> None:
        runners = Runners("1", ("prediction",), Limits())
        runners.follow([], runners.limits, sleeps=True)
        call = asyncio.ensure_future(runners.predict(rows(1.0)))
        await asyncio.sleep(0.05)
        runners.follow([], runners.limits, sleeps=True, trouble="the weights are not there")
        with pytest.raises(NoRunner, match="the weights are not there"):
            await call
        await runners.close()

    asyncio.run(main())


def test_a_runner_that_is_no_longer_named_answers_what_it_holds(tmp_path: Path) -> None:
    gate = Gate()

    async def scenario(runners: Runners, fake: FakeRunner) -> Any:
        first = await _held(gate, runners)
        FakeRunner(tmp_path / "t", double, ["x"])
        runners.follow([str(tmp_path / "t")], runners.limits)
        second = await runners.predict(rows(1.0))
        assert not first.done()
        gate.open.set()
        return (await first)["prediction"], second["prediction"], fake.calls

    assert run(tmp_path / "s", gate.predict, scenario) == ([0.0], [2.0], [1])


def test_another_protocol_is_never_connected(tmp_path: Path) -> None:
    async def main() -> bool:
        fake = FakeRunner(tmp_path / "s", double, ["x"])
        fake.hello["protocol"] = 2
        runners = Runners("1", ("prediction",), Limits())
        runners.follow([str(tmp_path / "s")], runners.limits)
        await asyncio.sleep(0.5)
        connected = runners.connected
        await runners.close()
        return connected

    assert asyncio.run(main()) is False
