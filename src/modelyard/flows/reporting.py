"""The model card: report.json and report.html, sealed with a version, and the same as it stands today, with what came after.

A bundle is sealed before anybody can approve it, so who did, where the version went and what the monitors said of it is not in there:
`of_version` takes that from the journal.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelyard import events as e
from modelyard.data import profile, snapshots
from modelyard.errors import NotFound
from modelyard.flows.caching import KEPT
from modelyard.quality import report
from modelyard.registry.journal import Entry
from modelyard.registry.state import ModelState, Version
from modelyard.signature import Signature
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    from modelyard.flows.site import Site

DOCUMENT, PAGE, PROFILE = "report.json", "report.html", "profile.json"
MADE = (DOCUMENT, PAGE)
CHAPTERS = ("compile", "bias", "explanations", "profile", "tuning")
MAX_EVENTS, MAX_VERDICTS = 100, 20
PINNED = re.compile(r"^[A-Za-z0-9][\w.\-\[\],]*==[^\s;\\]+", re.MULTILINE)


def write(site: Site, facts: Mapping[str, Any], gates: Sequence[Mapping[str, Any]]) -> None:
    """report.json and report.html of all that lies in the run's folder, and profile.json, of the rows; before the gates can refuse, so
    that a refused build has them.

    facts: the receipts `code`, `data`, `rows`, `environment`, and what was settled. gates: GateResults as dicts.
    """
    rows = facts.get("rows") or {}
    with contextlib.suppress(NotFound):  # a snapshot that was taken away since
        whole = profiled(site, facts["data"]["digest"])
        (site.folder / PROFILE).write_text(json.dumps({**whole, "splits": rows} if rows else whole), encoding="utf-8")
    found = report.document(
        about=_about(site),
        signature=_signature(site),
        gates=gates,
        lineage=_lineage(site, facts),
        data={"rows": rows, **{key: facts["data"].get(key) for key in ("digest", "source", "captured", "dropped")}},
        evaluation=_read(site, "evaluation.json"),
        curves=_curves(site),
        chapters=_chapters(site),
        expectations=_expectations(site),
    )
    (site.folder / DOCUMENT).write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
    (site.folder / PAGE).write_text(report.render(found), encoding="utf-8")


def profiled(site: Site, digest: str) -> dict[str, Any]:
    """The profile of a snapshot's rows; made once, and kept in the home. Raises NotFound."""
    return profile.of(snapshots.find(digest, site.shop.home.path), site.config.data, site.shop.home.path)


def refusals(sentences: Sequence[str]) -> list[dict[str, Any]]:
    """What the data was refused for, as gates, of a build that was stopped before there was a model."""
    return [{"metric": report.DATA, "ok": False, "value": None, "bound": None, "on_fail": "block", "sentence": said} for said in sentences]


def _about(site: Site) -> dict[str, Any]:
    model = site.config.model.model_dump(mode="json")
    return {
        "model": {"target": site.config.data.target_col, **model},
        "version": site.number,
        "run": site.run.id,
        "made_at": site.shop.clock.now().isoformat(timespec="seconds"),
        "made_by": site.order.by,
        "because": site.order.because,
    }


def _read(site: Site, name: str) -> dict[str, Any] | None:
    path = site.folder / name
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return found


def _chapters(site: Site) -> dict[str, dict[str, Any] | None]:
    found = {name: _read(site, f"{name}.json") for name in CHAPTERS}
    asked = site.config.explain
    if (explained := found["explanations"]) is not None and asked is not None:
        found["explanations"] = {**explained, "top": asked.top}
    return found


def _signature(site: Site) -> Signature | None:
    found = _read(site, "signature.json")
    return Signature.from_dict(found) if found else None


def _curves(site: Site) -> dict[str, Any]:
    signature, holdout = _signature(site), site.folder / "holdout.parquet"
    if signature is None or not holdout.exists():
        return {}
    import polars as pl

    from modelyard.quality.curves import curves

    return curves(pl.read_parquet(holdout), signature)


def _lineage(site: Site, facts: Mapping[str, Any]) -> dict[str, Any]:
    code, lock = facts["code"], site.lock_file()
    return {
        "commit": code["commit"],
        "dirty": code["dirty"],
        "code": code["digest"],
        "entry_point": code.get("entry") or code.get("inference") or None,
        "environment": facts.get("environment"),
        "config": site.order.digest,
        "recipe": site.order.recipe,
        "framework": site.framework,
        "hyperparameters": dict(facts.get("hyperparameters") or {}),
        "packages": PINNED.findall(lock.read_text(encoding="utf-8")) if lock.exists() else [],
        "steps": _steps(site),
    }


def _steps(site: Site) -> list[dict[str, Any]]:
    """The steps so far; `kept`: not done again, since the same was done before."""
    return [
        {"step": i["step"], "seconds": i["seconds"], "summary": i["summary"], "kept": KEPT in i["summary"]}
        for i in site.run.feed.items()
        if i["kind"] == "step_done"
    ]


def _expectations(site: Site) -> list[str]:
    """What was said of the data before anything was trained."""
    found, step = [], ""
    for item in site.run.feed.items():
        if item["kind"] == "step_started":
            step = item["step"]
        elif item["kind"] == "fact" and item["event"] == "GateJudged" and step == "expectations":
            found.append(item["sentence"])
    return list(dict.fromkeys(found))


# -- as it stands today -----------------------------------------------------------------------------------------------------------


def of_version(shop: Workshop, model: str, version: str | None) -> dict[str, Any]:
    """The sealed document of a version (the champion, else the newest), and under `today` what the journal knows of it since.

    Raises NotFound: no such version, or none that a report is sealed with.
    """
    state = shop.model(model)
    found = shop.version(model, version or state.champion)
    sealed = shop.bundle(found) / DOCUMENT
    if not sealed.is_file():
        what = f"the report of {model}:{found.version} is not in its bundle"
        raise NotFound(what, where=str(sealed), next="build the version again: `modelyard build --no-cache`")
    document: dict[str, Any] = json.loads(sealed.read_text(encoding="utf-8"))
    return {**document, "version": found.version, "today": _today(shop, state, found)}


def _today(shop: Workshop, state: ModelState, version: Version) -> dict[str, Any]:
    life = [entry for entry in shop.journal.entries(state.model) if _concerns(entry.event, version)]
    words = [entry for entry in life if isinstance(entry.event, e.ApprovalGiven | e.ApprovalWaived)]
    judged = [word for word in shop.book.between(state.model) if word.version == version.version][::-1]
    return {
        "as_of": shop.clock.now().isoformat(timespec="seconds"),
        "bundle": version.digest,
        "champion": state.champion == version.version,
        "serves": {name: stage.weights[version.version] for name, stage in state.stages.items() if version.version in stage.weights},
        "waiting": [{**w.to_dict(), "sentence": str(w)} for w in state.awaiting.values() if w.version == version.version],
        "approvals": [{**_told(entry), "approved": getattr(entry.event, "approved", True)} for entry in words],
        "events": [{**_told(entry), "tone": _tone(entry.event, version)} for entry in life[-MAX_EVENTS:]],
        "verdicts": [vars(word) | {"evidence": None} for word in judged[:MAX_VERDICTS]],
        "set_aside": version.set_aside,
    }


def _told(entry: Entry) -> dict[str, Any]:
    by = getattr(entry.event, "by", None)
    return {"at": entry.at, "kind": type(entry.event).__name__, "sentence": str(entry.event), "by": by, "seq": entry.seq}


def _concerns(event: e.Event, version: Version) -> bool:
    if isinstance(event, e.Deployed):
        return version.version in event.weights
    if isinstance(event, e.ChallengeJudged):
        return version.run == event.run or event.champion == version.version
    if isinstance(event, e.Promoted):
        return version.version in (event.version, event.previous)
    if isinstance(event, e.RolledBack):
        return version.version in (event.version, event.to)
    kinds = e.VersionRegistered | e.SmokeTested | e.ApprovalRequested | e.ApprovalGiven | e.ApprovalWaived | e.RunnerFailed
    return isinstance(event, kinds) and event.version == version.version


def _tone(event: e.Event, version: Version) -> str:
    if isinstance(event, e.ApprovalGiven):
        return "passed" if event.approved else "failed"
    if isinstance(event, e.Promoted):
        return "passed" if event.version == version.version else ""
    if isinstance(event, e.RolledBack):
        return "failed" if event.version == version.version else ""
    return "failed" if isinstance(event, e.RunnerFailed) or (isinstance(event, e.SmokeTested) and not event.ok) else ""
