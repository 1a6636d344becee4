"""Frozen facts: everything that ever happened to a model is one of these, written once to the journal. Each prints as a sentence."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from modelyard.clock import to_minute


@dataclass(frozen=True)
class Event:
    """Base of all facts. `model` is the model's name."""

    model: str
    kinds: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls) -> None:
        Event.kinds[cls.__name__] = cls

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        raise NotImplementedError


def from_dict(kind: str, data: dict[str, Any]) -> Event:
    """The event of that kind; raises KeyError for a kind this release does not know."""
    return Event.kinds[kind](**data)


@dataclass(frozen=True)
class RunStarted(Event):
    run: str
    flow: str
    by: str
    because: str = ""
    config_digest: str = ""

    def __str__(self) -> str:
        return f"{self.by} started {self.flow} {self.run}" + (f": {self.because}" if self.because else "")


@dataclass(frozen=True)
class ConfigAccepted(Event):
    """The config a run works by; `loosened` names every gate that asks for less than before."""

    run: str
    digest: str
    config: dict[str, Any]
    folder: str
    loosened: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"config {self.digest[:12]} accepted" + "".join(f"; loosened: {s}" for s in self.loosened)


@dataclass(frozen=True)
class ConfigInForce(Event):
    """From now on production, its monitors, alerts and governor go by this config; a build alone never changes that."""

    run: str
    digest: str
    config: dict[str, Any]
    folder: str

    def __str__(self) -> str:
        return f"config {self.digest[:12]} is in force"


@dataclass(frozen=True)
class StepDone(Event):
    run: str
    step: str
    seconds: float
    summary: str = ""

    def __str__(self) -> str:
        return f"{self.step} done in {self.seconds:.1f} s" + (f": {self.summary}" if self.summary else "")


@dataclass(frozen=True)
class RunResumed(Event):
    run: str
    completed: int

    def __str__(self) -> str:
        return f"{self.run} resumed after {self.completed} completed step{'s' if self.completed != 1 else ''}"


@dataclass(frozen=True)
class RunEnded(Event):
    """`status` is done, failed, refused (a gate said no), rejected, expired or abandoned."""

    run: str
    status: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.run} {self.status}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class GateJudged(Event):
    run: str
    gate: str
    ok: bool
    on_fail: str
    sentence: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return ("" if self.ok else "warning: " if self.on_fail == "warn" else "refused: ") + self.sentence


@dataclass(frozen=True)
class VersionRegistered(Event):
    """A version, with all its lineage. Digests are SHA-256 in hex.

    `recipe_digest` covers the part of the config that a build depends on, `source_digest` the source's rows; a retrained version
    has learned from more rows than these, which `data_digest` covers. `hyperparameters`: as trained, those that tuning found included.
    """

    run: str
    version: str
    digest: str
    data_digest: str
    code_digest: str
    lock_digest: str
    config_digest: str
    commit: str | None
    dirty: bool
    metrics: dict[str, float | None]
    gates: list[str]
    because: str = ""
    recipe_digest: str = ""
    source_digest: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"registered {self.model}:{self.version} (bundle {self.digest[:12]}, data {self.data_digest[:12]})"


@dataclass(frozen=True)
class KeyCreated(Event):
    """From now on callers with this API key are let in."""

    stage: str
    name: str
    by: str

    def __str__(self) -> str:
        return f"{self.by} created the API key `{self.name}` of {self.model} {self.stage}"


@dataclass(frozen=True)
class KeyRevoked(Event):
    """From now on callers with this API key are not let in."""

    stage: str
    name: str
    by: str

    def __str__(self) -> str:
        return f"{self.by} revoked the API key `{self.name}` of {self.model} {self.stage}"


@dataclass(frozen=True)
class Deployed(Event):
    """A stage's endpoint answers at `address` with these weights (version -> percent, summing to 100)."""

    stage: str
    address: str
    weights: dict[str, int]
    reason: str = ""

    def __str__(self) -> str:
        shares = ", ".join(f"{self.model}:{v} {w}%" for v, w in self.weights.items())
        return f"{self.stage} at {self.address} serves {shares}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class SmokeTested(Event):
    stage: str
    version: str
    ok: bool
    sentence: str

    def __str__(self) -> str:
        return f"smoke test of {self.model}:{self.version} in {self.stage}: {self.sentence}"


@dataclass(frozen=True)
class ApprovalRequested(Event):
    """A word is asked for; it is bound to the bundle's and the config's digest and void when either changes."""

    run: str
    version: str
    stage: str
    digest: str
    config_digest: str
    asked_by: str
    expires_at: str
    allow_self: bool
    loosened: list[str] = field(default_factory=list)  # gates that ask for less than those in force
    replay: str = ""  # what the replay of captured requests showed

    def __str__(self) -> str:
        asked = f"{self.model}:{self.version} waits for approval to enter {self.stage} (asked by {self.asked_by})"
        return asked + "".join(f"; loosened: {s}" for s in self.loosened) + (f"; replay: {self.replay}" if self.replay else "")


@dataclass(frozen=True)
class ApprovalGiven(Event):
    run: str
    version: str
    stage: str
    approved: bool
    by: str
    self_approved: bool = False
    comment: str = ""

    def __str__(self) -> str:
        word = "approved" if self.approved else "rejected"
        own = ", who also asked for it (allow_self)" if self.self_approved else ""
        return f"{self.by}{own} {word} {self.model}:{self.version} for {self.stage}" + (f": {self.comment}" if self.comment else "")


@dataclass(frozen=True)
class ApprovalWaived(Event):
    version: str
    stage: str
    reason: str

    def __str__(self) -> str:
        return f"{self.model}:{self.version} enters {self.stage} without a word: {self.reason}"


@dataclass(frozen=True)
class Promoted(Event):
    """The version is the stage's only one now; in production it is the champion."""

    stage: str
    version: str
    previous: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.model}:{self.version} promoted in {self.stage}: {self.reason}"


@dataclass(frozen=True)
class RolledBack(Event):
    stage: str
    version: str
    to: str
    reason: str

    def __str__(self) -> str:
        return f"{self.stage} rolled back from {self.model}:{self.version} to {self.model}:{self.to}: {self.reason}"


@dataclass(frozen=True)
class LabelsReceived(Event):
    new: int
    corrected: int
    repeated: int

    def __str__(self) -> str:
        return f"labels received: {self.new:,} new, {self.corrected:,} corrected, {self.repeated:,} repeated"


@dataclass(frozen=True)
class WindowJudged(Event):
    """A monitor's verdict on one window (ISO times, UTC)."""

    monitor: str
    version: str
    start: str
    end: str
    status: str
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        start, end = map(to_minute, (self.start, self.end))
        span = f"{start[:10]}..{end[:10]}" if start[:10] != end[:10] else f"{start}..{end[11:]}"
        return f"{self.monitor} {span} {self.status}: {self.reason.removeprefix(f'{self.monitor}: ')}"


@dataclass(frozen=True)
class CaptureTrimmed(Event):
    """Captured rows that were let go; what is left was received since then (ISO, UTC)."""

    stage: str
    rows: int
    bytes: int
    since: str

    def __str__(self) -> str:
        return f"{self.rows:,} captured rows of {self.stage} let go; those since {self.since[:19]} are kept"


@dataclass(frozen=True)
class CaptureTaken(Event):
    """Predictions that another server captured, taken in beside our own; `known` ones were there already."""

    folder: str
    rows: int
    known: int

    def __str__(self) -> str:
        return f"{self.rows:,} captured rows taken in from {self.folder}" + (f", {self.known:,} known already" if self.known else "")


@dataclass(frozen=True)
class AlertSent(Event):
    kind: str
    title: str
    sent_to: int
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"alert ({self.kind}): {self.title}" + "".join(f"; not delivered: {e}" for e in self.errors)


@dataclass(frozen=True)
class RetrainDecided(Event):
    """`because` is the kind of verdict that asks for it; `brake` what holds it back, in a word."""

    retrain: bool
    reason: str
    because: str = ""
    brake: str = ""

    def __str__(self) -> str:
        return ("retrain: " if self.retrain else "no retrain: ") + self.reason


@dataclass(frozen=True)
class ChallengeJudged(Event):
    run: str
    champion: str
    promote: bool
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"challenge against champion {self.model}:{self.champion}: {'won' if self.promote else 'lost'}: {self.reason}"


@dataclass(frozen=True)
class ReplayJudged(Event):
    """Captured requests through a new version and the champion, before anybody is asked to let it in.

    `ok` is None where there was too little to compare. `disagreement`: share of the rows answered otherwise.
    """

    run: str
    version: str
    champion: str
    ok: bool | None
    on_fail: str
    disagreement: float
    sentence: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        said = "" if self.ok is not False else "warning: " if self.on_fail == "warn" else "refused: "
        return f"replay of {self.model}:{self.version}: {said}{self.sentence}"


@dataclass(frozen=True)
class RunnerFailed(Event):
    stage: str
    version: str
    reason: str

    def __str__(self) -> str:
        named = f"{self.model}:{self.version}" if self.version else self.model  # a front is of no version
        return f"{self.stage} {named}: {self.reason}"
