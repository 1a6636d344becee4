"""The report of a window, or of any span of windows: what the monitors said, and everything that they looked at, drawn.

`document` gathers plain values into one JSON document, `render` makes a page of it: self-contained, without script or request, one
file under 2 MB however many columns the model has; light or dark as the reader prefers. A chapter without anything to say is absent.

The document, `modelyard.window/1` (JSON; numbers that are undefined are null, times are ISO 8601, digests SHA-256 in hex):

    schema      "modelyard.window/1"
    model       {"name", "problem_type", "owner"}
    span        {"start", "end" (UTC), "timezone", "window": the config's, "windows": how many were judged in it}
    made_at     when; version: the one that the pictures hold against its baseline, null where there is none
    versions    {version: how many windows it was judged by}
    verdict     {"state": passed | warning | failed | none, "sentence"}
    words       [{"monitor", "start", "end", "version", "status", "reason", "judged_at", "revision", "evidence",
                  "history": [{"revision", "judged_at", "status", "reason"}]}], newest first, the newest MAX_WORDS of each monitor,
                  and its newest that has a number of a metric
    tally       {monitor: {status: windows}} of all windows
    course      {"points": how drift went in all windows of the span (see `course.points`), "metrics": {metric: the same, with its numbers}}
    rows        {"window", "baseline", "scores": of the baseline's hold-out}
    columns     [see `columns.compared`], the most moved first; the score is the one of role `prediction`
    extra       {column that is no feature: rows that had it}
    segments    [{"segment": "COLUMN=VALUE", "rows", "moved": [{"column", "ratio", ...as drift has it}]} of one window
    missing     why there is nothing to compare, null where there is
    config      what the monitors go by, as the config has it
    lineage     {"bundle", "data", "code", "environment", "config", "commit", "registered_at", "because"} of the version
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from modelyard.quality.report import plain, template
from modelyard.quality.window.columns import compared
from modelyard.quality.window.course import ORDER, glimpse, points, speaks, windows, worst
from modelyard.quality.window.evidence import MEASURED, measured

SCHEMA = "modelyard.window/1"
MAX_WORDS = 60
"""Windows of a monitor that a report keeps in words; of all others their number by verdict."""
STATES = {"healthy": "passed", "warning": "warning", "violated": "failed"}
MAX_LINES = 4
"""Metrics whose course over the windows is kept, those first that are judged."""


def document(
    *,
    about: Mapping[str, Any],
    words: Sequence[Mapping[str, Any]],
    glimpses: Sequence[Mapping[str, Any]] | None = None,
    profile: Mapping[str, Any] | None = None,
    baseline: Mapping[str, Any] | None = None,
    figures: Sequence[Mapping[str, Any]] = (),
    times: Collection[str] = (),
    segments: Sequence[Mapping[str, Any]] = (),
    missing: str | None = None,
    config: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole document; see the module for its shape. Two calls give the same.

    Args:
        about: {"model", "span" without `windows`, "made_at", "version"}.
        words: the book's words as dicts, with `history`, in any order; of many windows the newest are enough, with
        glimpses: all of them, as `course.glimpse` has them, by default those of `words`.
        profile, baseline: in the profile's format (monitor/profile); both or neither, with `missing` saying why there is none.
        figures: what drift measured of each column and of the score, as dicts with `column`. times: the columns that hold instants.
    """
    ordered = sorted(words, key=lambda w: (w["end"], w["start"], w["monitor"]), reverse=True)
    seen = [glimpse(word) for word in ordered] if glimpses is None else list(glimpses)
    facts = windows(seen)
    versions = Counter(fact["version"] for fact in facts if fact["version"])
    found = {
        "schema": SCHEMA,
        **{key: about.get(key) for key in ("model", "made_at", "version")},
        "span": {**about["span"], "windows": len(facts)},
        "versions": dict(sorted(versions.items())),
        "verdict": verdict(seen),
        "words": [word for kind in dict.fromkeys(w["monitor"] for w in ordered) for word in _newest(ordered, kind)],
        "tally": _tally(seen),
        "course": _course(seen, measured(ordered)),
        "rows": None,
        "columns": [],
        "extra": {},
        "segments": [dict(segment) for segment in segments],
        "missing": missing,
        "config": dict(config or {}),
        "lineage": dict(lineage or {}),
    }
    if profile is not None and baseline is not None:
        found["rows"] = {"window": profile["rows"], "baseline": baseline["rows"], "scores": baseline["score"]["rows"]}
        found["columns"] = compared(profile, baseline, figures, times)
        found["extra"] = dict(profile.get("extra") or {})
    told: dict[str, Any] = plain(found)
    return told


def render(found: Mapping[str, Any]) -> str:
    """A document as a page, to be written as UTF-8. The same document gives the same text."""
    from modelyard.quality.window.view import view

    return template("window.html.j2").render(view(found))


def verdict(words: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The worst of what was said, as a colour and a sentence. No word, or none that knows, is never good."""
    statuses = Counter(word["status"] for word in words)
    known = sum(statuses[status] for status in ORDER[:3])
    if not words:
        return {"state": "none", "sentence": "No window was judged here."}
    if not known:
        return {"state": "none", "sentence": "Nothing could be judged: there was too little to judge by."}
    said = worst(statuses)
    by = sorted({word["monitor"] for word in words if word["status"] == said})
    unknown = f" {statuses['unknown']} could not be judged." if statuses["unknown"] else ""
    if said == "healthy":
        return {"state": "passed", "sentence": f"Healthy: {_count(known, 'verdict')} of {_and(by)}.{unknown}"}
    return {
        "state": STATES[said],
        "sentence": f"{said.capitalize()}: {statuses[said]} of {_count(known, 'verdict')}, by {_and(by)}.{unknown}",
    }


def _course(seen: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Each monitor may have windows of its own length: the points are those of drift, the metrics' those of what speaks of them."""
    drift, fared = (windows(g for g in seen if g["monitor"] in kinds) for kinds in (("drift",), MEASURED))
    return {"points": points(drift), "metrics": {name: points(fared, name) for name in names[:MAX_LINES]}}


def _newest(words: Sequence[Mapping[str, Any]], monitor: str) -> list[dict[str, Any]]:
    """Of the newest first. The newest that has a metric is kept however many without any came after it."""
    own = [dict(word) for word in words if word["monitor"] == monitor]
    speaking = next((i for i, word in enumerate(own) if speaks(glimpse(word))), 0)
    return own[:MAX_WORDS] if speaking < MAX_WORDS else [*own[:MAX_WORDS], own[speaking]]


def _tally(words: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for word in words:
        of_monitor = found.setdefault(word["monitor"], dict.fromkeys(ORDER, 0))
        of_monitor[word["status"]] = of_monitor.get(word["status"], 0) + 1
    return found


def _count(number: int, of: str) -> str:
    return f"{number:,} {of}{'s' if number != 1 else ''}"


def _and(names: Sequence[str]) -> str:
    shown = [name.replace("_", " ") for name in names]
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + f" and {shown[-1]}"
