"""Pictures of a data profile (profile.json, see data/profile.py): what is missing, how values are spread, and the target beside them.

Drawn by hand rather than by Matplotlib: a table may have hundreds of columns, and bars are rectangles. The colours are the page's.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.quality.page import number, text
from modelyard.quality.svg import Plot, short

WIDTH, HEIGHT = 320, 150
MOST = 40
"""Columns in the picture of missing values, those with most first."""


def plots(profile: Mapping[str, Any]) -> list[Plot]:
    """A picture of missing values, where there are any, and one of each column that has values and is no id. Always the same bytes."""
    target = profile.get("target")
    drawn = [column for column in profile["columns"] if _worth_drawing(column)]
    pictures = [column_plot(column, i, target) for i, column in enumerate(drawn)]
    return [*([missing_plot(profile)] if any(column["missing"] for column in profile["columns"]) else []), *pictures]


def _worth_drawing(column: Mapping[str, Any]) -> bool:
    """Not what has no value, nor what is an id: text of which no value comes twice."""
    top = column.get("top")
    return top[0][1] > 1 if top else bool((column.get("histogram") or {}).get("counts"))


def missing_plot(profile: Mapping[str, Any]) -> Plot:
    """The share of rows without a value, by column, the greatest first."""
    rows = max(profile["rows"], 1)
    worst = sorted((c for c in profile["columns"] if c["missing"]), key=lambda c: (-c["missing"], c["name"]))[:MOST]
    parts = []
    for i, column in enumerate(worst):
        share, y = column["missing"] / rows, 6 + 18 * i
        parts.append(_words(110, y + 10, short(column["name"], 18), anchor="end"))
        parts.append(_bar(116, y, 150 * share, 13, f"{column['name']}: {column['missing']:,} rows", "c5"))
        parts.append(_words(120 + 150 * share, y + 10, f"{share:.1%}", color="muted"))
    svg = _svg("Missing values", WIDTH, 12 + 18 * len(worst), parts)
    return Plot("profile-missing", "Missing values", "The share of rows that have no value in a column.", svg)


def column_plot(column: Mapping[str, Any], place: int, target: str | None = None) -> Plot:
    """A column's histogram or commonest values; over it, where the profile has it, the target's mean in each bar as a line."""
    over = column.get("by_target") if target else None
    parts = _histogram(column, over) if column.get("histogram") else _top(column, over)
    missing = f"; {column['missing']:,} missing" if column["missing"] else ""
    reading = f"{column['type']}, {column['distinct']:,} different values{missing}."
    if over:
        reading += f" Dots: the mean of {target} there, from {_least(over)} to {_most(over)}."
    height = HEIGHT if column.get("histogram") else 14 + 15 * len(column["top"])
    return Plot(f"profile-{place}", text(column["name"]), reading, _svg(column["name"], WIDTH, height, parts))


def _least(values: Sequence[float | None]) -> str:
    return number(min((v for v in values if v is not None), default=None))


def _most(values: Sequence[float | None]) -> str:
    return number(max((v for v in values if v is not None), default=None))


def _histogram(column: Mapping[str, Any], over: Sequence[float | None] | None) -> list[str]:
    edges, counts = column["histogram"]["edges"], column["histogram"]["counts"]
    step, most = (WIDTH - 20) / len(counts), max(counts)
    parts = []
    for i, count in enumerate(counts):
        high = 105 * count / most if most else 0
        said = f"{_shown(edges[i])} to {_shown(edges[i + 1])}: {count:,} rows" + _beside(over, i)
        parts.append(_bar(10 + i * step, 120 - high, step - 1, high, said))
    parts.append(f'<line x1="10" y1="120" x2="{WIDTH - 10}" y2="120" stroke="var(--rule)"/>')
    parts += [_words(10, 136, _shown(edges[0]), color="muted"), _words(WIDTH - 10, 136, _shown(edges[-1]), "end", "muted")]
    spots = _scaled(over)
    dots = [(10 + (i + 0.5) * step, 118 - 100 * spot) for i, spot in enumerate(spots) if spot is not None]
    return parts + _line(dots)


def _top(column: Mapping[str, Any], over: Sequence[float | None] | None) -> list[str]:
    most = max(count for _, count in column["top"])
    spots, parts, dots = _scaled(over), [], []
    for i, (value, count) in enumerate(column["top"]):
        y = 6 + 15 * i
        parts.append(_words(110, y + 9, short(str(value), 18), anchor="end"))
        parts.append(_bar(116, y, 150 * count / most, 11, f"{value}: {count:,} rows" + _beside(over, i)))
        parts.append(_words(270, y + 9, f"{count:,}", color="muted"))
        if i < len(spots) and spots[i] is not None:
            dots.append((118 + 146 * (spots[i] or 0.0), y + 5.5))
    return parts + _line(dots, joined=False)


def _beside(over: Sequence[float | None] | None, place: int) -> str:
    return f", target {number(over[place])}" if over else ""


def _scaled(values: Sequence[float | None] | None) -> list[float | None]:
    """From the least, 0, to the greatest, 1."""
    present = [v for v in values or () if v is not None]
    low, high = (min(present), max(present)) if present else (0.0, 0.0)
    return [None if v is None else 0.5 if high == low else (v - low) / (high - low) for v in values or ()]


def _line(dots: Sequence[tuple[float, float]], *, joined: bool = True) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
    parts = [f'<polyline points="{path}" fill="none" stroke="var(--c2)" stroke-width="1.5"/>'] if joined and len(dots) > 1 else []
    return parts + [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="var(--c2)"/>' for x, y in dots]


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else text(value)[:16].replace("T", " ")


def _bar(x: float, y: float, width: float, height: float, said: str, color: str = "c1") -> str:
    shape = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{max(height, 0.5):.1f}"'
    return f'<rect {shape} fill="var(--{color})"><title>{html.escape(text(said))}</title></rect>'


def _words(x: float, y: float, said: str, anchor: str = "start", color: str = "ink") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="10" text-anchor="{anchor}" fill="var(--{color})">{html.escape(text(said))}</text>'


def _svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    label = html.escape(text(title))
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">\n' + "\n".join(parts) + "\n</svg>"


def page(profile: Mapping[str, Any], title: str) -> str:
    """A self-contained page of the profile, to be written as UTF-8: no script, nothing fetched."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("modelyard.quality"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    facts = [
        {
            "name": text(column["name"]),
            "type": column["type"],
            "missing": f"{column['missing'] / max(profile['rows'], 1):.1%}",
            "distinct": f"{column['distinct']:,}",
            "low": _shown(column["min"]),
            "middle": _shown(column["quantiles"].get("0.5")),
            "high": _shown(column["max"]),
            "mean": _shown(column["mean"]),
        }
        for column in profile["columns"]
    ]
    return environment.get_template("profile.html.j2").render(title=title, rows=number(profile["rows"]), facts=facts, plots=plots(profile))
