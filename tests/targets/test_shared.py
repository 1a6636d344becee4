"""Compiled versions, which need no runner, and endpoints that share a front."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import BadInput, YardError
from modelyard.flows import holdout
from modelyard.serve import sockets
from modelyard.targets.base import EndpointSpec, EndpointState
from tests.build.test_processes import until

from .scripts import constant
from .test_swaps import compiled as plan
from .world import World


def compiled(world: World, version: str = "1", **more: Any) -> EndpointSpec:
    world.versions.setdefault(version, constant(world.home, version))
    return world.spec({version: 100}, plan=plan(world, version), **more)


def ask(address: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(holdout.post(address, b'{"x": 1.0}'))
    return answer


def answers(address: str) -> float:
    return float(ask(address)["predictions"][0]["prediction"])


def refused(address: str) -> str:
    """The code of the error that it answers."""
    try:
        ask(address)
    except YardError as exc:
        return exc.code
    return ""


def runners(state: EndpointState) -> int:
    return sum(v.runners for v in state.variants.values())


def test_a_compiled_version_answers_without_a_runner_half_a_second_after_it_is_asked_for(world: World) -> None:
    """Half a second of the front's own work, whatever else the machine does meanwhile."""
    began = time.monotonic()
    address = world.target.apply(compiled(world)).address
    assert answers(address) == 1.0
    assert time.monotonic() - began < 5
    fields = Path(f"/proc/{world.front()}/stat").read_text().rpartition(")")[2].split()
    assert (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") < 0.5
    assert runners(world.state) == 0


def test_a_plan_that_does_not_hold_is_left_aside_and_a_runner_is_woken(world: World) -> None:
    spec = compiled(world)
    plan(world, "1").write_text("{}")
    address = world.target.apply(spec).address
    assert answers(address) == 1.0
    assert world.state.variants["1"].runners == 1


def test_endpoints_share_a_front_and_one_goes_without_the_other(world: World) -> None:
    one = world.target.apply(compiled(world, shared=True))
    world.versions["2"] = constant(world.home, "2")
    spec = replace(world.spec({"2": 100}, shared=True), model="other")
    two = world.target.apply(spec)
    assert one.ready and two.ready and two.variants["2"].ready
    assert one.address.rpartition("/")[0] == two.address.rpartition("/")[0], "one port"
    assert (answers(one.address), answers(two.address)) == (1.0, 2.0)
    first = world.live()._front
    until(lambda: world.settled(1))
    assert world.target.endpoint("other-production").variants["2"].runners == 1  # type: ignore[union-attr]
    until(lambda: world.target.endpoint("other-production").variants["2"].requests == 1)  # type: ignore[union-attr]
    world.target.remove("other-production")
    until(lambda: refused(two.address) == "not_found")
    assert answers(one.address) == 1.0 and first.alive
    world.target.remove("demo-production")
    assert not first.alive, "the last one closes the door"


def test_a_shared_front_that_is_killed_comes_back_and_forgets_nothing(world: World) -> None:
    state = world.target.apply(compiled(world, shared=True))
    for _ in range(5):
        answers(state.address)
    until(lambda: world.settled(5))
    pid = world.target._shared.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: world.told)
    assert world.told == [("", "the front ended with code -9; started again in 0.2 s")]
    until(lambda: world.target._shared.pid not in (0, pid) and world.state.ready)

    def again() -> bool:
        try:
            return answers(state.address) == 1.0
        except Exception:  # it is only just listening
            return False

    until(again)
    until(lambda: world.settled(6))
    assert world.target.endpoint("demo-production").address == state.address  # type: ignore[union-attr]


def test_a_roll_out_in_a_shared_front_fails_nothing(world: World) -> None:
    """Between compiled versions and one that needs a runner, while callers call."""
    address = world.target.apply(compiled(world, "1", shared=True)).address
    world.versions["2"] = constant(world.home, "2")
    seen: list[float] = []
    assert answers(address) == 1.0
    for spec in (world.spec({"2": 100}, shared=True), compiled(world, "1", shared=True), world.spec({"2": 100}, shared=True)):
        world.target.apply(spec)
        seen += [answers(address) for _ in range(20)]
    assert seen == [2.0] * 20 + [1.0] * 20 + [2.0] * 20
    until(lambda: sum(v.requests for v in world.state.variants.values()) >= 20)


def test_an_endpoint_moves_into_the_shared_front_and_out_again(world: World) -> None:
    own = world.target.apply(compiled(world))
    assert answers(own.address) == 1.0
    until(lambda: world.settled(1))
    moved = world.target.apply(compiled(world, shared=True))
    assert moved.address != own.address and moved.address.endswith("/demo-production")
    assert answers(moved.address) == 1.0 and answers(own.address) == 1.0, "the old one answers for the linger time"
    until(lambda: world.state.variants["1"].requests >= 2)
    back = world.target.apply(compiled(world))
    assert answers(back.address) == 1.0
    until(lambda: world.target._shared.pid == 0)


def test_a_shared_front_keeps_its_port_whichever_endpoint_comes_up_first(world: World) -> None:
    """Of several that come up again, one may have had a port of its own before it shared."""
    port = world.target.apply(compiled(world, shared=True)).address.rpartition(":")[2].partition("/")[0]
    world.target.remove("demo-production")
    with sockets.listen("127.0.0.1", 0) as listener:
        before = listener.getsockname()[1]
    other = replace(compiled(world, shared=True), model="other", preferred_port=before)
    assert world.target.apply(other).address == f"http://127.0.0.1:{port}/other-production"
    world.target.remove("other-production")
    assert world.target.apply(replace(other, port=before)).address == f"http://127.0.0.1:{before}/other-production", "unless one is named"


def test_endpoints_that_would_listen_elsewhere_cannot_share(world: World) -> None:
    port = world.target.apply(compiled(world, shared=True)).address.rpartition(":")[2].partition("/")[0]
    other = replace(compiled(world, shared=True), model="other")
    with pytest.raises(BadInput, match="share a front"):
        world.target.apply(replace(other, port=int(port) + 1))
    assert world.target.endpoint("other-production") is None
    assert world.target.apply(replace(other, port=int(port))).ready
