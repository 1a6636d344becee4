"""Monitor: captured windows -> drift and performance verdicts -> alerts -> the governor's decision."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import bundle
from modelyard.config.spec import Config, Drift
from modelyard.durable import Outcome, Run
from modelyard.errors import BadInput
from modelyard.events import Event, RetrainDecided, WindowJudged
from modelyard.flows import history
from modelyard.flows.alerting import alert
from modelyard.monitor import drift, performance, profile, verdicts, windows
from modelyard.quality import metrics as measures
from modelyard.registry.state import ModelState, Window
from modelyard.retrain import governor
from modelyard.serve import captured
from modelyard.signature import Signature
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

LATE = timedelta(days=92)
"""How long after its end a window is judged again when more labels for it come, as long as the state holds its verdict."""
CATCH_UP = 500
"""Windows judged in one run at the most; after a long downtime the next run goes on."""
CHANGES = ("up", "build", "retrain", "deploy", "rollback")
"""Flows that may bring a new version, or another one into production: a retraining waits for their end."""


def monitor(shop: Workshop, run: Run) -> bool:
    """Judge every window that is due, then ask the governor. Returns whether it wants a retraining."""
    for kind, start, end in run.step("find windows", _find, shop, run.model):
        run.step(f"{kind} {start[:19]}", _judge, shop, run, kind, start, end)
    return bool(run.step("govern", _govern, shop, run))


def due(shop: Workshop, model: str) -> list[tuple[str, str, str]]:
    """Windows to judge now: (monitor, start, end) in ISO, oldest first. Those that were over before the windows changed are left alone:
    they were judged by their own."""
    config, now = shop.config(model), shop.clock.now()
    first = captured.earliest(history.folder(shop, model))
    if first is None:
        return []
    watch, zone = config.monitor, config.timezone
    begin = windows.window_at(watch.window, zone, first).start
    spans = windows.windows(watch.window, zone, begin, now)
    delays = {"drift": timedelta(0)} if watch.drift.enabled else {}
    delays |= {"performance": watch.performance.label_delay} if watch.performance.enabled else {}
    state = shop.model(model)
    over = {kind: _over(state, kind) for kind in delays}
    found: list[Window] = [
        (kind, span.start.isoformat(), span.end.isoformat())
        for span in spans
        for kind, delay in delays.items()
        if over[kind] < span.end <= now - delay
    ]
    return [window for window in found if window not in state.verdicts][:CATCH_UP]


def _over(state: ModelState, kind: str) -> datetime:
    """Up to where nothing is judged: the state forgot these verdicts, or the windows were others then."""
    known = [datetime.fromisoformat(at) for at in (state.watched_since, state.judged_until.get(kind, "")) if at]
    return max(known, default=datetime.min.replace(tzinfo=UTC))


def _find(shop: Workshop, model: str) -> Outcome[list[tuple[str, str, str]]]:
    found = sorted([*due(shop, model), *_relabelled(shop, model)], key=lambda window: window[1])
    return Outcome(found, summary=f"{len(found)} to judge")


def _relabelled(shop: Workshop, model: str) -> list[tuple[str, str, str]]:
    """Judged performance windows, not older than `LATE`, for which the number of known labels has changed since."""
    import polars as pl

    since = shop.clock.now() - LATE
    judged = [v for v in shop.model(model).judged("performance") if datetime.fromisoformat(v.end) > since]
    if not judged:
        return []
    first, last = min(datetime.fromisoformat(v.start) for v in judged), max(datetime.fromisoformat(v.end) for v in judged)
    rows = history.predictions(shop, model, first, last, (tables.INFERENCE_ID, tables.EVENT_TIME, tables.VERSION))
    rows = rows.select(tables.EVENT_TIME, tables.VERSION, pl.col(tables.LABEL).is_not_null()).sort(tables.EVENT_TIME)
    return [("performance", v.start, v.end) for v in judged if _known(rows, v) != v.evidence.get("labels")]


def _known(rows: pl.DataFrame, verdict: WindowJudged) -> int:
    """How many labels are known of the version that answered most of a window; `rows` are in the order of their time."""
    window = [datetime.fromisoformat(verdict.start), datetime.fromisoformat(verdict.end)]  # windows of two lengths may overlap
    begin, end = (rows[tables.EVENT_TIME].search_sorted(at) for at in window)
    inside = rows.slice(begin, end - begin)
    return int(_by_main_version(inside)[tables.LABEL].sum())


def _rows(shop: Workshop, model: str, kind: str, start: str, end: str) -> pl.DataFrame:
    """A window's rows of its main version; with labels only where these are judged, so that no label can keep drift from being seen."""
    read = history.answers if kind == "drift" else history.predictions
    return _by_main_version(read(shop, model, datetime.fromisoformat(start), datetime.fromisoformat(end)))


def _by_main_version(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of the version that answered most of a window: a window is judged against one baseline."""
    import polars as pl

    if rows.is_empty():
        return rows
    versions = rows.group_by(tables.VERSION).len().sort("len", tables.VERSION)[tables.VERSION]
    return rows.filter(pl.col(tables.VERSION) == versions[-1])


def _judge(shop: Workshop, run: Run, kind: str, start: str, end: str) -> Outcome[str]:
    config, state, rows = shop.config(run.model), shop.model(run.model), _rows(shop, run.model, kind, start, end)
    if rows.is_empty():
        version, said = state.champion or "", f"{kind}: no traffic in the window"
        verdict = verdicts.Verdict("drift" if kind == "drift" else "performance", "unknown", said, {"rows": 0, "labels": 0})
    else:
        judge = _judge_drift if kind == "drift" else _judge_performance
        version = str(rows[tables.VERSION][0])
        verdict = judge(shop, config, state, version, rows)
    fact = WindowJudged(run.model, kind, version, start, end, verdict.status, verdict.reason, verdict.evidence)
    return Outcome(verdict.status, [fact, *_alerts(shop, config, state, fact)], f"{verdict.status}: {verdict.reason}")


def _judge_drift(shop: Workshop, config: Config, state: ModelState, version: str, rows: pl.DataFrame) -> verdicts.Verdict:
    import json

    opened = bundle.open(state.versions[version].digest, shop.home.path)
    baseline = json.loads((opened.path / "baseline.json").read_text(encoding="utf-8"))
    watched, redacted = as_captured(config, opened.signature, rows)
    verdict = drift.judge(profile.profile(rows, baseline), baseline, watched, opened.signature).verdict
    if not redacted:
        return verdict
    said = f"{verdict.reason}; not judged, since the capture does not keep {'it' if len(redacted) == 1 else 'them'}: {', '.join(redacted)}"
    return replace(verdict, reason=said, evidence={**verdict.evidence, "redacted": redacted})


def as_captured(config: Config, signature: Signature, rows: pl.DataFrame) -> tuple[Drift, list[str]]:
    """What of the drift's settings can be judged of captured rows, and the watched columns that are redacted now or were then."""
    wanted = signature.names if config.monitor.drift.columns is None else config.monitor.drift.columns
    redacted = {rule.column for rule in config.deploy.capture.redact}
    redacted |= {name for name in signature.names if tables.feature(name) not in rows.columns}
    lacking = [name for name in wanted if name in redacted]
    kept = tuple(name for name in wanted if name not in redacted)
    return (config.monitor.drift.model_copy(update={"columns": kept}) if lacking else config.monitor.drift), lacking


def _judge_performance(shop: Workshop, config: Config, state: ModelState, version: str, rows: pl.DataFrame) -> verdicts.Verdict:
    opened = bundle.open(state.versions[version].digest, shop.home.path)
    try:
        measured = measures.compute(rows, opened.signature)
    except BadInput as exc:  # what callers sent beside their rows, such as weights, may be anything
        return verdicts.Verdict("performance", "unknown", f"performance: {exc.what}", {"rows": rows.height, "labels": 0})
    holdout = {k: v for k, v in state.versions[version].metrics.items() if v is not None}
    return performance.judge(
        measured,
        labels=rows[tables.LABEL].count(),
        rows=rows.height,
        performance=config.monitor.performance,
        greater_is_better=measures.GREATER_IS_BETTER,
        holdout=holdout,
    )


def _alerts(shop: Workshop, config: Config, state: ModelState, fact: WindowJudged) -> list[Event]:
    """An alert when enough windows are violated, and one when that is over; never again and again while it lasts.

    A window that is judged again, on more labels, alerts only if its verdict changed.
    """
    again = state.verdicts.get((fact.monitor, fact.start, fact.end))
    if again is not None and again.status == fact.status:
        return []
    before = sorted((v for v in state.judged(fact.monitor) if v.end <= fact.start), key=lambda v: (v.end, v.start))
    statuses: list[Any] = [*(v.status for v in before), fact.status]
    kind: Any = fact.monitor
    if verdicts.should_alert(statuses, config.monitor.alert_after):
        return [*alert(shop, fact.model, kind, f"{fact.model}: {fact.monitor} violated", f"{fact}. Next: modelyard status {fact.model}")]
    if verdicts.recovered(statuses, config.monitor.alert_after):
        return [*alert(shop, fact.model, kind, f"{fact.model}: {fact.monitor} is healthy again", str(fact))]
    return []


def _govern(shop: Workshop, run: Run) -> Outcome[bool]:
    """Ask the governor, with what is known now."""
    state, config, now = shop.model(run.model), shop.config(run.model), shop.clock.now()
    if not config.retrain.on:
        return Outcome(False, summary="retraining is off")
    facts = _facts(state, config, now)
    decision = governor.decide(config.retrain, facts)
    if decision.retrain or decision.brake == "labels":  # only now does it matter how many there are
        facts = replace(facts, new_labels=history.labelled_since(shop, run.model, facts.last_retrain))
        decision = governor.decide(config.retrain, facts)
    fact = RetrainDecided(run.model, decision.retrain, decision.reason, decision.because or "", decision.brake)
    return Outcome(decision.retrain, [fact] if _is_news(fact, state.last_decision) else [], decision.reason)


def _facts(state: ModelState, config: Config, now: datetime) -> governor.Facts:
    """What is known now but for the labels, which take some counting."""
    retrains = [datetime.fromisoformat(at) for at in state.retrains]
    return governor.Facts(
        now=now,
        verdicts=tuple((v.monitor, v.status, datetime.fromisoformat(v.end)) for v in state.verdicts.values()),
        last_retrain=retrains[-1] if retrains else None,
        retrains_this_month=governor.retrains_in_month(retrains, now, config.timezone),
        new_labels=0,
        building=any(r.status == "running" and r.flow in CHANGES for r in state.runs.values()),
        waiting=next((w.version for w in state.awaiting.values()), None),
    )


def _is_news(fact: RetrainDecided, last: RetrainDecided | None) -> bool:
    """A yes, or a no for another reason than the last one: the monitors look often, and a brake may hold for weeks."""
    if fact.retrain or not fact.because:
        return fact.retrain
    return last is None or (last.retrain, last.because, last.brake) != (False, fact.because, fact.brake)
