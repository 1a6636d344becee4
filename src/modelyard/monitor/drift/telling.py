"""What a verdict on drift says, and the few figures that it leaves in the book."""

from __future__ import annotations

from typing import Any

from modelyard.config.spec import Drift
from modelyard.monitor.drift.columns import WORDS, enough
from modelyard.monitor.words import count, listing, percent

Figures = dict[str, Any]
TOP, TOP_SEGMENTS, NAMED, LONGEST = 8, 5, 30, 40
"""Columns and segments whose figures are kept as evidence, names of columns that moved, and letters of a value: the book has a word for
every window of every model."""


def reason(
    columns: list[Figures], prediction: Figures, joint: Figures | None, segments: list[Figures], season: Figures | None, drift: Drift
) -> str:
    """One sentence; `columns` are in the order of `evidence`."""
    parts = [*_of_columns(columns, drift.share), *_of_season(season, drift.min_rows)]
    held = "the score moved" if prediction["moved"] else "the score holds"
    parts.append(f"{held} ({details(prediction)})")
    if joint and joint["moved"]:
        which = f", most of it {listing(joint['columns'])}" if joint.get("columns") else ""
        parts.append(f"the columns move together otherwise (error {_change(joint['value'])}{which})")
    moved = [f"{s['segment']} ({listing([c['column'] for c in s['moved']], 3)})" for s in segments if s["moved"]]
    if moved:
        parts.append(f"moved in {'a segment' if len(moved) == 1 else 'segments'}: {listing(moved, TOP_SEGMENTS)}")
    return "drift: " + "; ".join(parts)


def evidence(columns: list[Figures], prediction: Figures, joint: Figures | None, segments: list[Figures]) -> Figures:
    """JSON-ready and small: how many moved, the first of their names, and fewer of their figures."""
    moved = [c["column"] for c in columns if c["moved"]]
    said: Figures = {"moved": moved[:NAMED], "moved_count": len(moved)}
    said |= {"columns": [_short(c) for c in columns[:TOP]], "prediction": _short(prediction)}
    said |= {"joint": _short(joint)} if joint else {}
    if segments:
        elsewhere = [s for s in segments if s["moved"]]
        named = [{"segment": s["segment"], "rows": s["rows"], "columns": [c["column"] for c in s["moved"][:TOP]]} for s in elsewhere]
        said["segments"] = {"judged": len(segments), "moved": named[:TOP_SEGMENTS], "moved_count": len(elsewhere)}
    return said


def measured(column: Figures) -> str:
    """Such as `PSI 0.31`."""
    return f"{WORDS[column['measure']]} {column['value']:.2f}"


def details(column: Figures, *, unit: bool = True) -> str:
    """The measure, and what is plainly new: values that training never saw, or values that are missing."""
    text = measured(column) if unit else f"{column['value']:.2f}"
    if column.get("new_values"):
        text += f" with new value '{column['new_values'][0][:LONGEST]}' and such in {percent(column['new'])}"
    if column["missing"] >= column["missing_before"] + 0.01:
        text += f" with {percent(column['missing'])} missing, {percent(column['missing_before'])} before"
    return text


def _of_columns(columns: list[Figures], share: float) -> list[str]:
    moved = [c for c in columns if c["moved"]]
    if moved:
        units = [i == 0 or c["measure"] != moved[i - 1]["measure"] for i, c in enumerate(moved)]
        names = listing([f"{c['column']} {details(c, unit=unit)}" for c, unit in zip(moved, units, strict=True)])
        below = "" if enough(len(moved), len(columns), share) else f", below the {percent(share)} that count"
        return [f"{len(moved)} of {count(len(columns), 'feature')} moved ({names}){below}"]
    if columns:
        top = columns[0]
        most = f"{top['column']} {measured(top)} of {top['threshold']:.2f}"
        return [f"none of {count(len(columns), 'feature')} moved (most: {most})"]
    return []


def _of_season(season: Figures | None, least: int) -> list[str]:
    if season is None:
        return []
    if not season["used"]:
        return [f"held against training alone, since the same time of earlier periods has {season['rows']:,} rows of {least:,}"]
    as_ever = season["as_ever"]
    return [f"as at the same time of earlier periods: {listing(as_ever)}"] if as_ever else []


def _change(value: float) -> str:
    return f"{'+' if value > 0 else '-'}{percent(abs(value))}"


def _short(figures: Figures) -> Figures:
    """Numbers to four digits, since nobody reads more, and values cut off."""
    said: Figures = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}
    return said | ({"new_values": [value[:LONGEST] for value in figures["new_values"]]} if "new_values" in figures else {})
