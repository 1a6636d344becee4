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
from modelyard.config.spec import Config, Rollback
from modelyard.flows import history
from modelyard.flows.monitor.drift import as_captured
from modelyard.monitor import drift, profile
from modelyard.monitor.drift import measured
from modelyard.monitor.verdicts import Verdict
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 20_000
"""Newest rows of a version that are looked at."""
UNKNOWN = drift.DriftResult(Verdict("drift", "unknown", "drift: nothing to judge"))


def of_step(shop: Workshop, model: str, version: str, champion: str, since: datetime, config: Config) -> str:
    """The sentence of the drift alarm; empty where it is silent: nothing moved, or the champion's rows too, or too few rows to tell.

    What the capture does not keep as it came is not judged: a hash looks like nothing that a version was built on."""
    import polars as pl

    watched, thresholds = config.monitor.drift, config.deploy.rollback
    both = history.newest(shop, model, 2 * MOST_ROWS, since=since)
    mine, rows = (_apiece(both.filter(pl.col(tables.VERSION) == v).tail(MOST_ROWS)) for v in (version, champion))
    ours = _judged(shop, model, version, mine, config)
    if ours.verdict.status in ("unknown", "healthy"):
        return ""
    theirs = _judged(shop, model, champion, rows, config)
    # Unknown at 100%, where nobody answers beside it: what moved may be the hour, or the day of the week.
    return "" if theirs.verdict.status == "unknown" else alone(ours, theirs, watched.share, thresholds)


def _apiece(rows: pl.DataFrame) -> pl.DataFrame:
    """One row of each request, drawn by chance: a body goes to one version as a whole, and its rows are of one hour or of one customer.
    A few such bodies look like nothing that anybody was built on, however many rows they have."""
    return rows.sample(fraction=1.0, shuffle=True, seed=0).unique(tables.RECEIVED_AT, keep="first", maintain_order=True)


def alone(ours: drift.DriftResult, theirs: drift.DriftResult, share: float, thresholds: Rollback) -> str:
    """What moved of the new version and not of the champion, where that is enough to ring."""
    there = {c["column"]: c for c in theirs.columns}
    moved = [c for c in ours.columns if _apart(c, there.get(c["column"]))]
    inputs = bool(moved) and len(moved) >= share * len(ours.columns) - 1e-9
    score = _apart(ours.prediction, theirs.prediction)
    if not (inputs or score or (moved and thresholds.drift == "warning")):
        return ""
    told = [f"{c['column']} ({measured(c)})" for c in moved[:3]] + ([f"and {len(moved) - 3} more"] if len(moved) > 3 else [])
    said = [f"its inputs {', '.join(told)}"] if moved else []
    said += [f"its score ({measured(ours.prediction)})"] if score else []
    return f"the new version's rows are not what it was built on: {' and '.join(said)} moved, and not so for the champion"


def _apart(mine: dict[str, Any], champions: dict[str, Any] | None) -> bool:
    """Whether a column of the new version moved, and the champion's did not, nor nearly as far: a few days have not every weekday as often
    as months have, and of two versions that both see it one may lie just above the threshold and the other just below."""
    if champions is None or not mine["moved"] or champions["moved"]:
        return bool(mine["moved"] and champions is None)
    alike = champions["measure"] == mine["measure"]
    return bool(mine["value"] - (champions["value"] if alike else 0.0) >= mine["threshold"])


def _judged(shop: Workshop, model: str, version: str, rows: pl.DataFrame, config: Config) -> drift.DriftResult:
    opened = bundle.open(shop.version(model, version).digest, shop.home.path)
    path = opened.path / "baseline.json"
    if rows.is_empty() or not path.exists():
        return UNKNOWN
    baseline: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    watched, _ = as_captured(config.monitor.drift, config, opened.signature, rows.columns)
    return drift.judge(profile.profile(rows, baseline), baseline, drift.known_to(baseline, watched), opened.signature)
