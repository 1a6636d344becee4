"""The roll-out as a pure state machine: what was seen goes in, what to do comes out. No clock, no process, no I/O.

Weights always sum to 100; an alarm wins over everything; a step without enough data never promotes (only `all_at_once` takes a quiet
bake time for an answer: whoever chose it has chosen not to wait for traffic); an ended roll-out stays ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, Literal

from modelyard.config.spec import Rollback, Strategy

Status = Literal["moving", "promoted", "rolled_back"]
MAX_HOLD = 20
"""Bake times that a step may wait for enough requests before all traffic goes back."""
NOISE_MS = 5.0
"""What p99 differs by on a shared machine for no reason."""
RESOLUTION = 1.18
"""p99 is the upper edge of a histogram bucket, up to 19% too high: only what exceeds a ratio by more than that surely exceeds it."""


@dataclass(frozen=True)
class Seen:
    """What one variant did since the step began. `requests` were answered or failed (`errors`); `refused` ones were the caller's fault.

    `p99_ms` is None without an answer.
    """

    requests: int = 0
    errors: int = 0
    p99_ms: float | None = None
    restarts: int = 0
    refused: int = 0
    in_flight: int = 0


@dataclass(frozen=True)
class Rollout:
    """Traffic moving from `champion` to `version`: `plan` holds the new version's percents, ending with 100.

    `usual` is what the champion did when it last had requests enough: the yardstick of a step in which it has too few, or none.
    """

    version: str
    champion: str
    plan: tuple[int, ...]
    position: int = 0
    status: Status = "moving"
    reason: str = ""
    usual: Seen | None = None

    @property
    def percent(self) -> int:
        """The new version's share in this step."""
        return self.plan[self.position]

    @property
    def weights(self) -> dict[str, int]:
        """Percent by version: what the routing table must say now. While the last step is watched the champion stands by, with none."""
        if self.status == "promoted":
            return {self.version: 100}
        if self.status == "rolled_back":
            return {self.champion: 100}
        return {self.version: self.percent, self.champion: 100 - self.percent}


def begin(version: str, champion: str, strategy: Strategy) -> Rollout:
    """The roll-out of `version` over `champion`."""
    steps = () if strategy.type == "all_at_once" else strategy.steps
    return Rollout(version, champion, (*steps, 100))


def from_dict(data: dict[str, Any]) -> Rollout:
    """A roll-out out of its `dataclasses.asdict`, as JSON gives it back."""
    usual = Seen(**data["usual"]) if data["usual"] else None
    return Rollout(**{**data, "plan": tuple(data["plan"]), "usual": usual})


def advance(rollout: Rollout, new: Seen, old: Seen, bakes: float, thresholds: Rollback) -> Rollout:
    """The next state after `bakes` bake times in this step; the very same one while the step holds.

    An alarm rolls back at once. Before one bake time, or with fewer than `min_requests` answered, the step holds; it holds no longer
    than `MAX_HOLD` bake times, since no data never promotes. The last step (100%) is watched like every other before promotion.
    """
    if rollout.status != "moving":
        return rollout
    usual = old if old.requests >= thresholds.min_requests else rollout.usual
    if (alarm := alarmed(new, usual or Seen(), thresholds)) is not None:
        return replace(rollout, status="rolled_back", reason=alarm)
    if bakes < 1:
        return rollout
    if new.requests < thresholds.min_requests:
        return _without_data(rollout, new, bakes, thresholds)
    if rollout.position + 1 < len(rollout.plan):
        return replace(rollout, position=rollout.position + 1, usual=usual)
    return replace(rollout, status="promoted", reason=f"{new.requests} requests at 100%, {new.errors} failed; no alarm")


def _without_data(rollout: Rollout, new: Seen, bakes: float, thresholds: Rollback) -> Rollout:
    """Too few requests after a bake time. All at once goes on, unless the version has taken requests and answered none of them."""
    if len(rollout.plan) == 1 and (new.requests or not new.in_flight):
        return replace(rollout, status="promoted", reason="all at once; no alarm within the bake time")
    if bakes < MAX_HOLD:
        return rollout
    seen = f"only {new.requests} of {thresholds.min_requests} requests came in {MAX_HOLD} bake times"
    return replace(rollout, status="rolled_back", reason=f"{seen}; no data never promotes")


# -- alarms ---------------------------------------------------------------------------------------------------------------------


def alarmed(new: Seen, old: Seen, thresholds: Rollback) -> str | None:
    """The sentence of the first alarm that rings, or None. Only what the new version does rings one; the old one is the yardstick."""
    return _died(new) or _failing(new, thresholds) or _refusing(new, old, thresholds) or _slow(new, old, thresholds)


def _died(new: Seen) -> str | None:
    if not new.restarts:
        return None
    return f"the new version's runner died {new.restarts} time{'s' if new.restarts != 1 else ''}"


def _failing(new: Seen, thresholds: Rollback) -> str | None:
    """The share of failures, taken over `min_requests` at least, so that one among the first few requests does not count for more."""
    if new.errors / max(new.requests, thresholds.min_requests) <= thresholds.error_rate:
        return None
    return f"{new.errors} of {new.requests} requests failed, over the allowed {thresholds.error_rate:.1%}"


def _refusing(new: Seen, old: Seen, thresholds: Rollback) -> str | None:
    """Callers that the old version took are refused (4xx) by the new one: its signature has changed under them.

    Both get the same callers, so the shares differ by chance alone: more than three standard errors, and the allowed error rate on
    top, is no chance. The old share is (refused + 1) / (all + 2), which without any data is one half, uncertain, and rings nothing.
    """
    came, before = new.requests + new.refused, old.requests + old.refused
    share = (old.refused + 1) / (before + 2)
    over = max(came, thresholds.min_requests)
    chance = 3 * sqrt(share * (1 - share) * (1 / over + 1 / (before + 2)))
    if new.refused / over <= share + thresholds.error_rate + chance:
        return None
    return f"{new.refused} of {came} requests were refused as the callers' fault, and {old.refused} of {before} by the champion"


def _slow(new: Seen, old: Seen, thresholds: Rollback) -> str | None:
    """p99 against the old one's, where both have answered enough, and beyond the histogram's resolution and the machine's noise."""
    if new.p99_ms is None or old.p99_ms is None or min(new.requests, old.requests) < thresholds.min_requests:
        return None
    if new.p99_ms <= thresholds.latency_p99_ratio * RESOLUTION * old.p99_ms or new.p99_ms - old.p99_ms <= NOISE_MS:
        return None
    return f"p99 {new.p99_ms:.0f} ms is over {thresholds.latency_p99_ratio:g} times the champion's {old.p99_ms:.0f} ms"
