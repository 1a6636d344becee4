"""What is true now: a pure fold of the journal's events. Nothing else in Modelyard keeps state about models.

Each event copies what it changes, so that the state before it stands. What grows with time is therefore bounded: the state holds
the newest runs and verdicts, and the journal all of them. Folding a journal costs as much as it is long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any

from modelyard import events as e
from modelyard.registry.journal import Entry

KEPT_RUNS = 200
"""Ended runs kept of the monitors, and as many of all other flows: frequent looks must not drive out the builds."""
SLACK = 1.25
"""How far beyond these bounds things grow before they are cut: a dict that loses a key at each turn is slow to copy."""


@dataclass(frozen=True)
class Version:
    """One registered build, with what its gates said and who let it in."""

    version: str
    registered_at: str
    digest: str
    data_digest: str
    code_digest: str
    lock_digest: str
    config_digest: str
    commit: str | None
    dirty: bool
    metrics: dict[str, float | None]
    gates: tuple[str, ...]
    because: str
    run: str
    recipe_digest: str = ""
    source_digest: str = ""
    set_aside: str = ""  # why it must not come up again by itself: rolled back, or a challenge lost
    approvals: tuple[e.ApprovalGiven | e.ApprovalWaived, ...] = ()
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    replay: e.ReplayJudged | None = None  # the newest word of the replay gate


@dataclass(frozen=True)
class StageState:
    """An endpoint as it should be: `weights` is empty where nothing is deployed; `history` is (at, weights), oldest first."""

    address: str = ""
    weights: dict[str, int] = field(default_factory=dict)
    champion: str | None = None
    history: tuple[tuple[str, dict[str, int]], ...] = ()


@dataclass(frozen=True)
class RunState:
    run: str
    flow: str
    by: str
    started_at: str
    because: str = ""
    status: str = "running"
    reason: str = ""
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelState:
    """All there is to know about one model. `config` is the one in force, or the last one accepted where none is yet."""

    model: str
    config: dict[str, Any] = field(default_factory=dict)
    config_digest: str = ""
    folder: str = ""
    in_force: bool = False
    versions: dict[str, Version] = field(default_factory=dict)
    stages: dict[str, StageState] = field(default_factory=dict)
    runs: dict[str, RunState] = field(default_factory=dict)
    awaiting: dict[str, e.ApprovalRequested] = field(default_factory=dict)  # by run
    watched_since: str = ""  # when the monitors' window or the timezone changed last: older windows are over
    began: dict[str, str] = field(default_factory=dict)  # when a monitor was switched on, of those that had been off
    retrains: tuple[str, ...] = ()  # when retrainings started, whoever asked for them
    fruitless: int = 0  # retrainings in a row that brought no new champion, one under way included
    last_decision: e.RetrainDecided | None = None
    alerts: int = 0

    @property
    def champion(self) -> str | None:
        """The version that production serves alone, or served alone before a roll-out began."""
        return self.stage("production").champion

    def stage(self, name: str) -> StageState:
        return self.stages.get(name, StageState())

    def serving(self, stage: str, at: str) -> dict[str, int]:
        """Weights that `stage` served with at an ISO instant (UTC); empty before the first deployment."""
        weights: dict[str, int] = {}
        for since, then in self.stage(stage).history:
            if since > at:
                break
            weights = then
        return weights


State = dict[str, ModelState]


def fold(state: State, entry: Entry) -> State:
    """The state after `entry`. Pure: the given state is left as it was. Total: what names no known run or version changes nothing."""
    model = entry.event.model
    before = state.get(model, ModelState(model))
    return {**state, model: _apply(entry.event, before, entry.at)}


def fold_all(entries: Iterable[Entry]) -> State:
    state: State = {}
    for entry in entries:
        state = fold(state, entry)
    return state


@singledispatch
def _apply(event: e.Event, model: ModelState, at: str) -> ModelState:
    return model  # facts that change no state: steps' gates, smoke tests, labels, ...


@_apply.register
def _(event: e.RunStarted, model: ModelState, at: str) -> ModelState:
    run = RunState(event.run, event.flow, event.by, at, event.because)
    model = replace(model, runs={**model.runs, event.run: run})
    if event.flow != "retrain":
        return model
    return replace(model, retrains=(*model.retrains, at), fruitless=model.fruitless + 1)


@_apply.register
def _(event: e.ConfigAccepted, model: ModelState, at: str) -> ModelState:
    if model.in_force:
        return model
    return _with_config(model, event, at)


@_apply.register
def _(event: e.ConfigInForce, model: ModelState, at: str) -> ModelState:
    return replace(_with_config(model, event, at), in_force=True)


def _with_config(model: ModelState, word: e.ConfigAccepted | e.ConfigInForce, at: str) -> ModelState:
    changed = bool(model.config) and _windows(model.config) != _windows(word.config)
    since = at if changed else model.watched_since
    off = {kind for kind, on in _monitors(model.config).items() if not on} if model.config else set[str]()
    began = {**model.began, **{kind: at for kind, on in _monitors(word.config).items() if on and kind in off}}
    return replace(model, config=word.config, config_digest=word.digest, folder=word.folder, watched_since=since, began=began)


def _windows(config: dict[str, Any]) -> tuple[Any, Any]:
    """What the monitors' windows depend on."""
    production = config.get("production", {})
    return production.get("monitor", {}).get("window"), production.get("timezone")


def _monitors(config: dict[str, Any]) -> dict[str, bool]:
    """Which monitors a config has switched on (`flows.monitor.monitors` says the same of a config that was read)."""
    production = config.get("production", {})
    watch = production.get("monitor", {})
    on = {kind: bool(watch.get(kind, {}).get("enabled", True)) for kind in ("data_quality", "drift", "performance", "bias", "attribution")}
    on["estimate"] = on["performance"] and bool(watch.get("performance", {}).get("estimate", True))
    on["bias"] &= production.get("bias") is not None
    on["attribution"] &= production.get("explain") is not None
    return on


@_apply.register
def _(event: e.StepDone, model: ModelState, at: str) -> ModelState:
    if (run := model.runs.get(event.run)) is None:
        return model
    return replace(model, runs={**model.runs, event.run: replace(run, steps=(*run.steps, event.step))})


@_apply.register
def _(event: e.RunEnded, model: ModelState, at: str) -> ModelState:
    awaiting = {k: v for k, v in model.awaiting.items() if k != event.run}
    model = replace(model, awaiting=awaiting)
    if (run := model.runs.get(event.run)) is None:
        return model
    runs = {**model.runs, event.run: replace(run, status=event.status, reason=event.reason)}
    return replace(model, runs=runs if len(runs) <= 2 * KEPT_RUNS * SLACK else _newest_runs(runs, event.run))


def _newest_runs(runs: dict[str, RunState], just_ended: str) -> dict[str, RunState]:
    """Without the older ones that ended; but with the one that just did, which may be of old and is looked up by whoever waited."""
    ended = [r for r in runs.values() if r.status != "running" and r.run != just_ended]
    classes = [r for r in ended if r.flow == "monitor"], [r for r in ended if r.flow != "monitor"]
    old = {r.run for found in classes for r in found[:-KEPT_RUNS]}
    return {name: run for name, run in runs.items() if name not in old}


@_apply.register
def _(event: e.VersionRegistered, model: ModelState, at: str) -> ModelState:
    version = Version(
        version=event.version,
        registered_at=at,
        digest=event.digest,
        data_digest=event.data_digest,
        code_digest=event.code_digest,
        lock_digest=event.lock_digest,
        config_digest=event.config_digest,
        commit=event.commit,
        dirty=event.dirty,
        metrics=event.metrics,
        gates=tuple(event.gates),
        because=event.because,
        run=event.run,
        recipe_digest=event.recipe_digest,
        source_digest=event.source_digest,
        hyperparameters=event.hyperparameters,
    )
    return replace(model, versions={**model.versions, event.version: version})


@_apply.register
def _(event: e.Deployed, model: ModelState, at: str) -> ModelState:
    before = model.stage(event.stage)
    weights = {v: w for v, w in event.weights.items() if w > 0}
    after = replace(before, address=event.address, weights=weights)
    if weights != before.weights:
        after = replace(after, history=(*before.history, (at, weights)))
    return replace(model, stages={**model.stages, event.stage: after})


@_apply.register
def _(event: e.Promoted, model: ModelState, at: str) -> ModelState:
    if event.stage == "production":
        model = replace(_set_aside(model, event.version, ""), fruitless=0)
    return replace(model, stages={**model.stages, event.stage: replace(model.stage(event.stage), champion=event.version)})


@_apply.register
def _(event: e.RolledBack, model: ModelState, at: str) -> ModelState:
    model = replace(model, stages={**model.stages, event.stage: replace(model.stage(event.stage), champion=event.to)})
    return _set_aside(model, event.version, f"it was rolled back: {event.reason}")


@_apply.register
def _(event: e.ChallengeJudged, model: ModelState, at: str) -> ModelState:
    challenger = next((v.version for v in model.versions.values() if v.run == event.run), None)
    return model if event.promote or challenger is None else _set_aside(model, challenger, "it lost its challenge")


@_apply.register
def _(event: e.ReplayJudged, model: ModelState, at: str) -> ModelState:
    if (version := model.versions.get(event.version)) is None:
        return model
    return replace(model, versions={**model.versions, event.version: replace(version, replay=event)})


def _set_aside(model: ModelState, version: str, why: str) -> ModelState:
    if version not in model.versions:
        return model
    aside = replace(model.versions[version], set_aside=why)
    return replace(model, versions={**model.versions, version: aside})


@_apply.register
def _(event: e.ApprovalRequested, model: ModelState, at: str) -> ModelState:
    return replace(model, awaiting={**model.awaiting, event.run: event})


@_apply.register
def _(event: e.ApprovalGiven, model: ModelState, at: str) -> ModelState:
    awaiting = {k: v for k, v in model.awaiting.items() if k != event.run}
    return _with_approval(replace(model, awaiting=awaiting), event)


@_apply.register
def _(event: e.ApprovalWaived, model: ModelState, at: str) -> ModelState:
    return _with_approval(model, event)


def _with_approval(model: ModelState, word: e.ApprovalGiven | e.ApprovalWaived) -> ModelState:
    if (version := model.versions.get(word.version)) is None:
        return model
    approved = replace(version, approvals=(*version.approvals, word))
    return replace(model, versions={**model.versions, word.version: approved})


@_apply.register
def _(event: e.RetrainDecided, model: ModelState, at: str) -> ModelState:
    return replace(model, last_decision=event)


@_apply.register
def _(event: e.AlertSent, model: ModelState, at: str) -> ModelState:
    return replace(model, alerts=model.alerts + 1)
