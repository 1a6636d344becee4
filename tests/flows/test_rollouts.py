"""A roll-out as a person sees it, and the words that a person may give it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.deploy import rollout
from modelyard.errors import BadInput, GateRefused
from modelyard.events import Deployed, Promoted, RolledBack
from modelyard.flows import drifting, release, rollouts, shifting, status
from modelyard.targets.fake import Behaviour, FakeTarget
from modelyard.upkeep import Upkeep
from tests.build.test_processes import until

from .releases import World, config

Make = Callable[..., World]


@pytest.fixture
def make(home: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(strategy: dict[str, Any], target: FakeTarget | None = None, **deploy: Any) -> World:
        world = World(home, monkeypatch, target)
        settings = config()
        model = {**settings["model"], "owner": "team@example.com"}
        world.accept({**settings, "model": model, "deploy": {"strategy": strategy, **deploy}})
        world.register("1", "2")
        world.release("1", ("production",))
        return world

    return make


class Moving:
    """A release in a thread, of which a test sees the middle."""

    def __init__(self, world: World) -> None:
        self.world, self.error = world, list[Exception]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        until(lambda: (found := rollouts.of_model(world.shop, "demo")) is not None and found["requests"] > 100)

    def _run(self) -> None:
        try:
            self.world.release("2", ("production",), id="deploy-2")
        except Exception as exc:
            self.error.append(exc)

    def end(self) -> list[Exception]:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.error


def test_what_moves_is_seen_with_its_alarms(make: Make) -> None:
    world = make({"type": "canary", "steps": [10, 50], "bake": "1h"}, FakeTarget(behaviours={"2": Behaviour(disagrees=0.05)}))
    assert rollouts.of_model(world.shop, "demo") is None
    moving = Moving(world)
    found = rollouts.status(world.shop, "demo")["rollout"]
    assert (found["run"], found["version"], found["champion"], found["step"], found["weights"]) == (
        "deploy-2", "2", "1", "10%", {"2": 10, "1": 90},
    )  # fmt: skip
    alarms = {a["alarm"]: (a["seen"], a["rings"]) for a in found["alarms"]}
    assert list(alarms) == ["errors", "latency", "crashes", "refusals", "disagreement", "drift"]
    assert alarms["errors"][0].startswith("0.0% of ") and alarms["errors"][1] == "over 1.0%"
    assert alarms["latency"][1].startswith("over 2 times the champion's, ")
    assert alarms["disagreement"][0].startswith(("4.", "5.0% of ")) and alarms["disagreement"][1] == "over 10.0%"
    assert status.of_model(world.shop, world.shop.model("demo"))["rollout"]["run"] == "deploy-2"

    with pytest.raises(BadInput, match="goes by its steps, and nobody skips one"):
        rollouts.decide(world.shop, "demo", shifting.PROMOTE, by="ann")
    assert rollouts.decide(world.shop, "demo", shifting.ABORT, by="bob")["version"] == "2"
    (error,) = moving.end()
    assert isinstance(error, GateRefused) and "asked by bob" in error.what
    assert rollouts.status(world.shop, "demo")["rollout"] is None
    assert rollouts.status(world.shop, "demo")["last"] == str(world.events(RolledBack)[-1])
    with pytest.raises(BadInput, match="no traffic of `demo` moves"):
        rollouts.decide(world.shop, "demo", shifting.ABORT, by="bob")


def test_a_shadow_is_under_way_too_and_can_be_taken_back(make: Make) -> None:
    world = make({"type": "shadow", "bake": "1h"})
    moving = Moving(world)
    found = rollouts.of_model(world.shop, "demo")
    assert found is not None and (found["step"], found["weights"]) == ("shadow", {"2": 0, "1": 100})
    assert release.moving(world.shop, "demo") == "deploy-2"
    assert world.shop.model("demo").stage("production").weights == {"1": 100}
    rollouts.decide(world.shop, "demo", shifting.ABORT, by="bob")
    assert len(moving.end()) == 1
    assert world.serves() == ({"1": 100}, "1")


def test_a_person_ends_an_ab_test_once(make: Make) -> None:
    world = make({"type": "ab", "bake": "1h", "steps": [30]})
    moving = Moving(world)
    rollouts.decide(world.shop, "demo", shifting.PROMOTE, by="ann")
    with pytest.raises(BadInput, match=r"has this word already|no traffic of `demo` moves"):
        rollouts.decide(world.shop, "demo", shifting.PROMOTE, by="ann")
    assert moving.end() == []
    assert world.serves() == ({"2": 100}, "2")
    assert world.events(Promoted)[-1].reason == "decided by ann"


def test_labels_decide_where_a_metric_is_named(make: Make) -> None:
    world = make({"type": "ab", "bake": "1h", "metric": "mae"})
    moving = Moving(world)
    with pytest.raises(BadInput, match="labels decide the A/B test of demo:2, by mae"):
        rollouts.decide(world.shop, "demo", shifting.PROMOTE, by="ann")
    rollouts.decide(world.shop, "demo", shifting.ABORT, by="ann")
    moving.end()


def test_nobody_who_decides_is_a_no(make: Make) -> None:
    world = make({"type": "ab", "bake": "0s"})
    with pytest.raises(GateRefused, match="nobody decided within 20 bake times"):
        world.release("2", ("production",))
    assert world.serves() == ({"1": 100}, "1")


# -- mirrors ------------------------------------------------------------------------------------------------------------------------


def mirrors(world: World) -> list[tuple[str, str, str, float]]:
    specs = [s for s in world.target.applied if s.stage == "production"]
    return [(m.of, m.to, m.judged, m.share) for s in specs for m in s.mirrors]


def test_the_champion_is_asked_a_tenth_of_all_at_the_most(make: Make) -> None:
    world = make({"type": "canary", "steps": [5, 20], "bake": "0s"})
    world.release("2", ("production",))
    assert mirrors(world) == [("2", "1", "2", 1.0), ("2", "1", "2", 0.5), ("2", "1", "2", 0.1)]
    assert world.target.applied[-1].mirrors == (), "and nothing once it is over"


def test_a_shadow_is_asked_its_share_and_then_goes_by_steps(make: Make) -> None:
    world = make({"type": "shadow", "steps": [50], "share": 0.4, "bake": "0s"})
    world.release("2", ("production",))
    assert mirrors(world) == [("1", "2", "2", 0.4), ("2", "1", "2", 0.2), ("2", "1", "2", 0.1)]
    shadows = [[v.version for v in s.variants if v.shadow] for s in world.target.applied if s.stage == "production"]
    assert shadows == [[], [], ["2"], [], [], []]
    assert world.serves() == ({"2": 100}, "2")
    assert "shadow step: demo:2 is asked too, and not heard" in [e.reason for e in world.events(Deployed)]


@pytest.mark.parametrize("kind", ["canary", "shadow", "ab", "all_at_once", "linear"])
def test_disagreement_takes_every_strategy_back(make: Make, kind: str) -> None:
    strategy = {"type": kind, "bake": "1h", **({"steps": [50]} if kind == "linear" else {})}
    world = make(strategy, FakeTarget(behaviours={"2": Behaviour(disagrees=0.3)}))
    with pytest.raises(GateRefused, match=r"rows are answered otherwise than by the champion, over the allowed 10\.0%"):
        world.release("2", ("production",))
    assert world.serves() == ({"1": 100}, "1")


def test_an_abandoned_shadow_is_asked_no_more(make: Make) -> None:
    world = make({"type": "shadow", "bake": "1h"})
    moving = Moving(world)
    world.shop.runs.stop()
    moving.end()
    up = world.target.endpoint("demo-production")
    assert up is not None and set(up.variants) == {"1", "2"}
    release.forsake(world.shop, "demo", live=True)
    up = world.target.endpoint("demo-production")
    assert up is not None and set(up.variants) == {"1"}
    assert world.target.applied[-1].mirrors == ()


def test_no_alarm_waits_for_drift_to_be_judged(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading captured rows may take long; meanwhile the version turns bad."""
    target, over = FakeTarget(), threading.Event()
    world = make({"type": "canary", "steps": [10, 50], "bake": "0s"}, target)

    def reads_on(*_: object) -> str:
        target.behaviours["2"] = Behaviour(errors=0.5)
        over.wait(20)
        return ""

    monkeypatch.setattr(drifting, "of_step", reads_on)
    with pytest.raises(GateRefused, match="requests failed, over the allowed"):
        world.release("2", ("production",))
    assert not over.is_set() and world.serves() == ({"1": 100}, "1")
    over.set()


def test_no_step_moves_on_before_its_drift_was_judged(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make({"type": "canary", "steps": [10], "bake": "0s"})
    judged: list[dict[str, int]] = []
    monkeypatch.setattr(drifting, "of_step", lambda *_: judged.append(world.applied()[-1]) or "")
    world.release("2", ("production",))
    assert (judged[0]["2"], judged[-1]["2"]) == (10, 100)
    monkeypatch.setattr(drifting, "of_step", lambda *_: "its score moved")
    world.register("3")
    with pytest.raises(GateRefused, match="demo:3 was rolled back: its score moved"):
        world.release("3", ("production",))
    assert world.serves() == ({"2": 100}, "2")


def test_a_word_that_comes_as_the_last_step_ends_still_wins(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gave it was told that the version is taken back."""
    world = make({"type": "all_at_once", "bake": "0s"})
    advance = rollout.advance

    def too_late(*args: Any) -> rollout.Rollout:
        after = advance(*args)
        if after.status == "promoted":
            rollouts.decide(world.shop, "demo", shifting.ABORT, by="bob")
        return after

    monkeypatch.setattr(rollout, "advance", too_late)
    with pytest.raises(GateRefused, match="demo:2 was rolled back: asked by bob"):
        world.release("2", ("production",), id="deploy-2")
    assert world.serves() == ({"1": 100}, "1")
    assert [event.version for event in world.events(Promoted) if event.stage == "production"] == ["1"]


def test_the_last_word_is_on_production(make: Make) -> None:
    world = make({"type": "all_at_once", "bake": "0s"})
    world.release("2", ("staging",))
    assert rollouts.status(world.shop, "demo")["last"] == "demo:1 promoted in production: first version"


def restore(world: World) -> None:
    upkeep = Upkeep(world.shop, threading.Event())
    upkeep.restore()
    upkeep.close()


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [
        ({"type": "ab", "steps": [30]}, {"2": 30, "1": 70}),
        ({"type": "shadow", "share": 0.5}, {"2": 0, "1": 100}),
        ({"type": "canary", "steps": [10]}, {"2": 10, "1": 90}),
        ({"type": "all_at_once"}, {"2": 100, "1": 0}),
    ],
    ids=["ab", "shadow", "canary", "all at once"],
)
def test_after_a_restart_a_step_is_as_it_was_before_its_run_goes_on(make: Make, strategy: dict[str, Any], weights: dict[str, int]) -> None:
    """Sessions stay with their version meanwhile, a shadow is asked, and the champion stands by."""
    world = make({**strategy, "bake": "1h"})
    moving = Moving(world)
    before = world.target.applied[-1]
    assert {v.version: v.weight for v in before.variants} == weights and before.mirrors
    world.shop.runs.stop()
    moving.end()
    world.target = FakeTarget()
    world.open()
    restore(world)
    (spec,) = world.target.applied
    assert (spec.variants, spec.mirrors, spec.sticky) == (before.variants, before.mirrors, strategy["type"] == "ab")


def test_a_shadow_that_cannot_be_loaded_after_a_restart_keeps_nobody_from_answers(make: Make) -> None:
    world = make({"type": "shadow", "bake": "1h"})
    moving = Moving(world)
    world.shop.runs.stop()
    moving.end()
    world.target = FakeTarget(behaviours={"2": Behaviour(cannot_load="no such file")})
    world.open()
    restore(world)
    assert world.serves() == ({"1": 100}, "1")


def test_a_step_that_is_not_the_states_is_not_gone_back_to(make: Make) -> None:
    """Where a run was cut short between two steps, or while all traffic went back, the journal counts."""
    world = make({"type": "canary", "steps": [10], "bake": "1h"})
    moving = Moving(world)
    world.shop.runs.stop()
    moving.end()
    world.open()
    world.shop.record([Deployed("demo", "production", "http://fake.invalid:8500", {"1": 100}, "rolled back")])
    restore(world)
    assert [v.version for v in world.target.applied[-1].variants] == ["1"] and not world.target.applied[-1].mirrors
