"""A window's columns beside the baseline's: shares of the rows in the same cells, ready to be drawn. Pure; loads no table library."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from modelyard.quality.scales import said

_EPOCH = datetime(1970, 1, 1)
MAX_CELLS = 30
"""Categories of a column that a report keeps; the rest of them are one cell."""
FOLDED = "all others"
SAID = frozenset({"column", "kind", "missing", "missing_before", "mean", "mean_before", "new", "new_values", "moved", "outside_range"})
"""Of drift's figures, what is shown otherwise."""


def compared(
    profile: Mapping[str, Any], baseline: Mapping[str, Any], figures: Sequence[Mapping[str, Any]] = (), times: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Every column of a window, those first that moved most; the score before all of them.

    {"name", "role": feature | prediction, "kind": numeric | categorical, "cells": [{"name", "now", "before", "mark"}],
     "facts": {NAME: [now, before]}, "fresh": {VALUE: rows}, "moved", "ratio": effect by threshold or null, "figures": {...}}

    `now` and `before` are shares of all rows, missing ones included. `mark` says what is out of the ordinary: below, above (the
    baseline's range), missing, new, other, folded; empty for an ordinary cell. `figures` are those of drift; `times` names the columns
    whose numbers are microseconds since 1970, and are written as instants.
    """
    measured = {str(row["column"]): dict(row) for row in figures}
    score, rows = profile["score"], (int(profile["rows"]), int(baseline["rows"]))
    named = score["column"]
    found = [
        _column(name, "feature", column, baseline["columns"][name], rows, measured.get(name, {}), name in times)
        for name, column in profile["columns"].items()
        if name in baseline["columns"]
    ]
    found.sort(key=lambda c: (-(c["ratio"] if c["ratio"] is not None else -1.0), c["name"]))
    sizes = int(score["rows"]), int(baseline["score"]["rows"])
    return [_column(named, "prediction", score, baseline["score"], sizes, measured.get(named, {})), *found]


def _column(
    name: str,
    role: str,
    now: Mapping[str, Any],
    before: Mapping[str, Any],
    rows: tuple[int, int],
    figures: dict[str, Any],
    time: bool = False,
) -> dict[str, Any]:
    cells = _numbers(now, before, rows, _instant if time else _number) if now["kind"] == "numeric" else _categories(now, before, rows)
    facts: dict[str, list[Any]] = {"missing": [_share(now["missing"], rows[0]), _share(before["missing"], rows[1])]}
    for key in ("mean", "min", "max", "median"):
        if now.get(key) is not None or before.get(key) is not None:
            both = [now.get(key), before.get(key)]
            facts[key] = [None if value is None else _instant(value) for value in both] if time else both
    spread = [_deviation(now, rows[0]), _deviation(before, rows[1])]
    facts |= {"std": spread} if spread != [None, None] and not time else {}
    return {
        "name": name,
        "role": role,
        "kind": now["kind"],
        "cells": cells,
        "facts": facts,
        "fresh": dict(now.get("fresh") or {}),
        "new": _share(now.get("new") or 0, rows[0]),
        "moved": bool(figures.get("moved")),
        "ratio": ratio(figures),
        "figures": _figures(figures),
    }


def _figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures by which a column was judged, then all other measures."""
    found = {key: value for key, value in figures.items() if key not in SAID and not isinstance(value, list | tuple | Mapping)}
    return found | dict(figures.get("measures") or {})


def ratio(figures: Mapping[str, Any]) -> float | None:
    """How far something moved in units of what it takes to have moved; None where that was not measured."""
    effect = next((figures[key] for key in ("effect", "value", "psi") if figures.get(key) is not None), None)
    needed = next((figures[key] for key in ("threshold", "needed") if figures.get(key)), None)
    return None if effect is None or needed is None else float(effect) / float(needed)


def _share(count: float, rows: int) -> float:
    return count / rows if rows else 0.0


def _deviation(column: Mapping[str, Any], rows: int) -> float | None:
    spread, known = column.get("m2"), rows - int(column["missing"]) - int(column.get("infinite") or 0)
    return None if spread is None or known < 2 else float((max(0.0, spread) / (known - 1)) ** 0.5)


def _numbers(
    now: Mapping[str, Any], before: Mapping[str, Any], rows: tuple[int, int], written: Callable[[float], str]
) -> list[dict[str, Any]]:
    """The baseline's bins, and what lies outside them where anything does."""
    edges, low = list(before["edges"]), before["low"]
    ends = [low, *edges]
    names = ["", *(_between(a, b, i, bool(before.get("whole")), written) for i, (a, b) in enumerate(pairwise(ends))), ""]
    if low is not None:
        names[0], names[-1] = f"below {written(low)}", f"above {written(edges[-1])}"
    marks = ["below", *[""] * len(edges), "above"] if low is not None else ["", "above"]
    counts = [*zip(now["counts"], before["counts"], strict=True)]
    cells = [
        {"name": name or "any value", "now": _share(a, rows[0]), "before": _share(b, rows[1]), "mark": mark}
        for name, mark, (a, b) in zip(names, marks, counts, strict=False)
        if not mark or a or b
    ]
    return cells + _missing(now, before, rows)


def _between(low: float, high: float, place: int, whole: bool, written: Callable[[float], str]) -> str:
    """A bin in words: it holds what is over its lower edge, up to its upper one; the first holds the least value too."""
    if low == high or (place and whole and high - low == 1):
        return written(high)
    return f"{written(low)} to {written(high)}"


def _number(value: float) -> str:
    """An edge with 4 significant digits, as an axis writes it; a whole number in full."""
    return said(value if float(value).is_integer() else float(f"{value:.4g}"))


def _instant(micros: float) -> str:
    """Microseconds since 1970 as `2026-03-01 05:00`, UTC; as a number where that is no date."""
    try:
        return (_EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%d %H:%M")
    except OverflowError:
        return _number(micros)


def _missing(now: Mapping[str, Any], before: Mapping[str, Any], rows: tuple[int, int]) -> list[dict[str, Any]]:
    if not now["missing"] and not before["missing"]:
        return []
    shares = {"now": _share(now["missing"], rows[0]), "before": _share(before["missing"], rows[1])}
    return [{"name": "missing", **shares, "mark": "missing"}]


def _categories(now: Mapping[str, Any], before: Mapping[str, Any], rows: tuple[int, int]) -> list[dict[str, Any]]:
    """The commonest values of either side, then what is rare, what is new, and what is missing."""
    cells: list[dict[str, Any]] = [
        {"name": str(value), "now": _share(now["counts"].get(value, 0), rows[0]), "before": _share(count, rows[1]), "mark": ""}
        for value, count in before["counts"].items()
    ]
    cells.sort(key=lambda c: -max(c["now"], c["before"]))
    kept, rest = cells[:MAX_CELLS], cells[MAX_CELLS:]
    if rest:
        kept.append({"name": FOLDED, "now": sum(c["now"] for c in rest), "before": sum(c["before"] for c in rest), "mark": "folded"})
    if now["other"] or before["other"]:
        shares = {"now": _share(now["other"], rows[0]), "before": _share(before["other"], rows[1])}
        kept.append({"name": "rare values", **shares, "mark": "other"})
    named = 0
    for value, count in (now.get("fresh") or {}).items():
        if now.get("new"):
            kept.append({"name": str(value), "now": _share(count, rows[0]), "before": 0.0, "mark": "new"})
            named += count
    if (left := int(now.get("new") or 0) - named) > 0:
        kept.append({"name": "more new values", "now": _share(left, rows[0]), "before": 0.0, "mark": "new"})
    return kept + _missing(now, before, rows)
