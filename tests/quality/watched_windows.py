"""Made-up windows for tests of the window report: profiles in the monitors' format, words as the book has them, figures as of drift."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

START = datetime(2026, 3, 1, 5, tzinfo=UTC)
EDGES = 20


def numeric(draw: np.random.Generator, shift: float, rows: int, missing: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """(window, baseline) of a column of numbers: normal in the baseline, moved by `shift` in the window."""
    before, now = draw.normal(size=4000), draw.normal(shift, 1, rows - missing)
    edges = np.quantile(before, np.linspace(0, 1, EDGES + 1))
    cuts = np.concatenate([[-np.inf], np.nextafter(edges[:1], -np.inf), edges[1:], [np.inf]])

    def one(values: Any, lost: int) -> dict[str, Any]:
        counts = np.diff(np.searchsorted(np.sort(values), cuts, side="right")).tolist()
        facts = {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
        spread = {"m2": float(((values - values.mean()) ** 2).sum()), "zeros": 0, "negatives": 0, "whole": 0, "infinite": 0}
        found = {"kind": "numeric", "low": float(edges[0]), "edges": edges[1:].tolist(), "counts": counts, "missing": lost}
        return {**found, **facts, **spread}

    return one(now, missing), one(before, 0)


def categorical(draw: np.random.Generator, moved: bool, rows: int, values: int = 8, new: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    weights = np.arange(values, 0, -1) / np.arange(values, 0, -1).sum()
    before = draw.multinomial(4000, weights)
    fresh = rows // 10 if new else 0
    now = draw.multinomial(rows - fresh, weights[::-1] if moved else weights)

    def one(counts: Any, more: int) -> dict[str, Any]:
        named = {f"value {i}": int(n) for i, n in enumerate(counts)}
        return {
            "kind": "categorical",
            "counts": named,
            "other": 0,
            "new": more,
            "fresh": {new: more} if more else {},
            "once": 0,
            "missing": 0,
        }

    return one(now, fresh), one(before, 0)


def profiles(columns: int = 8, rows: int = 1000, seed: int = 1, new: str = "brand new") -> tuple[dict[str, Any], dict[str, Any]]:
    """(profile, baseline): numbers and categories by turns; the first two have moved."""
    draw, now, before = np.random.default_rng(seed), {}, {}
    for i in range(columns):
        name = f"{'amount' if i % 2 == 0 else 'kind'}_{i}"
        made = (
            numeric(draw, 0.8 if i == 0 else 0.02, rows, 30 if i == 0 else 0)
            if i % 2 == 0
            else categorical(draw, i == 1, rows, new=new if i == 1 else "")
        )
        now[name], before[name] = made
    score, score_before = numeric(draw, 0.3, rows)
    profile = {
        "format": 2,
        "rows": rows,
        "columns": now,
        "score": {"column": "y.probability", "rows": rows, **score},
        "extra": {"f.colour": 17},
    }
    baseline = {
        "format": 2,
        "rows": 4000,
        "columns": before,
        "score": {"column": "y.probability", "rows": 4000, **score_before},
        "extra": {},
    }
    return profile, baseline


def figures(profile: dict[str, Any]) -> list[dict[str, Any]]:
    names = [*profile["columns"], "y.probability"]
    return [
        {"column": name, "kind": "numeric", "measure": "psi", "effect": effect, "threshold": 0.2, "p": 0.4, "moved": effect >= 0.2}
        for i, name in enumerate(names)
        for effect in (0.5 if i < 2 else 0.01 + 0.001 * i,)
    ]


def word(monitor: str, place: int, status: str, reason: str, evidence: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    start = START + timedelta(days=place)
    end = start + timedelta(days=1)
    said = {"start": start.isoformat(), "end": end.isoformat(), "version": "3", "status": status, "reason": reason}
    return {"model": "flights", "monitor": monitor, **said, "judged_at": end.isoformat(), "revision": 1, "evidence": evidence or {}, **more}


def words(windows: int = 12) -> list[dict[str, Any]]:
    """Words of four monitors on some days: drift moves half way through, and performance follows it."""
    found = []
    for i in range(windows):
        late, area = i >= windows // 2, 0.78 - 0.006 * max(0, i - windows // 2)
        effect = 0.5 if late else 0.05 + 0.01 * i
        column = {"column": "amount_0", "measure": "psi", "effect": effect, "threshold": 0.2, "moved": late}
        said = "drift: 2 of 8 features moved: amount_0 (PSI 0.50)" if late else "drift: none of 8 features moved"
        found.append(word("drift", i, "violated" if late else "healthy", said, {"rows": 1000 + 37 * i, "columns": [column]}))
        measured = {"metrics": {"roc_auc": area, "f1": 0.6}, "intervals": {"roc_auc": [area - 0.02, area + 0.02], "f1": [0.55, 0.65]}}
        estimated = {"estimated": {"roc_auc": {"value": area + 0.01, "low": area - 0.01, "high": area + 0.03}}}
        criteria = {"criteria": [{"metric": "roc_auc", "ok": True, "value": area, "holdout": 0.79, "bound": 0.05}]}
        evidence = {"labels": 900, "rows": 1000 + 37 * i, **measured, **criteria}
        if i < windows - 2:
            found.append(word("performance", i, "healthy", f"performance: roc_auc {area:.3f} holds", evidence))
        found.append(word("estimate", i, "healthy", "estimate: roc_auc holds", estimated))
        violations = [{"feature_name": "amount_0", "constraint_check_type": "completeness_check", "description": "97% of the rows have it"}]
        found.append(
            word("data_quality", i, "warning", "data_quality: amount_0 is missing in 3%", {"rows": 1000, "violations": violations})
        )
    return found


def document(columns: int = 8, **more: Any) -> dict[str, Any]:
    from modelyard.quality import window

    profile, baseline = profiles(columns)
    said = more.pop("words", None) or words()
    about = {
        "model": {"name": "flights", "problem_type": "binary_classification", "owner": None},
        "span": {"start": said[0]["start"], "end": said[-1]["end"], "timezone": "America/New_York", "window": "1d"},
        "made_at": "2026-03-20T00:00:00+00:00",
        "version": "3",
    }
    given = {"profile": profile, "baseline": baseline, "figures": figures(profile)}
    given |= {"config": {"drift": {"share": 0.3}}, "lineage": {"bundle": "ab" * 32, "data": "da" * 32, "commit": None}}
    return window.document(about=about, words=said, **{**given, **more})
