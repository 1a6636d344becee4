"""Pictures of a window: its columns beside the baseline's, what moved most, metrics with their intervals, and how it went over time.

Bars that belong together lie in one path, with one field to point at a cell: a column costs about 4 kB.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from modelyard.quality import page
from modelyard.quality.bias import NEUTRAL
from modelyard.quality.chart import DASHED, DOTTED, LETTER, WIDE, Chart, draw
from modelyard.quality.scales import Scale
from modelyard.quality.svg import INK, MUTED, ONE, TWO, Plot, bar, escaped, short, short_number, tag

MOST_BARS = 14
"""Lying bars of one picture of categories."""
MOST_MOVED = 20
NOW, BEFORE = "the window", "the baseline"
_COLUMN = "Share of the rows in each cell of the baseline."
_MISSING = "Share of the rows without a value; grey: the baseline."
_WEIGHTS = "A feature's share of all attributions; grey: in the hold-out."
_BIAS = "A dot a metric of a group; orange has moved, the upright stroke is where it was when the version was built."
_MOVED = "How far each column moved, in units of what it takes to have moved: beyond the line it has."
_METRICS = "A dot a metric with its interval; the upright stroke is the hold-out's value."
_OVER = "A dot a window, its band the interval; dashed is what was estimated before labels came."
_EFFECT = "The largest effect on any column, by its threshold: at 1 and above something has moved."
_PARTS = "The part's value with its interval; dashed is the whole window's."
TONES = {"": ONE, "below": TWO, "above": TWO, "new": TWO, "missing": "var(--c5)", "other": ONE, "folded": ONE}


def column(found: Mapping[str, Any], place: int) -> Plot:
    """A column's shares: upright pairs of bars for numbers, lying ones for categories."""
    painted = _upright if found["kind"] == "numeric" else _lying
    shown = [f"{cell['name']} {cell['now']:.1%} (before {cell['before']:.1%})" for cell in _largest(found["cells"], 5)]
    return draw(f"column-{place}", page.text(found["name"], 60), _COLUMN, painted(found["cells"]), facts=", ".join(map(page.text, shown)))


def _largest(cells: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    return sorted(cells, key=lambda c: -abs(c["now"] - c["before"]))[:most]


def _upright(cells: Sequence[Mapping[str, Any]]) -> Chart:
    chart = Chart(x_lim=(0, max(len(cells), 1)), size=(330, 218))
    chart.x_names = _some(cells)
    tallest = max([max(c["now"], c["before"]) for c in cells], default=0.0)
    chart.y_lim = (0.0, max(tallest * 1.05, 1e-9))
    chart.key(BEFORE, MUTED)
    chart.key(NOW, ONE)
    chart.marks(_pairs(cells))
    return chart


def _some(cells: Sequence[Mapping[str, Any]]) -> list[tuple[float, str]]:
    """What is written below the bars: each cell where there are few, else the upper ends of three bins."""
    if len(cells) <= 4:
        return [(i + 0.5, short(str(cell["name"]), 12)) for i, cell in enumerate(cells)]
    return [(i + 1, _end(str(cells[i]["name"]))) for i in (len(cells) * k // 4 for k in (1, 2, 3)) if not cells[i]["mark"]]


def _end(name: str) -> str:
    """The upper end of a bin; of an instant the day."""
    last = name.rpartition(" to ")[2]
    return last[:10] if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", last) else short(last, 12)


def _pairs(cells: Sequence[Mapping[str, Any]]) -> Any:
    def mark(sx: Scale, sy: Scale) -> str:
        groups: dict[str, list[str]] = {}
        fields = []
        for i, cell in enumerate(cells):
            for left, wide, share, color in ((0.08, 0.84, cell["before"], MUTED), (0.3, 0.4, cell["now"], TONES[cell["mark"]])):
                if share > 0:
                    x, w, y, h = sx(i + left), sx(i + left + wide) - sx(i + left), sy(share), max(sy(0) - sy(share), 0.6)
                    groups.setdefault(color, []).append(f"M{_n(x)} {_n(y)}h{_n(w)}v{_n(h)}h{_n(-w)}z")
            said = f"{cell['name']}: {cell['now']:.2%}, before {cell['before']:.2%}"
            fields.append(_field(sx(i), sy(math.inf), sx(i + 1) - sx(i), sy(0) - sy(math.inf), said))
        order = sorted(groups, key=lambda color: color != MUTED)
        return "".join(tag("path", d="".join(groups[c]), fill=c, fill_opacity=0.34 if c == MUTED else 0.9) for c in order) + "".join(fields)

    return mark


def _field(x: float, y: float, wide: float, high: float, said: str) -> str:
    """An unseen rectangle that says something when it is pointed at."""
    return tag("rect", tag("title", escaped(said[:200])), x=_n(x), y=_n(y), width=_n(wide), height=_n(high), fill="transparent")


def _n(value: float) -> str:
    return short_number(round(value, 1))


def _lying(cells: Sequence[Mapping[str, Any]]) -> Chart:
    ranked = sorted(range(len(cells)), key=lambda i: -abs(cells[i]["now"] - cells[i]["before"]) - max(cells[i]["now"], cells[i]["before"]))
    shown = [cells[i] for i in sorted(ranked[:MOST_BARS])]
    high = max([max(c["now"], c["before"]) for c in shown], default=0.0)
    chart = Chart(size=(330, 46 + 16 * max(len(shown), 1)), rising=False, x_lim=(0, max(high * 1.04, 1e-9)), y_lim=(-0.6, len(shown) - 0.4))
    chart.y_names = [(i, f"{short(page.text(c['name']), 14)}{' (new)' if c['mark'] == 'new' else ''}") for i, c in enumerate(shown)]
    chart.key(BEFORE, MUTED)
    chart.key(NOW, ONE)

    def mark(sx: Scale, sy: Scale) -> str:
        parts, row = [], abs(sy(1) - sy(0))
        for i, cell in enumerate(shown):
            for up, tall, share, color in ((0.42, 0.84, cell["before"], MUTED), (0.2, 0.4, cell["now"], TONES[cell["mark"]])):
                if share > 0:
                    opacity = 0.34 if color == MUTED else 0.9
                    parts.append(bar(sx(0), sy(i) - up * row, sx(share) - sx(0), tall * row, color, opacity))
            said = f"{page.text(cell['name'])}: {cell['now']:.2%}, before {cell['before']:.2%}"
            parts.append(_field(sx(0), sy(i) - row / 2, sx(math.inf) - sx(0), row, said))
        return "".join(parts)

    chart.marks(mark)
    return chart


def missing(columns: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Share of rows without a value, of the columns that lack any, now or before; None where none does."""
    cells = [{"name": c["name"], "now": c["facts"]["missing"][0], "before": c["facts"]["missing"][1], "mark": "missing"} for c in columns]
    lacking = [cell for cell in cells if cell["now"] or cell["before"]]
    if not lacking:
        return None
    lacking.sort(key=lambda c: -max(c["now"], c["before"]))
    facts = ", ".join(f"{page.text(c['name'], 40)} {c['now']:.1%} (before {c['before']:.1%})" for c in lacking[:8])
    return draw("missing", "Missing values", _MISSING, _lying(lacking), facts=facts)


def attribution(importance: Mapping[str, Any]) -> Plot | None:
    """Each feature's weight in the build and now: {NAME: [was, now]}; None for fewer than two."""
    pairs = {name: both for name, both in importance.items() if isinstance(both, list) and len(both) == 2 and all(map(page.finite, both))}
    cells = [{"name": name, "now": now, "before": was, "mark": ""} for name, (was, now) in pairs.items()]
    if len(cells) < 2:
        return None
    facts = ", ".join(f"{page.text(c['name'], 40)} {c['now']:.1%} (before {c['before']:.1%})" for c in cells[:8])
    return draw("attribution", "Weight of the features", _WEIGHTS, _lying(cells), facts=facts)


def bias(moved: Sequence[Mapping[str, Any]], measures: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Bias metrics by group: those that moved with their intervals and what they had been when the version was built."""
    known = {(m.get("facet"), m.get("metric")): m for m in [*measures, *moved] if page.finite(m.get("value"))}
    rows = [_from_neutral(m, str(metric), facet) for (facet, metric), m in known.items()][:24]
    if not rows:
        return None
    edge = max(0.1, *(abs(row[key]) for row in rows for key in ("value", "low", "high", "was") if page.finite(row.get(key)))) * 1.06
    chart = Chart(size=(WIDE[0], 44 + 18 * len(rows)), rising=False, x_lim=(-edge, edge), y_lim=(-0.7, len(rows) - 0.3))
    chart.y_names = [(i, short(page.text(row["name"]), 26)) for i, row in enumerate(rows)]
    chart.upright(0, INK, dash=DASHED)
    for i, row in enumerate(rows):
        color = TWO if page.finite(row.get("was")) else ONE
        if page.finite(row.get("low")) and page.finite(row.get("high")):
            chart.spans([i], [row["low"]], [row["high"]], color)
        if page.finite(row.get("was")):
            chart.whiskers([row["was"]], [i - 0.36], [i + 0.36], MUTED, width=2.2, opacity=0.9)
        chart.dots([row["value"]], [i], color, radius=3.4)
    facts = ", ".join(f"{page.text(row['name'], 40)} {page.measure(row['value'])}" for row in rows[:10])
    return draw("bias", "Bias by group", _BIAS, chart, facts=facts)


def _from_neutral(row: Mapping[str, Any], metric: str, facet: Any) -> dict[str, Any]:
    """A bias metric as it lies from its neutral value, so that one line is neutral for all; a ratio is named `DI - 1`."""
    neutral = NEUTRAL.get(metric, 0.0)
    shifted = {key: row[key] - neutral for key in ("value", "low", "high", "was") if page.finite(row.get(key))}
    return {"name": f"{metric}{f' - {neutral:g}' if neutral else ''} {facet}", **shifted}


def moved(columns: Sequence[Mapping[str, Any]]) -> Plot | None:
    """The columns that moved most, by their effect in units of the threshold; None where nothing was measured."""
    shown = [c for c in columns if c["ratio"] is not None][:MOST_MOVED]
    if not shown:
        return None
    values = [c["ratio"] for c in shown]
    edge = min(max(1.3, *values), 6.0)
    chart = Chart("effect by threshold", size=(WIDE[0], 54 + 17 * len(shown)), rising=False, x_lim=(0, edge * 1.16))
    chart.y_lim = (-0.7, len(shown) - 0.3)
    chart.y_names = [(i, short(page.text(c["name"]), 24)) for i, c in enumerate(shown)]
    colors = [TWO if c["moved"] else ONE for c in shown]
    chart.rows(range(len(shown)), [min(v, edge) for v in values], colors, ends=[f"{v:.2f}" for v in values])
    chart.upright(1, INK, dash=DASHED)
    facts = ", ".join(f"{page.text(c['name'], 40)} {v:.2f}" for c, v in zip(shown[:8], values, strict=False))
    return draw("moved", "What moved", _MOVED, chart, facts=facts)


def metrics(rows: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Metrics between 0 and 1 on one axis: {"title", "value", "low", "high", "holdout"}."""
    shown = [row for row in rows if page.finite(row["value"]) and 0 <= row["value"] <= 1][:16]
    if len(shown) < 2:
        return None
    chart = Chart(size=(WIDE[0], 44 + 18 * len(shown)), rising=False, x_lim=(-0.02, 1.02), y_lim=(-0.7, len(shown) - 0.3))
    chart.y_names = [(i, "   " + short(row["title"], 22)) for i, row in enumerate(shown)]  # capitals are wide
    for i, row in enumerate(shown):
        if page.finite(row.get("low")) and page.finite(row.get("high")):
            chart.spans([i], [row["low"]], [row["high"]], ONE)
        if page.finite(row.get("holdout")) and 0 <= row["holdout"] <= 1:
            chart.whiskers([row["holdout"]], [i - 0.36], [i + 0.36], MUTED, width=2.2, opacity=0.9)
        chart.dots([row["value"]], [i], ONE, radius=3.4)
    facts = ", ".join(f"{row['title']} {page.measure(row['value'])}" for row in shown)
    return draw("metrics", "Metrics", _METRICS, chart, facts=facts)


def over_time(title: str, points: Sequence[Mapping[str, Any]], zone: ZoneInfo, name: str) -> Plot | None:
    """A metric's value window by window: points as of `course.points`; None for fewer than two."""
    known = [p for p in points if page.finite(p.get("value")) or page.finite(p.get("estimated"))]
    if len(known) < 2:
        return None
    at = [datetime.fromisoformat(p["start"]).timestamp() for p in known]
    chart = Chart(size=WIDE, x_names=dates(at, zone), x_lim=(at[0], at[-1]))
    _band(chart, at, known, ("low", "high"), ONE, 0.15)
    if any(page.finite(p.get("estimated")) for p in known):
        _band(chart, at, known, ("estimated_low", "estimated_high"), TWO, 0.12)
        chart.line(at, _known(p.get("estimated") for p in known), TWO, width=1.6, dash=DASHED, label="estimated")
    if any(page.finite(p.get("value")) for p in known):
        chart.line(at, _known(p.get("value") for p in known), ONE, label="measured")
        chart.dots(at, _known(p.get("value") for p in known), ONE, radius=2.2)
    if page.finite(known[-1].get("holdout")):
        chart.level(known[-1]["holdout"], INK, dash=DOTTED, label=f"hold-out {page.measure(known[-1]['holdout'])}")
    return draw(name, page.text(title, 60), _OVER, chart, facts=f"the newest is {page.measure(known[-1].get('value'))}")


def effects(points: Sequence[tuple[str, float]], zone: ZoneInfo) -> Plot | None:
    """The largest effect by threshold, window by window."""
    if len(points) < 2:
        return None
    at = [datetime.fromisoformat(start).timestamp() for start, _ in points]
    chart = Chart(size=WIDE, x_names=dates(at, zone), x_lim=(at[0], at[-1]), y_lim=(0, max(1.2, *(v for _, v in points)) * 1.06))
    chart.level(1, INK, dash=DASHED, label="threshold")
    chart.line(at, [v for _, v in points], ONE)
    chart.dots(at, [v for _, v in points], [TWO if v >= 1 else ONE for _, v in points], radius=2.4)
    return draw("effects", "Drift over time", _EFFECT, chart, facts=f"the largest is {max(v for _, v in points):.2f}")


def parts(title: str, rows: Sequence[Mapping[str, Any]], whole: float | None, name: str) -> Plot | None:
    """A metric by part: {"name", "value", "low", "high", "rows"}."""
    shown = [row for row in rows if page.finite(row["value"])][:20]
    if len(shown) < 2:
        return None
    chart = Chart(size=(WIDE[0], 44 + 18 * len(shown)), rising=False, y_lim=(-0.7, len(shown) - 0.3))
    chart.y_names = [(i, short(page.text(row["name"]), 24)) for i, row in enumerate(shown)]
    if page.finite(whole):
        chart.upright(whole, INK, dash=DASHED)
    for i, row in enumerate(shown):
        if page.finite(row.get("low")) and page.finite(row.get("high")):
            chart.spans([i], [row["low"]], [row["high"]], ONE)
        chart.dots([row["value"]], [i], ONE, radius=3.4)
    facts = ", ".join(f"{page.text(row['name'], 40)} {page.measure(row['value'])}" for row in shown[:10])
    return draw(name, page.text(title, 60), _PARTS, chart, facts=facts)


def dates(at: Sequence[float], zone: ZoneInfo) -> list[tuple[float, str]]:
    """A few evenly spaced times of an axis that goes from the first to the last, as days, or with the hour where they lie close."""
    close = at[-1] - at[0] < 4 * 86_400
    pattern = "%m-%d %H:%M" if close else "%Y-%m-%d"
    most = max(2, min(4, int(WIDE[0] / (LETTER * 24))))
    places = [at[0] + (at[-1] - at[0]) * (i + 0.5) / most for i in range(most)]
    return [(place, datetime.fromtimestamp(place, zone).strftime(pattern)) for place in places]


def _band(
    chart: Chart, at: Sequence[float], points: Sequence[Mapping[str, Any]], keys: tuple[str, str], color: str, opacity: float
) -> None:
    """The band where both its ends are known, in pieces."""
    low, high = keys
    piece: list[tuple[float, float, float]] = []
    for x, point in [*zip(at, points, strict=True), (0.0, {})]:
        if page.finite(point.get(low)) and page.finite(point.get(high)):
            piece.append((x, point[low], point[high]))
            continue
        if len(piece) > 1:
            chart.area([p[0] for p in piece], [p[1] for p in piece], [p[2] for p in piece], color, opacity=opacity)
        elif piece:
            chart.whiskers([piece[0][0]], [piece[0][1]], [piece[0][2]], color)
        piece = []


def _known(values: Any) -> list[float]:
    return [float(v) if page.finite(v) else math.nan for v in values]
