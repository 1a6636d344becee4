"""The comparison of two versions as a page of its own: a verdict, pictures, tables. Everything comes out of its JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.quality import page, report
from modelyard.quality.chart import DASHED, Chart, draw
from modelyard.quality.scales import said, ticks
from modelyard.quality.svg import MUTED, ONE, TWO, Plot, short

MOST = 24
"""Bars of a picture."""
_SCORES = "Each dot is a row. On the line both versions say the same; dots of the second colour are answered otherwise."
_CHANGES = "How far the new version's score lies from the champion's."
_PARTS = "Share of the rows answered otherwise, by part; how many rows it has stands behind its name."
_SPEED = "Single rows, one after the other, on this machine."


def render(found: Mapping[str, Any]) -> str:
    """The page of a comparison's document (see flows/replaying); self-contained, without script."""
    measured = found.get("measured")
    pictures = [] if measured is None else plots(measured, found["champion"], found["version"])
    return report.template("comparison.html.j2").render(found=found, measured=measured, plots=pictures, view=_view(found))


def plots(measured: Mapping[str, Any], champion: str, version: str) -> list[Plot]:
    """Pictures of what differs."""
    drawn = []
    if measured["points"]:
        drawn.append(_scores(measured, champion, version))
    if measured["changes"]:
        changes = measured["changes"]
        chart = Chart(f"change of {measured['score']}", "rows")
        chart.bars(changes["edges"], changes["counts"], hover=[f"{count:,} rows" for count in changes["counts"]])
        chart.upright(0, dash=DASHED)
        chart.upright(changes["mean"], TWO, label=f"mean {changes['mean']:.3g}")
        drawn.append(draw("changes", "Change of the score", _CHANGES, chart, facts=f"the mean change is {changes['mean']:.3g}"))
    if measured["answers"]:
        drawn.append(_parts("answers", f"By what {champion} answers", measured["answers"]))
    columns = list(dict.fromkeys(part["column"] for part in measured["slices"]))
    drawn += [_parts(f"slice-{i}", f"By {name}", [p for p in measured["slices"] if p["column"] == name]) for i, name in enumerate(columns)]
    return drawn


def _scores(measured: Mapping[str, Any], champion: str, version: str) -> Plot:
    points = measured["points"]
    ends = [min(min(p[0], p[1]) for p in points), max(max(p[0], p[1]) for p in points)]
    chart = Chart(f"{champion}: {measured['score']}", version)
    chart.line(ends, ends, MUTED, width=1, dash=DASHED)
    for differs, color, label in ((0, ONE, "the same"), (1, TWO, "otherwise")):
        some = [p for p in points if p[2] == differs]
        if some:
            chart.dots([p[0] for p in some], [p[1] for p in some], color, radius=1.8, opacity=0.5, label=label)
    facts = f"{measured['share']:.1%} of {measured['rows']:,} rows are answered otherwise"
    return draw("scores", "Both versions' scores", _SCORES, chart, facts=facts)


def _parts(name: str, title: str, found: Sequence[Mapping[str, Any]]) -> Plot:
    shown = found[:MOST]
    most = max(0.01, *(part["share"] for part in shown))
    chart = Chart("share answered otherwise", size=(330, 60 + 17 * len(shown)), rising=False, x_lim=(0, most * 1.3))
    chart.y_lim = (-0.7, len(shown) - 0.3)
    chart.x_names = [(t, said(t)) for t in ticks(0, most, 4)]  # none beyond 1, where the room for the words ends
    chart.y_names = [(i, f"{short(page.text(part['value']), 14)} ({part['rows']:,})") for i, part in enumerate(shown)]
    ends = [f"{part['share']:.1%}" for part in shown]
    chart.rows(range(len(shown)), [part["share"] for part in shown], [TWO] * len(shown), ends=ends)
    facts = ", ".join(f"{page.text(part['value'])} {end} of {part['rows']:,}" for part, end in zip(shown, ends, strict=True))
    return draw(name, title, _PARTS, chart, facts=facts)


def _view(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the template prints, as text."""
    judged = found["verdict"]
    state = "none" if judged["ok"] is None else "passed" if judged["ok"] else "warning" if judged["on_fail"] == "warn" else "failed"
    measured, metric = found.get("measured") or {}, found.get("metric")
    tiles = [("Rows replayed", f"{found['rows']:,}")]
    if measured:
        tiles.append(("Answered otherwise", f"{measured['share']:.2%} ({measured['low']:.2%} to {measured['high']:.2%})"))
    tiles.append(("Failed by the new version alone", f"{found['errors']['new_alone']:,}"))
    if metric is not None:
        values = f"{page.measure(metric['old'])} → {page.measure(metric['new'])}"
        tiles.append((f"{metric['metric']} on {metric['rows']:,} labelled rows", values))
    return {
        "state": state,
        "tiles": tiles,
        "latency": [(name, *(page.number(found["latency"][who][name]) for who in ("old", "new"))) for name in ("p50_ms", "p99_ms")]
        if found.get("latency")
        else [],
        "speed": _SPEED,
        "largest": [
            (row["inference_id"], page.text(row["old"]), page.text(row["new"]), page.number(row["change"]))
            for row in measured.get("largest", ())
        ],
        "pairs": [(page.text(p["old"]), page.text(p["new"]), f"{p['rows']:,}") for p in measured.get("pairs", ())],
        "made_at": page.moment(found["made_at"]),
    }
