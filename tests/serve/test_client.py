from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.serve import client as module
from modelyard.serve.client import RunnerClient
from modelyard.serve.refusals import ModelFailed, NoRunner, QueueFull
from modelyard.serve.rows import Rows

from .fake import Columns, FakeRunner, double


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


def run(
    path: Path,
    predict: Callable[[Columns, int], Columns],
    scenario: Callable[[RunnerClient, FakeRunner], Awaitable[Any]],
    **more: Any,
) -> Any:
    async def main() -> Any:
        fake = FakeRunner(path, predict, ["x"])
        client = RunnerClient(path, ("prediction",), **more)
        try:
            await asyncio.wait_for(client.ready.wait(), 5)
            return await asyncio.wait_for(scenario(client, fake), 20)
        finally:
            await client.close()

    return asyncio.run(main())


def test_a_call_is_answered(tmp_path: Path) -> None:
    async def scenario(client: RunnerClient, fake: FakeRunner) -> Any:
        return await client.predict(rows(1.0, 2.5))

    assert run(tmp_path / "s", double, scenario) == {"prediction": [2.0, 5.0]}


def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()

    async def scenario(client: RunnerClient, fake: FakeRunner) -> Any:
        return await client.predict(rows(1.0))

    assert run(folder / "runner.sock", double, scenario) == {"prediction": [2.0]}


async def _held(gate: Gate, client: RunnerClient) -> asyncio.Task[Any]:
    first = asyncio.ensure_future(client.predict(rows(0.0)))
    await asyncio.to_thread(gate.held.wait, 5)
    return first


def test_what_waits_is_gathered_up_to_1024_rows(tmp_path: Path) -> None:
    gate = Gate()

    async def scenario(client: RunnerClient, fake: FakeRunner) -> Any:
        first = await _held(gate, client)
        waiting = [asyncio.ensure_future(client.predict(rows(*[float(i)] * 100))) for i in range(25)]
        big = asyncio.ensure_future(client.predict(rows(*[7.0] * 2000)))
        await asyncio.sleep(0.05)
        gate.open.set()
        answers = await asyncio.gather(first, *waiting, big)
        assert [a["prediction"] for a in answers] == [[0.0], *[[2.0 * i] * 100 for i in range(25)], [14.0] * 2000]
        return fake.calls

    assert run(tmp_path / "s", gate.predict, scenario) == [1, 1000, 1000, 500, 2000]


def test_a_bad_row_fails_only_its_own_request(tmp_path: Path) -> None:
    gate = Gate()

    async def scenario(client: RunnerClient, fake: FakeRunner) -> Any:
        first = await _held(gate, client)
        calls = [asyncio.ensure_future(client.predict(rows(x))) for x in (1.0, -1.0, 2.0, -2.0)]
        await asyncio.sleep(0.05)
        gate.open.set()
        return await asyncio.gather(first, *calls, return_exceptions=True), fake.calls

    answers, calls = run(tmp_path / "s", gate.predict, scenario)
    assert calls == [1, 4, 1, 1, 1, 1]
    assert [a["prediction"] for a in (answers[0], answers[1], answers[3])] == [[0.0], [2.0], [4.0]]
    assert isinstance(answers[2], ModelFailed) and answers[2].what == "ValueError: x is -1 in row 0"
    assert isinstance(answers[4], ModelFailed) and "does not have the signature's outputs" in answers[4].what


def test_a_full_queue_refuses_and_a_call_given_up_is_not_made(tmp_path: Path) -> None:
    gate = Gate()

    async def scenario(client: RunnerClient, fake: FakeRunner) -> Any:
        first = await _held(gate, client)
        second = asyncio.ensure_future(client.predict(rows(1.0)))
        third = asyncio.ensure_future(client.predict(rows(2.0)))
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFull):
            await client.predict(rows(3.0))
        second.cancel()
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, third)
        assert client.load == 0
        return fake.calls

    assert run(tmp_path / "s", gate.predict, scenario, max_waiting=2) == [1, 1]


def test_a_lost_runner_fails_what_was_sent_and_what_waits_and_is_found_again(tmp_path: Path) -> None:
    gate = Gate()
    path = tmp_path / "s"

    async def scenario(client: RunnerClient, fake: FakeRunner) -> Any:
        first = await _held(gate, client)
        second = asyncio.ensure_future(client.predict(rows(1.0)))
        await asyncio.sleep(0.05)
        fake.refuse_more()
        assert client._link is not None
        client.lost(client._link)
        failed = await asyncio.gather(first, second, return_exceptions=True)
        assert [(type(e), e.sent) for e in failed] == [(NoRunner, True), (NoRunner, False)]
        with pytest.raises(NoRunner):
            await client.predict(rows(1.0))
        gate.open.set()
        back = FakeRunner(path, double, ["x"])
        await asyncio.wait_for(client.ready.wait(), 5)
        assert await client.predict(rows(4.0)) == {"prediction": [8.0]}
        return back.calls

    assert run(path, gate.predict, scenario) == [1]


def test_another_protocol_is_never_connected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELLO_TIMEOUT", 0.2)

    async def main() -> bool:
        fake = FakeRunner(tmp_path / "s", double, ["x"])
        fake.hello["protocol"] = 2
        client = RunnerClient(tmp_path / "s", ("prediction",))
        await asyncio.sleep(0.5)
        await client.close()
        return client.connected

    assert asyncio.run(main()) is False
