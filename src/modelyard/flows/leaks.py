"""The leakage step: what a model must not know is looked for right after the split, before minutes are spent on training."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from modelyard.data import snapshots
from modelyard.durable import Outcome
from modelyard.events import Event, GateJudged
from modelyard.flows.site import SPLITS
from modelyard.quality import leakage

if TYPE_CHECKING:
    from modelyard.flows.site import Site

DOCUMENT = "leakage.json"


def look(site: Site) -> Outcome[list[str]]:
    """Judge the splits by `data.leakage`; leakage.json has the findings. Returns the sentences of those that refuse the build."""
    found = [finding for finding in _findings(site) if finding is not None]
    (site.folder / DOCUMENT).write_text(json.dumps([asdict(f) for f in found], indent=1, default=str), encoding="utf-8")
    events: list[Event] = [
        GateJudged(site.run.model, site.run.id, f"leakage {f.check}", f.ok, f.on_fail, f"leakage: {f.sentence}", f.evidence) for f in found
    ]
    summary = "; ".join(f.sentence for f in found if not f.ok) or ("no leak found" if found else "not looked for")
    return Outcome([f"leakage: {f.sentence}" for f in found if f.blocks], events, summary)


def findings(site: Site) -> list[dict[str, Any]]:
    """What `look` found, for the report; empty where it was not run."""
    path = site.folder / DOCUMENT
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


def _findings(site: Site) -> list[leakage.Finding | None]:
    import polars as pl

    config, asked = site.config, site.config.data.leakage
    if asked.target == asked.duplicates == asked.time_order == "off":
        return []
    train, validation, test = (pl.scan_parquet(site.raw(name)) for name in SPLITS)
    known, learned = pl.concat([train, validation, test]), pl.concat([train, validation])
    signed = snapshots.signature(known, config.data, config.model.problem_type, config.evaluate.decision_threshold, config.timezone)
    return [
        leakage.target(train, signed, asked.target, seed=config.data.split.seed) if asked.target != "off" else None,
        leakage.duplicates(learned, test, signed, asked.duplicates, asked.max_duplicates) if asked.duplicates != "off" else None,
        leakage.time_order(learned, test, signed, asked.time_order, config.data.split.by) if asked.time_order != "off" else None,
    ]
