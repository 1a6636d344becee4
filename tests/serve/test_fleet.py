"""Many compiled endpoints in one front process."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.serve import fleet as serve_fleet
from modelyard.serve import routes, stats
from modelyard.serve.plan.schema import Input, Linear, Plan
from modelyard.serve.processes import Child, spawn_front, wait_front
from modelyard.serve.protocols import asynchronous
from modelyard.signature import Column, Signature
from tests.build.test_processes import until

SIGNED = Signature("regression", (Column("x", "float"),), target_col="y")
KEPT = 5


class Fleet:
    """A front for the endpoints whose tables lie in a folder; endpoint `m<i>-production` answers (i + 1) * x."""

    def __init__(self, home: Path) -> None:
        self.home, self.tables, self.stats = home, home / "tables", home / "stats"
        for folder in (self.tables, self.stats, home / "plans"):
            folder.mkdir()
        self.child: Child | None = None
        self.port = 0

    def table(self, i: int, factor: float | None = None, generation: int = 1, **more: Any) -> str:
        name, plan = f"m{i}-production", self.home / "plans" / f"{i}.{generation}.json"
        step = Linear((0,), ((float(i + 1) if factor is None else factor,),), (0.0,))
        plan.write_bytes(msgspec.json.encode(Plan((Input("x", "float"),), (step,), (1,))))
        variant = routes.Variant("1", 1, (), SIGNED.to_dict(), plan=str(plan), sleeps=True)
        capture = routes.Capture(str(self.home / f"capture-{i}"))
        table = routes.RoutingTable(name, f"m{i}", "production", (variant,), capture, generation=generation, **more)
        routes.write(self.tables / f"{name}.json", table)
        return name

    def start(self) -> None:
        told = self.stats / ".front.json"
        self.child = spawn_front(routes=self.tables, stats_path=told, log=self.home / "front.log", arguments=["--keep", str(KEPT)])
        self.port = wait_front(self.child, told).port

    def call(self, path: str, body: Any = None, host: str = "127.0.0.1") -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        data = None if body is None else json.dumps(body)
        headers = {"Host": host, **({} if data is None else {"Content-Type": "application/json"})}
        link.request("GET" if data is None else "POST", path, data, headers)
        answer = link.getresponse()
        text = answer.read().decode()
        link.close()
        return answer.status, text

    def predict(self, name: str, x: float) -> float:
        status, text = self.call(f"/{name}/invocations", {"x": x})
        assert status == 200, text
        return float(json.loads(text)["predictions"][0]["prediction"])

    def told(self, name: str) -> stats.Stats:
        path = self.stats / f"{name}.json"
        return stats.read(path) if path.exists() else stats.Stats(0, 0.0, variants={"1": stats.VariantStats()})


@pytest.fixture
def fleet(home: Path) -> Iterator[Fleet]:
    fleet = Fleet(home)
    yield fleet
    if fleet.child is not None:
        fleet.child.stop()


def test_every_endpoint_is_answered_by_its_own_plan_and_few_stay_loaded(fleet: Fleet) -> None:
    names = [fleet.table(i) for i in range(20)]
    fleet.start()
    assert not list(fleet.stats.glob("m*.json")), "nothing is loaded before it is asked for"
    for _ in range(2):
        assert [fleet.predict(name, 2.0) for name in names] == [2.0 * (i + 1) for i in range(20)]
    until(lambda: sum(fleet.told(name).generation > 0 for name in names) == KEPT)
    assert [fleet.told(name).generation for name in names] == [0] * (20 - KEPT) + [1] * KEPT, "those used last"
    until(lambda: [fleet.told(name).variants["1"].answered for name in names] == [2] * 20)  # counters outlive being let go


def test_an_endpoint_answers_below_its_name_and_where_protocols_name_it(fleet: Fleet) -> None:
    name = fleet.table(3)
    fleet.start()
    for _ in range(2):  # not loaded, and loaded
        assert fleet.call(f"/endpoints/{name}/invocations", {"x": 1.0})[0] == 200
        assert fleet.call(f"/{name}/ping") == (200, '{"status":"ready"}')
        assert '"m3-production"' in fleet.call(f"/{name}/metrics")[1]
        assert fleet.call(f"/v2/models/{name}")[0] == 200
    assert fleet.call("/ping")[0] == 200
    counted = re.compile(r'modelyard_requests_total\{endpoint="m3-production",[^}]*result="answered"\} 2$', re.MULTILINE)
    assert counted.search(fleet.call("/metrics")[1])
    for path in ("/invocations", "/nobody-production/invocations", "/..%2fplans/invocations", "/.front/invocations"):
        assert fleet.call(path, {"x": 1.0})[0] == 404, path
    assert fleet.call(f"/{name}/invocations", {"x": 1.0}, host="evil.example")[0] == 403
    assert fleet.call(f"/{name}/invocations", {"z": 1.0})[0] == 400
    for path in ("/ping", "/metrics", "/v2", "/v2/health/ready"):  # its own pages are guarded as an endpoint's are
        assert fleet.call(path, host="evil.example")[0] == 403, path
        assert fleet.call(path, {"x": 1.0})[0] == 405, path


def test_a_name_that_no_file_can_have_is_no_endpoint(fleet: Fleet) -> None:
    fleet.table(0)
    fleet.start()
    long = "n" * 300
    for path in (f"/{long}/invocations", f"/v2/models/{long}/infer", f"/{long}/ping"):
        assert fleet.call(path, {"x": 1.0})[0] == 404, path
    status, text = fleet.call(f"/endpoints/{long}/invocations", {"x": 1.0})
    assert (status, json.loads(text)["Message"][:20]) == (400, "there is no endpoint")


def test_a_new_table_is_taken_up_and_one_that_is_gone_is_no_endpoint(fleet: Fleet) -> None:
    name, other = fleet.table(0), fleet.table(1)
    fleet.start()
    assert (fleet.predict(name, 1.0), fleet.predict(other, 1.0)) == (1.0, 2.0)
    fleet.table(0, factor=7.0, generation=2)
    stats.wait_generation(fleet.stats / f"{name}.json", 2)
    assert (fleet.predict(name, 1.0), fleet.predict(other, 1.0)) == (7.0, 2.0)
    (fleet.tables / f"{name}.json").unlink()
    until(lambda: fleet.call(f"/{name}/invocations", {"x": 1.0})[0] == 404)
    assert fleet.predict(other, 1.0) == 2.0
    assert fleet.predict(fleet.table(2), 1.0) == 3.0, "one that came later"


def test_what_answered_once_is_known_to_be_loaded(fleet: Fleet) -> None:
    """Whoever then writes a table waits until the front has taken it up, and does not think that it would read the new one when asked."""
    names = [fleet.table(i) for i in range(KEPT)]
    fleet.start()
    for name in names:
        fleet.predict(name, 1.0)
        assert fleet.told(name).generation == 1


def test_a_table_that_comes_while_an_endpoint_is_loaded_is_the_one_that_answers(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner writes a table and then looks whether the old one is loaded; the front says that it is, and then looks for a new one."""
    name, write = fleet.table(0), stats.write

    def told(path: Path, said: stats.Stats) -> None:
        if said.generation == 1:
            fleet.table(0, factor=7.0, generation=2)
        write(path, said)

    monkeypatch.setattr(stats, "write", told)

    async def asked() -> int:
        front = serve_fleet.Fleet(fleet.tables, fleet.stats / ".front.json", 0, frozenset())
        seat = await front._seat(name)
        live = seat.router.live
        await front.close()
        return 0 if live is None else live.table.generation

    assert asyncio.run(asked()) == 2


def test_an_endpoint_that_is_loaded_again_while_it_is_let_go_is_known_to_be_loaded(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    name, look = fleet.table(0), serve_fleet.Router.look

    async def asked() -> int:
        front, gone, looked = serve_fleet.Fleet(fleet.tables, fleet.stats / ".front.json", 0, frozenset()), asyncio.Event(), []
        await front._seat(name)

        async def slow(router: serve_fleet.Router) -> None:
            await look(router)
            looked.append(router)
            if len(looked) == 2:  # all but the last of loading is done
                gone.set()
                await asyncio.gather(*front._closing)

        async def close(plane: serve_fleet.Plane) -> None:
            await gone.wait()

        monkeypatch.setattr(serve_fleet.Router, "look", slow)
        monkeypatch.setattr(serve_fleet.Plane, "close", close)
        front._let_go(name)
        await front._seat(name)
        assert len(looked) == 2 and not front._closing
        generation = front._counted[name].generation
        await front.close()
        return generation

    assert asyncio.run(asked()) == 1


def test_an_endpoint_with_a_request_in_hand_stays_loaded(fleet: Fleet) -> None:
    """Of the short way, too, where nothing but its version's counters knows of it: let go, it would be hung up on after five seconds."""
    names = [fleet.table(i) for i in range(3)]

    async def loaded() -> list[list[str]]:
        front = serve_fleet.Fleet(fleet.tables, fleet.stats / ".front.json", 0, frozenset(), kept=1)
        variant = (await front._seat(names[0])).router.stats.variants["1"]
        variant.in_flight = 1
        found = []
        for name in names[1:]:
            await front._seat(name)
            found.append(list(front._seats))
            variant.in_flight = 0
        await front.close()
        return found

    assert asyncio.run(loaded()) == [[names[0], names[1]], [names[2]]]


def test_a_table_that_does_not_hold_is_the_trouble_of_its_endpoint_only(fleet: Fleet) -> None:
    name = fleet.table(0)
    (fleet.tables / "bad-production.json").write_text("{")
    fleet.start()
    assert fleet.call("/bad-production/invocations", {"x": 1.0})[0] == 503
    assert fleet.predict(name, 1.0) == 1.0


def test_asynchronous_requests_are_answered_those_from_before_too(fleet: Fleet) -> None:
    inputs, output = fleet.home / "inputs", fleet.home / "output"
    for folder in (inputs, output):
        folder.mkdir()
    (inputs / "one.json").write_text('{"x": 3.0}')
    asked = routes.Async((str(inputs),), str(output), str(fleet.home / "queue"))
    name = fleet.table(1, asynchronous=asked)
    fleet.start()
    link = http.client.HTTPConnection("127.0.0.1", fleet.port)

    def ask() -> Path:
        headers = {"X-Amzn-SageMaker-InputLocation": f"file://{inputs}/one.json"}
        link.request("POST", f"/endpoints/{name}/async-invocations", b"", headers)
        answer = link.getresponse()
        assert (answer.status, answer.read()[:1]) == (202, b"{")
        return Path((answer.getheader("x-amzn-sagemaker-outputlocation") or "").removeprefix("file://"))

    first = ask()
    until(first.exists)
    assert b"6.0" in first.read_bytes()
    assert fleet.child is not None
    os.kill(fleet.child.pid, signal.SIGSTOP)  # nobody answers the next one before the process ends
    fleet.child.stop(0)
    queue = fleet.home / "queue"
    queue.mkdir(exist_ok=True)
    waiting = asynchronous.Waiting("abc", name, time.time() + 600, {"content-type": "application/json"}, f"file://{inputs}/one.json", b"")
    (queue / "00000000000000000001-abc.json").write_bytes(msgspec.json.encode(waiting))
    fleet.start()
    until(lambda: not list(queue.iterdir()))
    assert len(list(output.iterdir())) == 2


def test_idle_endpoints_write_no_stats(fleet: Fleet) -> None:
    name = fleet.table(0)
    fleet.start()
    fleet.predict(name, 1.0)
    until(lambda: fleet.told(name).variants["1"].answered == 1)
    time.sleep(0.6)
    before = fleet.told(name).written_at
    time.sleep(0.6)
    assert fleet.told(name).written_at == before
