"""Performance of a window on the labels that came: all metrics of the build, by version and by part, and what had been estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.errors import BadInput, YardError
from modelyard.flows import history
from modelyard.flows.monitor import business, reference, segments
from modelyard.flows.monitor.window import Window
from modelyard.monitor import labels, performance
from modelyard.monitor.estimate import trust
from modelyard.monitor.performance import Value
from modelyard.monitor.verdicts import Verdict
from modelyard.quality import catalogue, resample
from modelyard.quality import metrics as measures
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

RESAMPLES, MOST_ROWS = 500, 20_000
"""Bootstrap resamples of a window, and rows that they are drawn from at the most (see quality/resample): seconds for any window."""
VERSIONS = 5
"""Versions of a window that are measured beside the one that it is judged by."""


def judge(window: Window) -> Verdict:
    rows, asked = window.labelled, window.config.monitor.performance
    facts: dict[str, Any] = {**labels.coverage(rows), "confidence": asked.confidence}
    count = facts["labels"]
    try:
        values = measured(rows, window.signature, asked.confidence) if count >= asked.min_labels else {}
        before, size = reference.values(window, asked.confidence)
        values = {name: performance.at_least(value, before.get(name), count, size) for name, value in values.items()}
        values = {name: value.within(*catalogue.ends(name)) for name, value in values.items()}
        own = business.measure(window, asked.confidence) if values else business.Business({}, {}, {}, {})
        verdict = performance.judge(
            {**values, **own.values},
            labels=count,
            rows=rows.height,
            performance=asked,
            greater_is_better={**measures.GREATER_IS_BETTER, **own.greater_is_better},
            holdout=before,
            missing=own.missing,
        )
        if values:
            verdict = _with_parts(verdict, segments.look(window, before))
            facts |= own.evidence | _versions(window)
    except BadInput as exc:  # what callers sent beside their rows, such as weights, may be anything
        return Verdict("performance", "unknown", f"performance: {exc.what}", facts)
    facts |= reconciled(window, {name: value.value for name, value in values.items()}, count)
    return _with_estimate(replace(verdict, evidence={**facts, **verdict.evidence}))


def measured(rows: pl.DataFrame, signature: Signature, level: float, names: tuple[str, ...] | None = None) -> dict[str, Value]:
    """Every metric of the labelled rows with its interval of `level`; intervals only of `names` where these are given.

    Raises BadInput as `quality.metrics.compute` does.
    """
    found = measures.compute(rows, signature)
    ends = resample.intervals(rows, signature, level=level, resamples=RESAMPLES, seed=0, names=names, most_rows=MOST_ROWS)
    return {name: Value(value, *ends.get(name, (None, None))) for name, value in found.items()}


def _versions(window: Window) -> dict[str, Any]:
    """{"versions": {VERSION: {"labels", metric: [value, low, high]}}} of every version with enough labels, where more than one answered."""
    import polars as pl

    asked, everything = window.config.monitor.performance, window.everything
    others = [v for v in everything[tables.VERSION].unique().sort().to_list() if v != window.version and v in window.state.versions]
    if not others:
        return {}
    found: dict[str, Any] = {}
    for version in others[:VERSIONS]:
        rows = history.labelled(window.shop, window.model, everything.filter(pl.col(tables.VERSION) == version))
        count = int(rows[tables.LABEL].count())
        if count < asked.min_labels:
            continue
        try:
            signed = window.built(version).bundle.signature
            known = measures.names_of(signed)
            names = tuple(dict.fromkeys(c.metric for c in asked.criteria if c.metric in known)) or known[:1]
            values = measured(rows, signed, asked.confidence, names)
        except YardError:  # a bundle that is gone, or labels that this version does not know
            continue
        found[version] = {"labels": count, **{name: values[name].to_list() for name in names}}
    return {"versions": found} if found else {}


def _with_parts(verdict: Verdict, parts: Mapping[str, Any]) -> Verdict:
    """A part that lost too much makes the window so; the whole's word stays in front."""
    evidence = {**verdict.evidence, **{k: v for k, v in parts.items() if k not in ("status", "said") and v}}
    if not parts["said"]:
        return replace(verdict, evidence=evidence)
    status = performance.worst([verdict.status, parts["status"]])
    return replace(verdict, status=status, reason=f"{verdict.reason}; {parts['said']}", evidence=evidence)


def reconciled(window: Window, metrics: Mapping[str, float], count: int) -> dict[str, Any]:
    """What had been estimated of this window, beside what came true."""
    word = window.word("estimate")
    if word is None or word.version != window.version or not metrics:
        return {}
    return trust.reconcile(metrics, count, word.evidence)


def _with_estimate(verdict: Verdict) -> Verdict:
    """Where the estimate of a judged metric missed, the sentence says so."""
    judged = dict.fromkeys(c["metric"] for c in verdict.evidence.get("criteria", ()))
    missed = [name for name in judged if name in verdict.evidence.get("estimate_missed", ())]
    if not missed:
        return verdict
    said = ", ".join(f"{name} {performance.shown(Value.of_list(verdict.evidence['estimated'][name]))}" for name in missed)
    return replace(verdict, reason=f"{verdict.reason}; the estimate had been {said}")
