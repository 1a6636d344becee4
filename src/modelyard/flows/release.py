"""Release: version -> a person's word -> endpoint -> smoke test -> traffic by the config's strategy, or all the way back."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelyard.build import bundle
from modelyard.config.spec import Config, Stage
from modelyard.deploy import rollout, smoke
from modelyard.durable import Outcome, Run
from modelyard.errors import BadInput, GateRefused, StepFailed, Unavailable, YardError
from modelyard.events import ConfigInForce, Deployed, Event, Promoted, RolledBack, SmokeTested
from modelyard.flows import alerting, endpoints, holdout
from modelyard.flows.approval import admit
from modelyard.flows.site import Order
from modelyard.workshop import Workshop

log = logging.getLogger("modelyard")
POLL = 0.2
"""Seconds between two looks at an endpoint whose traffic moves."""
SMOKE_ROWS = 20
ABORT = "abort"
"""Where a roll-out listens for a person who wants it taken back."""


@dataclass(frozen=True)
class Move:
    """A version entering a stage that `champion` holds (None where nobody does)."""

    shop: Workshop
    run: Run
    version: str
    stage: Stage
    champion: str | None
    config: Config

    @property
    def model(self) -> str:
        return self.run.model

    def serve(self, weights: dict[str, int], reason: str) -> Outcome[dict[str, Any]]:
        """Make the endpoint serve these weights."""
        state = endpoints.serve(self.shop, self.model, self.stage, weights, self.config)
        told = Deployed(self.model, self.stage, state.address, {v: w for v, w in weights.items() if w}, reason)
        return Outcome({"address": state.address}, [told], f"{self.stage} at {state.address}")


def release(shop: Workshop, run: Run, version: str, *, by: str, retrained: bool = False, stages: tuple[Stage, ...]) -> None:
    """Take a version through stages by the run's own config, which is in force once the version is let into production.

    Raises GateRefused where a smoke test, an alarm or a person says no.
    """
    order = Order(**run.args)
    for stage in stages:
        admit(shop, run, version, stage, order, by=by, retrained=retrained)
        if stage == "production":
            enforce(shop, run, order)
        with shop.busy(f"{run.model}-{stage}"):
            champion = run.step(f"{stage}: champion", lambda at=stage: shop.model(run.model).stage(at).champion)
            move = Move(shop, run, version, stage, champion, order.of_stage(stage))
            if stage == "production" and champion not in (None, version):
                _shift(move)
            else:
                _replace(move)
    if "production" in stages:
        run.step("champion in MLflow", _alias, shop, run, version)


def enforce(shop: Workshop, run: Run, order: Order) -> None:
    """Let production, its monitors, alerts and governor go by the run's config from now on."""
    if shop.model(run.model).config_digest != order.digest or not shop.model(run.model).in_force:
        run.tell("config in force", ConfigInForce(run.model, run.id, order.digest, order.configs, order.folder))


def reapply(shop: Workshop, model: str, order: Order) -> None:
    """Let the production endpoint take up a new config with the versions that it serves."""
    with shop.busy(f"{model}-production"):
        weights = shop.model(model).stage("production").weights
        state = endpoints.serve(shop, model, "production", weights, order.config)
        shop.record([Deployed(model, "production", state.address, weights, "by a new config")])


# -- all at once ----------------------------------------------------------------------------------------------------------------


def _replace(move: Move) -> None:
    """A stage's first version, staging's next one, or a champion deployed anew: no traffic to lead over step by step."""
    run, stage = move.run, move.stage
    run.step(f"{stage}: deploy", move.serve, {move.version: 100}, "deployed")
    if (wrong := run.step(f"{stage}: smoke test", _smoke, move)) is not None:
        run.step(f"{stage}: roll back", _back, move, wrong)
        raise GateRefused(f"the smoke test failed: {wrong}")
    run.step(f"{stage}: promote", _promote, move, "first version" if move.champion is None else "all at once")


def _smoke(move: Move) -> Outcome[str | None]:
    """Send rows of the hold-out to the live endpoint's variant and compare with what the build recorded. Returns what is wrong."""
    found = move.shop.version(move.model, move.version)
    opened = bundle.open(found.digest, move.shop.home.path)
    state = move.shop.target.endpoint(endpoints.name(move.model, move.stage))
    if state is None:
        raise Unavailable(f"the {move.stage} endpoint of {move.model} is not there")
    rows, expected = holdout.sample(opened.path, opened.signature, SMOKE_ROWS)
    try:
        result = smoke.compare(expected, holdout.ask(state.address, rows, opened.signature, variant=move.version))
    except YardError as exc:  # it answers with an error, or not at all: wrong too
        move.shop.runs.check_open()
        result = smoke.Smoke(False, f"the endpoint did not answer: {exc.what}")
    told = SmokeTested(move.model, move.stage, move.version, result.ok, result.sentence)
    return Outcome(None if result.ok else result.sentence, [told], result.sentence)


def _back(move: Move, reason: str) -> Outcome[None]:
    """All traffic to the old version; where there is none, the endpoint ends. A champion deployed anew stays: there is no other."""
    if move.champion == move.version:
        return Outcome(None, summary="there is no other version: it stays")
    if move.champion is None:
        move.shop.target.remove(endpoints.name(move.model, move.stage))
        return Outcome(None, [Deployed(move.model, move.stage, "", {}, reason)], "the endpoint is gone")
    outcome = move.serve({move.champion: 100}, "rolled back")
    told = RolledBack(move.model, move.stage, move.version, move.champion, reason)
    return Outcome(None, [*outcome.events, told], f"{move.model}:{move.champion} serves again")


def _promote(move: Move, reason: str) -> Outcome[None]:
    return Outcome(None, [Promoted(move.model, move.stage, move.version, move.champion, reason)], reason)


def _alias(shop: Workshop, run: Run, version: str) -> None:
    shop.store.alias(run.model, "champion", shop.version(run.model, version))
    shop.store.alias(run.model, "challenger", None)


# -- back, on a person's word ---------------------------------------------------------------------------------------------------


def roll_back(shop: Workshop, run: Run, *, by: str) -> str:
    """Give production back to the version that held it before. Returns that version. Raises BadInput when there is none."""
    now, to = run.step("to", _before, shop, run.model)
    with shop.busy(f"{run.model}-production"):
        run.step("roll back", _back, Move(shop, run, now, "production", to, shop.config(run.model)), f"asked by {by}")
    run.step("champion in MLflow", _alias, shop, run, to)
    return str(to)


def moving(shop: Workshop, model: str) -> str | None:
    """The run that leads production traffic over now."""
    state = shop.model(model)
    if len(state.stage("production").weights) < 2 and state.champion in state.stage("production").weights:
        return None
    running = [r.run for r in state.runs.values() if r.status == "running" and r.flow in ("up", "deploy", "retrain")]
    return running[-1] if running else None


def forsake(shop: Workshop, model: str, *, live: bool) -> None:
    """Give all production traffic back to the champion after a roll-out was abandoned halfway; nobody watches a split then."""
    stage = shop.model(model).stage("production")
    if stage.champion is None or stage.weights == {stage.champion: 100}:
        return
    weights = {stage.champion: 100}
    address = endpoints.serve(shop, model, "production", weights).address if live else stage.address
    shop.record([Deployed(model, "production", address, weights, "the roll-out was abandoned")])


def _before(shop: Workshop, model: str) -> list[str]:
    """The version that holds production and the one that held it before."""
    held = holders(entry.event for entry in shop.journal.entries(model))
    if len(held) < 2:
        raise BadInput(f"`{model}` has no earlier version in production to go back to", next="`modelyard status` shows its versions")
    return [held[-1], held[-2]]


def holders(events: Iterable[Event]) -> list[str]:
    """Versions that were promoted in production and not taken back, oldest first; the last one holds it now.

    A version that a roll-out tried in vain never held it, so that nobody goes back to it.
    """
    held: list[str] = []
    for event in events:
        if isinstance(event, Promoted) and event.stage == "production":
            held = [v for v in held if v != event.version] + [event.version]
        elif isinstance(event, RolledBack) and event.stage == "production" and event.to in held:
            held = held[: held.index(event.to) + 1]
    return held


# -- traffic that moves ---------------------------------------------------------------------------------------------------------


def _shift(move: Move) -> None:
    """Lead production traffic over, step by step. Each decision is on record before it is carried out, so that none is taken twice."""
    assert move.champion is not None
    run, state = move.run, rollout.begin(move.version, move.champion, move.config.deploy.strategy)
    wrong = run.step("production: load", _load, move) or run.step("production: smoke test", _smoke_standing_by, move)
    if wrong is not None:
        state = replace(state, status="rolled_back", reason=wrong)
    while state.status == "moving":
        state = rollout.from_dict(run.step(f"production: {state.percent}%", _hold, move, state))
    if state.status == "rolled_back":
        run.step("production: roll back", _retreat, move, state.reason)
        raise GateRefused(f"{move.model}:{move.version} was rolled back: {state.reason}")
    run.step("production: promote", _settle, move, state)


def _load(move: Move) -> Outcome[str | None]:
    """Bring the version up beside the champion, without traffic. Returns why that cannot be."""
    assert move.champion is not None
    try:
        move.serve({move.version: 0, move.champion: 100}, "")
    except StepFailed as exc:
        move.shop.runs.check_open()
        return Outcome(f"{exc.what} (log: {exc.where})", summary=exc.what)
    return Outcome(None, summary=f"{move.model}:{move.version} stands by")


def _smoke_standing_by(move: Move) -> Outcome[str | None]:
    """The smoke test of a version that has no traffic yet. Whatever goes wrong is a reason to take it down again."""
    try:
        return _smoke(move)
    except YardError as exc:
        move.shop.runs.check_open()
        return Outcome(f"the smoke test could not be made: {exc.what}", summary=exc.what)


def _hold(move: Move, state: rollout.Rollout) -> Outcome[dict[str, Any]]:
    """Serve one step's weights and watch until the state machine moves on. Traffic is never left split with nobody watching it."""
    try:
        after = _watched(move, state)
    except Exception as exc:
        move.shop.runs.check_open()  # being closed is no reason to go back
        log.exception("the roll-out of %s:%s cannot be watched", move.model, move.version)
        said = exc.what if isinstance(exc, YardError) else f"{type(exc).__name__}: {exc}"
        after = replace(state, status="rolled_back", reason=f"it cannot go on: {said}")
    return Outcome(asdict(after), summary=after.reason or f"on to {after.percent}%")


def _watched(move: Move, state: rollout.Rollout) -> rollout.Rollout:
    deploy, before = move.config.deploy, endpoints.counters(move.shop, move.model, move.stage)
    if state.usual is None:  # all that the champion did until now
        state = replace(state, usual=endpoints.since(None, before.get(state.champion)))
    move.shop.record(move.serve(state.weights, f"{deploy.strategy.type} step").events)
    told = 1
    bake, began = max(deploy.strategy.bake.total_seconds(), POLL), time.monotonic()
    while True:
        move.shop.runs.check_open()
        time.sleep(POLL)
        now = endpoints.counters(move.shop, move.model, move.stage)
        new, old = (endpoints.since(before.get(v), now.get(v)) for v in (state.version, state.champion))
        if (asked := move.shop.runs.peek(move.run.id, ABORT)) is not None:
            return replace(state, status="rolled_back", reason=f"asked by {asked['by']}")
        bakes = (time.monotonic() - began) / bake
        if bakes >= told and new.requests < deploy.rollback.min_requests:
            said = f"{new.requests} of {deploy.rollback.min_requests} requests so far; it waits {rollout.MAX_HOLD} bake times for them"
            move.run.feed.put("line", step=f"production: {state.percent}%", text=said)
            told += 1
        after = rollout.advance(state, new, old, bakes, deploy.rollback)
        if after is not state:
            return after


def _retreat(move: Move, reason: str) -> Outcome[None]:
    """Back to the champion, and tell whom it concerns."""
    outcome = _back(move, reason)
    title = f"{move.model}:{move.version} was rolled back in {move.stage}"
    return replace(outcome, events=[*outcome.events, *alerting.alert(move.shop, move.model, "rollback", title, reason)])


def _settle(move: Move, state: rollout.Rollout) -> Outcome[None]:
    """The champion that stood by may go."""
    served, promoted = move.serve(state.weights, "promoted"), _promote(move, state.reason)
    return replace(promoted, events=[*served.events, *promoted.events])
