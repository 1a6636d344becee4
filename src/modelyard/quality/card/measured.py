"""What was measured of the hold-out: gates, metrics, pictures, slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.quality import page, plots
from modelyard.quality.catalogue import METRICS, names_for

Document = Mapping[str, Any]
MAX_SLICES = 60
FEW_ROWS = 30
"""Below this many rows a slice's metrics are mostly chance: such slices come last and are marked."""


def gates(found: Document) -> dict[str, Any] | None:
    rows = []
    for gate in found["gates"]:
        numbers = {key: page.measure(gate.get(key)) for key in ("value", "bound")}
        rival = gate.get("champion") if gate.get("champion") is not None else gate.get("baseline")
        about = {"state": page.state_of(gate), "sentence": gate["sentence"], "on_fail": gate.get("on_fail", "block")}
        rows.append(
            {
                "metric": gate["metric"],
                "of": gate.get("of") or "",
                "span": page.span(gate.get("low"), gate.get("high")),
                **numbers,
                **about,
                "rival": page.measure(rival),
            }
        )
    return {
        "rows": rows,
        "rivals": any(row["rival"] != "—" for row in rows),
        "expectations": [_expectation(s) for s in found["expectations"]],
    }


def _expectation(sentence: str) -> dict[str, str]:
    for word, state in ((page.REFUSED, "failed"), (page.WARNING, "warning")):
        if sentence.startswith(word):
            return {"state": state, "sentence": sentence.removeprefix(word)}
    return {"state": "passed", "sentence": sentence}


def metrics(found: Document) -> dict[str, Any] | None:
    measured = found["evaluation"]
    if measured is None:
        return None
    own, rival, naive = measured["metrics"], measured.get("champion"), measured.get("baseline") or {}
    return {
        "rows": metric_rows(found),
        "count": page.number(own.get("rows")),
        "level": f"{measured.get('level', 0.95):.0%}",
        "champion": rival is not None,
        "champion_words": _champion_words(rival) if rival else "",
        "baseline": bool(naive.get("metrics")),
        "baseline_words": naive.get("sentence") or "",
        "baseline_kind": naive.get("kind") or "",
        "baseline_state": "passed" if naive.get("ok") else "none" if naive.get("ok") is None else page.state_of(naive),
        "cost": _cost(measured),
    }


def metric_rows(found: Document) -> list[dict[str, Any]]:
    """A row a metric: its title, value, interval, the champion's and baseline's, the difference, and whether that is better."""
    measured = found["evaluation"]
    own, rival, naive = (
        measured["metrics"],
        (measured.get("champion") or {}).get("metrics", {}),
        (measured.get("baseline") or {}).get("metrics", {}),
    )
    names = [n for n in own if n not in ("rows", "positive_rate")]
    rows = [_metric_row(n, own[n], measured["intervals"].get(n), rival.get(n), naive.get(n)) for n in names]
    for name, custom in measured["custom"].items():
        row = _metric_row(name, custom["value"], None, rival.get(name), None)
        ours, theirs = custom["value"], rival.get(name)
        better = (
            None if not (page.finite(ours) and page.finite(theirs)) or ours == theirs else (ours > theirs) == custom["greater_is_better"]
        )
        rows.append(
            {
                **row,
                "better": better,
                "direction": "higher" if custom["greater_is_better"] else "lower",
                "meaning": "a metric of the model's own",
            }
        )
    return rows


def _metric_row(name: str, ours: Any, interval: Sequence[Any] | None, rival: Any, naive: Any) -> dict[str, Any]:
    fact = METRICS.get(name)
    return {
        "name": name,
        "title": fact.title if fact else name,
        "meaning": fact.meaning if fact else "",
        "direction": "" if fact is None else "higher" if fact.greater_is_better else "lower",
        "value": page.measure(ours),
        "span": page.span(*interval) if interval else "",
        "champion": page.measure(rival),
        "baseline": page.measure(naive),
        "change": page.change(ours, rival),
        "better": page.better(name, ours, rival),
    }


def _champion_words(rival: Document) -> str:
    named = f"The champion, version {rival['version']}," if rival.get("version") is not None else "The champion"
    return f"{named} could not answer for them: {rival['reason']}." if rival.get("reason") else f"{named} answered for the same rows."


def _cost(measured: Document) -> list[tuple[str, str]]:
    """What an answer costs: time and room."""
    found = []
    if latency := measured.get("latency"):
        by = f", {latency['by']}" if latency.get("by") else ""
        for name, key in (("Median latency", "p50_ms"), ("99th percentile", "p99_ms")):
            found.append((name, f"{page.number(latency[key])} ms{by}"))
    if (size := (measured.get("size") or {}).get("bytes")) is not None:
        found.append(("Size of the model", page.size(size)))
    return found


def pictures(found: Document) -> dict[str, Any] | None:
    drawn, classes = plots.plots(found["curves"]), found["curves"].get("by_class") or []
    if not drawn and not classes:
        return None
    shown = ("precision", "recall", "f1", "roc_auc")
    rows = [{"name": c["name"], "rows": page.number(c["rows"]), "cells": [page.measure(c[key]) for key in shown]} for c in classes]
    return {"plots": drawn, "classes": rows, "titles": [METRICS[key].title for key in shown]}


def slices(found: Document) -> dict[str, Any] | None:
    measured = found["evaluation"]
    if measured is None or not (
        measured["slices"] or measured.get("worst") or any(w["looked_at"] for w in measured.get("worst_by", {}).values())
    ):
        return None
    main = found["headline"]["metric"]
    worst = measured.get("worst")
    return {
        **slice_rows(measured["slices"], measured["metrics"], main, found["model"]["problem_type"]),
        "main": METRICS[main].title,
        "worst": _worst(worst) if worst else None,
        "looked_at": max((w["looked_at"] for w in measured.get("worst_by", {}).values()), default=0),
    }


def _worst(worst: Document) -> dict[str, str]:
    title = METRICS[worst["metric"]].title if worst["metric"] in METRICS else worst["metric"]
    span = page.span(worst.get("low"), worst.get("high"))
    return {
        "description": worst["description"],
        "title": title,
        "value": page.measure(worst["value"]),
        "overall": page.measure(worst["overall"]),
        "span": span,
        "rows": page.number(worst["rows"]),
    }


def slice_rows(parts: Sequence[Document], overall: Document, main: str, problem: Any) -> dict[str, Any]:
    """The slices, worst first by the headline metric; small ones and those without a value last."""
    sign = 1 if METRICS[main].greater_is_better else -1

    def rank(part: Document) -> tuple[bool, float, str]:
        value = part.get(main)
        return not page.finite(value) or part["rows"] < FEW_ROWS, sign * float(value) if page.finite(value) else 0.0, str(part["value"])

    shown = [main, *[n for n in names_for(problem) if n != main and any(page.finite(s.get(n)) for s in parts)][:3]]
    ordered, rows = sorted(parts, key=rank), []
    for part in ordered[:MAX_SLICES]:
        ours, whole = part.get(main), overall.get(main)
        gap = sign * (ours - whole) if page.finite(ours) and page.finite(whole) else 0.0
        rows.append(
            {
                "column": part["column"],
                "value": part["value"],
                "rows": page.number(part["rows"]),
                "few": part["rows"] < FEW_ROWS,
                "metrics": [page.measure(part.get(n)) for n in shown],
                "gap": page.change(ours, whole),
                "worse": gap < -0.01 * abs(whole or 0),  # less than a hundredth is no reason to alarm
            }
        )
    return {"rows": rows, "left_out": len(ordered) - len(rows), "titles": [METRICS[n].title for n in shown]}
