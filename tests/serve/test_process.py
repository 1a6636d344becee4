"""The contract of front and runners as processes: swaps, crashes, kills, under a load that checks every answer."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from modelyard.errors import StepFailed
from modelyard.serve import stats
from modelyard.serve.captured import compact, read
from modelyard.tables import INFERENCE_ID

from .load import Load
from .world import NAMES, World, data, logistic, signature

ROWS = [dict(zip(NAMES, map(float, row), strict=True)) for row in data(50, seed=9)[0]]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.stop()


def _models(world: World) -> dict[str, object]:
    models = {"1": logistic(seed=1), "2": logistic(seed=2)}
    for version, model in models.items():
        world.save(version, model)
        world.runner(version, signature())
    for version in models:
        world.ready(version)
    return models


def _right(models: dict[str, object]):  # type: ignore[no-untyped-def]
    def check(row: dict[str, float], answer: dict) -> bool:
        p = models[answer["version"]].predict_proba([[row[n] for n in NAMES]])[0, 1]  # type: ignore[attr-defined]
        return abs(answer["probabilities"]["1"] - p) < 1e-9 and answer["prediction"] == int(p >= 0.5)

    return check


def test_ten_swaps_under_load_fail_no_request(world: World) -> None:
    models, signed = _models(world), signature()
    world.route({"1": 100}, signed)
    world.start_front()
    swaps = [
        {"2": 100},
        {"1": 100},
        {"1": 50, "2": 50},
        {"2": 100},
        {"1": 90, "2": 10},
        {"1": 100},
        {"2": 100},
        {"1": 0, "2": 100},
    ]

    async def scenario() -> Load:
        load = Load(world.port, ROWS, _right(models))
        running = asyncio.ensure_future(load.run(None))
        for weights in [*swaps, {"1": 100}, {"2": 100}]:
            await asyncio.sleep(0.3)
            table = world.route(weights, signed)
            await asyncio.to_thread(stats.wait_generation, world.stats_path, table.generation)
        await _drained(world, "1")  # blue/green to the end: the old version's runner goes, still under load
        code = await asyncio.to_thread(world.runners["1"].stop, 5)
        assert code == 0
        await asyncio.sleep(0.5)
        load.stop.set()
        await running
        return load

    load = asyncio.run(scenario())
    assert load.failures == []
    assert set(load.versions) == {"1", "2"} and min(load.versions.values()) > 20
    assert set(load.kinds) == {"keep", "close", "slow"} and min(load.kinds.values()) >= 8
    assert world.front is not None
    assert world.front.stop(10) == 0
    final = stats.read(world.stats_path)
    assert final.generation == 11
    assert sum(v.answered for v in final.variants.values()) == len(load.answered)
    assert sum(v.errors + v.client_errors + v.rejected for v in final.variants.values()) == 0
    assert all(v.in_flight == 0 for v in final.variants.values())
    capture = final.capture
    assert (capture.eligible, capture.captured, capture.dropped, capture.failed) == (len(load.answered), len(load.answered), 0, 0)
    assert sorted(read(world.capture)[INFERENCE_ID]) == sorted(load.answered)


async def _drained(world: World, version: str) -> None:
    for _ in range(200):
        if stats.read(world.stats_path).variants[version].in_flight == 0:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"version {version} still has requests in flight")


def test_a_killed_front_has_captured_every_answered_request(world: World) -> None:
    models, signed = _models(world), signature()
    world.route({"1": 50, "2": 50}, signed)
    front = world.start_front()

    async def scenario() -> Load:
        load = Load(world.port, ROWS, _right(models))
        running = asyncio.ensure_future(load.run(None, slow=1))
        await asyncio.sleep(1.5)
        os.kill(front.pid, signal.SIGKILL)
        load.stop.set()
        await running
        return load

    load = asyncio.run(scenario())
    assert front.popen.wait(5) == -signal.SIGKILL  # the fault fired
    assert len(load.answered) > 50
    captured = read(world.capture)[INFERENCE_ID].to_list()
    assert set(load.answered) <= set(captured)
    assert len(captured) == len(set(captured))
    assert compact(world.capture) == 1  # the dead writer's open segment is free to take
    assert sorted(read(world.capture)[INFERENCE_ID]) == sorted(captured)


def _post(world: World, row: dict[str, float]) -> tuple[int, dict, http.client.HTTPResponse]:
    link = http.client.HTTPConnection("127.0.0.1", world.port, timeout=30)
    link.request("POST", "/invocations", json.dumps(row), {"Content-Type": "application/json"})
    answer = link.getresponse()
    content = json.loads(answer.read())
    link.close()
    return answer.status, content, answer


def test_a_runner_that_dies_is_503_until_it_is_back(world: World) -> None:
    script = "import time\ndef predict_fn(x, model):\n    if x[0][0] == 99:\n        time.sleep(60)\n"
    script += "    return model.predict_proba(x)\n"
    world.save("1", logistic(), script)
    world.runner("1", signature())
    world.ready("1")
    world.route({"1": 100}, signature())
    world.start_front()
    assert _post(world, ROWS[0])[0] == 200

    async def in_flight() -> tuple[int, dict, http.client.HTTPResponse]:
        task = asyncio.ensure_future(asyncio.to_thread(_post, world, {**ROWS[0], "c0": 99.0}))
        await asyncio.sleep(0.5)
        os.killpg(world.runners["1"].pid, signal.SIGKILL)
        return await task

    status, content, answer = asyncio.run(in_flight())
    assert (status, content["error"]["code"], answer.getheader("Retry-After")) == (503, "no_runner", "1")
    assert world.runners["1"].popen.wait(5) == -signal.SIGKILL
    assert _post(world, ROWS[0])[0] == 503
    world.runner("1", signature())
    world.ready("1")
    deadline = time.monotonic() + 10
    while _post(world, ROWS[0])[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = stats.wait_generation(world.stats_path, 1)
    assert found.variants["1"].errors >= 2
    assert found.runners[str(world.socket("1"))].version == "1"


def test_children_end_with_their_owner(world: World) -> None:
    models = _models(world)
    world.route({"1": 100}, signature())
    front = world.start_front()
    assert models and front.is_alive()
    for child in (front, world.runners["1"]):
        assert child.popen.stdin is not None
        child.popen.stdin.close()
        assert child.popen.wait(15) == 0


def test_a_port_in_use_and_a_model_that_cannot_be_loaded_say_so(world: World) -> None:
    models = _models(world)
    assert models
    world.route({"1": 100}, signature())
    world.start_front()
    with pytest.raises(StepFailed, match=rf"port {world.port} cannot be used: Address already in use"):
        other = World()
        try:
            other.generation = 0
            other.route({}, signature())
            other.start_front(world.port)
        finally:
            other.stop()
    world.save("3", {"no": "model"})
    world.runner("3", signature())
    with pytest.raises(StepFailed, match="cannot load the model: dict has no predict_proba"):
        world.ready("3")
    world.save("4", logistic(), "def model_fn(folder):\n    raise RuntimeError('no such thing')\n")
    world.runner("4", signature())
    with pytest.raises(StepFailed, match="RuntimeError: no such thing") as caught:
        world.ready("4")
    assert any("in model_fn" in line for line in caught.value.log_tail)
