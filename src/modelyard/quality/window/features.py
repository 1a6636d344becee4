"""The chapters of a window's page on its columns: the score, and all features, those first that moved most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.quality import page
from modelyard.quality.svg import Plot
from modelyard.quality.window import plots
from modelyard.quality.window.spans import zone_of

MAX_PLOTS, MAX_COLUMNS = 40, 500
"""Columns that are drawn, and columns that are in the table. They bound the page's size."""
MAX_SEGMENTS = 100
NAMED = {"mean": "mean", "std": "standard deviation", "median": "median", "min": "least", "max": "greatest", "missing": "missing"}
SHARES = frozenset({"missing"})


def prediction(found: Mapping[str, Any]) -> dict[str, Any] | None:
    score = next((c for c in found["columns"] if c["role"] == "prediction"), None)
    if score is None:
        return None
    return {
        "plot": plots.column(score, 0),
        "facts": _facts(score),
        "figures": _figures(score),
        "name": score["name"],
        "moved": score["moved"],
    }


def features(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """All features, those that moved most first: pictures of the first ones, and the measures of all."""
    columns = [c for c in found["columns"] if c["role"] == "feature"]
    if not columns:
        return None
    points = [(point["start"], point["effect"]) for point in found["course"]["points"] if point["effect"] is not None]
    measures = list(dict.fromkeys(key for c in columns for key in c["figures"]))[:16]
    drawn = [{"plot": plots.column(c, i + 1), "moved": c["moved"], "facts": _facts(c)} for i, c in enumerate(columns[:MAX_PLOTS])]
    pictures: list[Plot | None] = [plots.moved(found["columns"]), plots.effects(points, zone_of(found["span"]["timezone"]))]
    return {
        "pictures": [plot for plot in pictures if plot is not None],
        "drawn": drawn,
        "undrawn": max(0, len(columns) - MAX_PLOTS),
        "measures": [key.replace("_", " ") for key in measures],
        "rows": [_row(c, measures) for c in columns[:MAX_COLUMNS]],
        "left_out": max(0, len(columns) - MAX_COLUMNS),
        "extra": [(page.text(name, 80), f"{count:,}") for name, count in list(found["extra"].items())[:40]],
    }


def segments(found: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Each segment of the window: what moved in it against the same segment of the hold-out."""
    ready = []
    for one in found.get("segments") or []:
        moved = [f"{page.text(c['column'], 40)} ({page.number(c.get('ratio'))} of its threshold)" for c in one["moved"][:8]]
        more = len(one["moved"]) - len(moved)
        said = ", ".join(moved) + (f" and {more} more" if more > 0 else "")
        ready.append({"name": page.text(one["segment"], 80), "rows": f"{one['rows']:,}", "moved": said, "count": len(one["moved"])})
    return ready[:MAX_SEGMENTS] or None


def _row(column: Mapping[str, Any], measures: Sequence[str]) -> dict[str, Any]:
    now, before = column["facts"]["missing"]
    return {
        "name": page.text(column["name"], 60),
        "kind": column["kind"],
        "moved": column["moved"],
        "ratio": page.number(column["ratio"]),
        "missing": f"{now:.1%}",
        "missing_before": f"{before:.1%}",
        "mean": " / ".join(_figure(v) for v in column["facts"]["mean"]) if "mean" in column["facts"] else "—",
        "new": _new(column),
        "figures": [_figure(column["figures"].get(key)) for key in measures],
    }


def _new(column: Mapping[str, Any]) -> str:
    if not column["new"]:
        return ""
    names = ", ".join(page.text(name, 30) for name in list(column["fresh"])[:3])
    return f"{column['new']:.1%}" + (f": {names}" if names else "")


def _facts(column: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, now, before) of what a column holds."""
    shown = []
    for key in NAMED:
        both = column["facts"].get(key)
        if both and any(both):
            now, before = (f"{value:.1%}" if key in SHARES else _figure(value) for value in both)
            shown.append((NAMED[key], now, before))
    return shown + ([("new values", _new(column), "")] if column["new"] else [])


def _figures(column: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), _figure(value)) for key, value in column["figures"].items()]


def _figure(value: Any) -> str:
    return "yes" if value is True else "no" if value is False else page.text(value, 40) if isinstance(value, str) else page.number(value)
