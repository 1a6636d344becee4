"""Release: version -> a person's word -> endpoint -> smoke test -> traffic by the config's strategy, or all the way back."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from modelyard.build import bundle
from modelyard.config.spec import Config, Stage
from modelyard.deploy import rollout, smoke
from modelyard.durable import Outcome, Run
from modelyard.errors import BadInput, GateRefused, StepFailed, Unavailable
from modelyard.events import Deployed, Event, Promoted, RolledBack, SmokeTested
from modelyard.flows import endpoints, holdout
from modelyard.flows.approval import admit
from modelyard.workshop import Workshop

POLL = 0.2
"""Seconds between two looks at an endpoint whose traffic moves."""
SMOKE_ROWS = 20


@dataclass(frozen=True)
class Move:
    """A version entering a stage that `champion` holds (None where nobody does)."""

    shop: Workshop
    run: Run
    version: str
    stage: Stage
    champion: str | None

    @property
    def model(self) -> str:
        return self.run.model

    @property
    def config(self) -> Config:
        return self.shop.stage_config(self.model, self.stage)

    def serve(self, weights: dict[str, int], reason: str) -> Outcome[dict[str, Any]]:
        """Make the endpoint serve these weights."""
        state = endpoints.serve(self.shop, self.model, self.stage, weights)
        told = Deployed(self.model, self.stage, state.address, weights, reason)
        return Outcome({"address": state.address}, [told], f"{self.stage} at {state.address}")


def release(shop: Workshop, run: Run, version: str, *, by: str, retrained: bool = False, stages: tuple[Stage, ...]) -> None:
    """Take a version through stages. Raises GateRefused where a smoke test, an alarm or a person says no."""
    for stage in stages:
        admit(shop, run, version, stage, by=by, retrained=retrained)
        with shop.busy(f"{run.model}-{stage}"):
            champion = run.step(f"{stage}: champion", lambda at=stage: shop.model(run.model).stage(at).champion)
            move = Move(shop, run, version, stage, champion)
            if stage == "production" and champion not in (None, version):
                _shift(move)
            else:
                run.step(f"{stage}: deploy", _deploy, move)
                _stop_if_wrong(run.step(f"{stage}: smoke test", _smoke, move))
                run.step(f"{stage}: promote", _promote, move, "first version" if champion is None else "all at once")
    if "production" in stages:
        run.step("champion in MLflow", _alias, shop, run, version)


def _deploy(move: Move) -> Outcome[dict[str, Any]]:
    return move.serve({move.version: 100}, "deployed")


def _smoke(move: Move) -> Outcome[str | None]:
    """Send rows of the hold-out to the live endpoint and compare with what the build recorded; back to the old version if they part."""
    found = move.shop.version(move.model, move.version)
    opened = bundle.open(found.digest, move.shop.home.path)
    state = move.shop.target.endpoint(endpoints.name(move.model, move.stage))
    if state is None:
        raise Unavailable(f"the {move.stage} endpoint of {move.model} is not there")
    rows, expected = holdout.sample(opened.path, opened.signature, SMOKE_ROWS)
    result = smoke.compare(expected, holdout.ask(state.address, rows, opened.signature))
    events: list[Event] = [SmokeTested(move.model, move.stage, move.version, result.ok, result.sentence)]
    if not result.ok:
        events += _back(move, result.sentence)
    return Outcome(None if result.ok else result.sentence, events, result.sentence)


def _back(move: Move, reason: str) -> list[Event]:
    """All traffic to the old version; where there is none, the endpoint ends."""
    if move.champion is None or move.champion == move.version:
        move.shop.target.remove(endpoints.name(move.model, move.stage))
        return [Deployed(move.model, move.stage, "", {}, reason)]
    outcome = move.serve({move.champion: 100}, "rolled back")
    return [*outcome.events, RolledBack(move.model, move.stage, move.version, move.champion, reason)]


def _stop_if_wrong(reason: str | None) -> None:
    if reason is not None:
        raise GateRefused(f"the smoke test failed: {reason}")


def _promote(move: Move, reason: str) -> Outcome[None]:
    return Outcome(None, [Promoted(move.model, move.stage, move.version, move.champion, reason)], reason)


def _alias(shop: Workshop, run: Run, version: str) -> None:
    shop.store.alias(run.model, "champion", shop.version(run.model, version))
    shop.store.alias(run.model, "challenger", None)


def roll_back(shop: Workshop, run: Run, *, by: str) -> str:
    """Give production back to the version that held it before. Returns that version. Raises BadInput when there is none."""
    state = shop.model(run.model)
    now = state.champion
    earlier = [v for _, weights in state.stage("production").history for v in weights if v != now and weights[v] == 100]
    if now is None or not earlier:
        raise BadInput(f"`{run.model}` has no earlier version in production to go back to", next="`modelyard status` shows its versions")
    to = run.step("to", lambda: earlier[-1])
    with shop.busy(f"{run.model}-production"):
        move = Move(shop, run, now, "production", to)
        run.step("roll back", lambda: Outcome(None, _back(move, f"asked by {by}"), f"{run.model}:{to} serves again"))
    run.step("champion in MLflow", _alias, shop, run, to)
    return str(to)


# -- traffic that moves ---------------------------------------------------------------------------------------------------------


def _shift(move: Move) -> None:
    """Move production traffic step by step, each a durable step of its own, watching the alarms all the while."""
    assert move.champion is not None
    state = rollout.begin(move.version, move.champion, move.config.deploy.strategy)
    while state.status == "moving":
        seen = move.run.step(f"production: {state.plan[state.position]}%", _hold, move, state)
        state = rollout.Rollout(**{**seen, "plan": tuple(seen["plan"])})
    if state.status == "rolled_back":
        raise GateRefused(f"{move.model}:{move.version} was rolled back: {state.reason}")


def _hold(move: Move, state: rollout.Rollout) -> Outcome[dict[str, Any]]:
    """Serve one step's weights and watch until the state machine moves on. An old runner that dies is not the new one's fault."""
    deploy = move.config.deploy
    try:
        served = move.serve(state.weights, f"{deploy.strategy.type} step")
    except StepFailed as exc:
        return _ended(move, replace(state, status="rolled_back", reason=exc.what))
    move.shop.record(served.events)
    bake, began = max(deploy.strategy.bake.total_seconds(), POLL), time.monotonic()
    first = endpoints.counters(move.shop, move.model, move.stage)
    while True:
        move.shop.runs.check_open()
        time.sleep(POLL)
        now = endpoints.counters(move.shop, move.model, move.stage)
        new, old = (endpoints.since(first.get(v), now.get(v)) for v in (state.version, state.champion))
        after = rollout.advance(state, new, old, (time.monotonic() - began) / bake, deploy.rollback)
        if after != state:
            return _ended(move, after)


def _ended(move: Move, state: rollout.Rollout) -> Outcome[dict[str, Any]]:
    """A step's end with its facts: traffic all the way back, or a promotion, or just the next step."""
    events: list[Event] = []
    if state.status == "rolled_back":
        events = _back(move, state.reason)
    elif state.status == "promoted":
        state_now = endpoints.serve(move.shop, move.model, move.stage, state.weights)
        events = [
            Deployed(move.model, move.stage, state_now.address, state.weights, "promoted"),
            Promoted(move.model, move.stage, move.version, move.champion, state.reason),
        ]
    return Outcome(state.__dict__, events, state.reason or f"on to {state.plan[state.position]}%")
