"""The governor: whether to build a challenger now, and whether it takes the champion's place.

Pure: facts in, a decision with its reason out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from modelyard.config.spec import Retrain

ORDER = ("performance", "drift")
"""Which kind a decision names first: measured harm before its sign."""


@dataclass(frozen=True)
class Facts:
    """What the governor knows. A naive time counts as UTC.

    verdicts: (kind, status, end of the window), in any order. retrains_this_month: see `retrains_in_month`.
    new_labels: predictions whose label came since the last retraining. building: whether a build or a release of this model is under
    way. waiting: the version that waits for a person's word, where one does. last_retrain: when the last retraining *started*,
    whatever came of it and whoever asked for it.
    """

    now: datetime
    verdicts: tuple[tuple[str, str, datetime], ...]
    last_retrain: datetime | None
    retrains_this_month: int
    new_labels: int
    building: bool
    waiting: str | None = None


@dataclass(frozen=True)
class Decision:
    """`because`: the kind of verdict that asks for it, also where it is refused for now.

    `window_end`: the end of that verdict's window. `brake`: what holds it back, in a word.
    """

    retrain: bool
    reason: str
    because: str | None = None
    window_end: datetime | None = None
    brake: str = ""

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Challenge:
    """Whether the challenger takes the champion's place.

    gain: how much better it is in the metric's good direction, None when it cannot be said. lower: the 5% quantile of the gain
    over the resamples; wins: the share of resamples in which it is better; both None without resamples.
    """

    promote: bool
    reason: str
    gain: float | None = None
    lower: float | None = None
    wins: float | None = None

    def __str__(self) -> str:
        return self.reason


def decide(policy: Retrain, facts: Facts) -> Decision:
    """Whether to retrain now.

    Asked for by a kind in `policy.on` whose newest known verdict is `violated`. `unknown` neither asks nor clears: no data is no
    evidence. A window that ended at or before the last retraining has had its say and cannot ask again (so one verdict acts
    once, and rows of the replaced model cannot condemn the new one); neither can a window that ends in the future. Then the
    brakes, in order: a version that waits for a word, a build under way, cool-down, labels, the month's budget. Never raises.
    """
    if not policy.on:
        return Decision(False, "No retraining: `retrain.on` is empty.")
    now = _utc(facts.now)
    last = _utc(facts.last_retrain) if facts.last_retrain is not None else None
    asking = _asking(policy, facts, now, last)
    if not asking:
        watched = f"neither {' nor '.join(policy.on)} is" if len(policy.on) > 1 else f"{policy.on[0]} is not"
        return Decision(False, f"No retraining: {watched} violated in a window since the last retraining.")
    because, end = asking[0]
    cause = " and ".join(f"{kind} violated in the window up to {_day(at)}" for kind, at in asking)
    brake, said = _brake(policy, facts, now, last)
    if brake:
        return Decision(False, f"No retraining yet, {said} ({cause}).", because, end, brake)
    return Decision(True, f"Retraining: {cause}, and {facts.new_labels:,} new labels to learn from.", because, end)


def _asking(policy: Retrain, facts: Facts, now: datetime, last: datetime | None) -> list[tuple[str, datetime]]:
    newest: dict[str, tuple[datetime, bool]] = {}
    for kind, status, raw in facts.verdicts:
        end = _utc(raw)
        if kind not in policy.on or status == "unknown" or end > now:
            continue
        # Two verdicts on one window are a contradiction: the worse one holds, in whichever order they came.
        newest[kind] = max(newest.get(kind, (end, False)), (end, status == "violated"))
    fresh = {kind: end for kind, (end, violated) in newest.items() if violated and (last is None or end > last)}
    return sorted(fresh.items(), key=lambda item: ORDER.index(item[0]) if item[0] in ORDER else len(ORDER))


def _brake(policy: Retrain, facts: Facts, now: datetime, last: datetime | None) -> tuple[str, str]:
    """Why it has to wait, in a word and in full; empty when nothing holds it back."""
    if facts.waiting is not None:
        return "approval", f"version {facts.waiting} waits for approval"
    if facts.building:
        return "building", "a build of this model is under way"
    # Compared by subtraction: adding a long cool-down to a late date could overflow.
    if last is not None and now - last < policy.cooldown:
        waited = _span(max(now - last, timedelta(0)))
        return "cooldown", f"the last retraining was {waited} ago and the cool-down is {_span(policy.cooldown)}"
    if facts.new_labels < policy.min_new_labels:
        return "labels", f"{max(facts.new_labels, 0):,} new labels came and {policy.min_new_labels:,} are needed"
    if facts.retrains_this_month >= policy.budget.per_month:
        return "budget", f"this month's budget of {policy.budget.per_month} retrainings is used up"
    return "", ""


def retrains_in_month(history: Iterable[datetime], now: datetime, timezone: str) -> int:
    """How many of the instants fall in the calendar month of `now`, months beginning at local midnight of `timezone`."""
    zone = ZoneInfo(timezone)
    month = _utc(now).astimezone(zone)
    return sum((local.year, local.month) == (month.year, month.month) for local in (_utc(h).astimezone(zone) for h in history))


def challenge(
    champion: Mapping[str, float],
    challenger: Mapping[str, float],
    metric: str,
    greater_is_better: bool,
    rows: int,
    *,
    differences: Sequence[float] = (),
) -> Challenge:
    """Whether the challenger beats the champion on the same recent labelled rows.

    It has to be better by the metric itself, be it by little: both answer for the same rows, so chance hits both alike, and a
    challenger has already passed its gates. How sure that is, is reported from a paired bootstrap (Efron & Tibshirani 1993, "An
    Introduction to the Bootstrap", ch. 13 percentile intervals; paired as in Koehn 2004, "Statistical Significance Tests for
    Machine Translation Evaluation").

    champion, challenger: metrics of each over those rows. differences: challenger minus champion by `metric`, one a resample of
    the rows (`quality.paired.bootstrap` makes them); those that are not finite are left out. Never raises; what cannot be
    compared is not promoted.
    """
    old, new = _number(champion.get(metric)), _number(challenger.get(metric))
    if rows < 1 or not (math.isfinite(old) and math.isfinite(new)):
        return Challenge(False, f"The champion stays: {metric} could not be measured for both on the same rows ({rows:,} rows).")
    sign = 1 if greater_is_better else -1
    gain = sign * (new - old)
    lower, wins, sureness = _sureness(sorted(sign * d for d in differences if math.isfinite(d)))
    size = f"{abs(gain):.3g} {'better' if gain > 0 else 'worse'}" if gain else "no better"
    numbers = f"{metric} {new:.5g} against {old:.5g} on the same {rows:,} rows, {size}{sureness}"
    reason = f"The challenger is promoted: {numbers}." if gain > 0 else f"The champion stays: the challenger's {numbers}."
    return Challenge(gain > 0, reason, gain, lower, wins)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _sureness(gains: list[float]) -> tuple[float | None, float | None, str]:
    if not gains:
        return None, None, ""
    at = 0.05 * (len(gains) - 1)
    below, above = gains[math.floor(at)], gains[math.ceil(at)]
    lower = below + (above - below) * (at - math.floor(at))
    wins = sum(g > 0 for g in gains) / len(gains)
    return lower, wins, f" (better in {wins:.0%} of {len(gains):,} resamples; 5% of them are at or below {lower:+.3g})"


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.utcoffset() is None else instant


def _day(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC" if instant.utcoffset() == timedelta(0) else instant.isoformat(timespec="minutes")


def _span(span: timedelta) -> str:
    """A duration in its two largest units, such as `3 d 4 h`; below a second, `0 s`."""
    left, parts = int(span.total_seconds()), []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts[:2]) or "0 s"
