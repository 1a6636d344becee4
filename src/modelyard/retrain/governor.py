"""The governor: whether to build a challenger now, and whether it takes the champion's place.

Pure: facts in, a decision with its reason out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from modelyard.config.spec import Retrain

ORDER = ("performance", "drift", "bias", "attribution", "new_data", "schedule")
"""Which kind a decision names first: measured harm before its sign, and both before what comes round by itself."""
BY_THEMSELVES = ("schedule", "new_data")
"""Causes that no monitor raises. A challenger that lost makes them no weaker, so that only the plain cool-down holds them back."""
LONGEST_BACK_OFF = timedelta(days=30)
"""What the cool-down grows to, at the most, while retrainings change nothing. A longer cool-down of the config's own stays as it is."""
SURE = 0.8
"""Share of the resamples in which a challenger has to be better: less may as well be chance, and a change for nothing."""
SHORTEST_BACK_OFF = timedelta(hours=1)
"""What the back-off grows from, at the least: also a config without a cool-down must not retrain in a loop."""


@dataclass(frozen=True)
class Frozen:
    """A span in which nothing is retrained, that `now` lies in."""

    until: datetime
    reason: str = ""


@dataclass(frozen=True)
class Facts:
    """What the governor knows. A naive time counts as UTC.

    verdicts: (kind, status, end of the window), in any order; of each kind the newest ones, as many as `retrain.after` asks for.
    retrains_this_month: see `retrains_in_month`. new_labels: predictions whose label came since the last retraining; None where they
    were not counted yet, which stands for enough. building: whether a build or a release of this model is under way. waiting: the
    version that waits for a person's word, where one does. last_retrain: when the last retraining *started*, whatever came of it and
    whoever asked for it. fruitless: retrainings in a row, the last one included, after which the champion was the same. tick: the
    newest instant of `retrain.schedule_expression` since the last retraining, or since the model went into production.
    """

    now: datetime
    verdicts: tuple[tuple[str, str, datetime], ...]
    last_retrain: datetime | None
    retrains_this_month: int
    new_labels: int | None
    building: bool
    waiting: str | None = None
    fruitless: int = 0
    tick: datetime | None = None
    frozen: Frozen | None = None


@dataclass(frozen=True)
class Decision:
    """`because`: the cause that asks for it (a monitor's kind, `schedule` or `new_data`), also where it is refused for now.

    `window_end`: the end of the newest window that asks, or the schedule's instant. `brake`: what holds it back, in a word.
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


@dataclass(frozen=True)
class _Cause:
    kind: str
    at: datetime | None
    said: str


def decide(policy: Retrain, facts: Facts) -> Decision:
    """Whether to retrain now.

    A monitor of `policy.on` asks when enough of its last known windows are violated (`policy.after`). `unknown` neither asks nor
    clears: no data is no evidence. A window that ended at or before the last retraining has had its say and cannot ask again (so one
    verdict acts once, and rows of the replaced model cannot condemn the new one); neither can a window that ends in the future. A
    schedule asks by an instant since the last retraining, so that several that were missed act once; `new_data` by its labels.

    Then the brakes, in order: a version that waits for a word, a build under way, a freeze, cool-down, budget, labels. A cause that is
    held back acts when the brake lets go, unless it has healed by then. Never raises.
    """
    if not policy.on:
        return Decision(False, "No retraining: `retrain.on` is empty.")
    now = _utc(facts.now)
    last = _utc(facts.last_retrain) if facts.last_retrain is not None else None
    asking = _asking(policy, facts, now, last)
    if not asking:
        return Decision(False, f"No retraining: {_quiet(policy)}.")
    first, cause = asking[0], " and ".join(one.said for one in asking)
    brake, said = _brake(policy, facts, now, last, {one.kind for one in asking})
    if brake:
        return Decision(False, f"No retraining yet, {said} ({cause}).", first.kind, first.at, brake)
    learned = f", and {facts.new_labels:,} new labels to learn from" if facts.new_labels is not None and first.kind != "new_data" else ""
    return Decision(True, f"Retraining: {cause}{learned}.", first.kind, first.at)


def back_off(cooldown: timedelta, fruitless: int) -> timedelta:
    """How long to wait after retrainings that changed nothing: the cool-down, doubled for each, up to `LONGEST_BACK_OFF`."""
    if fruitless < 1:
        return cooldown
    doubled = max(cooldown, SHORTEST_BACK_OFF).total_seconds() * 2.0 ** min(fruitless, 64)
    return max(cooldown, timedelta(seconds=min(doubled, LONGEST_BACK_OFF.total_seconds())))


def _quiet(policy: Retrain) -> str:
    """Why nothing asks."""
    watched = [kind for kind in policy.on if kind not in BY_THEMSELVES]
    said = []
    if watched:
        said.append((f"neither {' nor '.join(watched)} is" if len(watched) > 1 else f"{watched[0]} is not") + " violated")
    said += ["the schedule has not come round"] if "schedule" in policy.on else []
    said += [f"fewer than {policy.new_data or 0:,} new labels came"] if "new_data" in policy.on else []
    return " and ".join(said) + (" in a window since the last retraining" if said and watched and len(said) == 1 else "")


def _asking(policy: Retrain, facts: Facts, now: datetime, last: datetime | None) -> list[_Cause]:
    found = [*_violated(policy, facts, now, last)]
    tick = _utc(facts.tick) if facts.tick is not None else None
    if "schedule" in policy.on and tick is not None and tick <= now and (last is None or tick > last):
        found.append(_Cause("schedule", tick, f"the schedule came round at {_day(tick)}"))
    if "new_data" in policy.on and policy.new_data is not None:
        if facts.new_labels is None:
            found.append(_Cause("new_data", None, "new labels may have come"))
        elif facts.new_labels >= policy.new_data:
            found.append(_Cause("new_data", None, f"{facts.new_labels:,} new labels came, and {policy.new_data:,} ask by themselves"))
    return sorted(found, key=lambda cause: ORDER.index(cause.kind) if cause.kind in ORDER else len(ORDER))


def _violated(policy: Retrain, facts: Facts, now: datetime, last: datetime | None) -> Iterator[_Cause]:
    """The monitors of which enough of the newest known windows are violated."""
    heard: dict[str, dict[datetime, bool]] = {}
    for kind, status, raw in facts.verdicts:
        end = _utc(raw)
        if kind not in policy.on or kind in BY_THEMSELVES or status == "unknown" or end > now:
            continue
        # Two verdicts on one window are a contradiction: the worse one holds, in whichever order they came.
        windows = heard.setdefault(kind, {})
        windows[end] = windows.get(end, False) or status == "violated"
    after = policy.after
    for kind, windows in heard.items():
        newest = sorted(windows)[-after.num_windows :]
        violated = [end for end in newest if windows[end] and (last is None or end > last)]
        if len(violated) < after.num_violation_windows:
            continue
        said = f"{kind} violated in the window up to {_day(violated[-1])}"
        if after.num_windows > 1:
            said = f"{kind} violated in {len(violated)} of the last {len(newest)} windows, up to {_day(violated[-1])}"
        yield _Cause(kind, violated[-1], said)


def _brake(policy: Retrain, facts: Facts, now: datetime, last: datetime | None, kinds: set[str]) -> tuple[str, str]:
    """Why it has to wait, in a word and in full; empty when nothing holds it back."""
    if facts.waiting is not None:
        return "approval", f"version {facts.waiting} waits for approval"
    if facts.building:
        return "building", "a build of this model is under way"
    if facts.frozen is not None:
        why = f": {facts.frozen.reason}" if facts.frozen.reason else ""
        return "freeze", f"retraining is frozen until {_day(_utc(facts.frozen.until))}{why}"
    fruitless = 0 if kinds & set(BY_THEMSELVES) else facts.fruitless
    wait = back_off(policy.cooldown, fruitless)
    # Compared by subtraction: adding a long cool-down to a late date could overflow.
    if last is not None and now - last < wait:
        waited = _span(max(now - last, timedelta(0)))
        grown = "" if wait == policy.cooldown else f", grown from {_span(policy.cooldown)} since {_times(fruitless)} changed nothing"
        return "cooldown", f"the last retraining was {waited} ago and the cool-down is {_span(wait)}{grown}"
    if facts.retrains_this_month >= policy.budget.per_month:
        return "budget", f"this month's budget of {policy.budget.per_month} retrainings is used up"
    # The source may have new rows that no label of a prediction tells of: a schedule asks for these too.
    if "schedule" not in kinds and facts.new_labels is not None and facts.new_labels < policy.min_new_labels:
        return "labels", f"{max(facts.new_labels, 0):,} new labels came and {policy.min_new_labels:,} are needed"
    return "", ""


def _times(fruitless: int) -> str:
    return "the last retraining" if fruitless == 1 else f"the last {fruitless} retrainings"


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
    challenger has already passed its gates. But in a share `SURE` of a paired bootstrap's resamples it has to be better, too (Efron &
    Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13 percentile intervals; paired as in Koehn 2004, "Statistical Significance
    Tests for Machine Translation Evaluation").

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
    by_chance = gain > 0 and wins is not None and wins < SURE
    if gain > 0 and not by_chance:
        return Challenge(True, f"The challenger is promoted: {numbers}.", gain, lower, wins)
    why = f"; {SURE:.0%} of them are needed" if by_chance else ""
    return Challenge(False, f"The champion stays: the challenger's {numbers}{why}.", gain, lower, wins)


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
