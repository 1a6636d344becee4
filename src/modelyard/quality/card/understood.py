"""Whom the version treats how, and what moves its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.quality import page, plots
from modelyard.quality.bias.catalogue import METRICS as BIAS
from modelyard.quality.bias.catalogue import NEUTRAL
from modelyard.quality.svg import short

Document = Mapping[str, Any]
MAX_FACETS = 40
STAGES = (("pre_training", "Before training, of the labels"), ("post_training", "After training, of the answers"))
DETAILED = 3
"""Features whose dependence is drawn."""


def bias(found: Document) -> dict[str, Any] | None:
    measured = found["bias"]
    if not measured or not measured["facets"]:
        return None
    facets = [_facet(facet, i) for i, facet in enumerate(measured["facets"][:MAX_FACETS])]
    return {
        "label": measured.get("label"),
        "good": measured.get("good"),
        "group": measured.get("group_col"),
        "level": f"{measured.get('level', 0.95):.0%}",
        "facets": facets,
        "summary": _side_by_side(measured["facets"][:MAX_FACETS]) if len(facets) > 1 else None,
        "left_out": max(0, len(measured["facets"]) - MAX_FACETS),
        "notes": measured.get("notes", []),
    }


def _facet(facet: Document, place: int) -> dict[str, Any]:
    stages = []
    for stage, title in STAGES:
        rows = [_bias_row(row) for row in facet[stage]]
        if rows:
            known = [row for row in facet[stage] if row["metric"] in NEUTRAL]
            plot = plots.forest(f"bias-{place}-{stage}", f"{short(facet['name'], 40)}: {title.lower()}", known, NEUTRAL)
            whole = [row for row in rows if not row["error"]]
            missing = [f"{row['metric']}: {row['error']}" for row in rows if row["error"]]
            stages.append({"title": title, "rows": whole, "missing": missing, "plot": plot})
    return {"name": facet["name"], "rows": page.number(facet.get("rows")), "others": page.number(facet.get("others")), "stages": stages}


def _side_by_side(facets: Sequence[Document]) -> dict[str, Any]:
    """The signed metrics of all comparisons, a row each."""
    found = [{row["metric"]: row for stage, _ in STAGES for row in facet[stage]} for facet in facets]
    names = [n for n in dict.fromkeys(n for rows in found for n in rows) if n in BIAS and n not in plots.ONE_SIDED]
    names = [n for n in names if any(page.finite(rows[n]["value"]) for rows in found if n in rows)]
    cells = [[_cell(rows[n]) if n in rows else {"value": "—", "away": False} for n in names] for rows in found]
    return {"names": names, "rows": [{"name": f["name"], "cells": row} for f, row in zip(facets, cells, strict=True)]}


def _cell(row: Document) -> dict[str, Any]:
    ready = _bias_row(row)
    short_value = f"{row['value']:.2f}" if page.finite(row["value"]) else ready["value"]
    return {"value": short_value, "away": ready["away"]}


def _bias_row(row: Document) -> dict[str, Any]:
    fact, value = BIAS.get(row["metric"]), row["value"]
    return {
        "metric": row["metric"],
        "title": row["description"].removesuffix(f" ({row['metric']})"),
        "value": "∞" if value == "Infinity" else "-∞" if value == "-Infinity" else page.measure(value),
        "span": page.span(row["low"], row["high"]),
        "neutral": f"{fact.neutral:g}" if fact else "",
        "away": bool(fact and plots.away(row, fact.neutral)),
        "error": row.get("error") or "",
    }


def explanations(found: Document) -> dict[str, Any] | None:
    explained = found["explanations"]
    if not explained or not explained["global"]:
        return None
    from modelyard.quality.explain import plots as drawing

    drawn = drawing.plots(dict(explained), top=explained["top"], detailed=min(DETAILED, explained["top"]))
    return {
        "method": explained["method"],
        "why": explained["why"],
        "of": str(explained.get("of") or explained["output"]).replace("probability_", "probability of "),
        "rows": page.number(explained["rows"]),
        "plots": [plot for plot in drawn if plot.wide],
        "detailed": [plot for plot in drawn if not plot.wide],
    }
