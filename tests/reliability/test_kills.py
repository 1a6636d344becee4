"""A runner is killed every second while three kinds of caller call: what fails is what it held, and says when to come again.

`MODELYARD_SOAK_KILLS` says how often; `make soak` kills sixty times.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.targets.places import RunnerPlace
from tests.build.test_processes import until
from tests.targets.scripts import constant
from tests.targets.test_swaps import compiled
from tests.targets.world import World, kill

from . import sizes

CALLERS = {"keep": 6, "close": 3, "slow": 2}
NOTICED = 0.5
"""Seconds after a death within which a front on a busy machine may still hand its runner a request."""


@pytest.fixture
def world(home: Path) -> Iterator[World]:
    world = World(home)
    yield world
    world.target.close()


def connected(world: World) -> list[RunnerPlace]:
    """The places of version 1 whose runner answers, the longest-lived first."""
    seen = world.live()._front.counted()[0].runners
    up = [p for p in world.live()._crews["1"].places if p.alive and (s := seen.get(str(p.socket))) is not None and s.connected]
    return sorted(up, key=lambda place: place.back_off.started)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_runner_killed_every_second_fails_what_it_held_at_most(world: World) -> None:
    world.versions |= {"1": constant(world.home, "1"), "2": constant(world.home, "2")}
    spec = world.spec({"1": 50, "2": 50}, workers=3)
    plan = compiled(world, "2")
    world.target.apply(replace(spec, variants=tuple(replace(v, plan=plan if v.version == "2" else None) for v in spec.variants)))
    killed: dict[int, float] = {}

    def scenario() -> None:
        for _ in range(sizes.KILLS):
            time.sleep(1)
            until(lambda: len(connected(world)) >= 2, 60)  # (a busy machine may need long to start one)
            child = connected(world)[0].child
            assert child is not None
            killed[child.pid] = time.monotonic()
            kill(child.pid)

    began = time.monotonic()
    load = world.under_load(scenario, **CALLERS)
    took = time.monotonic() - began
    print(
        f"\n{len(killed)} runners killed in {took:.0f} s: {len(load.answered)} right answers {dict(load.versions)}, "
        f"{len(load.failures)} refused {[(r.status, r.headers.get('x-modelyard-version')) for r in load.refused][:3]}",
        file=sys.stderr,
    )
    assert len(killed) == sizes.KILLS, "the fault fired"
    assert len(load.failures) == len(load.refused), [f for f in load.failures if ": 503 " not in f]
    for refused in load.refused:
        assert refused.status == 503 and int(refused.headers["retry-after"]) >= 1, refused
        assert refused.headers["x-modelyard-version"] == "1", "a version that the front answers for itself is not touched"
        assert any(refused.asked < at + NOTICED and refused.came >= at for at in killed.values()), "it was in flight when a runner died"
    assert len(load.failures) <= len(killed) * sum(CALLERS.values()), "at most a request a caller and death"
    assert min(load.versions["1"], load.versions["2"]) > 10 * len(killed)
    until(lambda: world.settled(len(load.answered) + len(load.failures)))
