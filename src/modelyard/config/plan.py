"""What a new config changes against what runs, and which of its gates became easier to pass.

A gate is whatever can stop a bad version or wake somebody: data expectations, validation criteria, approvals, the roll-out's
alarms, the monitors and the governor's limits. `GATES` says of each in which direction it loosens; every change in that direction
is flagged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from modelyard.config.spec import STAGES, Stage, parse_duration
from modelyard.config.words import shown

Effect = Literal["build", "deploy", "monitor", "none"]
_ABSENT = object()
_SPANS = {"m": 60, "h": 3600, "d": 86400, "w": 604800, "s": 1, "mo": 2_629_800}


@dataclass(frozen=True)
class Change:
    """One value that differs.

    Attributes:
        path: such as `evaluate.validation_criteria[roc_auc].threshold`.
        before, after: the values as JSON data; None where there was or is none.
        effect: what has to happen for it to hold: build anew, deploy, the monitors' next look, or nothing.
        loosens: a gate becomes easier to pass.
        sentence: the change in words.
    """

    path: str
    before: Any
    after: Any
    effect: Effect
    loosens: bool
    sentence: str


def plan(before: dict[str, Any] | None, after: dict[str, Any], *, greater_is_better: Mapping[str, bool] | None = None) -> list[Change]:
    """The changes from one canonical config (`load.canonical`) to another, in the file's order.

    Args:
        before: what runs; None where nothing does.
        after: what is wanted.
        greater_is_better: direction of each metric; a moved threshold of a metric it does not know counts as loosened.
    """
    if before is None:
        name = after["model"]["name"]
        return [Change("model.name", None, name, "build", False, f"{name} is new: it is built, judged and deployed")]
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    changes = []
    for path in [*new, *(p for p in old if p not in new)]:
        one, other = old.get(path, _ABSENT), new.get(path, _ABSENT)
        if one is not _ABSENT and other is not _ABSENT and _same(one, other):
            continue
        if (one is _ABSENT or one is None) and (other is _ABSENT or other is None):
            continue  # nothing said either way
        reason = _loosened(path, one, other, greater_is_better or {})
        value_before, value_after = (None if v is _ABSENT else v for v in (one, other))
        sentence = _sentence(path, one, other) + (f": {reason}" if reason else "")
        changes.append(Change(path, value_before, value_after, _effect(path), reason is not None, sentence))
    return changes


def plan_stages(
    before: Mapping[Stage, dict[str, Any]] | None,
    after: Mapping[Stage, dict[str, Any]],
    *,
    greater_is_better: Mapping[str, bool] | None = None,
) -> list[Change]:
    """As `plan`, over both stages (`Loaded.canonical()`): a change that only one stage sees says so."""
    changes = {s: plan(before[s] if before else None, after[s], greater_is_better=greater_is_better) for s in STAGES}
    both = [c for c in changes["production"] if c in changes["staging"]]
    only = [replace(c, sentence=f"{c.sentence} ({s} only)") for s in STAGES for c in changes[s] if c not in both]
    return both + only


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and (type(one) is type(other) or {type(one), type(other)} == {int, float})  # true is not 1


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything that is compared as one; criteria are named by their metric, not by their position."""
    if path.endswith("criteria"):
        seen: dict[str, int] = {}
        for item in value:
            against = " versus champion" if item.get("versus") else " drop" if item.get("max_drop") is not None else ""
            kind = item["metric"] + against
            seen[kind] = seen.get(kind, 0) + 1
            name = kind if seen[kind] == 1 else f"{kind} #{seen[kind]}"
            yield f"{path}[{name}]", "present"
            yield from ((f"{path}[{name}].{k}", v) for k, v in item.items() if k not in ("metric", "versus") and v is not None)
    elif path == "data.expect.columns":
        for column, expected in value.items():
            yield from ((f"{path}[{column}].{key}", one) for key, one in expected.items())
    elif isinstance(value, dict) and (value.keys() != {"secret"}) and path not in _WHOLE:
        for key, one in value.items():
            yield from _leaves(one, f"{path}.{key}" if path else key)
    else:
        yield path, value


_WHOLE = ("model.tags", "variables", "data.schema.types")

_EFFECTS: tuple[tuple[str, Effect], ...] = (
    (r"version|model\.(owner|tags)|variables", "none"),
    (r"environments\.|deploy\.|deploy$|environments$", "deploy"),
    (r"monitor\.|alerts\.|retrain\.", "monitor"),
    (r"", "build"),
)


def _effect(path: str) -> Effect:
    return next(effect for pattern, effect in _EFFECTS if re.match(pattern, path))


def _sentence(path: str, one: Any, other: Any) -> str:
    if other is _ABSENT:
        return f"{path} is removed" + ("" if one == "present" else f" (was {_words(one)})")
    if one is _ABSENT:
        return f"{path} is new" + ("" if other == "present" else f": {_words(other)}")
    return f"{path} goes from {_words(one)} to {_words(other)}"


def _words(value: Any) -> str:
    if isinstance(value, list) and len(value) <= 8 and not any(isinstance(v, list | dict) for v in value):
        return "[" + ", ".join(shown(v) for v in value) + "]"
    return "none" if value is None else str(value) if isinstance(value, str) and len(value) <= 60 else shown(value)


# Each judge gets (before, after) and answers whether the gate loosened. A value that is absent or None is no bound at all.
Judge = Callable[[Any, Any], bool]


def _none(value: Any) -> bool:
    return value is _ABSENT or value is None


def _rises(one: Any, other: Any) -> bool:
    """A ceiling loosens when it rises or goes."""
    return not _none(one) and (_none(other) or other > one)


def _falls(one: Any, other: Any) -> bool:
    """A floor loosens when it falls or goes."""
    return not _none(one) and (_none(other) or other < one)


def _becomes(value: Any) -> Judge:
    return lambda one, other: one != value and other == value and not _none(one)


def _loses(one: Any, other: Any) -> bool:
    """A list of what is watched loosens when something drops out; None watches everything."""
    return not _none(other) and (_none(one) or not {repr(v) for v in one} <= {repr(v) for v in other})


def _admits(one: Any, other: Any) -> bool:
    """A list of what is allowed loosens when something joins; None allows everything."""
    return not _none(one) and (_none(other) or not {repr(v) for v in other} <= {repr(v) for v in one})


def _skips(one: Any, other: Any) -> bool:
    """Steps of traffic loosen when there are fewer of them or the first or the largest leap grows; `type` judges having none."""
    if _none(one) or _none(other):
        return False
    leap = [max(b - a for a, b in zip([0, *steps], [*steps, 100], strict=True)) for steps in (one, other)]
    return len(other) < len(one) or other[0] > one[0] or leap[1] > leap[0]


def _by(convert: Callable[[Any], Any], judge: Judge) -> Judge:
    return lambda one, other: judge(one if _none(one) else convert(one), other if _none(other) else convert(other))


def _span(window: str) -> int:
    match = re.fullmatch(r"(\d+)([a-z]+)", window)
    return int(match.group(1)) * _SPANS[match.group(2)] if match else 0


def _period(cron: str) -> float:
    """Mean seconds between the ticks of a schedule, over its next hundred."""
    from croniter import croniter

    start = datetime(2025, 1, 1, tzinfo=UTC)
    ticks, last = croniter(cron, start), start
    for _ in range(100):
        last = ticks.get_next(datetime)
    return (last - start).total_seconds() / 100


_ORDER = {"all_at_once": 0, "linear": 1, "canary": 1}

GATES: tuple[tuple[str, Judge, str], ...] = (
    (r"data\.expect\.min_rows", _falls, "smaller data pass"),
    (r"data\.expect\.max_rows", _rises, "larger data pass"),
    (r"data\.expect\.columns\[.*\]\.(completeness|min)", _falls, "the expectation is weaker"),
    (r"data\.expect\.columns\[.*\]\.max", _rises, "the expectation is weaker"),
    (r"data\.expect\.columns\[.*\]\.categories", _admits, "more values are allowed"),
    (r"data\.expect\.columns\[.*\]\.unique", lambda one, other: one is True and other is not True, "repeated values pass"),
    (r".*\.on_fail", _becomes("warn"), "it warns, and no longer blocks"),
    (r"data\.split\.by", lambda one, other: one == "time" != other, "the hold-out is no longer later than the training data"),
    (r"(preprocess|train)\.network_isolation", _becomes(False), "the step gets a network"),
    (r".*criteria\[[^]]*\]", lambda one, other: other is _ABSENT, "the gate is gone"),
    (r"evaluate\.validation_criteria\[.*\]\.min_absolute_change", _falls, "a worse challenger passes"),
    (r"monitor\.performance\.criteria\[.*\]\.max_drop", _rises, "a larger loss passes"),
    (r"environments\..*\.approval\.(required)", _becomes(False), "nobody is asked any more"),
    (r"environments\..*\.approval\.allow_self", _becomes(True), "whoever asks may approve"),
    (r"environments\..*\.approval\.retrained", _becomes("not_required"), "retrained versions enter unasked"),
    (r"environments\..*\.approval\.expires", _by(parse_duration, _rises), "a request stays open longer"),
    (r"deploy\.strategy\.type", _by(lambda kind: _ORDER[kind], _falls), "all traffic moves at once"),
    (r"deploy\.strategy\.steps", _skips, "traffic moves in fewer or larger steps"),
    (r"deploy\.strategy\.bake", _by(parse_duration, _falls), "each step is watched for a shorter time"),
    (r"deploy\.rollback\.(error_rate|latency_p99_ratio)", _rises, "the roll-out's alarm goes off later"),
    (r"deploy\.rollback\.min_requests", _falls, "fewer requests are enough to promote"),
    (r"deploy\.capture\.sample", _falls, "the monitors see fewer requests"),
    (r"deploy\.capture\.mode", _becomes("off"), "the monitors see nothing"),
    (r"monitor\.(drift|performance)\.enabled", _becomes(False), "the monitor is off"),
    (r"monitor\.drift\.(psi|share|prediction_psi)", _rises, "more drift passes"),
    (r"monitor\.drift\.min_rows|monitor\.performance\.min_labels", _rises, "more windows stay unjudged"),
    (r"monitor\.drift\.columns", _loses, "fewer columns are watched"),
    (r"monitor\.performance\.label_delay", _by(parse_duration, _rises), "the verdict comes later"),
    (r"monitor\.schedule_expression", _by(_period, _rises), "the monitors look less often"),
    (r"monitor\.window", _by(_span, _rises), "each window is longer, so a verdict comes later"),
    (r"monitor\.alert_after\.num_violation_windows", _rises, "it takes more violated windows to alert"),
    (r"monitor\.alert_after\.num_windows", _falls, "violated windows are forgotten sooner"),
    (r"alerts\.(to|on)", _loses, "an alert is no longer sent"),
    (r"retrain\.cooldown", _by(parse_duration, _falls), "retraining may follow sooner"),
    (r"retrain\.min_new_labels", _falls, "fewer new labels are enough to retrain"),
    (r"retrain\.budget\.per_month", _rises, "more retraining is allowed"),
    (r"retrain\.challenge_champion", _becomes(False), "a retrained version need not beat the champion"),
)
"""(path, judge, what it means) of every gate but the thresholds, whose direction is their metric's."""

THRESHOLD = r".*criteria\[(?P<metric>[a-z0-9_]+)[^]]*\]\.threshold"


def _loosened(path: str, one: Any, other: Any, greater_is_better: Mapping[str, bool]) -> str | None:
    """Why the change makes a gate easier to pass; None where it does not."""
    if match := re.fullmatch(THRESHOLD, path):
        greater = greater_is_better.get(match["metric"])
        if _none(one) or (greater is not None and not (_falls if greater else _rises)(one, other)):
            return None
        return "the gate is easier to pass" if greater is not None else "the gate may be easier to pass"
    for pattern, judge, meaning in GATES:
        if re.fullmatch(pattern, path, re.DOTALL) and judge(one, other):
            return meaning
    return None
