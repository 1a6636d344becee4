"""The alarms that are armed in every step of a roll-out. Pure: counts in, the sentence of the first one that rings out.

Only what the new version does rings one; the champion is the yardstick.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Any

from modelyard.config.spec import Rollback

NOISE_MS = 5.0
"""What p99 differs by on a shared machine for no reason."""
RESOLUTION = 1.18
"""p99 is the upper edge of a histogram bucket, up to 19% too high: only what exceeds a ratio by more than that surely exceeds it."""
CHANCE = 1e-6
"""How rarely chance may ring an alarm of shares at one look. So rare, since a step is looked at thousands of times."""
SLOWEST = 0.01
"""Share of answers beyond p99."""


@dataclass(frozen=True)
class Seen:
    """What one variant did since the step began. `requests` were answered or failed (`errors`); `refused` ones were the caller's fault.

    `latency`: how many answers took up to how many milliseconds, rising. Of `compared` rows, which the other version answered too,
    `disagreed` were answered otherwise.
    """

    requests: int = 0
    errors: int = 0
    latency: tuple[tuple[float, int], ...] = ()
    restarts: int = 0
    refused: int = 0
    in_flight: int = 0
    compared: int = 0
    disagreed: int = 0

    @property
    def p99_ms(self) -> float | None:
        """None without an answer. One slow answer alone never makes it: of fewer than a hundred answers it is the second slowest."""
        answers = sum(count for _, count in self.latency)
        wanted, reached = min((1 - SLOWEST) * answers, answers - 1.5), 0
        for edge, count in self.latency:
            reached += count
            if reached >= wanted:
                return edge
        return None

    def slower(self, than_ms: float) -> int:
        """Answers that surely took longer."""
        return sum(count for edge, count in self.latency if edge > than_ms)


def from_dict(data: dict[str, Any]) -> Seen:
    """As its `dataclasses.asdict`, or JSON of that, has it."""
    return Seen(**{**data, "latency": tuple((float(edge), int(count)) for edge, count in data["latency"])})


def alarmed(new: Seen, old: Seen, thresholds: Rollback, predicted: float = 0.0) -> str | None:
    """The sentence of the first alarm that rings, or None. `predicted`: share of disagreement that the replay has shown."""
    return (
        _died(new)
        or _failing(new, thresholds)
        or _refusing(new, old, thresholds)
        or _slow(new, old, thresholds)
        or _disagreeing(new, thresholds, predicted)
    )


def _died(new: Seen) -> str | None:
    if new.restarts <= 0:  # below zero where a place that had died before has gone
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
    """p99 against the old one's, where both have answered enough: beyond the histogram's resolution, the machine's noise, and chance.

    So few answers as a step begins with have a slowest one or two that say nothing: more than 1% of them must surely be beyond the bound.
    """
    if new.p99_ms is None or old.p99_ms is None or min(new.requests, old.requests) < thresholds.min_requests:
        return None
    bound = max(thresholds.latency_p99_ratio * RESOLUTION * old.p99_ms, old.p99_ms + NOISE_MS)
    if not surely_above(new.slower(bound), sum(count for _, count in new.latency), SLOWEST):
        return None
    return f"p99 {new.p99_ms:.0f} ms is over {thresholds.latency_p99_ratio:g} times the champion's {old.p99_ms:.0f} ms"


def _disagreeing(new: Seen, thresholds: Rollback, predicted: float) -> str | None:
    """More rows answered otherwise than the replay has shown and the config allows on top, beyond what chance explains."""
    allowed = predicted + thresholds.disagreement
    if allowed >= 1 or not surely_above(new.disagreed, new.compared, allowed):
        return None
    known = f"{predicted:.1%} that the replay showed and {thresholds.disagreement:.1%} more" if predicted else f"the allowed {allowed:.1%}"
    return f"{new.disagreed} of {new.compared} rows are answered otherwise than by the champion, over {known}"


def surely_above(hits: int, of: int, share: float) -> bool:
    """Whether so many hits come less often than once in 1 / CHANCE times where each of `of` rows hits with this probability.

    By Chernoff's bound on the binomial tail, P(hits or more) <= exp(-of KL(hits / of || share)), which is safe for any number of rows:
    with a share of 10%, six rows that all hit are enough, and five are not.
    """
    if not of or hits / of <= share:
        return False
    if share <= 0:
        return True
    found = hits / of
    distance = found * log(found / share) + ((1 - found) * log((1 - found) / (1 - share)) if found < 1 else 0.0)
    return of * distance >= -log(CHANCE) * (1 - 1e-12)
