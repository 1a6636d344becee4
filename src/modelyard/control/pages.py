"""What the console's templates show, made ready as plain values: no markup is made here."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from modelyard.control import moments, timeline, watched
from modelyard.flows.monitor import MONITORS
from modelyard.quality import page
from modelyard.quality.metrics import METRICS
from modelyard.registry.state import ModelState
from modelyard.yard import Yard

NEWEST = 3
"""Versions and runs that the overview shows of a model."""
ENTRIES = 100
TONES = {
    "healthy": "passed", "warning": "warning", "violated": "failed", "unknown": "unknown",
    "done": "passed", "running": "running", "failed": "failed", "refused": "failed", "rejected": "failed",
    "expired": "warning", "abandoned": "unknown",
}  # fmt: skip
"""A status's colour."""
GOOD = frozenset({"VersionRegistered", "ApprovalGiven", "Promoted"})
BAD = frozenset({"RunnerFailed", "RolledBack"})
WARNING = frozenset({"AlertSent", "ApprovalRequested", "ApprovalWaived"})
QUIET = frozenset({"StepDone", "RunStarted", "RunResumed", "ConfigAccepted"})


def fleet(yard: Yard, chosen: str | None) -> dict[str, Any]:
    """Every model and the journal, of one model where one is `chosen`. Raises NotFound when there is no such model."""
    if chosen is not None:
        yard.shop.model(chosen)
    models = [_model(yard, said, moments.UTC) for said in yard.status()]
    return {
        **_common(yard, "Fleet"),
        "models": models,
        "waiting": [w for m in models for w in m["awaiting"]],
        "tiles": _tiles(models),
        "newest": NEWEST,
        "journal": _journal(yard, chosen, moments.UTC),
        "chosen": chosen or "",
    }


def one(yard: Yard, name: str) -> dict[str, Any]:
    """One model in full, in its own time zone. Raises NotFound."""
    said, state = yard.status(name)[0], yard.shop.model(name)
    zone = moments.own_zone(state)
    model = _model(yard, said, zone)
    return {
        **_common(yard, name),
        "model": model,
        "zone": str(zone),
        "waiting": model["awaiting"],
        **_timeline(state, words := _words(yard, name), zone, yard.shop.clock.now()),
        "verdicts": _verdicts(words, zone),
        "journal": _journal(yard, name, zone),
    }


def over_time(yard: Yard, name: str, since: str, until: str, metric: str) -> dict[str, Any]:
    """One model's timeline: traffic, drift, performance and what happened. Raises NotFound, BadInput."""
    return {**_common(yard, f"{name} over time"), **watched.page(yard, name, since, until, metric)}


def _common(yard: Yard, title: str) -> dict[str, Any]:
    clock, wall = yard.shop.clock.now(), datetime.now(UTC)
    replayed = abs(clock - wall) > timedelta(minutes=1)
    return {
        "title": title,
        "home": str(yard.home.path),
        "as_of": moments.moment(wall),
        "clock": moments.moment(clock) if replayed else "",
        "most": ENTRIES,
    }


def _tiles(models: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Name, value and colour of the numbers that say whether anybody has to do something."""
    stages = [s for m in models for s in m["stages"] if s["shares"]]
    deployed = f"{sum(s['live'] for s in stages)} of {len(stages)}" if stages else "none"
    live, waiting = sum(s["live"] for s in stages), sum(len(m["awaiting"]) for m in models)
    verdicts = [v["status"] for m in models for v in m["monitors"] if v["said"]]
    violated = verdicts.count("violated")
    return [
        ("Models", str(len(models)), ""),
        ("Endpoints live", deployed, "failed" if live < len(stages) else ""),
        ("Waiting for approval", str(waiting), "warning" if waiting else ""),
        ("Monitors violated", f"{violated} of {len(verdicts)}" if verdicts else "none judged yet", "failed" if violated else ""),
    ]


def _model(yard: Yard, said: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    state = yard.shop.model(said["model"])
    main, versions = _main_metric(state), list(state.versions)
    return {
        "name": said["model"],
        "problem": (said["problem_type"] or "no config yet").replace("_", " "),
        "owner": said["owner"],
        "champion": said["champion"],
        "metric": METRICS[main].title if main else "Metric",
        "stages": [_stage(name, stage, versions) for name, stage in said["stages"].items()],
        "versions": [_version(v, main, said, zone) for v in said["versions"]],
        "awaiting": [_waiting(yard, w, zone) for w in said["awaiting"]],
        "rollout": _rollout(yard, said, versions),
        "monitors": [found for kind, v in said["monitors"].items() if (found := _monitor(yard, state, kind, v, zone)) is not None],
        "decision": said["last_decision"],
        "alerts": said["alerts"],
        "runs": [_run(state, run, zone) for run in said["runs"]],
    }


def _main_metric(state: ModelState) -> str | None:
    """The metric that matters most: the first that a gate asks for, else the problem's first."""
    if not state.config:
        return None
    config = state.config["production"]
    newest = next(reversed(state.versions.values()), None)
    measured = {k: v for k, v in newest.metrics.items() if v is not None} if newest else {}
    return page.headline(measured, config.get("evaluate", {}).get("validation_criteria") or [], config["model"]["problem_type"])


def _stage(name: str, stage: dict[str, Any], versions: list[str]) -> dict[str, Any]:
    shares = [
        {"version": v, "weight": int(w), "colour": timeline.colour(v, versions), "champion": v == stage["champion"]}
        for v, w in stage["weights"].items()
    ]
    return {"name": name, "address": stage["address"], "live": stage["live"], "shares": shares}


def _rollout(yard: Yard, said: dict[str, Any], versions: list[str]) -> dict[str, Any] | None:
    """Traffic that moves: where it stands, what its alarms see, and the commands that end it."""
    found = said["rollout"]
    if found is None:
        return None
    named, position = said["model"], found["position"]
    steps = [{"name": f"{percent}%" if percent else "shadow", "now": i == position} for i, percent in enumerate(found["plan"])]
    kind = "A/B test" if found["kind"] == "ab" else found["kind"].replace("_", " ")
    person = found["kind"] == "ab" and found["metric"] is None
    return {
        "sentence": f"version {found['version']} takes over from version {found['champion']} ({kind})",
        "steps": steps,
        "shares": [{"version": v, "weight": w, "colour": timeline.colour(v, versions)} for v, w in found["weights"].items()],
        "seen": f"{found['requests']:,} requests, {found['elapsed'] / found['bake']:.1f} bake times in this step",
        "alarms": found["alarms"],
        "abort": _command(yard, "rollout", named) + " abort",
        "promote": _command(yard, "rollout", named) + " promote" if person else "",
    }


def _replay(version: dict[str, Any]) -> dict[str, Any] | None:
    judged = version["replay"]
    if judged is None:
        return None
    return {"sentence": judged["sentence"], "tone": _tone("ReplayJudged", judged)}


def _version(version: dict[str, Any], main: str | None, said: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    number = version["version"]
    gates = [{"sentence": g, "state": _gate_state(g)} for g in version["gates"]]
    return {
        "version": number,
        "champion": number == said["champion"],
        "serves": [f"{name} {s['weights'][number]}%" for name, s in said["stages"].items() if number in s["weights"]],
        "registered": moments.moment(version["registered_at"], zone),
        "value": page.number(version["metrics"].get(main)) if main else "—",
        "gates": gates,
        "passed": sum(g["state"] == "passed" for g in gates),
        "approvals": version["approvals"],
        "replay": _replay(version),
        "because": version["because"],
        "digest": version["digest"][:12],
        "data": version["data"][:12],
        "commit": version["commit"][:10] if version["commit"] else None,
    }


def _gate_state(sentence: str) -> str:
    """A registered version's gates passed, or failed and only warn; they are kept as sentences."""
    return "passed" if sentence.endswith(": passed") else "warning" if sentence.endswith("(only warns)") else "failed"


def _waiting(yard: Yard, request: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    named = f"{request['model']}:{request['version']}"
    who = "whoever asked may give it too" if request["allow_self"] else f"anybody may give it but {request['asked_by']}"
    return {
        "sentence": request["sentence"],
        "model": request["model"],
        "version": request["version"],
        "replayed": bool(request["replay"]),
        "note": f"The word can be given until {moments.moment(request['expires_at'], zone)}; {who}.",
        "approve": _command(yard, "approve", named),
        "reject": _command(yard, "reject", named),
    }


def _command(yard: Yard, verb: str, named: str) -> str:
    """The command as it has to be typed: it names the home unless that is where everybody's is."""
    usual = yard.home.path == Path("~/.modelyard").expanduser()
    return f"{'' if usual else f'MODELYARD_HOME={shlex.quote(str(yard.home.path))} '}modelyard {verb} {shlex.quote(named)}"


def _monitor(yard: Yard, state: ModelState, kind: str, verdict: dict[str, Any] | None, zone: ZoneInfo) -> dict[str, Any] | None:
    """What a monitor said last; None of one that never did, and that the config has no use for, such as bias without facets."""
    named = kind.replace("_", " ")
    if verdict is None:
        off = bool(state.config) and state.config["production"].get("monitor", {}).get(kind, {}).get("enabled") is False
        if not off and not _applies(yard, state, kind):
            return None
        status, why = ("off", "switched off in config.yaml") if off else ("not judged", "no window has been judged yet")
        return {"kind": named, "said": False, "status": status, "tone": "unknown", "reason": why, "window": ""}
    window = moments.span(verdict["start"], verdict["end"], zone)
    return {
        "kind": named,
        "said": True,
        "status": verdict["status"],
        "tone": TONES.get(verdict["status"], "unknown"),
        "reason": verdict["reason"].removeprefix(f"{kind}: "),
        "window": f"{window}, version {verdict['version']}" if verdict["version"] else window,
    }


def _applies(yard: Yard, state: ModelState, kind: str) -> bool:
    try:
        return not state.config or MONITORS[kind].enabled(yard.shop.config(state.model))
    except ValueError:  # a config of another release, which this one does not read
        return True


def _run(state: ModelState, run: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    known = state.runs.get(run["run"])
    steps = known.steps if known and run["status"] == "running" else ()
    done = f"{len(steps)} step{'s' if len(steps) != 1 else ''} done"
    return {
        **run,
        "tone": TONES.get(run["status"], "unknown"),
        "started": moments.moment(run["started_at"], zone),
        "because": known.because if known else "",
        "progress": f"{done}, the last: {steps[-1]}" if steps else "",
    }


def _words(yard: Yard, model: str) -> timeline.Words:
    """What each monitor that is on, or ever spoke, said of its newest windows."""
    found = {kind: yard.shop.book.newest(model, kind, timeline.MOST) for kind in MONITORS}
    return {kind: words for kind, words in found.items() if words}


def _timeline(state: ModelState, words: timeline.Words, zone: ZoneInfo, now: datetime) -> dict[str, Any]:
    windows, served = timeline.axes(state, words, now)
    rows = timeline.verdict_rows(words, windows, zone) if windows else []
    for row, found in zip(rows, words.values(), strict=True):
        row["cells"] = [{**cell, "href": watched.href(word.model, vars(word))} for cell, word in zip(row["cells"], found, strict=True)]
    return {
        "windows": {"rows": rows, "labels": windows.labels(zone), "most": timeline.MOST} if windows else None,
        "traffic": {**timeline.traffic(state, served, zone), "labels": served.labels(zone)} if served else None,
        "same_axis": windows == served,
    }


def _verdicts(words: timeline.Words, zone: ZoneInfo) -> list[dict[str, Any]]:
    """The windows that the timeline draws, as words, newest first."""
    newest = sorted((word for found in words.values() for word in found), key=lambda v: (v.start, v.monitor), reverse=True)
    return [
        {
            "monitor": v.monitor.replace("_", " "),
            "window": moments.span(v.start, v.end, zone),
            "href": watched.href(v.model, vars(v)),
            "version": v.version or "—",
            "status": v.status,
            "tone": TONES.get(v.status, "unknown"),
            "reason": v.reason.removeprefix(f"{v.monitor}: "),
        }
        for v in newest
    ]


def _journal(yard: Yard, model: str | None, zone: ZoneInfo) -> list[dict[str, Any]]:
    return [
        {
            "seq": entry["seq"],
            "at": moments.moment(entry["at"], zone),
            "iso": entry["at"],
            "recorded": moments.moment(entry["recorded_at"], zone),
            "model": entry["data"]["model"],
            "sentence": entry["sentence"],
            "tone": _tone(entry["kind"], entry["data"]),
        }
        for entry in reversed(yard.journal(model, ENTRIES))
    ]


def _tone(kind: str, data: dict[str, Any]) -> str:
    """The colour of an entry: what asks for somebody's attention stands out, and a step that went well does not."""
    if kind in ("GateJudged", "SmokeTested", "ReplayJudged"):
        return "unknown" if data["ok"] is None else "passed" if data["ok"] else "warning" if data.get("on_fail") == "warn" else "failed"
    if kind == "ApprovalGiven" and not data["approved"]:
        return "failed"
    if kind in ("WindowJudged", "RunEnded"):
        return TONES.get(data["status"], "unknown")
    named = ((GOOD, "passed"), (BAD, "failed"), (WARNING, "warning"), (QUIET, "quiet"))
    return next((tone for kinds, tone in named if kind in kinds), "unknown")
