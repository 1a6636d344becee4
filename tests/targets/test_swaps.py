"""Versions come, go, are tried on a share and taken back while three kinds of caller call: no request is failed by a shift of traffic.

`MODELYARD_SOAK_REQUESTS` says how many requests go through the swaps; `make soak` takes a million.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from modelyard.errors import StepFailed
from modelyard.serve.plan.schema import Input, Linear, Plan
from modelyard.targets.base import EndpointSpec
from tests.build.test_processes import until

from .scripts import BROKEN, constant
from .world import World

REQUESTS = int(os.environ.get("MODELYARD_SOAK_REQUESTS", "6000"))
SWAPS: list[dict[str, int]] = [
    {"2": 10, "1": 90},  # a canary of a compiled version beside one with a runner
    {"2": 50, "1": 50},
    {"2": 100, "1": 0},
    {"2": 100},
    {"3": 10, "2": 90},
    {"2": 100},  # and back
    {"3": 0, "2": 100},  # standing by
    {"3": 100, "2": 0},
    {"3": 100},  # a compiled version made way for another
    {"1": 100},  # blue/green
    {"2": 100},
    {"9": 100},  # cannot be loaded: nothing changes
    {"1": 10, "2": 90},
    {"9": 10, "1": 90},
    {"1": 50, "2": 50},
    {"1": 100, "2": 0},
    {"2": 100},
    {"3": 50, "2": 50},
    {"1": 100},
    {"2": 10, "1": 90},
    {"1": 100},
]


def compiled(world: World, version: str) -> Path:
    path = world.home / f"plan-{version}.json"
    path.write_bytes(msgspec.json.encode(Plan((Input("x", "float"),), (Linear((0,), ((0.0,),), (float(version),)),), (1,))))
    return path


def resident_kb(pid: int) -> int:
    return next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_no_request_is_failed_by_twenty_swaps(world: World, shared: bool) -> None:
    for version in "123":
        world.versions[version] = constant(world.home, version)
    world.script("9", BROKEN)
    plans = {version: compiled(world, version) for version in "23"}

    def spec(weights: dict[str, int]) -> EndpointSpec:
        one = world.spec(weights, shared=shared)
        return replace(one, variants=tuple(replace(v, plan=plans.get(v.version)) for v in one.variants))

    world.target.apply(spec({"1": 100}))
    front = world.target._shared.pid if shared else world.front()
    memory: list[int] = []
    refused: list[str] = []

    def scenario() -> None:
        for i, weights in enumerate(SWAPS, 1):
            until(lambda i=i: len(world.load.answered) >= REQUESTS * i / (len(SWAPS) + 1), 3600)
            try:
                world.target.apply(spec(weights))
            except StepFailed as exc:
                refused.append(exc.what)
            memory.append(resident_kb(front))
        until(lambda: len(world.load.answered) >= REQUESTS, 3600)
        time.sleep(1)

    began = time.monotonic()
    done = world.under_load(scenario, keep=8, close=3, slow=2)
    print(
        f"\n{len(done.answered)} requests through {len(SWAPS)} changes in {time.monotonic() - began:.0f} s: {len(done.failures)} failed; "
        f"by version {dict(done.versions)}, by caller {dict(done.kinds)}; MB {memory[0] / 1e3:.0f} to {memory[-1] / 1e3:.0f}",
        file=sys.stderr,
    )
    assert done.failures == []
    assert len(done.answered) >= REQUESTS and set(done.kinds) == {"keep", "close", "slow"} and min(done.kinds.values()) > 20
    assert set(done.versions) == {"1", "2", "3"} and min(done.versions.values()) > 20
    assert len(refused) == sum("9" in weights for weights in SWAPS), "a version that cannot be loaded gets nothing"
    until(lambda: not any(v.in_flight for v in world.state.variants.values()))
    assert all((v.errors, v.refused) == (0, 0) for v in world.state.variants.values())
    assert world.told == []
    assert (world.target._shared.pid if shared else world.front()) == front, "one process all the time"
    late = memory[len(memory) // 2 :]
    assert max(late) - min(late) < 40_000, f"memory stays flat: {memory}"
