"""Production traffic that moves: a roll-out's steps, each watched, each decision on record before it is carried out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any, Generic, TypeVar

from modelyard.deploy import rollout
from modelyard.deploy.rollout import Rollout
from modelyard.durable import Outcome
from modelyard.errors import GateRefused, StepFailed, YardError
from modelyard.flows import alerting, contest, drifting
from modelyard.flows.moves import FrontDied, Move
from modelyard.flows.watching import Watch, wait_counted

T = TypeVar("T")
log = logging.getLogger("modelyard")
POLL = 0.2
"""Seconds between two looks at an endpoint whose traffic moves."""
ABORT, PROMOTE = "abort", "promote"
"""Where a roll-out listens for a person who wants it taken back, or, in an A/B test, carried through."""


def shift(move: Move, predicted: float) -> None:
    """Lead production traffic over, step by step, so that no decision is taken twice. Raises GateRefused when it went back.

    `predicted`: the share of rows that the replay has seen answered otherwise."""
    assert move.champion is not None
    run, state = move.run, rollout.begin(move.version, move.champion, move.config.deploy.strategy, predicted)
    with move.unblamed():
        wrong = run.step("production: load", _load, move) or run.step("production: smoke test", _smoke_standing_by, move)
    if wrong is not None:
        state = replace(state, status="rolled_back", reason=wrong)
    while state.status == "moving":
        state = rollout.from_dict(run.step(f"production: {state.name}", _hold, move, state))
    aborted = _words(move).get("aborted")
    if aborted and state.status == "promoted":  # the word came since the last look, and whoever gave it was told that it counts
        state = replace(state, status="rolled_back", reason=f"asked by {aborted}")
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
    """The smoke test of a version that has no traffic yet. Whatever goes wrong with it is a reason to take it down again."""
    try:
        found = move.smoke_test()
        wait_counted(move)
        return found
    except FrontDied:
        raise
    except YardError as exc:
        move.shop.runs.check_open()
        return Outcome(f"the smoke test could not be made: {exc.what}", summary=exc.what)


def _hold(move: Move, state: Rollout) -> Outcome[dict[str, Any]]:
    """Serve one step's weights and watch until the state machine moves on. Traffic is never left split with nobody watching it."""
    try:
        after = _watched(move, state)
    except Exception as exc:
        move.shop.runs.check_open()  # being closed is no reason to go back
        log.exception("the roll-out of %s:%s cannot be watched", move.model, move.version)
        said = exc.what if isinstance(exc, YardError) else f"{type(exc).__name__}: {exc}"
        after = replace(state, status="rolled_back", reason=f"it cannot go on: {said}")
    return Outcome(asdict(after), summary=after.reason or f"on to {after.name}")


def _watched(move: Move, state: Rollout) -> Rollout:
    """Look at a step until it moves on. Drift and labels, which take a look at captured rows, are judged aside, when they can decide: no
    other alarm waits for them, and no step moves on before its drift was judged."""
    rollback, watch = move.config.deploy.rollback, Watch(move, state)
    state = watch.begun
    move.shop.record(move.serve(state.weights, _said(move, state), state).events)
    verdict: rollout.Contest | None = None
    asked = (move.model, state.version, state.champion, watch.since, move.config)
    with (
        Aside(lambda: drifting.of_step(move.shop, *asked)) as drift,
        Aside(lambda: contest.judge(move, state, watch.since)) as labelled,
    ):
        while True:
            move.shop.runs.check_open()
            time.sleep(POLL)
            look = replace(watch.look(), **_words(move))
            if state.metric is not None:
                verdict = verdict or labelled.found(look.bakes >= 1 and watch.worth_a_contest())
                look = replace(look, contest=verdict)
            after = rollout.advance(state, look, rollback)
            moves = after is not state and after.status != "rolled_back"
            said = drift.found(moves or watch.worth_a_drift(look))
            if said:
                after = rollout.advance(state, replace(look, drifted=said), rollback)
            elif moves and said is None:
                after = state
            watch.tell(look, after)
            if after is not state:
                return after


class Aside(Generic[T]):
    """Work in a thread of its own, one piece at a time."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._going: Future[T] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aside")

    def found(self, wanted: bool) -> T | None:
        """What it came to, once; None until then. It is begun where it is `wanted` and does not go on already. Raises what it raised."""
        if self._going is None:
            self._going = self._pool.submit(self._work) if wanted else None
        elif self._going.done():
            done, self._going = self._going, None
            return done.result()
        return None

    def __enter__(self) -> Aside[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _words(move: Move) -> dict[str, Any]:
    """Who has asked for an abort or a promotion."""
    found = {"aborted": move.shop.runs.peek(move.run.id, ABORT), "promoted": move.shop.runs.peek(move.run.id, PROMOTE)}
    return {name: word["by"] for name, word in found.items() if word is not None}


def _said(move: Move, state: Rollout) -> str:
    """Why these weights, for the journal."""
    if state.shadowed:
        return f"shadow step: {move.model}:{state.version} is asked too, and not heard"
    return {"ab": "A/B test", "all_at_once": "all at once"}.get(state.kind, f"{state.kind} step")


def _retreat(move: Move, reason: str) -> Outcome[None]:
    """Back to the champion, and tell whom it concerns."""
    outcome = move.back(reason)
    title = f"{move.model}:{move.version} was rolled back in {move.stage}"
    return replace(outcome, events=[*outcome.events, *alerting.alert(move.shop, move.model, "rollback", title, reason)])


def _settle(move: Move, state: Rollout) -> Outcome[None]:
    """The champion that stood by may go."""
    served, promoted = move.serve(state.weights, "promoted"), move.promote(state.reason)
    return replace(promoted, events=[*served.events, *promoted.events])
