"""Judging a window: which columns moved, whether the score did, and what that makes of the window.

A column moved when it differs by at least its threshold *and* by more than chance explains: its p-value, corrected for all watched
columns, is at most `drift.significance`. The first keeps a big window from alarming on nothing, the second a small one. The score, the
columns together (`joint`) and the segments are families of their own, so in a stable window each of the four questions is answered
wrongly with the chance `significance` at the most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from modelyard.config.spec import CategoricalDrift, ColumnDrift, Drift, Measure, NumericDrift, unfit
from modelyard.errors import BadInput
from modelyard.monitor.drift import columns, telling, testing
from modelyard.monitor.drift.together import together
from modelyard.monitor.verdicts import Status, Verdict
from modelyard.monitor.words import did_you_mean
from modelyard.signature import Signature

Profile = dict[str, Any]
SCORE = ""
"""Stands for the score among the columns of a family."""


@dataclass(frozen=True)
class Seasonal:
    """What was captured at the same time of earlier periods, in the version's bins: of `spans` periods, one profile, None where there was
    nothing. Its columns are of all rows, its score of those that this version answered."""

    spans: int
    profile: Profile | None


@dataclass(frozen=True)
class Segment:
    """A part of the window and the same part of the hold-out, in the version's bins."""

    name: str
    now: Profile
    before: Profile


@dataclass(frozen=True)
class DriftResult:
    """A verdict with every watched column's figures (those that moved most first), the score's, and what the columns show together and
    by segment, all JSON-ready."""

    verdict: Verdict
    columns: list[dict[str, Any]] = field(default_factory=list)
    prediction: dict[str, Any] = field(default_factory=dict)
    joint: dict[str, Any] | None = None
    segments: list[dict[str, Any]] = field(default_factory=list)


def judge(
    profile: Profile,
    baseline: Profile,
    drift: Drift,
    signature: Signature,
    season: Seasonal | None = None,
    segments: Iterable[Segment] = (),
    blamed: Callable[[], list[str]] | None = None,
) -> DriftResult:
    """Judge a window's profile against its baseline (see `profile`).

    Violated when at least `drift.share` of the watched features moved, or the score did; a warning when fewer moved, or only the columns
    together, or only a segment. With a `season` of at least `drift.min_rows` rows, only what is unlike both moved. `blamed` is asked which
    columns no longer go together, where they do not: a profile does not tell (`joint.blamed`).

    Raises:
        BadInput: `drift.columns` or `drift.overrides` names something that is no feature, or a measure does not fit its column.
    """
    rows = int(profile["rows"])
    facts: dict[str, Any] = {"rows": rows, "baseline_rows": baseline["rows"], "share": drift.share, "min_rows": drift.min_rows}
    asked = settings(baseline, drift, signature)
    if rows < max(1, drift.min_rows):
        said = f"drift: {rows:,} rows in the window, {drift.min_rows:,} are needed" if rows else "drift: no rows in the window"
        return DriftResult(Verdict("drift", "unknown", said, facts))
    found = compare(profile, baseline, asked, drift)
    joint = together(profile["joint"], baseline["joint"], drift) if _all_of(baseline["joint"], asked) else None
    if season is not None:
        facts["season"] = _excuse(found, joint, profile, season, asked, drift)
    if joint is not None and joint["moved"] and blamed is not None:
        joint["columns"] = blamed()
    prediction = found.pop(SCORE)
    judged = _most_first(found)
    parts = _by_segment(segments, asked, drift)
    status = _status(judged, prediction, joint, parts, drift.share)
    facts |= telling.evidence(judged, prediction, joint, parts)
    said = telling.reason(judged, prediction, joint, parts, facts.get("season"), drift)
    return DriftResult(Verdict("drift", status, said, facts), judged, prediction, joint, parts)


def figures(profile: Profile, baseline: Profile, drift: Drift, signature: Signature) -> list[dict[str, Any]]:
    """All that is known of every watched column's drift, for a report: as `DriftResult.columns`, and `measures`, each that fits the
    column. The score comes first, as the column that it is. Empty where the window has no rows."""
    if not profile["rows"]:
        return []
    found = compare(profile, baseline, settings(baseline, drift, signature), drift)
    score = found.pop(SCORE)
    judged = [score, *_most_first(found)]
    for column in judged:
        pair = columns.Pair(*_both(profile, baseline, SCORE if column is score else column["column"]))
        column["measures"] = {measure: pair.effect(measure) for measure in columns.fitting(column["kind"])}
    return judged


def _most_first(found: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Columns that moved before others, and then by how near they come to their threshold."""
    return sorted(found.values(), key=lambda c: (not c["moved"], -c["value"] / c["threshold"]))


Asked = Mapping[str, tuple[Measure, float]]


def settings(baseline: Profile, drift: Drift, signature: Signature) -> Asked:
    """The measure and the threshold of each watched column, and of the score."""
    named = (("columns", drift.columns or ()), ("overrides", drift.overrides))
    for key, names in named:
        for name in names:
            if name not in baseline["columns"]:
                raise BadInput(f"'{name}' is no feature", where=f"monitor.drift.{key}", next=did_you_mean(name, signature.names))
    found: dict[str, tuple[Measure, float]] = {}
    for name in watched(drift, signature):
        kind = baseline["columns"][name]["kind"]
        usual = drift.numeric if kind == "numeric" else drift.categorical
        found[name] = _asked(kind, drift.overrides.get(name, usual), f"overrides.{name}")
    return found | {SCORE: _asked(baseline["score"]["kind"], drift.prediction, "prediction")}


def watched(drift: Drift, signature: Signature) -> tuple[str, ...]:
    """The features that are judged: those that `drift.columns` names, or all but times, which only ever rise: no window has the training
    data's. One with a measure of its own, such as a date of birth, is judged."""
    if drift.columns is not None:
        return drift.columns
    return tuple(column.name for column in signature.columns if column.type != "datetime" or column.name in drift.overrides)


def known_to(baseline: Profile, drift: Drift) -> Drift:
    """The settings as a version can be judged by them, which may be older, or newer, than the config: without the columns that it does
    not have, and with the usual measure where the one asked for does not fit (`misfits`)."""
    kept = None if drift.columns is None else tuple(name for name in drift.columns if name in baseline["columns"])
    overrides, prediction = {name: asked for name, asked in drift.overrides.items() if name in baseline["columns"]}, drift.prediction
    for odd in misfits(drift, kinds_of(baseline)):
        usual = drift.numeric if odd.kind == "numeric" else drift.categorical
        if odd.name == SCORE:
            prediction = ColumnDrift()
        else:
            overrides[odd.name] = ColumnDrift(measure=usual.measure, threshold=usual.threshold)
    return drift.model_copy(update={"columns": kept, "overrides": overrides, "prediction": prediction})


class Misfit(NamedTuple):
    """A column, or SCORE, and the measure asked for that does not fit its kind."""

    name: str
    measure: Measure
    kind: str


def kinds_of(baseline: Profile) -> dict[str, str]:
    """`numeric` or `categorical` by column, and of the score."""
    return {name: str(column["kind"]) for name, column in baseline["columns"].items()} | {SCORE: str(baseline["score"]["kind"])}


def misfits(drift: Drift, kinds: Mapping[str, str]) -> list[Misfit]:
    """What is asked to be measured as nothing of its kind can be, of the columns (and SCORE) whose kind is known."""
    asked = {**drift.overrides, SCORE: drift.prediction}
    return [Misfit(name, how.measure, kinds[name]) for name, how in asked.items() if name in kinds and unfit(how.measure, kinds[name])]


def verify(drift: Drift, kinds: Mapping[str, str]) -> None:
    """Raises BadInput for the first of the `misfits`."""
    for odd in misfits(drift, kinds):
        where = "prediction" if odd.name == SCORE else f"overrides.{odd.name}"
        _asked(odd.kind, drift.prediction if odd.name == SCORE else drift.overrides[odd.name], where)


def _all_of(joint: dict[str, Any] | None, asked: Asked) -> bool:
    """Whether all that the baseline relates is watched: of one column left out, an error does not tell whether it is what moved."""
    return joint is not None and set(asked) >= {*joint["numbers"], *joint["categories"]}


def _asked(kind: str, asked: NumericDrift | CategoricalDrift | ColumnDrift, where: str) -> tuple[Measure, float]:
    if said := unfit(asked.measure, kind):
        raise BadInput(said, where=f"monitor.drift.{where}", next=f"take one of {', '.join(columns.fitting(kind))}")
    return asked.measure, asked.threshold or columns.THRESHOLDS[asked.measure]


def compare(profile: Profile, reference: Profile, asked: Asked, drift: Drift) -> dict[str, dict[str, Any]]:
    """The figures of all columns in `asked`, by name: `columns.facts` and `{measure, value, threshold, p, moved}`; `p` is corrected for
    all of them but the score, which is a family of its own."""
    found = {name: _figures(*_both(profile, reference, name), name, *how) for name, how in asked.items()}
    _correct([c for name, c in found.items() if name != SCORE], drift)
    _correct([c for name, c in found.items() if name == SCORE], drift)
    return found


def _figures(now: Profile, before: Profile, name: str, measure: Measure, threshold: float) -> dict[str, Any]:
    facts = columns.facts(name or before["column"], now, before)
    pair = columns.Pair(now, before)
    return facts | {"measure": measure, "value": pair.effect(measure), "threshold": threshold, "p": pair.p_value()}


def _both(profile: Profile, reference: Profile, name: str) -> tuple[Profile, Profile]:
    """A column of both; the score for `SCORE`."""
    return (profile["score"], reference["score"]) if name == SCORE else (profile["columns"][name], reference["columns"][name])


def _correct(family: list[dict[str, Any]], drift: Drift) -> None:
    for column, p in zip(family, testing.corrected([c["p"] for c in family], drift.correction), strict=True):
        column["p"] = p
        column["moved"] = column["value"] >= column["threshold"] and p <= drift.significance


def _excuse(
    found: dict[str, dict[str, Any]], joint: dict[str, Any] | None, profile: Profile, season: Seasonal, asked: Asked, drift: Drift
) -> dict[str, Any]:
    """Take back what moved from training but is as it was at this time of earlier periods. Returns what the evidence says of it."""
    said: dict[str, Any] = {"spans": season.spans, "rows": season.profile["rows"] if season.profile else 0, "as_ever": []}
    if season.profile is None or season.profile["rows"] < drift.min_rows:
        return said | {"used": False}
    then = _counted(season.profile)
    known = {name: how for name, how in asked.items() if name != SCORE or then["score"]["rows"] >= drift.min_rows}
    for name, column in compare(profile, then, known, drift).items():
        if found[name]["moved"] and not column["moved"]:
            found[name]["moved"] = False
            said["as_ever"].append(found[name]["column"])
    said["as_ever"] = said["as_ever"][: telling.NAMED]
    before = together(profile["joint"], then["joint"], drift)
    if joint is not None and joint["moved"] and before is not None and not before["moved"]:
        joint["moved"] = False
        said["as_ever"].append("the columns together")
    return said | {"used": True}


def _counted(profile: Profile) -> Profile:
    """A profile to hold others against. How many values may be new, a baseline guesses by those that came once; here they were counted."""
    known = {name: {**column, "once": 0} if column["kind"] == "categorical" else column for name, column in profile["columns"].items()}
    return {**profile, "columns": known, "score": {**profile["score"], "once": 0}}


def _by_segment(segments: Iterable[Segment], asked: Asked, drift: Drift) -> list[dict[str, Any]]:
    """Each segment's `{segment, rows, moved: [figures]}`, those where most moved first; all columns and scores of all are one family."""
    alone = drift.model_copy(update={"correction": "none"})
    found = [(s, compare(s.now, _counted(s.before), asked, alone)) for s in segments]
    _correct([column for _, by_name in found for column in by_name.values()], drift)
    said = [{"segment": s.name, "rows": s.now["rows"], "moved": [c for c in by_name.values() if c["moved"]]} for s, by_name in found]
    return sorted(said, key=lambda s: (-len(s["moved"]), s["segment"]))


def _status(
    judged: list[dict[str, Any]], prediction: dict[str, Any], joint: dict[str, Any] | None, parts: list[dict[str, Any]], share: float
) -> Status:
    moved = sum(c["moved"] for c in judged)
    if prediction["moved"] or (moved and columns.enough(moved, len(judged), share)):
        return "violated"
    return "warning" if moved or (joint and joint["moved"]) or any(p["moved"] for p in parts) else "healthy"
