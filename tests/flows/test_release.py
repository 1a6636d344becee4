"""Releases over the fake target: every way into production, and every way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.deploy.alarms import Seen
from modelyard.deploy.rollout import MAX_HOLD
from modelyard.durable import Outcome, Run, Stopped
from modelyard.errors import BadInput, GateRefused, StepFailed, Unavailable
from modelyard.events import AlertSent, Deployed, Promoted, RolledBack, SmokeTested
from modelyard.flows import endpoints, release, shifting
from modelyard.flows.site import Order
from modelyard.flows.watching import difference, seen
from modelyard.targets.base import EndpointSpec, EndpointState, VariantState
from modelyard.targets.fake import Behaviour, FakeTarget

from .releases import World, config

Make = Callable[..., World]


@pytest.fixture
def make(home: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(target: FakeTarget | None = None, settings: dict[str, Any] | None = None, versions: tuple[str, ...] = ("1", "2")) -> World:
        world = World(home, monkeypatch, target)
        world.accept(settings or config())
        world.register(*versions)
        return world

    return make


def canary(make: Make, behaviour: Behaviour, *, requests: int = 100, **settings: Any) -> tuple[World, GateRefused]:
    """Version 1 in production, and version 2 that behaves badly, on its way there and sent back."""
    world = make(FakeTarget(behaviours={"2": behaviour}, requests=requests), config(**settings))
    world.release("1")
    with pytest.raises(GateRefused) as caught:
        world.release("2", ("production",))
    return world, caught.value


# -- in -------------------------------------------------------------------------------------------------------------------------


def test_a_first_version_goes_all_at_once(make: Make) -> None:
    world = make(versions=("1",))
    world.release("1")
    for stage in ("staging", "production"):
        assert world.applied(stage) == [{"1": 100}]
        assert world.serves(stage) == ({"1": 100}, "1")
    told = [str(event) for event in world.events(Deployed, SmokeTested, Promoted)]
    assert told == [
        "staging at http://fake.invalid:8001 serves demo:1 100% (deployed)",
        "smoke test of demo:1 in staging: 2 rows answered as at build time (within 1e-09)",
        "demo:1 promoted in staging: first version",
        "production at http://fake.invalid:8002 serves demo:1 100% (deployed)",
        "smoke test of demo:1 in production: 2 rows answered as at build time (within 1e-09)",
        "demo:1 promoted in production: first version",
    ]
    assert world.aliases == [("champion", "1"), ("challenger", None)]


def test_a_canary_is_led_over_step_by_step(make: Make) -> None:
    world = make()
    world.release("1")
    world.target.applied.clear()
    world.release("2")
    assert world.applied("staging") == [{"2": 100}]
    steps = [{"2": 0, "1": 100}, {"2": 10, "1": 90}, {"2": 50, "1": 50}, {"2": 100, "1": 0}, {"2": 100}]
    assert world.applied() == steps
    assert [s.variants[-1].version for s in world.target.applied if s.stage == "production"] == ["1"] * 4 + ["2"], "the champion last"
    served = [event.weights for event in world.events(Deployed) if event.stage == "production"]
    assert served == [{"1": 100}, {"2": 10, "1": 90}, {"2": 50, "1": 50}, {"2": 100}, {"2": 100}]
    assert world.serves() == ({"2": 100}, "2")
    assert "requests at 100%, 0 failed; no alarm" in world.events(Promoted)[-1].reason
    assert world.events(RolledBack) == []
    assert world.aliases[-2:] == [("champion", "2"), ("challenger", None)]


def test_all_at_once_without_traffic_is_promoted_after_one_bake_time(make: Make) -> None:
    world = make(FakeTarget(requests=0), {**config(), "deploy": {"strategy": {"type": "all_at_once", "bake": "0s"}}})
    world.release("1")
    world.release("2")
    assert world.applied() == [{"1": 100}, {"2": 0, "1": 100}, {"2": 100, "1": 0}, {"2": 100}]
    assert world.serves() == ({"2": 100}, "2")
    assert world.events(Promoted)[-1].reason == "all at once; no alarm within the bake time"


def test_all_at_once_is_compared_with_what_the_champion_did_before(make: Make) -> None:
    settings = {**config(), "deploy": {"strategy": {"type": "all_at_once", "bake": "1h"}}}
    world = make(FakeTarget(behaviours={"2": Behaviour(latency_ms=100)}), settings)
    world.release("1")
    with pytest.raises(GateRefused, match="p99 102 ms is over 2 times the champion's 5 ms"):
        world.release("2", ("production",))
    assert world.serves() == ({"1": 100}, "1")


# -- and back -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(errors=0.05), "requests failed, over the allowed 1.0%"),
        (Behaviour(latency_ms=100), "times the champion's 5 ms"),
        (Behaviour(refused=0.4), "were refused as the callers' fault"),
        (Behaviour(errors=1), "requests failed, over the allowed 1.0%"),
    ],
)
def test_a_bad_version_is_rolled_back(make: Make, behaviour: Behaviour, reason: str) -> None:
    world, error = canary(make, behaviour, strategy={"bake": "1h"})
    assert reason in error.what and error.what.startswith("demo:2 was rolled back: ")
    assert world.applied() == [{"1": 100}, {"2": 0, "1": 100}, {"2": 10, "1": 90}, {"1": 100}]
    assert world.serves() == ({"1": 100}, "1")
    (back,) = world.events(RolledBack)
    assert (back.version, back.to, back.stage) == ("2", "1", "production") and reason in back.reason
    assert [event.version for event in world.events(Promoted) if event.stage == "production"] == ["1"]
    assert [alert.kind for alert in world.events(AlertSent)] == ["rollback"]
    assert "demo:2 was rolled back in production" in (world.home.path / "alerts.log").read_text()
    assert ("champion", "2") not in world.aliases


class Changing(FakeTarget):
    """Version 2 turns bad when it gets this share."""

    def __init__(self, share: int, behaviour: Behaviour) -> None:
        super().__init__()
        self.share, self.behaviour_then = share, behaviour

    def apply(self, spec: EndpointSpec) -> EndpointState:
        if any((v.version, v.weight) == ("2", self.share) for v in spec.variants) and spec.stage == "production":
            self.behaviours["2"] = self.behaviour_then
        return super().apply(spec)


@pytest.mark.parametrize("share", [10, 50, 100])
@pytest.mark.parametrize("behaviour", [Behaviour(errors=0.5), Behaviour(latency_ms=500), Behaviour(deaths=1), Behaviour(refused=0.9)])
def test_every_step_is_watched_the_last_one_too(make: Make, share: int, behaviour: Behaviour) -> None:
    world = make(Changing(share, behaviour))
    world.release("1")
    with pytest.raises(GateRefused, match="was rolled back"):
        world.release("2", ("production",))
    assert world.applied()[-2:] == [{"2": share, "1": 100 - share}, {"1": 100}], "the champion stood by"
    assert world.serves() == ({"1": 100}, "1")


def test_the_old_versions_deaths_are_not_the_new_ones(make: Make) -> None:
    world = make(FakeTarget(behaviours={"1": Behaviour(deaths=3, errors=0.2, latency_ms=300)}))
    world.release("1")
    world.release("2")
    assert world.serves() == ({"2": 100}, "2")


def test_no_traffic_is_no_data_and_never_promotes(make: Make) -> None:
    world, error = canary(make, Behaviour(), requests=0)
    assert f"only 0 of 20 requests came in {MAX_HOLD} bake times; no data never promotes" in error.what
    assert world.applied()[-2:] == [{"2": 10, "1": 90}, {"1": 100}]
    assert world.serves() == ({"1": 100}, "1")


def test_no_metrics_is_no_data_either(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    world.release("1")
    monkeypatch.setattr(endpoints, "counters", lambda shop, model, stage: {})
    with pytest.raises(GateRefused, match="no data never promotes"):
        world.release("2", ("production",))
    assert world.serves() == ({"1": 100}, "1")


def test_a_version_that_cannot_be_loaded_gets_no_traffic(make: Make) -> None:
    world, error = canary(make, Behaviour(cannot_load="cannot load the model: no such file"))
    assert "cannot load the model: no such file (log: demo-production)" in error.what
    assert world.applied() == [{"1": 100}, {"1": 100}]
    assert world.serves() == ({"1": 100}, "1")
    assert len(world.events(RolledBack)) == 1
    with pytest.raises(StepFailed, match="cannot load the model"):
        world.release("2", ("staging",))
    assert world.serves("staging") == ({"1": 100}, "1")


@pytest.mark.parametrize("kind", ["wrong", "silent"])
def test_a_failed_smoke_test_refuses(make: Make, kind: str) -> None:
    world = make()
    getattr(world, kind).update({"1", "2"})
    said = "row 0: `prediction` is 2.5, and was 2.0 at build time" if kind == "wrong" else "the endpoint did not answer: the model failed"
    with pytest.raises(GateRefused, match="the smoke test failed: ") as caught:
        world.release("1")
    assert caught.value.what == f"the smoke test failed: {said}"
    assert world.serves("staging") == ({}, None) and world.target.endpoint("demo-staging") is None
    assert world.applied() == [], "it never came to production"

    getattr(world, kind).discard("1")
    world.release("1")
    with pytest.raises(GateRefused, match="the smoke test failed"):
        world.release("2")
    assert world.serves("staging") == ({"1": 100}, "1")
    with pytest.raises(GateRefused, match="was rolled back"):
        world.release("2", ("production",))
    assert world.serves() == ({"1": 100}, "1")
    assert all(weights.get("2", 0) == 0 for weights in world.applied()), "it was tried beside the champion, without traffic"
    assert [(e.stage, e.to) for e in world.events(RolledBack)] == [("staging", "1"), ("production", "1")]


def test_a_champion_deployed_anew_stays_whatever_its_smoke_test_says(make: Make) -> None:
    world = make()
    world.release("1")
    world.wrong.add("1")
    with pytest.raises(GateRefused, match="the smoke test failed"):
        world.release("1", ("production",))
    assert world.serves() == ({"1": 100}, "1"), "there is nothing else to serve"
    assert world.events(RolledBack) == []


class Failing(FakeTarget):
    """Raises when these weights are asked for, as often as said."""

    def __init__(self, weights: dict[str, int], error: Exception, times: int = 1) -> None:
        super().__init__()
        self.fails, self.error, self.times = weights, error, times

    def apply(self, spec: EndpointSpec) -> EndpointState:
        if spec.stage == "production" and {v.version: v.weight for v in spec.variants} == self.fails and self.times and self.applied:
            self.times -= 1
            raise self.error
        return super().apply(spec)


@pytest.mark.parametrize("error", [Unavailable("the front hangs"), StepFailed("it died"), RuntimeError("a bug")])
def test_traffic_is_never_left_split_with_nobody_watching(make: Make, error: Exception) -> None:
    world = make(Failing({"2": 50, "1": 50}, error))
    world.release("1")
    with pytest.raises(GateRefused, match=f"was rolled back: it cannot go on: .*{error}"):
        world.release("2", ("production",))
    assert world.serves() == ({"1": 100}, "1")
    assert len(world.events(RolledBack)) == 1


def test_a_champion_that_is_dead_is_not_flapped_to(make: Make) -> None:
    """The run fails, which pages; what serves goes on; and the decision stands when the run is taken up again."""
    world = make(Failing({"1": 100}, StepFailed("the champion cannot be loaded"), times=0))
    world.release("1")
    world.target.behaviours["2"] = Behaviour(errors=0.5)
    world.target.times = 1  # type: ignore[attr-defined]
    with pytest.raises(StepFailed, match="the champion cannot be loaded"):
        world.release("2", ("production",), id="deploy-2")
    assert world.serves() == ({"2": 10, "1": 90}, "1")
    assert world.events(RolledBack) == []

    world.target.behaviours["2"] = Behaviour()
    world.target.applied.clear()
    world.open()
    with pytest.raises(GateRefused, match="requests failed, over the allowed"):
        world.release("2", ("production",), id="deploy-2")
    assert world.applied() == [{"1": 100}], "an ended roll-out stays ended: it is not tried again"
    assert world.serves() == ({"1": 100}, "1")


# -- cut short --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["production: load", "production: 10%", "production: 50%", "production: 100%", "production: promote"])
def test_a_release_that_was_cut_short_goes_on(make: Make, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    world = make()
    world.release("1")
    real = Run.step

    def dies(run: Any, name: str, work: Any, *args: Any, **kwargs: Any) -> Any:
        """The step's work is done, and the process is killed before its receipt is written."""

        def work_and_die(*args: Any, **kwargs: Any) -> Outcome[Any]:
            work(*args, **kwargs)
            raise KeyboardInterrupt

        return real(run, name, work_and_die if name == at else work, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "step", dies)
        with pytest.raises(KeyboardInterrupt):
            world.release("2", id="deploy-2")
    done = len(world.applied("staging"))
    world.open()
    world.release("2", id="deploy-2")
    assert len(world.applied("staging")) == done, "what was done before is not done again"
    assert world.serves() == ({"2": 100}, "2")
    assert [e.version for e in world.events(Promoted) if e.stage == "production"] == ["1", "2"]
    assert world.events(RolledBack) == []


def test_closing_in_the_middle_leaves_the_roll_out_where_it_is(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(settings=config(strategy={"bake": "1s"}))
    world.release("1")
    looks: list[None] = []
    real = endpoints.counters

    def look(*args: Any) -> Any:
        looks.append(None)
        if len(looks) == 10:
            world.shop.runs.stop()
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(endpoints, "counters", look)
        with pytest.raises(Stopped):
            world.release("2", ("production",), id="deploy-2")
    assert world.serves() == ({"2": 10, "1": 90}, "1")
    world.open()
    endpoints.restore(world.shop, "demo", "production")
    world.release("2", ("production",), id="deploy-2")
    assert world.serves() == ({"2": 100}, "2")


def test_a_step_that_fails_because_everything_is_ended_has_not_failed(make: Make) -> None:
    world = make()

    def ended() -> None:
        world.shop.runs.stop()
        raise StepFailed("train.py was cancelled")

    with pytest.raises(Stopped):
        world.go(lambda run: run.step("train", ended))


# -- on a person's word -----------------------------------------------------------------------------------------------------------


def test_rolling_back_goes_to_the_version_that_held_production_before(make: Make) -> None:
    world = make(versions=("1", "2", "3"))
    for version in ("1", "2"):
        world.release(version)
    world.target.behaviours["3"] = Behaviour(errors=1)
    with pytest.raises(GateRefused):
        world.release("3")
    assert world.go(lambda run: release.roll_back(world.shop, run, by="olga")) == "1"
    assert world.serves() == ({"1": 100}, "1")
    assert (world.events(RolledBack)[-1].version, world.events(RolledBack)[-1].reason) == ("2", "asked by olga")
    assert world.aliases[-2:] == [("champion", "1"), ("challenger", None)]
    with pytest.raises(BadInput, match="no earlier version in production"):
        world.go(lambda run: release.roll_back(world.shop, run, by="olga"))
    assert world.serves() == ({"1": 100}, "1"), "neither to 2, which was taken back, nor to 3, which never held it"


def _promoted(version: str, stage: str = "production") -> Promoted:
    return Promoted("demo", stage, version, None, "")


def _back(version: str, to: str, stage: str = "production") -> RolledBack:
    return RolledBack("demo", stage, version, to, "")


@pytest.mark.parametrize(
    ("events", "held"),
    [
        ([], []),
        ([_promoted("1"), _promoted("2")], ["1", "2"]),
        ([_promoted("1"), _promoted("2", "staging")], ["1"]),
        ([_promoted("1"), _back("2", "1")], ["1"]),
        ([_promoted("1"), _promoted("2"), _promoted("3"), _back("3", "2"), _back("2", "1")], ["1"]),
        ([_promoted("1"), _promoted("2"), _back("2", "1"), _promoted("3")], ["1", "3"]),
        ([_promoted("1"), _promoted("2"), _promoted("1")], ["2", "1"]),
        ([_promoted("1"), _promoted("2"), _back("2", "1", "staging")], ["1", "2"]),
    ],
)
def test_who_held_production(events: list[Any], held: list[str]) -> None:
    assert release.holders(events) == held


# -- endpoints as the state says --------------------------------------------------------------------------------------------------


def test_after_a_restart_endpoints_come_up_as_they_were(make: Make) -> None:
    world = make()
    world.release("1")
    address = world.shop.model("demo").stage("production").address
    world.target = FakeTarget()
    world.open()
    assert endpoints.live(world.shop) == [("demo", "staging"), ("demo", "production")]
    deployed = len(world.events(Deployed))
    for model, stage in endpoints.live(world.shop):
        endpoints.restore(world.shop, model, stage)
    assert world.serves() == ({"1": 100}, "1")
    assert (world.shop.model("demo").stage("production").address, len(world.events(Deployed))) == (address, deployed)


def _state(latency: dict[int, int], **more: Any) -> VariantState:
    return VariantState(50, True, latency=tuple(latency.get(i, 0) for i in range(84)), **more)


def since(before: VariantState | None, now: VariantState) -> Seen:
    return seen(difference(before, now))


def test_what_a_variant_did_between_two_looks() -> None:
    before = _state({10: 30}, requests=30, errors=1, restarts=2, refused=5)
    after = _state({10: 128, 40: 2}, requests=132, errors=3, restarts=2, refused=6, in_flight=4)
    done = since(before, after)
    assert (done.requests, done.errors, done.restarts, done.refused, done.in_flight) == (102, 2, 0, 1, 4)
    assert since(before, before).p99_ms is None
    assert seen(None) == Seen()
    assert since(None, before).restarts == 2


@pytest.mark.parametrize(
    ("slow", "of", "counts"),
    [(1, 1, True), (1, 2, False), (1, 20, False), (2, 20, True), (1, 100, False), (2, 300, False), (4, 300, True)],
)
def test_one_slow_answer_alone_never_makes_p99(slow: int, of: int, counts: bool) -> None:
    p99 = since(None, _state({10: of - slow, 60: slow}, requests=of)).p99_ms
    assert p99 is not None
    assert (p99 > 1000) is counts


def test_a_config_that_the_endpoint_cannot_take_up_is_not_in_force(make: Make) -> None:
    """Else whoever tries again once the port is free hears that there is nothing to do, and the endpoint stays as it was."""
    target = FakeTarget(taken_ports=frozenset({8600}))
    world = make(target)
    world.release("1")
    world.accept({**config(), "environments": {"production": {"port": 8600, "approval": {"required": False}}}}, "config-2")
    order = Order(world.settings, "config-2", "/elsewhere", "alice", [])
    for _ in range(2):
        with pytest.raises(BadInput, match="cannot listen"):
            world.go(lambda run: release.reconfigure(world.shop, run, order))
        assert world.shop.model("demo").config_digest == "config-1"
    target.taken_ports = frozenset()
    world.go(lambda run: release.reconfigure(world.shop, run, order))
    state = world.shop.model("demo")
    assert (state.config_digest, state.folder, target.applied[-1].port) == ("config-2", "/elsewhere", 8600)


def test_a_config_alone_reaches_both_endpoints(make: Make) -> None:
    """Else staging would go on without the keys that its callers were to need."""
    world = make()
    world.release("1")
    world.accept({**config(), "environments": {"staging": {"port": 8700}, "production": {"port": 8600}}}, "config-2")
    order = Order(world.settings, "config-2", "/nowhere", "alice", [])
    world.go(lambda run: release.reconfigure(world.shop, run, order))
    assert [(spec.stage, spec.port) for spec in world.target.applied[-2:]] == [("staging", 8700), ("production", 8600)]
    assert [world.serves(stage) for stage in ("staging", "production")] == [({"1": 100}, "1")] * 2


def test_a_build_that_is_refused_changes_nothing_that_production_goes_by(make: Make) -> None:
    world = make()
    world.release("1")
    assert world.shop.model("demo").in_force
    world.accept(config({"type": "linear", "steps": [50]}), digest="config-9")
    assert world.shop.model("demo").config_digest == "config-1"
    assert world.shop.config("demo").deploy.strategy.type == "canary"


def test_a_person_takes_back_a_roll_out_under_way(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(settings=config(strategy={"bake": "1h"}))
    world.release("1")
    real = endpoints.counters

    def look(*args: Any) -> Any:
        run = release.moving(world.shop, "demo")
        if run is not None:
            world.shop.runs.send(run, shifting.ABORT, {"by": "bob"})
        return real(*args)

    monkeypatch.setattr(endpoints, "counters", look)
    with pytest.raises(GateRefused, match="asked by bob"):
        world.release("2", ("production",), id="deploy-2")
    assert world.serves() == ({"1": 100}, "1")
    assert world.shop.version("demo", "2").set_aside == "it was rolled back: asked by bob"


def test_a_roll_out_that_was_abandoned_leaves_no_split(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(settings=config(strategy={"bake": "1h"}))
    world.release("1")
    with monkeypatch.context() as patch:
        patch.setattr(endpoints, "counters", lambda *_: world.shop.runs.stop() or {})
        with pytest.raises(Stopped):
            world.release("2", ("production",), id="deploy-2")
    assert world.serves() == ({"2": 10, "1": 90}, "1")
    world.open()
    release.forsake(world.shop, "demo", live=True)
    assert world.serves() == ({"1": 100}, "1")
