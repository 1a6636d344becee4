"""Two pictures of the study, drawn by the platform's own charts, as files that stand alone."""

from __future__ import annotations

from detection.rates import OURS, RULES, Record, Rule, rate, same
from detection.shifts import SHIFTS
from detection.windows import SHIFTED, SHIFTED_SETS, SIZES
from modelyard.quality.chart import DASHED, DOTTED, Chart
from modelyard.quality.svg import FOUR, ONE, TWO

COLORS = {"modelyard": ONE, "evidently": TWO, "alibi": FOUR}
IN_ORDER = sorted(RULES, key=lambda rule: rule.tool == OURS)  # ours lie above the others' lines
STYLE = """<style>
  svg { --ink: #171d29; --muted: #5d6676; --rule: #e1e5eb; --card: #ffffff; --c1: #2b66d1; --c2: #cf6420; --c4: #7c4bc0; }
  svg { background: var(--card); }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e7eaf0; --muted: #9aa4b5; --rule: #2a313d; --card: #171c25; --c1: #6ea2ff; --c2: #f59b5b; --c4: #b794f4; }
  }
</style>"""  # the colours of reports, for a file that has no page around it


def drawn(records: list[Record]) -> dict[str, str]:
    """SVG by name."""
    return {"detection-false-alarms": _false_alarms(records), "detection-shifts": _shifts(records)}


def _false_alarms(records: list[Record]) -> str:
    names = [(float(i), f"{size:,}") for i, size in enumerate(SIZES)]
    chart = Chart(x="rows of a window", y="false alarms, %", size=(520, 300), x_names=names, x_lim=(-0.2, 3.2))
    chart.level(1.0, dash="1 4", label="one in a hundred")
    stable = [r for r in records if r["shift"] == "stable" and r["set"] in SHIFTED_SETS]
    for rule in IN_ORDER:
        points = [(float(i), _share([r for r in stable if r["size"] == size], rule)) for i, size in enumerate(SIZES)]
        _line(chart, rule, points)
    return _alone(chart, "False alarms in stable windows of three real sets, by the rows of a window")


def _shifts(records: list[Record]) -> str:
    chart = Chart(x="shift of one column's mean, standard deviations", y="windows alarmed, %", size=(520, 300), y_lim=(0, 100))
    asked = [s for s in SHIFTS if s.kind == "one mean" and not s.rising]
    there = [r for r in same(records) if r["size"] == SHIFTED and r["set"] in SHIFTED_SETS]
    for rule in IN_ORDER:
        points = [(0.0, _share([r for r in there if r["shift"] == "stable"], rule))]
        points += [(s.size, _share([r for r in there if r["shift"] == s.name], rule)) for s in asked]
        _line(chart, rule, points)
    return _alone(chart, f"Windows of {SHIFTED:,} rows that are alarmed, by how far one column's mean has moved")


def _share(records: list[Record], rule: Rule) -> float:
    found = rate([r for r in records if r["tool"] == rule.tool], rule.alarmed)
    return float("nan") if found is None else 100 * found.share


def _line(chart: Chart, rule: Rule, points: list[tuple[float, float]]) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    dash = DASHED if rule.name.endswith(("`warning` or more", "any column")) else DOTTED if "quality" in rule.name else ""
    chart.line(xs, ys, COLORS[rule.tool], dash=dash, label=rule.name.replace("`", ""))
    chart.dots(xs, ys, COLORS[rule.tool], radius=3)


def _alone(chart: Chart, label: str) -> str:
    opening, rest = chart.svg(label).split(">", 1)
    return opening.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif"', 1) + f">\n{STYLE}{rest}\n"
