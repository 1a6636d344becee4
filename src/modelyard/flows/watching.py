"""The watch over one step of a roll-out: what both versions did since it began, kept beside the run, so that a restart forgets nothing.

Time is the watch's own and monotonic: a clock that is set forward or back ends no step early, and while nobody watches none passes.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from operator import add, sub
from pathlib import Path
from typing import Any

from modelyard import files
from modelyard.deploy import alarms, rollout
from modelyard.deploy.alarms import Seen
from modelyard.deploy.rollout import Look, Rollout
from modelyard.flows import endpoints
from modelyard.flows.moves import Move
from modelyard.serve import stats
from modelyard.targets.base import VariantState

KEPT = "rollout.json"
"""Where a run keeps its roll-out, for itself and for whoever wants to see it."""
SAVE = 1.0
"""Seconds between two savings."""
SHORTEST = 0.2
"""Seconds that a bake time has at least."""
CONTEST_SECONDS = 10.0
"""How often labels are counted once an A/B test's bake time is over."""
SETTLED = 2.0
"""Seconds for which an endpoint's counters are waited for; it writes them four times a second where there is anything new."""
_COUNTED = ("requests", "errors", "refused", "restarts", "compared", "disagreed")


class Watch:
    """Opened as a step begins, or goes on after a restart. `begun` is the state that it watches."""

    def __init__(self, move: Move, state: Rollout) -> None:
        self._move, self._path = move, move.shop.home.runs / move.run.id / KEPT
        self._before = endpoints.counters(move.shop, move.model, move.stage)
        kept = read(self._path)
        if kept is None or (kept["version"], kept["step"]) != (state.version, state.name):
            usual = seen(self._before.get(state.champion))  # all that the champion did until now
            kept = {"elapsed": 0.0, "since": datetime.now(UTC).isoformat(), "counted": {}, "usual": asdict(usual)}
        self.begun = state if state.usual is not None else replace(state, usual=alarms.from_dict(kept["usual"]))
        self._elapsed, self._done = float(kept["elapsed"]), {v: _variant(found) for v, found in kept["counted"].items()}
        self.since = datetime.fromisoformat(kept["since"])
        self._bake = max(move.config.deploy.strategy.bake.total_seconds(), SHORTEST)
        self._began, self._saved, self._contested, self._told = time.monotonic(), -SAVE, -CONTEST_SECONDS, 1
        self._next_drift = move.config.monitor.drift.min_rows
        idle = Seen()
        self._save(self._done, Look(idle, idle, self.elapsed / self._bake))

    @property
    def elapsed(self) -> float:
        """Seconds that this step has been watched, by this process and those before it."""
        return self._elapsed + time.monotonic() - self._began

    def look(self) -> Look:
        """What was done since the step began."""
        now = endpoints.counters(self._move.shop, self._move.model, self._move.stage)
        counted = {v: self._since(v, now) for v in (self.begun.version, self.begun.champion)}
        new, old = (seen(one) for one in counted.values())
        look = Look(new, old, bakes=self.elapsed / self._bake)
        if self.elapsed - self._saved >= SAVE:
            self._save(counted, look)
        return look

    def _since(self, version: str, now: dict[str, VariantState]) -> VariantState:
        fresh = now.get(version)
        done = self._done.get(version, VariantState(0, False))
        return done if fresh is None else together(done, difference(self._before.get(version), fresh))

    def worth_a_contest(self) -> bool:
        """Whether labels are to be counted again."""
        worth = time.monotonic() - self._contested >= CONTEST_SECONDS
        self._contested = time.monotonic() if worth else self._contested
        return worth

    def worth_a_drift(self, look: Look) -> bool:
        """Whether drift is to be judged: each time there are four times as many rows as the last time. Chance gets few looks so."""
        worth = look.new.requests >= self._next_drift
        while look.new.requests >= self._next_drift:
            self._next_drift *= 4
        return worth

    def tell(self, look: Look, after: Rollout) -> None:
        """Say what a step waits for, once a bake time. With requests enough only an A/B test waits, else just for the verdict on drift."""
        rollback = self._move.config.deploy.rollback
        few = look.new.requests < rollback.min_requests
        if look.bakes >= self._told and after is self.begun and (few or self.begun.kind == "ab"):
            what = f"{look.new.requests} of {rollback.min_requests} requests so far" if few else _awaited(self.begun)
            said = f"{what}; it waits {rollout.MAX_HOLD} bake times at most"
            self._move.run.feed.put("line", step=f"production: {self.begun.name}", text=said)
            self._told = int(look.bakes) + 1

    def _save(self, counted: dict[str, VariantState], look: Look) -> None:
        state, deploy = self.begun, self._move.config.deploy
        found = {
            "version": state.version,
            "champion": state.champion,
            "kind": state.kind,
            "step": state.name,
            "plan": list(state.plan),
            "position": state.position,
            "weights": state.weights,
            "since": self.since.isoformat(),
            "elapsed": round(self.elapsed, 3),
            "bake": self._bake,
            "metric": state.metric,
            "predicted": state.predicted,
            "new": asdict(look.new),
            "old": asdict(look.old),
            "usual": asdict(state.usual or Seen()),
            "thresholds": deploy.rollback.model_dump(mode="json"),
            "counted": {v: asdict(one) for v, one in counted.items()},
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(self._path, json.dumps(found).encode(), durable=False)
        self._saved = self.elapsed


def _awaited(state: Rollout) -> str:
    return f"too few labels to judge {state.metric} so far" if state.metric else "nobody has decided yet"


def wait_counted(move: Move) -> None:
    """Wait until the endpoint has counted what it answered so far: what we ask ourselves is no traffic of the step that follows."""
    asked, deadline = time.time(), time.monotonic() + SETTLED
    while time.monotonic() < deadline:
        state = move.shop.target.endpoint(endpoints.name(move.model, move.stage))
        if state is None or state.counted_at >= asked:
            return
        move.shop.runs.check_open()
        time.sleep(0.02)


def read(path: Path) -> dict[str, Any] | None:
    """A roll-out as its run keeps it; None where there is none, or none that holds."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _variant(found: dict[str, Any]) -> VariantState:
    known = {f.name for f in fields(VariantState)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k in known}
    return VariantState(**values)


def difference(before: VariantState | None, now: VariantState) -> VariantState:
    """What a variant did between two looks; all that it ever did where there is no `before`."""
    before = before or VariantState(0, False)
    return _by(sub, now, before, now)


def together(one: VariantState, other: VariantState) -> VariantState:
    """What a variant did in two stretches of time."""
    return _by(add, one, other, other)


def _by(how: Any, one: VariantState, other: VariantState, last: VariantState) -> VariantState:
    size = max(len(one.latency), len(other.latency))
    counts = ([*v.latency, *[0] * (size - len(v.latency))] for v in (one, other))
    latency = tuple(how(a, b) for a, b in zip(*counts, strict=True))
    return replace(last, latency=latency, **{name: how(getattr(one, name), getattr(other, name)) for name in _COUNTED})


def seen(done: VariantState | None) -> Seen:
    """What the alarms see of it."""
    if done is None:
        return Seen()
    latency = tuple((stats.upper_ms(bucket), count) for bucket, count in enumerate(done.latency) if count)
    return Seen(latency=latency, in_flight=done.in_flight, **{name: getattr(done, name) for name in _COUNTED})
