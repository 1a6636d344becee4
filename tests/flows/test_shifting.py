"""Roll-outs over real endpoints: a front, runners, callers, and versions that go wrong in each way; each test says that its fault fired."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import GateRefused
from modelyard.events import Deployed, Promoted
from modelyard.flows import history, holdout, release, replaying, rollouts
from tests.build.test_processes import until

from . import live
from .live import Live, calling, words

Make = Callable[..., Live]
BACK = 10.0
"""Seconds within which all traffic is back on the champion, from the new version's first answer to its last."""


@pytest.fixture
def make(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Live] = []

    def make(second: str, **deploy: Any) -> Live:
        world = Live(home, monkeypatch, {"1": live.GOOD, "2": second})
        made.append(world)
        world.accept(words(**deploy))
        world.register("1", "2")
        world.release("1", ("production",))
        return world

    yield make
    for world in made:
        world.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "reason", "fired"),
    [
        (live.FAILS, "requests failed, over the allowed 1.0%", lambda statuses: 424 in statuses),
        (live.SLOW, "times the champion's", lambda statuses: len(statuses) >= 20),
        (live.HANGS, "requests failed, over the allowed 1.0%", lambda statuses: set(statuses) <= {503, 504} and statuses),
        (live.DIES, "the new version's runner died|requests failed", lambda statuses: any(status >= 424 for status in statuses)),
        (live.OTHERWISE, "rows are answered otherwise than by the champion", lambda statuses: 200 in statuses),
    ],
    ids=["fails", "slow", "hangs", "dies", "answers otherwise"],
)
def test_all_traffic_is_back_within_ten_seconds(make: Make, script: str, reason: str, fired: Callable[[list[int]], bool]) -> None:
    world = make(script, strategy={"bake": "60s"}, rollback={"latency_p99_ratio": 5})
    with calling(world.port) as callers:
        with pytest.raises(GateRefused, match=reason):
            world.release("2", ("production",))
        until(lambda: callers.times("1")[-1] > callers.times("2")[-1] + 0.5)
    assert world.serves() == ({"1": 100}, "1")
    seen = callers.times("2")
    assert fired(callers.statuses("2")), "the fault happened"
    assert seen[-1] - seen[0] < BACK
    assert set(callers.statuses("1")) == {200}, "the old version is unaffected"


@pytest.mark.slow
def test_a_version_that_crashes_on_load_gets_no_traffic(make: Make) -> None:
    world = make(live.CANNOT_LOAD)
    with calling(world.port) as callers, pytest.raises(GateRefused, match="the weights are not there"):
        world.release("2", ("production",))
    assert {version for _, _, version, _ in callers.answers} == {"1"}
    assert set(callers.statuses("1")) == {200} and world.serves() == ({"1": 100}, "1")


@pytest.mark.slow
def test_a_good_version_is_led_over_and_no_request_fails(make: Make) -> None:
    world = make(live.GOOD, strategy={"bake": "1s"})
    with calling(world.port) as callers:
        world.release("2", ("production",))
        until(lambda: callers.answers[-1][2] == "2")
    assert [right for _, _, _, right in callers.answers] == [True] * len(callers.answers)
    assert world.serves() == ({"2": 100}, "2")
    assert [event.weights.get("2") for event in world.events(Deployed)] == [None, 20, 50, 100, 100]


@pytest.mark.slow
def test_a_shadow_is_asked_and_never_heard_and_goes_back_when_it_answers_otherwise(make: Make) -> None:
    world = make(live.OTHERWISE, strategy={"type": "shadow", "bake": "60s"})
    with calling(world.port) as callers, pytest.raises(GateRefused, match="rows are answered otherwise than by the champion"):
        world.release("2", ("production",))
    assert {version for _, _, version, _ in callers.answers} == {"1"}, "nobody ever heard it"
    assert [right for _, _, _, right in callers.answers] == [True] * len(callers.answers)
    assert world.serves() == ({"1": 100}, "1")


@pytest.mark.slow
def test_a_shadow_that_agrees_goes_on_by_steps(make: Make) -> None:
    world = make(live.GOOD, strategy={"type": "shadow", "bake": "1s", "steps": [50]})
    with calling(world.port) as callers:
        world.release("2", ("production",))
    assert [right for _, _, _, right in callers.answers] == [True] * len(callers.answers)
    assert world.serves() == ({"2": 100}, "2")
    reasons = [event.reason for event in world.events(Deployed)]
    assert "shadow step: demo:2 is asked too, and not heard" in reasons


@pytest.mark.slow
def test_an_ab_test_keeps_a_session_and_ends_by_a_persons_word(make: Make) -> None:
    world = make(live.GOOD, strategy={"type": "ab", "steps": [50], "bake": "1s"})
    seen: list[dict[str, Any]] = []

    def decide() -> None:
        until(
            lambda: (
                rollouts.of_model(world.shop, "demo") is not None and world.target.endpoint("demo-production").variants["2"].requests > 40
            )
        )
        seen.append(rollouts.status(world.shop, "demo")["rollout"])
        rollouts.decide(world.shop, "demo", "promote", by="ann")

    deciding = threading.Thread(target=decide)
    with calling(world.port, X_Amzn_SageMaker_Session_Id="session-7") as session, calling(world.port) as others:
        deciding.start()
        world.release("2", ("production",))
        deciding.join()
        split = {version for _, _, version, _ in session.answers if version}
        assert {version for _, _, version, _ in others.answers if version} == {"1", "2"}
    sticky = [version for at, _, version, _ in session.answers if others.times("2")[0] < at < others.times("1")[-1]]
    assert len(set(sticky)) == 1, "one session, one version"
    assert split and seen[0]["kind"] == "ab" and seen[0]["weights"] == {"2": 50, "1": 50}
    assert world.serves() == ({"2": 100}, "2")
    assert world.events(Promoted)[-1].reason == "decided by ann"


@pytest.mark.slow
def test_the_old_version_lingers_so_that_going_back_is_instant(make: Make) -> None:
    """Loading takes six seconds here; going back to what still stands takes none of them."""
    slow_to_load = live.GOOD.replace("    return None", "    import time\n\n    time.sleep(6)", 1)
    world = make(live.GOOD, strategy={"type": "all_at_once", "bake": "1s"}, realtime={"linger": "30s"})
    world.scripts["3"] = world.scripts["4"] = slow_to_load
    world.register("3", "4")
    with calling(world.port) as callers:
        world.release("3", ("production",))
        world.release("4", ("production",))
        began = time.monotonic()
        assert world.go(lambda run: release.roll_back(world.shop, run, by="olga")) == "3"
        assert time.monotonic() - began < 5
        until(lambda: callers.answers[-1][2] == "3")
    assert world.serves() == ({"3": 100}, "3")
    assert [right for _, _, _, right in callers.answers] == [True] * len(callers.answers)


@pytest.fixture
def planned(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Live] = []

    def make(**deploy: Any) -> Live:
        """Versions 1 and 2 answer 2 x, version 3 answers 3 x, each by its row plan alone."""
        world = Live(home, monkeypatch, {}, {"1": 2.0, "2": 2.0, "3": 3.0})
        made.append(world)
        world.accept(words(**deploy))
        world.register("1", "2", "3")
        world.release("1", ("production",))
        return world

    yield make
    for world in made:
        world.close()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [{"type": "shadow", "bake": "60s"}, {"bake": "60s"}, {"type": "all_at_once", "bake": "60s"}])
def test_row_plans_are_compared_too(planned: Make, strategy: dict[str, Any]) -> None:
    world = planned(strategy=strategy)
    with calling(world.port) as callers:
        with pytest.raises(GateRefused, match="rows are answered otherwise than by the champion"):
            world.release("3", ("production",))
        until(lambda: callers.answers[-1][2] == "1")
    assert [right for _, _, _, right in callers.answers] == [True] * len(callers.answers)
    assert world.serves() == ({"1": 100}, "1")
    heard = callers.times("3")
    assert not heard if strategy.get("type") == "shadow" else heard[-1] - heard[0] < BACK


@pytest.mark.slow
def test_a_row_plan_comes_back_at_once(planned: Make) -> None:
    world = planned(strategy={"bake": "1s"})
    with calling(world.port) as callers:
        world.release("2", ("production",))
        began = time.monotonic()
        assert world.go(lambda run: release.roll_back(world.shop, run, by="olga")) == "1"
        assert time.monotonic() - began < 5
        until(lambda: callers.answers[-1][2] == "1")
    assert [right for _, _, _, right in callers.answers] == [True] * len(callers.answers)


@pytest.mark.slow
def test_the_replay_asks_row_plans_where_both_have_one(planned: Make) -> None:
    world = planned(replay={"min_rows": 20})
    address = world.shop.model("demo").stage("production").address
    for x in range(100, 140):
        holdout.post(address, json.dumps({"x": float(x)}).encode())
    until(lambda: history.newest(world.shop, "demo", 100).height == 40)  # a buffered row is kept a moment after its answer
    with pytest.raises(GateRefused, match=r"100\.00% of the rows are answered otherwise"):
        world.release("3", ("production",))
    found = replaying.of_version(world.shop, "demo", "3")
    assert "by their row plans" in found["about"] and found["latency"]["new"]["p50_ms"] < 1
    assert replaying.side_by_side(world.shop, "demo", "2", None, None)["verdict"]["ok"] is True


@pytest.mark.slow
def test_a_clock_that_is_set_forward_ends_no_step(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(live.GOOD, strategy={"bake": "3s", "steps": [50]})
    real, began = time.time, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: real() + (3600 if time.monotonic() - began > 1 else 0))
    with calling(world.port):
        world.release("2", ("production",))
    assert time.monotonic() - began > 6, "two steps of three seconds each, whatever the clock says"
    assert world.serves() == ({"2": 100}, "2")


@pytest.mark.slow
def test_a_smoke_test_is_no_traffic_of_a_step(planned: Make) -> None:
    """Nobody but the platform has asked the new version, so nobody's word promotes it."""
    world = planned(strategy={"type": "ab", "steps": [50], "bake": "60s"}, rollback={"min_requests": 1})
    failed: list[GateRefused] = []

    def go() -> None:
        with pytest.raises(GateRefused) as raised:
            world.release("2", ("production",))
        failed.append(raised.value)

    going = threading.Thread(target=go)
    going.start()
    until(lambda: rollouts.of_model(world.shop, "demo") is not None)
    until(lambda: world.target.endpoint("demo-production").variants["2"].requests == 1)
    rollouts.decide(world.shop, "demo", "promote", by="ann")
    until(lambda: (found := rollouts.of_model(world.shop, "demo")) is None or found["elapsed"] > 2)
    found = rollouts.of_model(world.shop, "demo")
    assert found is not None and found["requests"] == 0
    rollouts.decide(world.shop, "demo", "abort", by="ann")
    going.join()
    assert "asked by ann" in failed[0].what and world.serves() == ({"1": 100}, "1")
