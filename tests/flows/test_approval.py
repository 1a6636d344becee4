"""A person's word before a version enters a stage: who may give it, what it is bound to, and when it is void."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelyard.clock import ReplayClock
from modelyard.errors import BadInput, GateRefused, NotAllowed, NotFound
from modelyard.events import ApprovalGiven, ApprovalRequested, ApprovalWaived
from modelyard.flows.approval import decide, put_aside
from modelyard.flows.site import Order

from .releases import World, config

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> ReplayClock:
    return ReplayClock(START)


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch, clock: ReplayClock) -> World:
    """A version 1 that needs a word to enter production."""
    world = World(home, monkeypatch, clock=clock)
    world.accept(config(approval={"required": True}))
    world.register("1", "2")
    return world


def test_a_version_waits_and_another_persons_yes_lets_it_in(world: World) -> None:
    waiting = world.waiting("1")
    assert waiting.still and world.applied() == []
    (asked,) = world.events(ApprovalRequested)
    version = world.shop.version("demo", "1")
    assert (asked.digest, asked.config_digest, asked.asked_by) == (version.digest, "config-1", "alice")
    word = decide(world.shop, "demo", None, approved=True, by="bob", comment="looks right")
    assert str(word) == "bob approved demo:1 for production: looks right"
    assert waiting.end() is None
    assert world.serves() == ({"1": 100}, "1")
    given = ApprovalGiven("demo", asked.run, "1", "production", True, "bob", False, "looks right")
    assert world.shop.version("demo", "1").approvals == (given,)
    assert world.shop.model("demo").awaiting == {}


def test_whoever_asked_cannot_also_approve(world: World) -> None:
    waiting = world.waiting("1")
    with pytest.raises(NotAllowed, match="alice asked for demo:1 and cannot also approve it") as caught:
        decide(world.shop, "demo", "1", approved=True, by="alice")
    assert "allow_self: true" in caught.value.next
    assert waiting.still and world.events(ApprovalGiven) == []
    decide(world.shop, "demo", "1", approved=False, by="alice")  # taking one's own back is no approval
    assert isinstance(waiting.end(), GateRefused)


def test_with_allow_self_it_is_recorded_as_such(world: World) -> None:
    world.accept(config(approval={"required": True, "allow_self": True}))
    waiting = world.waiting("1")
    word = decide(world.shop, "demo", "1", approved=True, by="alice")
    assert (word.self_approved, str(word)) == (True, "alice, who also asked for it (allow_self) approved demo:1 for production")
    assert waiting.end() is None
    assert world.events(ApprovalGiven)[0].self_approved


def test_a_no_keeps_it_out(world: World) -> None:
    waiting = world.waiting("1")
    decide(world.shop, "demo", "1", approved=False, by="bob", comment="not before Monday")
    error = waiting.end()
    assert isinstance(error, GateRefused)
    assert error.what == "bob rejected demo:1 for production: not before Monday"
    assert world.applied() == [] and world.events(ApprovalGiven)[0].approved is False


def test_a_word_is_void_when_another_config_was_put_in_force(world: World) -> None:
    waiting = world.waiting("1")
    world.enforce(config(approval={"required": True}), digest="config-2")
    decide(world.shop, "demo", "1", approved=True, by="bob")
    error = waiting.end()
    assert isinstance(error, NotAllowed)
    assert "the config changed since demo:1 was put forward for production: the approval is void" in error.what
    assert error.next == "ask again with `modelyard deploy demo:1`"
    assert world.applied() == []


def test_a_config_that_was_only_accepted_voids_nothing(world: World) -> None:
    waiting = world.waiting("1")
    world.accept(config(approval={"required": False}), digest="config-2")  # a build of another branch, say
    decide(world.shop, "demo", "1", approved=True, by="bob")
    assert waiting.end() is None
    assert world.serves() == ({"1": 100}, "1")


def test_a_config_cannot_let_itself_in_by_asking_for_less(world: World) -> None:
    world.enforce(config(approval={"required": True, "allow_self": False}), digest="config-1")
    world.accept(config(approval={"required": False}), digest="config-2")
    waiting = world.waiting("1")
    assert waiting.still
    with pytest.raises(NotAllowed, match="cannot also approve"):
        decide(world.shop, "demo", "1", approved=True, by="alice")
    decide(world.shop, "demo", "1", approved=True, by="bob")
    assert waiting.end() is None
    assert world.shop.model("demo").config_digest == "config-2", "let in, the new config is in force"


GATE = "evaluate.validation_criteria[r2].threshold goes from 0.7 to 0.6: the gate is easier to pass"


@pytest.mark.parametrize("by", ["the run's own config", "the version's own build"])
def test_a_loosened_gate_needs_a_word_where_none_is_needed_otherwise(world: World, by: str) -> None:
    world.enforce(config(), digest="config-1")
    world.accept(config(), digest="config-2")
    order = Order(world.settings, "config-2", "/nowhere", "alice", [GATE])
    if by == "the version's own build":  # built by a config that asks for less, and deployed by the one in force
        world.shop.runs.start("demo", "build", asdict(order), by="alice", id="build-1")
        order = replace(order, loosened=[])
    record = world.shop.runs.start("demo", "deploy", asdict(order), by="alice")
    world.start = lambda id=None: record  # type: ignore[method-assign]
    waiting = world.waiting("1")
    assert waiting.still and world.applied() == []
    assert str(world.events(ApprovalRequested)[0]).endswith(f"waits for approval to enter production (asked by alice); loosened: {GATE}")
    word = decide(world.shop, "demo", "1", approved=True, by="alice")  # who could have let it in alone, but has to say so
    assert word.self_approved and waiting.end() is None
    assert world.serves() == ({"1": 100}, "1")


def test_a_loosened_gate_lets_nobody_approve_his_own_where_another_is_asked(world: World) -> None:
    world.enforce(config(approval={"required": True}), digest="config-1")
    world.accept(config(approval={"required": False, "allow_self": True}), digest="config-2")
    record = world.shop.runs.start("demo", "deploy", asdict(Order(world.settings, "config-2", "/nowhere", "alice", [GATE])), by="alice")
    world.start = lambda id=None: record  # type: ignore[method-assign]
    waiting = world.waiting("1")
    with pytest.raises(NotAllowed, match="cannot also approve"):
        decide(world.shop, "demo", "1", approved=True, by="alice")
    decide(world.shop, "demo", "1", approved=True, by="bob")
    assert waiting.end() is None


def test_before_anything_is_in_force_there_is_no_gate_to_loosen(world: World) -> None:
    world.accept(config(), digest="config-2")
    record = world.shop.runs.start("demo", "deploy", asdict(Order(world.settings, "config-2", "/nowhere", "alice", [GATE])), by="alice")
    world.start = lambda id=None: record  # type: ignore[method-assign]
    world.release("1", ("production",))
    assert world.serves() == ({"1": 100}, "1") and world.events(ApprovalRequested) == []


def test_nobody_answers_in_time_by_the_injected_clock(world: World, clock: ReplayClock) -> None:
    waiting = world.waiting("1")
    clock.advance_to(START + timedelta(days=6))
    assert waiting.still
    clock.advance_to(START + timedelta(days=7))
    error = waiting.end()
    assert isinstance(error, NotAllowed)
    assert error.what == "nobody approved demo:1 for production before 2026-01-08T00:00:00+00:00"
    assert world.applied() == []


def test_what_is_put_aside_stays_out_whoever_approves_it_later(world: World) -> None:
    waiting = world.waiting("1")
    put_aside(world.shop, "demo", "a newer up took its place")
    error = waiting.end()
    assert isinstance(error, NotAllowed)
    assert error.what == "demo:1 was put aside for production: a newer up took its place"
    with pytest.raises(BadInput, match="demo:1 has its word already"):
        decide(world.shop, "demo", "1", approved=True, by="bob")
    assert world.applied() == []


def test_the_first_word_counts(world: World) -> None:
    waiting = world.waiting("1")
    decide(world.shop, "demo", "1", approved=True, by="bob")
    put_aside(world.shop, "demo", "too late")
    assert waiting.end() is None
    with pytest.raises(NotFound, match="no version of `demo` waits for approval"):
        decide(world.shop, "demo", None, approved=False, by="carol")
    assert world.serves() == ({"1": 100}, "1")


def test_which_one_is_meant(world: World) -> None:
    with pytest.raises(NotFound, match="no version of demo:7 waits"):
        decide(world.shop, "demo", "7", approved=True, by="bob")
    waiting = [world.waiting("1"), world.waiting("2")]
    with pytest.raises(BadInput, match="several versions wait: demo:1, demo:2"):
        decide(world.shop, "demo", None, approved=False, by="bob")
    for version in ("2", "1"):
        decide(world.shop, "demo", version, approved=False, by="bob")
    assert all(isinstance(one.end(), GateRefused) for one in waiting)


def test_a_word_given_while_nobody_listened_is_found(world: World) -> None:
    """The owner ended while a version waited; the word came to the one after it."""
    waiting = world.waiting("1", id="deploy-1")
    world.shop.runs.stop()
    waiting._thread.join(10)
    world.open()
    decide(world.shop, "demo", "1", approved=True, by="bob")
    world.release("1", ("production",), id="deploy-1")
    assert world.serves() == ({"1": 100}, "1")
    assert len(world.events(ApprovalRequested)) == 1, "it asked once"


@pytest.mark.parametrize(("rule", "waits"), [("required", True), ("not_required", False)])
def test_a_retrained_version_needs_a_word_where_the_config_says_so(world: World, rule: str, waits: bool) -> None:
    world.accept(config(approval={"required": True, "retrained": rule}))
    waiting = world.waiting("1", retrained=True)
    assert waiting.still is waits or not waits
    if waits:
        decide(world.shop, "demo", "1", approved=True, by="bob")
    assert waiting.end() is None
    assert world.serves() == ({"1": 100}, "1")
    waived = [str(e) for e in world.events(ApprovalWaived)]
    assert waived == ([] if waits else ["demo:1 enters production without a word: retrained, and approval.retrained is not_required"])
    assert len(world.shop.version("demo", "1").approvals) == 1
