"""Drift while traffic moves: whether the new version's rows of this step are what it was built on, where the champion's still are.

Each version's rows are judged against its own baseline, as the monitors do it. A shift of the world moves both, and is no fault of the
new version; a version that learned from other rows than those it now answers, or answers otherwise than in its hold-out, moves alone.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import bundle
from modelyard.config.spec import Drift, Rollback
from modelyard.flows import history
from modelyard.monitor import drift, profile
from modelyard.monitor.verdicts import Verdict
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 20_000
"""Newest rows of a version that are looked at."""
UNKNOWN = drift.DriftResult(Verdict("drift", "unknown", "drift: nothing to judge"), [], {})


def of_step(shop: Workshop, model: str, version: str, champion: str, since: datetime, watched: Drift, thresholds: Rollback) -> str:
    """The sentence of the drift alarm; empty where it is silent: nothing moved, or the champion's rows too, or too few rows to tell."""
    import polars as pl

    both = history.newest(shop, model, 2 * MOST_ROWS, since=since)
    mine, rows = (both.filter(pl.col(tables.VERSION) == v).tail(MOST_ROWS) for v in (version, champion))
    ours = _judged(shop, model, version, mine, watched)
    if ours.verdict.status in ("unknown", "healthy"):
        return ""
    theirs = _judged(shop, model, champion, rows, watched)
    # Unknown at 100%, where nobody answers beside it: what moved may be the hour, or the day of the week.
    return "" if theirs.verdict.status == "unknown" else alone(ours, theirs, watched.share, thresholds)


def alone(ours: drift.DriftResult, theirs: drift.DriftResult, share: float, thresholds: Rollback) -> str:
    """What moved of the new version and not of the champion, where that is enough to ring."""
    there = {c["column"] for c in theirs.columns if c["moved"]}
    moved = [c for c in ours.columns if c["moved"] and c["column"] not in there]
    inputs = bool(moved) and len(moved) >= share * len(ours.columns) - 1e-9
    score = bool(ours.prediction["moved"] and not theirs.prediction["moved"])
    if not (inputs or score or (moved and thresholds.drift == "warning")):
        return ""
    told = [f"{c['column']} (PSI {c['psi']:.2f})" for c in moved[:3]] + ([f"and {len(moved) - 3} more"] if len(moved) > 3 else [])
    said = [f"its inputs {', '.join(told)}"] if moved else []
    said += [f"its score (PSI {ours.prediction['psi']:.2f})"] if score else []
    return f"the new version's rows are not what it was built on: {' and '.join(said)} moved, and not so for the champion"


def _judged(shop: Workshop, model: str, version: str, rows: pl.DataFrame, watched: Drift) -> drift.DriftResult:
    opened = bundle.open(shop.version(model, version).digest, shop.home.path)
    path = opened.path / "baseline.json"
    if rows.is_empty() or not path.exists():
        return UNKNOWN
    baseline: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if watched.columns is not None:  # the new version may have other columns than the champion
        known = tuple(name for name in watched.columns if name in baseline["columns"])
        watched = watched.model_copy(update={"columns": known})
    return drift.judge(profile.profile(rows, baseline), baseline, watched, opened.signature)
