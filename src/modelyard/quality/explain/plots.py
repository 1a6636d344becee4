"""Pictures of explanations, from what `summary` keeps: importance, a swarm of attributions, dependence on single features."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from modelyard.quality.chart import DASHED, WIDE, Chart, draw
from modelyard.quality.explain.game import Floats
from modelyard.quality.svg import MUTED, ONE, TWO, Plot, short

SHADES = 9
_SHADE = [f"color-mix(in oklab, {TWO} {100 * i // (SHADES - 1)}%, {ONE})" for i in range(SHADES)]
"""From low, blue, to high, orange: mixtures of the page's own colours."""
_POINTS = 180
"""Most dots a feature."""

_IMPORTANCE = "How far each feature moves the output on average, whichever way: the mean size of its attributions."
_SWARM = "A dot a row: right of the line the feature raised the output, left it lowered it. Orange dots have high values, blue ones low."
_DEPENDENCE = "A dot a row: what its value of this feature did to the output. Height at one value is what other features do to it."
_PARTIAL = "The mean output if every row had this value; the band holds 8 of 10 rows, and a wide one means that rows differ."


def plots(document: dict[str, Any], *, top: int = 10, detailed: int = 4) -> list[Plot]:
    """Importance and swarm of the `top` features, dependence and partial dependence of the first `detailed`.

    document: an explanations.json. Two calls give the same bytes. Empty where nothing was explained.
    """
    if not document["global"] or not document["sample"]["values"]:
        return []
    names = [row["feature"] for row in document["global"]]
    pictures = [importance(document, top=top), swarm(document, top=top)]
    pictures += [dependence(document, name) for name in names[:detailed]]
    known = {row["feature"] for row in document.get("partial_dependence", [])}
    return pictures + [partial_dependence(document, name) for name in names[:detailed] if name in known]


def importance(document: dict[str, Any], *, top: int = 10) -> Plot:
    """Bars of the mean absolute attribution."""
    shown, rest = _strongest(document, top), document["global"][len(_strongest(document, top)) :]
    bars = [(short(row["feature"], 26), row["mean_abs"], ONE) for row in shown]
    if rest:
        bars.append((f"{len(rest)} other{'s' if len(rest) > 1 else ''}", sum(row["mean_abs"] for row in rest), MUTED))

    chart = Chart(x=f"mean |attribution|, {_unit(document)}", size=_size(len(bars)))
    longest = max(value for _, value, _ in bars) or 1.0
    chart.x_lim, chart.y_lim, chart.rising = (0, longest * 1.14), (-0.6, len(bars) - 0.4), False
    chart.y_names = [(i, name) for i, (name, _, _) in enumerate(bars)]
    chart.rows(range(len(bars)), [v for _, v, _ in bars], [c for *_, c in bars], ends=[f"{v:.3g}" for _, v, _ in bars])
    facts = "; ".join(f"{name} {value:.3g}" for name, value, _ in bars[:5])
    return draw("explain-importance", "Importance of the features", _IMPORTANCE, chart, facts=facts)


def swarm(document: dict[str, Any], *, top: int = 10) -> Plot:
    """A beeswarm of the attributions, coloured by the feature's value where it has an order."""
    names = [row["feature"] for row in _strongest(document, top)]

    columns = [_column(document, name) for name in names]
    every = np.concatenate([given for _, given in columns])
    width = float(every.max() - every.min()) or 1.0
    chart = Chart(x=f"attribution, {_unit(document)}", size=_size(len(names)), y_lim=(-0.6, len(names) - 0.4), rising=False)
    chart.y_names = [(i, short(name, 26)) for i, name in enumerate(names)]
    chart.upright(0)
    for i, (values, given) in enumerate(columns):
        colors = [_SHADE[k] if k >= 0 else MUTED for k in _shades(values)]
        chart.dots(given, i + _offsets(given, width), colors, radius=1.9)
    return draw("explain-swarm", "What moved each row", _SWARM, chart)


def dependence(document: dict[str, Any], feature: str) -> Plot:
    """Attributions of a feature by its value."""
    values, given = _column(document, feature)

    chart = Chart(x=short(feature, 40), y=f"attribution, {_unit(document)}")
    chart.level(0, dash=DASHED)
    if (numbers := _numbers(values)) is not None:
        chart.dots(numbers, given, ONE, opacity=0.55)
    else:
        _strips(chart, values, given)
    return draw(_name("dependence", document, feature), f"{short(feature, 30)}: what it did", _DEPENDENCE, chart)


def partial_dependence(document: dict[str, Any], feature: str) -> Plot:
    """The mean output by a feature's value, and the band of single rows."""
    line = next(row for row in document["partial_dependence"] if row["feature"] == feature)
    mean, low, high = (np.array(line[key]) for key in ("mean", "low", "high"))
    grid = _numbers(line["grid"])

    chart = Chart(x=short(feature, 40), y=short(re.sub("^probability_", "probability of ", document["of"]), 40))
    if grid is not None:
        chart.area(grid, low, high)
        chart.line(grid, mean)
        chart.dots(grid, mean, radius=2.2)
    else:
        shown = np.argsort(mean[:10], kind="stable")  # the most frequent ten
        chart.whiskers(range(len(shown)), low[shown], high[shown], width=7, opacity=0.2)
        chart.dots(range(len(shown)), mean[shown], radius=3)
        _labels_below(chart, [_text(line["grid"][i]) for i in shown])
    facts = f"the mean output lies between {mean.min():.3g} and {mean.max():.3g}"
    return draw(_name("partial", document, feature), f"{short(feature, 30)}: mean output", _PARTIAL, chart, facts=facts)


def _size(rows: int) -> tuple[int, int]:
    return WIDE[0], max(WIDE[1], 60 + 20 * rows)


def _strongest(document: dict[str, Any], top: int) -> list[dict[str, Any]]:
    """The first features, without those that moved nothing; at least one."""
    rows: list[dict[str, Any]] = document["global"][:top]
    return [row for row in rows if row["mean_abs"] > 0] or rows[:1]


def _unit(document: dict[str, Any]) -> str:
    return str(document["output"])


def _name(kind: str, document: dict[str, Any], feature: str) -> str:
    """An id that is unique on the page, whatever the feature is called."""
    return f"explain-{kind}-{document['sample']['features'].index(feature)}"


def _column(document: dict[str, Any], feature: str) -> tuple[list[Any], Floats]:
    """At most 180 rows of the sample, evenly spread: the feature's values and its attributions."""
    sample = document["sample"]
    j, count = sample["features"].index(feature), len(sample["values"])
    kept = np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(int))
    return [sample["values"][i][j] for i in kept], np.array([sample["attributions"][i][j] for i in kept])


def _numbers(values: list[Any]) -> Floats | None:
    """The values as numbers, missing ones NaN; None for text and truth values."""
    if any(isinstance(value, (str, bool)) for value in values) or all(value is None for value in values):
        return None
    return np.array([np.nan if value is None else float(value) for value in values])


def _shades(values: list[Any]) -> np.typing.NDArray[np.int64]:
    """By rank, low 0 to high 8; -1 where a value has no order or is missing. Truth values are low and high."""
    if all(isinstance(value, bool) or value is None for value in values):
        values = [None if value is None else int(value) for value in values]
    numbers = _numbers(values)
    if numbers is None:
        return np.full(len(values), -1)
    known = np.isfinite(numbers)
    distinct = np.unique(numbers[known])
    if len(distinct) < 2:
        return np.where(known, SHADES // 2, -1)
    inside = np.searchsorted(np.sort(numbers[known]), numbers[known], side="left") / max(1, known.sum() - 1)
    low, high = inside.min(), inside.max()
    shades = np.full(len(values), -1)
    shades[known] = np.round((inside - low) / (high - low) * (SHADES - 1)).astype(int)
    return shades


def _offsets(given: Floats, width: float) -> Floats:
    """Places off the line for dots that would cover each other, within 0.4 either way: the denser, the farther."""
    bins = np.round(given / width * 90).astype(int)
    order = np.argsort(given, kind="stable")
    seen: dict[int, int] = {}
    offset = np.zeros(len(given))
    for i in order:
        nth = seen.get(bins[i], 0)
        seen[bins[i]] = nth + 1
        offset[i] = (nth + 1) // 2 * (1 if nth % 2 else -1)
    furthest = np.abs(offset).max()
    return offset * min(0.085, 0.4 / furthest) if furthest else offset


def _strips(chart: Chart, values: list[Any], given: Floats) -> None:
    """A strip of dots for each of the ten most frequent values, rising by the mean, which is a line."""
    texts = [_text(value) for value in values]
    counts = {text: texts.count(text) for text in dict.fromkeys(texts)}
    frequent = sorted(counts, key=lambda text: (-counts[text], text))[:10]
    groups = {name: given[[text == name for text in texts]] for name in frequent}
    shown = sorted(frequent, key=lambda name: float(groups[name].mean()))
    width = float(np.ptp(given)) or 1.0
    for i, name in enumerate(shown):
        inside = groups[name]
        chart.dots(i + _offsets(inside, width) * 0.8, inside, ONE, opacity=0.5)
        chart.line([i - 0.3, i + 0.3], [inside.mean()] * 2, TWO)
    _labels_below(chart, shown)


def _text(value: Any) -> str:
    return "missing" if value is None else str(value)


def _labels_below(chart: Chart, names: list[str]) -> None:
    chart.x_names = [(i, short(name, 12)) for i, name in enumerate(names)]
    chart.x_lim = (-0.6, len(names) - 0.4)
