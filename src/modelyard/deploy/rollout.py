"""The roll-out as a pure state machine: what was seen goes in, what to do comes out. No clock, no process, no I/O.

Weights always sum to 100; a person's abort wins over an alarm, and an alarm over everything else; a step without enough data never
promotes (only `all_at_once` takes a quiet bake time for an answer: whoever chose it has chosen not to wait for traffic); an ended
roll-out stays ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from modelyard.config.spec import Rollback, Strategy
from modelyard.deploy import alarms
from modelyard.deploy.alarms import Seen, alarmed

Kind = Literal["all_at_once", "canary", "linear", "shadow", "ab"]
Status = Literal["moving", "promoted", "rolled_back"]
MAX_HOLD = 20
"""Bake times that a step may wait for enough requests, labels or a person's word before all traffic goes back."""


@dataclass(frozen=True)
class Contest:
    """Two versions by a metric on late labels: whether the new one is better beyond chance, in a sentence."""

    won: bool
    sentence: str


@dataclass(frozen=True)
class Look:
    """One look at a step: what both versions did since it began, and how many bake times ago that was.

    `drifted` says why the new version's rows are not what it was built on. `aborted` and `promoted` name who asked for it. `contest` is
    the verdict by labels, None until there are enough of them.
    """

    new: Seen
    old: Seen
    bakes: float
    drifted: str = ""
    aborted: str = ""
    promoted: str = ""
    contest: Contest | None = None


@dataclass(frozen=True)
class Rollout:
    """Traffic moving from `champion` to `version`: `plan` holds the new version's percents; 0 is a shadow, which is asked and not heard.

    `usual` is what the champion did when it last had requests enough: the yardstick of a step in which it has too few, or none.
    `predicted`: share of rows that the replay has seen answered otherwise. `metric` decides an A/B test, a person where it is None.
    """

    version: str
    champion: str
    plan: tuple[int, ...]
    kind: Kind = "canary"
    position: int = 0
    status: Status = "moving"
    reason: str = ""
    usual: Seen | None = None
    predicted: float = 0.0
    metric: str | None = None

    @property
    def percent(self) -> int:
        """The new version's share in this step."""
        return self.plan[self.position]

    @property
    def shadowed(self) -> bool:
        """Whether the new version is asked in this step, and never heard."""
        return self.status == "moving" and self.percent == 0

    @property
    def name(self) -> str:
        """What this step is called; no two steps of a roll-out are called alike."""
        return "shadow" if self.percent == 0 else f"{self.percent}%"

    @property
    def weights(self) -> dict[str, int]:
        """Percent by version: what the routing table must say now. While the last step is watched the champion stands by, with none."""
        if self.status == "promoted":
            return {self.version: 100}
        if self.status == "rolled_back":
            return {self.champion: 100}
        return {self.version: self.percent, self.champion: 100 - self.percent}


def begin(version: str, champion: str, strategy: Strategy, predicted: float = 0.0) -> Rollout:
    """The roll-out of `version` over `champion`."""
    steps = () if strategy.type == "all_at_once" else strategy.steps
    plan = {"shadow": (0, *steps, 100), "ab": steps}.get(strategy.type, (*steps, 100))
    return Rollout(version, champion, plan, strategy.type, predicted=predicted, metric=strategy.metric)


def from_dict(data: dict[str, Any]) -> Rollout:
    """A roll-out out of its `dataclasses.asdict`, as JSON gives it back."""
    usual = alarms.from_dict(data["usual"]) if data["usual"] else None
    return Rollout(**{**data, "plan": tuple(data["plan"]), "usual": usual})


def advance(rollout: Rollout, look: Look, thresholds: Rollback) -> Rollout:
    """The next state; the very same one while the step holds.

    An alarm rolls back at once. Before one bake time, or with fewer than `min_requests` answered, the step holds; it holds no longer
    than `MAX_HOLD` bake times, since no data never promotes. The last step is watched like every other before promotion.
    """
    if rollout.status != "moving":
        return rollout
    if look.aborted:
        return replace(rollout, status="rolled_back", reason=f"asked by {look.aborted}")
    usual = look.old if look.old.requests >= thresholds.min_requests else rollout.usual
    alarm = alarmed(look.new, usual or Seen(), thresholds, rollout.predicted) or look.drifted
    if alarm:
        return replace(rollout, status="rolled_back", reason=alarm)
    enough = look.new.requests >= thresholds.min_requests
    if rollout.kind == "ab":
        return _decided(rollout, look, thresholds, enough)
    if look.bakes < 1:
        return rollout
    if not enough:
        return _without_data(rollout, look, thresholds)
    if rollout.position + 1 < len(rollout.plan):
        return replace(rollout, position=rollout.position + 1, usual=usual)
    return replace(rollout, status="promoted", reason=f"{look.new.requests} requests at 100%, {look.new.errors} failed; no alarm")


def _decided(rollout: Rollout, look: Look, thresholds: Rollback, enough: bool) -> Rollout:
    """An A/B test ends by its metric, once the bake time is over and labels enough came; one without a metric by a person, at any time."""
    if look.promoted and enough and rollout.metric is None:
        return replace(rollout, status="promoted", reason=f"decided by {look.promoted}")
    if look.bakes < 1:
        return rollout
    if enough and look.contest is not None:
        return replace(rollout, status="promoted" if look.contest.won else "rolled_back", reason=look.contest.sentence)
    if look.bakes < MAX_HOLD:
        return rollout
    if not enough:
        return _without_data(rollout, look, thresholds)
    lacking = f"too few labels to judge {rollout.metric}" if rollout.metric else "nobody decided"
    return replace(rollout, status="rolled_back", reason=f"{lacking} within {MAX_HOLD} bake times")


def _without_data(rollout: Rollout, look: Look, thresholds: Rollback) -> Rollout:
    """Too few requests after a bake time. All at once goes on, unless the version has taken requests and answered none of them."""
    if rollout.kind == "all_at_once" and (look.new.requests or not look.new.in_flight):
        return replace(rollout, status="promoted", reason="all at once; no alarm within the bake time")
    if look.bakes < MAX_HOLD:
        return rollout
    seen = f"only {look.new.requests} of {thresholds.min_requests} requests came in {MAX_HOLD} bake times"
    return replace(rollout, status="rolled_back", reason=f"{seen}; no data never promotes")
