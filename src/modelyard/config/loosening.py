"""In which direction each gate of the config loosens."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from modelyard.config.spec import parse_duration

ABSENT = object()
"""Stands for a value that is not in the config at all."""
_SPANS = {"m": 60, "h": 3600, "d": 86400, "w": 604800, "s": 1, "mo": 2_629_800}

# Each judge gets (before, after) and answers whether the gate loosened. A value that is absent or None is no bound at all.
Judge = Callable[[Any, Any], bool]


def _none(value: Any) -> bool:
    return value is ABSENT or value is None


def _rises(one: Any, other: Any) -> bool:
    """A ceiling loosens when it rises or goes."""
    return not _none(one) and (_none(other) or other > one)


def _falls(one: Any, other: Any) -> bool:
    """A floor loosens when it falls or goes."""
    return not _none(one) and (_none(other) or other < one)


def _above(one: Any, other: Any) -> bool:
    """A ceiling whose usual value is not known here: it loosens when it rises, and may when it is written first or no more."""
    return _none(one) != _none(other) or (not _none(one) and other > one)


def _becomes(value: Any) -> Judge:
    return lambda one, other: one != value and other == value and not _none(one)


def _wider(one: Any, other: Any) -> bool:
    """A tolerance loosens when it grows; one that is not written is what its model needs, 1e-6 at most."""
    return bool((1e-6 if _none(other) else other) > (1e-6 if _none(one) else one))


def _loses(one: Any, other: Any) -> bool:
    """A list of what is watched loosens when something drops out; None watches everything."""
    return not _none(other) and (_none(one) or not {repr(v) for v in one} <= {repr(v) for v in other})


def _admits(one: Any, other: Any) -> bool:
    """A list of what is allowed loosens when something joins; None allows everything."""
    return not _none(one) and (_none(other) or not {repr(v) for v in other} <= {repr(v) for v in one})


def _changes(one: Any, other: Any) -> bool:
    """What was said before and is now said otherwise, or no more."""
    return not _none(one)


def _differs(one: Any, other: Any) -> bool:
    """What is said otherwise than before, also where nothing was said: of a part that was there."""
    return one is not other


def _goes(one: Any, other: Any) -> bool:
    """A part that is there no more."""
    return other is ABSENT


def _comes(one: Any, other: Any) -> bool:
    """What lets something pass, and is said now, be it for the first time."""
    return not _none(other)


def _opens(one: Any, other: Any) -> bool:
    """An endpoint that only this machine reached, and others do now."""
    return _local(one) and not _local(other)


def _local(host: Any) -> bool:
    try:
        return _none(host) or host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


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


_WORDS = {"off": 0, "ignore": 0, "warn": 1, "block": 2, "violate": 2}
_STRICT = {"none": 0, "benjamini_hochberg": 1, "holm": 2}
_ORDER = {"all_at_once": 0, "linear": 1, "canary": 1, "ab": 1, "shadow": 2}
_KEPT = {"off": 0, "buffered": 1, "required": 2}

GATES: tuple[tuple[str, Judge, str], ...] = (
    (r"data\.expect\.min_rows", _falls, "smaller data pass"),
    (r"data\.expect\.max_rows", _rises, "larger data pass"),
    (r"data\.expect\.columns\[.*\]\.(completeness|min)", _falls, "the expectation is weaker"),
    (r"data\.expect\.columns\[.*\]\.max", _rises, "the expectation is weaker"),
    (r"(data\.expect|monitor\.data_quality)\.columns\[.*\]\.categories", _admits, "more values are allowed"),
    (r"data\.expect\.columns\[.*\]\.unique", lambda one, other: one is True and other is not True, "repeated values pass"),
    (r"(?!evaluate\.baseline).*\.on_fail", _becomes("warn"), "it warns, and no longer blocks"),
    (r"data\.positive_class", _changes, "the gates judge another class"),
    (r"data\.schema\.weight_col", _differs, "the rows count otherwise in every gate"),
    (r"data\.split\.by", lambda one, other: one == "time" != other, "the hold-out is no longer later than the training data"),
    (r"data\.split\.by", lambda one, other: one == "group" != other, "what belongs together may be in training and in the hold-out"),
    (r"data\.split\.by", lambda one, other: (one, other) == ("provided", "random"), "the hold-out is no longer the one that was chosen"),
    (r"data\.leakage\.(target|duplicates|time_order)", _by(lambda word: _WORDS[word], _falls), "a leak no longer stops the build"),
    (r"data\.leakage\.max_duplicates", _rises, "more of the hold-out may have been learned by heart"),
    (r"(preprocess|train|postprocess|steps\[.*\])\.network_isolation", _becomes(False), "the step gets a network"),
    (r".*criteria\[.*\]", _goes, "the gate is gone"),
    (r"evaluate\.validation_criteria\[.*\]\.min_(absolute|relative)_change", _falls, "a worse challenger passes"),
    (r"steps\[[^]]*\]", _goes, "a step that could fail the build is gone"),
    (r"steps\[[^]]*\]\.when\.value", _comes, "the step may be left out"),
    (r"steps\[[^]]*\]\.when\.otherwise", _becomes("skip"), "the step is left out, and no longer fails the build"),
    (r"evaluate\.baseline\.on_fail", _by(lambda word: _WORDS[word], _falls), "a version that learned nothing passes"),
    (r"evaluate\.baseline\.metric", _changes, "another metric judges whether it learned anything"),
    (r"evaluate\.worst_slice\.enabled", _becomes(False), "the weakest part is no longer looked for"),
    (r"evaluate\.worst_slice\.min_rows", _rises, "small weak parts are no longer looked at"),
    (r"evaluate\.worst_slice\.depth", _falls, "crossed columns are no longer looked at"),
    (r"evaluate\.season", _changes, "forecasts are held against another naive one"),
    (r"evaluate\.confidence\.level", _falls, "the lower bound is nearer to the value"),
    (r"evaluate\.custom_metrics\[.*\]\.greater_is_better", _changes, "the metric's gates turn round"),
    (r"evaluate\.custom_metrics\[.*\]\.(function|entry_point)", _changes, "the metric's gates judge another number"),
    (r"bias\.criteria\[.*\]\.within|monitor\.bias\.tolerance", _rises, "more bias passes"),
    (r"bias\.facets\[.*\]", _goes, "the group is no longer compared"),
    (r"bias\.facets\[.*\]\.(privileged|disadvantaged|above|value_or_threshold)", _differs, "other groups are compared"),
    (r"bias\.intersections", _loses, "crossed groups are no longer compared"),
    (r"bias\.(label_above|group_col)", _changes, "the groups are compared otherwise"),
    (r"bias\.(label_values|analysis_config\.probability_threshold)", _differs, "the groups are compared otherwise"),
    (r"bias\.(pre|post)_training", _loses, "a bias metric is no longer computed"),
    (r"bias\.analysis_config", _changes, "other groups may be compared"),
    (r"monitor\.performance\.criteria\[.*\]\.max_drop", _rises, "a larger loss passes"),
    (r"environments\..*\.approval\.required", _becomes(False), "nobody is asked any more"),
    (r"environments\..*\.approval\.allow_self", _becomes(True), "whoever asks may approve"),
    (r"environments\..*\.approval\.retrained", _becomes("not_required"), "retrained versions enter unasked"),
    (r"environments\..*\.approval\.expires", _by(parse_duration, _rises), "a request stays open longer"),
    (r"deploy\.strategy\.type", _by(lambda kind: _ORDER[kind], _falls), "traffic moves with less care"),
    (r"deploy\.strategy\.steps", _skips, "traffic moves in fewer or larger steps"),
    (r"deploy\.strategy\.bake", _by(parse_duration, _falls), "each step is watched for a shorter time"),
    (r"deploy\.strategy\.share", _falls, "the new version is asked less before it answers"),
    (r"deploy\.strategy\.metric", _changes, "another metric, or a person, decides"),
    (r"deploy\.rollback\.(error_rate|latency_p99_ratio|disagreement)", _rises, "the roll-out's alarm goes off later"),
    (r"deploy\.rollback\.drift", _becomes("violated"), "the roll-out's alarm goes off later"),
    (r"deploy\.replay\.(max_disagreement|max_error_rate|min_rows)", _rises, "a version that answers otherwise passes"),
    (r"deploy\.replay\.(last|min_metric_change)", _falls, "less is compared"),
    (r"inference\.tolerance\.scores", _wider, "a row plan may differ more from the model"),
    (r"inference\.compile", lambda one, other: one == "required" != other, "a model that cannot be compiled passes"),
    (r"environments\..*\.keys", _becomes(False), "callers need no key any more"),
    (r"environments\..*\.host", _opens, "callers from beyond this machine reach it"),
    (r"deploy\.rollback\.min_requests", _falls, "fewer requests are enough to promote"),
    (r"deploy\.capture\.sample", _falls, "the monitors see fewer requests"),
    (r"deploy\.capture\.mode", _by(lambda mode: _KEPT[mode], _falls), "rows may be missing from what the monitors see"),
    (r"monitor\.(data_quality|drift|performance|bias|attribution|drift\.multivariate)\.enabled", _becomes(False), "the monitor is off"),
    (r"monitor\.drift\.((numeric|categorical|prediction|multivariate)\.threshold|overrides\[.*\]\.threshold)", _above, "more drift passes"),
    (r"monitor\.drift\.((numeric|categorical|prediction)\.measure|overrides\[.*\]\.measure)", _differs, "drift is measured otherwise"),
    (r"monitor\.drift\.share", _rises, "more drift passes"),
    (r"monitor\.drift\.significance", _falls, "more drift passes for chance"),
    (r"monitor\.drift\.correction", _by(lambda word: _STRICT[word], _falls), "more drift passes for chance"),
    (r"monitor\.drift\.season\.(period|count)", _comes, "what is usual for the season is no drift any more"),
    (r"monitor\.(drift|data_quality|bias|attribution)\.min_rows|monitor\.performance\.min_labels", _rises, "more windows stay unjudged"),
    (r"monitor\.(segments|bias\.metrics)", _loses, "less is watched"),
    (r"monitor\.data_quality\.suggest", _becomes(False), "what training was like is no constraint any more"),
    (r"monitor\.data_quality\.columns\[.*\]\.(completeness|min|\w+_match)", _falls, "the constraint is weaker"),
    (r"monitor\.data_quality\.columns\[.*\]\.(max|distance)", _rises, "the constraint is weaker"),
    (r"monitor\.data_quality\.columns\[.*\]\.(type|non_negative)", _differs, "another constraint holds"),
    (r"monitor\.data_quality\.tolerance", _rises, "more rows may break a constraint"),
    (r"monitor\.data_quality\.extra_columns", _by(lambda word: _WORDS[word], _falls), "columns that nobody knows pass"),
    (r"monitor\.performance\.estimate", _becomes(False), "nothing is said before labels come"),
    (r"monitor\.performance\.confidence", _rises, "it takes more to be sure that something is bad"),
    (r"monitor\.attribution\.min_ndcg", _falls, "more attribution drift passes"),
    (r"monitor\.attribution\.window", _by(_span, _rises), "the verdict comes later"),
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
    (r"retrain\.after\.num_violation_windows|retrain\.new_data", _falls, "retraining may follow sooner"),
    (r"retrain\.after\.num_windows", _rises, "retraining may follow sooner"),
    (r"retrain\.schedule_expression", _by(_period, _falls), "retraining may follow sooner"),
    (r"retrain\.freeze", _loses, "retraining may fall into what was a freeze"),
    (r"retrain\.challenge_champion", _becomes(False), "a retrained version need not beat the champion"),
)
"""(path, judge, what it means) of every gate but the thresholds, whose direction is their metric's."""

THRESHOLD = r".*criteria\[(?P<metric>[a-z0-9_]+).*\]\.threshold"


def loosened(path: str, one: Any, other: Any, greater_is_better: Mapping[str, bool]) -> str | None:
    """Why the change makes a gate easier to pass; None where it does not."""
    if match := re.fullmatch(THRESHOLD, path, re.DOTALL):
        greater = greater_is_better.get(match["metric"])
        if _none(one) or (greater is not None and not (_falls if greater else _rises)(one, other)):
            return None
        return "the gate is easier to pass" if greater is not None else "the gate may be easier to pass"
    for pattern, judge, meaning in GATES:
        if re.fullmatch(pattern, path, re.DOTALL) and judge(one, other):
            return meaning
    return None
