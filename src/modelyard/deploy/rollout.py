"""The roll-out as a pure state machine: what was seen goes in, what to do comes out. No clock, no process, no I/O.

Weights always sum to 100; an alarm wins over everything; a step without enough data never promotes; an ended roll-out stays ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from modelyard.config.spec import Rollback, Strategy

Status = Literal["moving", "promoted", "rolled_back"]
MAX_HOLD = 20
"""Bake times that a step may wait for enough requests before all traffic goes back."""


@dataclass(frozen=True)
class Rollout:
    """Traffic moving from `champion` to `version`: `plan` holds the new version's percents, ending with 100."""

    version: str
    champion: str
    plan: tuple[int, ...]
    position: int = 0
    status: Status = "moving"
    reason: str = ""

    @property
    def weights(self) -> dict[str, int]:
        """Percent by version: what the routing table must say now."""
        if self.status == "promoted":
            return {self.version: 100}
        if self.status == "rolled_back":
            return {self.champion: 100}
        percent = self.plan[self.position]
        return {self.version: percent, self.champion: 100 - percent} if percent < 100 else {self.version: 100}


@dataclass(frozen=True)
class Seen:
    """What one variant did since the step began. `p99_ms` is None without a request."""

    requests: int = 0
    errors: int = 0
    p99_ms: float | None = None
    restarts: int = 0


def begin(version: str, champion: str, strategy: Strategy) -> Rollout:
    """The roll-out of `version` over `champion`."""
    steps = () if strategy.type == "all_at_once" else strategy.steps
    return Rollout(version, champion, (*steps, 100))


def advance(rollout: Rollout, new: Seen, old: Seen, bakes: float, thresholds: Rollback) -> Rollout:
    """The next state after `bakes` bake times in this step.

    An alarm rolls back at once. Before one bake time, or with fewer than `min_requests` answered, the step holds; it holds no longer
    than `MAX_HOLD` bake times, since no data never promotes. The last step (100%) is watched like every other before promotion.
    """
    if rollout.status != "moving":
        return rollout
    if (alarm := alarmed(new, old, thresholds)) is not None:
        return replace(rollout, status="rolled_back", reason=alarm)
    if bakes < 1:
        return rollout
    if new.requests < thresholds.min_requests:
        if rollout.plan[rollout.position] == 100 and len(rollout.plan) == 1:
            return replace(rollout, status="promoted", reason="all at once; no alarm within the bake time")
        if bakes < MAX_HOLD:
            return rollout
        seen = f"only {new.requests} of {thresholds.min_requests} requests came in {MAX_HOLD} bake times"
        return replace(rollout, status="rolled_back", reason=f"{seen}; no data never promotes")
    if rollout.position + 1 < len(rollout.plan):
        return replace(rollout, position=rollout.position + 1)
    return replace(rollout, status="promoted", reason=f"{new.requests} requests at 100%, {new.errors} failed; no alarm")


def alarmed(new: Seen, old: Seen, thresholds: Rollback) -> str | None:
    """The sentence of the first alarm that rings, or None.

    The error rate is taken over at least `min_requests`, so that one failure among the first few requests does ring while the
    share is still uncertain, and never divides by zero. p99 is compared only where both sides have that many requests, and must be
    above the old one by more than 5 ms, which is noise on a shared machine.
    """
    if new.restarts > 0:
        return f"the new version's runner died {new.restarts} time{'s' if new.restarts != 1 else ''}"
    rate = new.errors / max(new.requests, thresholds.min_requests)
    if rate > thresholds.error_rate:
        return f"{new.errors} of {new.requests} requests failed, over the allowed {thresholds.error_rate:.1%}"
    if new.p99_ms is None or old.p99_ms is None or min(new.requests, old.requests) < thresholds.min_requests:
        return None
    if new.p99_ms > thresholds.latency_p99_ratio * old.p99_ms and new.p99_ms - old.p99_ms > 5:
        return f"p99 {new.p99_ms:.0f} ms is over {thresholds.latency_p99_ratio:g} times the champion's {old.p99_ms:.0f} ms"
    return None
