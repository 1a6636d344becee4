"""The first screen of a report, and what became of its version since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import escape

from modelyard.quality import page
from modelyard.quality.catalogue import METRICS
from modelyard.quality.chart import DASHED, DOTTED, Chart, draw
from modelyard.quality.svg import FIVE, MUTED, ONE, TWO, Plot

Document = Mapping[str, Any]
PROSE = {"intended_use": "Intended use", "limitations": "Limitations"}
TONES = {"healthy": "passed", "warning": "warning", "violated": "failed"}


def head(found: Document) -> dict[str, Any]:
    model, today = found["model"], found["today"]
    return {
        "title": f"{model['name']}:{found['version']}",
        "name": model["name"],
        "version": found["version"],
        "problem": str(model.get("problem_type") or "").replace("_", " "),
        "verdict": found["verdict"],
        "headline": _headline(found),
        "chips": _chips(found),
        "stamp": _stamp(today, found["verdict"]["state"]),
        "facts": _facts(found),
        "prose": [(title, escape(page.text(model[key], page.MAX_PROSE))) for key, title in PROSE.items() if model.get(key)],
        "made": page.moment(found["made_at"]) if found["made_at"] else "",
        "as_of": page.moment(today["as_of"]) if today else "",
    }


def _chips(found: Document) -> list[dict[str, str]]:
    """A gate each, and the checks of the data that were not passed."""
    chips = [{"state": page.state_of(gate), "name": _condition(gate)} for gate in found["gates"]]
    checks = [check for check in (found["evaluation"] or {}).get("leakage") or [] if not check["ok"]]
    chips += [{"state": page.state_of(check), "name": f"leak: {check['check'].replace('_', ' ')}"} for check in checks]
    return chips + [
        {"state": "warning", "name": said.removeprefix(page.WARNING)} for said in found["expectations"] if said.startswith(page.WARNING)
    ]


def _condition(gate: Document) -> str:
    """What a gate asks, in a few words."""
    name, bound = str(gate["metric"]), gate["bound"]
    name += f" of {gate['of']}" if gate.get("of") else ""
    name += f" ({gate['end']} bound)" if gate.get("end") else ""
    if gate.get("versus"):
        return f"{name} against the {gate['versus']}"
    if bound is None or gate["metric"] not in METRICS:
        return name
    sign = "≥" if METRICS[gate["metric"]].greater_is_better else "≤"
    return f"{name} {sign} {bound:g}"


def _headline(found: Document) -> dict[str, Any] | None:
    main = found["headline"]
    if not main or not page.finite(main["value"]):
        return None
    champion = (found["evaluation"] or {}).get("champion") or {}
    beside = []
    if page.finite(main["champion"]):
        good = page.better(main["metric"], main["value"], main["champion"])
        word = {True: "better", False: "worse", None: "same"}[good]
        against = page.change(main["value"], main["champion"])
        beside.append({"word": word, "text": f"{against} against the champion, version {champion.get('version')}"})
    if page.finite(main["baseline"]):
        word = "muted" if page.better(main["metric"], main["value"], main["baseline"]) else "worse"
        beside.append({"word": word, "text": f"{page.change(main['value'], main['baseline'])} against a model that learned nothing"})
    return {
        "title": main["title"],
        "value": page.measure(main["value"]),
        "span": page.span(main["low"], main["high"]),
        "level": f"{(found['evaluation'] or {}).get('level', 0.95):.0%}",
        "direction": "higher is better" if main["greater_is_better"] else "lower is better",
        "beside": beside,
        "plot": _gauge(main),
    }


def _gauge(main: Document) -> Plot:
    """Where the headline metric lies: its interval, and what it is compared with."""
    chart = Chart(size=(400, 84), y_lim=(-1, 1), y_names=[])
    if page.finite(main["low"]) and page.finite(main["high"]):
        chart.spans([0], [main["low"]], [main["high"]], ONE, width=9)
    chart.dots([main["value"]], [0], ONE, radius=6.5, label="this version")
    compared = (("champion", "champion", TWO, ""), ("bound", "gate", FIVE, DOTTED), ("baseline", "learned nothing", MUTED, DASHED))
    for key, label, color, dash in compared:
        if page.finite(main[key]):
            chart.upright(main[key], color, dash=dash, label=label)
    facts = ", ".join(f"{label} {page.measure(main[key])}" for key, label, *_ in compared if page.finite(main[key]))
    return draw("headline", f"{main['title']} {page.measure(main['value'])}", "", chart, facts=facts)


def _stamp(today: Document | None, state: str) -> dict[str, str]:
    """Who let the version in, in a line."""
    if state == "failed":
        return {"state": "failed", "text": "Refused by its gates: nobody can approve it."}
    if today is None:
        return {"state": "none", "text": "Written when the version was built, before anybody could approve it."}
    given = [a for a in today["approvals"] if a["kind"] == "ApprovalGiven"]
    if given:
        last = given[-1]
        return {"state": "passed" if last["approved"] else "failed", "text": f"{last['sentence']}, {page.moment(last['at'])}"}
    if today["waiting"]:
        return {"state": "warning", "text": "Waits for a person's word: " + "; ".join(w["sentence"] for w in today["waiting"])}
    if waived := [a for a in today["approvals"] if a["kind"] == "ApprovalWaived"]:
        return {"state": "none", "text": f"{waived[-1]['sentence']}, {page.moment(waived[-1]['at'])}"}
    return {"state": "none", "text": "Nobody has been asked to approve it yet."}


def _facts(found: Document) -> list[tuple[str, str, bool]]:
    """Name, value, and whether the value is a digest or a name in code."""
    model, made, taken, today = found["model"], found["lineage"], found["data"], found["today"]
    facts: list[tuple[str, str, bool]] = [("Owner", model.get("owner") or "none named", False)]
    if today:
        serves = ", ".join(f"{stage} {share}%" for stage, share in today["serves"].items())
        facts.append(("Serves now", serves or "nowhere", False))
    target = f"{model['target']}" if model.get("target") else "—"
    if model.get("positive_class") is not None:
        target += f"; positive is {model['positive_class']}"
        cut = model.get("decision_threshold")
        target += f", from a score of {cut:g}" if cut is not None else ""
    elif model.get("classes"):
        target += f"; {len(model['classes'])} classes"
    facts.append(("Target", target, False))
    if model.get("features"):
        facts.append(("Features", f"{len(model['features']):,}", False))
    if taken.get("rows"):
        facts.append(("Rows", ", ".join(f"{count:,} {name}" for name, count in taken["rows"].items()), False))
    if made.get("framework"):
        facts.append(("Framework", str(made["framework"]), False))
    if found["made_by"]:
        facts.append(("Built by", found["made_by"] + (f": {found['because']}" if found["because"] else ""), False))
    commit = (
        f"{made['commit'][:12]}{', with changes not committed' if made.get('dirty') else ''}"
        if made.get("commit")
        else "not in a Git repository"
    )
    facts.append(("Code", commit, bool(made.get("commit"))))
    facts += [(f"Tag {name}", value, False) for name, value in (model.get("tags") or {}).items()]
    return facts


def life(found: Document) -> dict[str, Any] | None:
    today = found["today"]
    if today is None:
        return None
    return {
        "events": [{"at": page.moment(e["at"]), "sentence": e["sentence"], "tone": e["tone"]} for e in today["events"]],
        "verdicts": [{**v, "state": TONES.get(v["status"], "none"), "end": page.moment(v["end"])} for v in today["verdicts"]],
        "set_aside": today["set_aside"],
    }
