"""The watch over a step: what it counts, what it keeps, and what a restart forgets (nothing)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import Config
from modelyard.deploy.alarms import Seen
from modelyard.deploy.rollout import Look, Rollout
from modelyard.durable import Run
from modelyard.flows import watching
from modelyard.flows.moves import Move
from modelyard.flows.watching import Watch, difference, seen, together
from modelyard.targets.base import VariantState
from modelyard.targets.fake import FakeTarget

from .releases import World, config

STATE = Rollout("2", "1", (10, 50, 100))


class Time:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(watching, "time", time)
    return time


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(home, monkeypatch, FakeTarget(requests=100))
    world.accept(config(strategy={"bake": "10s"}))
    world.register("1", "2")
    world.release("1", ("production",))
    world.start("deploy-2")
    return world


def move(world: World) -> Move:
    record = world.shop.runs.get("deploy-2")
    assert record is not None
    run = Run(world.shop.runs, record, world.shop.runs.feed(record.id))
    return Move(world.shop, run, "2", "production", "1", Config.model_validate(world.settings["production"]))


def kept(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((world.home.runs / "deploy-2" / "rollout.json").read_text())
    return found


def test_it_counts_from_the_step_on(world: World, time: Time) -> None:
    watch = Watch(move(world), STATE)
    assert watch.begun.usual is not None and watch.begun.usual.requests > 0, "what the champion did before is its yardstick"
    move(world).serve(STATE.weights, "", STATE)
    time.now += 5
    look = watch.look()
    assert (look.new.requests, look.old.requests, look.bakes) == (10, 90, 0.5)
    time.now += 5
    look = watch.look()
    assert (look.new.requests, look.old.requests, look.bakes) == (20, 180, 1.0)
    assert look.new.compared == 20, "all that it answers at 10% are asked of the champion too"


def test_a_restart_forgets_nothing_and_time_stands_still_meanwhile(world: World, time: Time) -> None:
    watch = Watch(move(world), STATE)
    move(world).serve(STATE.weights, "", STATE)
    time.now += 6
    assert watch.look().new.requests == 10
    since = watch.since

    world.target = FakeTarget(requests=100)
    world.open()
    time.now += 3600
    world.clock = None
    move(world).serve(STATE.weights, "", STATE)
    again = Watch(move(world), STATE)
    time.now += 2
    look = again.look()
    assert (look.bakes, again.since) == (0.8, since), "an hour that nobody watched is no bake time"
    assert 10 < look.new.requests <= 30 and look.old.requests > 90, "its counters began anew, and what was counted stays"
    assert again.begun.usual == watch.begun.usual


def test_another_step_begins_anew(world: World, time: Time) -> None:
    watch = Watch(move(world), STATE)
    move(world).serve(STATE.weights, "", STATE)
    time.now += 6
    watch.look()
    later = Rollout("2", "1", (10, 50, 100), position=1, usual=watch.begun.usual)
    other = Watch(move(world), later)
    assert other.elapsed == 0 and other.look().bakes == 0
    assert kept(world)["step"] == "50%"
    (world.home.runs / "deploy-2" / "rollout.json").write_text('{"torn":')
    assert Watch(move(world), later).elapsed == 0, "a file that does not hold is none"


def test_drift_is_judged_each_time_there_is_four_times_as_much(world: World, time: Time) -> None:
    watch = Watch(move(world), STATE)
    move(world).serve(STATE.weights, "", STATE)
    looks = [watch.look() for _ in range(100)]
    worth = [look.new.requests for look in looks if watch.worth_a_drift(look)]
    assert worth == [200, 800]


def test_labels_are_counted_every_ten_seconds(world: World, time: Time) -> None:
    watch = Watch(move(world), STATE)
    asked = []
    for _ in range(30):
        time.now += 1
        asked.append(watch.worth_a_contest())
    assert sum(asked) == 3


COUNTS = st.integers(0, 50)


@st.composite
def variants(draw: st.DrawFn) -> VariantState:
    latency = tuple(draw(st.lists(COUNTS, max_size=6)))
    numbers = {name: draw(COUNTS) for name in ("requests", "errors", "refused", "restarts", "compared", "disagreed")}
    return VariantState(50, True, latency=latency, **numbers)


@given(variants(), variants())
def test_what_was_done_is_the_sum_of_its_stretches(one: VariantState, other: VariantState) -> None:
    both = together(one, other)
    assert seen(difference(one, both)).__dict__ == seen(other).__dict__
    assert (both.requests, sum(both.latency)) == (one.requests + other.requests, sum(one.latency) + sum(other.latency))


@pytest.mark.parametrize(
    ("kind", "requests", "said"),
    [("canary", 5, "5 of 20 requests so far"), ("canary", 20, None), ("ab", 20, "nobody has decided yet")],
)
def test_what_a_step_waits_for_is_said_once_a_bake_time(world: World, time: Time, kind: Any, requests: int, said: str | None) -> None:
    watch = Watch(move(world), replace(STATE, kind=kind))
    look = Look(Seen(requests=requests), Seen(requests=100), bakes=1.1)
    for _ in range(3):
        watch.tell(look, watch.begun)
    told = [str(e["text"]) for e in world.shop.runs.feed("deploy-2").items() if "bake times at most" in str(e)]
    assert [line.partition(";")[0] for line in told] == ([] if said is None else [said])
