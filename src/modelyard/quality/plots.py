"""Pictures of what `curves` measured of a hold-out, of a search over hyperparameters, and of bias. Loads neither NumPy nor Polars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from modelyard.quality.chart import DASHED, DOTTED, WIDE, Chart, draw
from modelyard.quality.scales import said
from modelyard.quality.svg import FIVE, FOUR, INK, MUTED, ONE, THREE, TWO, Plot, short

LINES = (ONE, TWO, THREE, FOUR, FIVE)
UNIT = (-0.02, 1.03)
MAX_TRIALS = 400
ONE_SIDED = frozenset({"KL", "JS", "LP", "TVD", "KS", "GE"})
"""Bias metrics that measure a distance: never below neutral, so that an interval which leaves it out says nothing."""

_ROC = "The higher above the dashed diagonal, the better the scores tell the classes apart; on it they tell nothing."
_PR = "From left to right: how pure the predicted positives stay as more positives are found; dashed is guessing."
_CALIBRATION = "On the diagonal, a score of 0.8 comes true 8 times in 10; below it the model is too sure. Whiskers: 95% intervals."
_SCORES = "The less the colours overlap, the easier the groups are told apart; each colour sums to 1."
_CONFUSION = "Each row is what was true, each column what was answered; right answers lie on the diagonal. Shares are of the row."
_THRESHOLD = "What a different decision threshold would give: precision against recall, with the one in use marked."
_PREDICTED = "Points on the diagonal are exact; a cloud that bends away from it is missed structure."
_RESIDUALS = "Errors should scatter evenly around 0 whatever was predicted; a slope or a funnel is structure that was missed."
_ERRORS = "Centred on 0 means that errors cancel out; a long tail means rare, large misses."
_DECILES = "Rows in ten groups by prediction: where the lines part, the level is biased there."
_SERIES = "What came true, and what had been forecast for that time. Where the lines part, the forecast missed."
_RANKING = "How good the first places are, by how many of them count: 1 is the best order that there is."
_HISTORY = "A dot a trial, in the order in which they were started; the line is the best that was known by then."
_SHARES = "How much of the objective's spread over the trials each hyperparameter accounts for."
_FOREST = "A dot a metric, its line the confidence interval; dashed is neutral. Orange: the interval leaves neutral out."


def plots(found: Mapping[str, Any]) -> list[Plot]:
    """The pictures of `curves`' numbers. Two calls give the same bytes."""
    known = (
        ("roc", _roc), ("pr", _precision_recall), ("series", _series), ("calibration", _calibration), ("scores", _scores),
        ("confusion", _confusion), ("threshold", _thresholds), ("cloud", _cloud), ("errors", _errors), ("deciles", _deciles),
        ("ranking", _ranking),
    )  # fmt: skip
    return [plot for key, paint in known if found.get(key) for plot in paint(found[key])]


def _roc(lines: Sequence[Mapping[str, Any]]) -> list[Plot]:
    chart = Chart("false positive rate", "true positive rate", x_lim=UNIT, y_lim=UNIT)
    chart.line([0, 1], [0, 1], MUTED, width=1, dash=DASHED)
    for color, line in zip(LINES, lines, strict=False):
        x, y, size = _known(line["x"]), _known(line["y"]), "—" if line["area"] is None else f"{line['area']:.3f}"
        if len(lines) == 1:
            chart.area(x, [0] * len(x), y)
        chart.line(x, y, color, label=f"area {size}" if len(lines) == 1 else f"{short(line['name'], 14)} ({size})")
    facts = ", ".join(f"{short(line['name'])}: area {line['area']}" for line in lines)
    return [draw("roc", "ROC curve", _ROC, chart, facts=facts)]


def _precision_recall(line: Mapping[str, Any]) -> list[Plot]:
    chart = Chart("recall", "precision", x_lim=UNIT, y_lim=UNIT)
    recall, precision = _known(line["recall"]), _known(line["precision"])
    chart.level(line["base"], dash=DASHED, label=f"positive rate {line['base']:.3g}")
    chart.line(recall, precision, steps=True)
    return [draw("pr", "Precision and recall", _PR, chart, facts=f"guessing gives a precision of {line['base']:.3g}")]


def _calibration(bins: Mapping[str, Any]) -> list[Plot]:
    chart = Chart("mean score in the bin", "share that came true", x_lim=UNIT, y_lim=UNIT)
    chart.line([0, 1], [0, 1], MUTED, width=1, dash=DASHED)
    chart.whiskers(bins["said"], bins["low"], bins["high"])
    chart.line(bins["said"], bins["came"])
    chart.dots(bins["said"], bins["came"], radius=3)
    facts = ", ".join(
        f"of {n:,} rows scored {a:.2f} {b:.0%} came true" for a, b, n in zip(bins["said"], bins["came"], bins["rows"], strict=True)
    )
    return [draw("calibration", "Calibration", _CALIBRATION, chart, facts=facts)]


def _scores(found: Mapping[str, Any]) -> list[Plot]:
    chart = Chart(short(found["axis"], 30), "share of rows", x_lim=(found["edges"][0], found["edges"][-1]))
    for color, group in zip((TWO, ONE), found["groups"], strict=True):
        hover = [f"{said(a)} to {said(b)}: {s:.1%}" for a, b, s in zip(found["edges"], found["edges"][1:], group["share"], strict=False)]
        chart.bars(found["edges"], group["share"], color, opacity=0.5, label=f"{short(group['name'])} ({group['rows']:,})", hover=hover)
    if found["threshold"] is not None:
        chart.upright(found["threshold"], INK, dash=DOTTED, label=f"threshold {found['threshold']:g}")
    return [draw("scores", "Scores", _SCORES, chart)]


def _confusion(found: Mapping[str, Any]) -> list[Plot]:
    names, cells = found["classes"], found["cells"]
    k = len(names)
    places = [(i + 0.485, short(name, 12)) for i, name in enumerate(names)]
    chart = Chart("answered", "true", x_lim=(0, k), y_lim=(0, k), x_names=places, y_names=places, rising=False, bare=True)
    for i, row in enumerate(cells):
        for j, count in enumerate(row):
            share = count / max(sum(row), 1)
            chart.cell(j, i, ONE if i == j else TWO, 0.08 + 0.6 * share)
            large = k <= 4
            if large or count:
                chart.text(
                    j + 0.485,
                    i + 0.5,
                    f"{count:,}",
                    anchor="middle",
                    color=INK,
                    size=15 if large else 8,
                    bold=large,
                    down=1 if large else 3,
                )
            if large:
                chart.text(j + 0.485, i + 0.5, f"{share:.1%}", anchor="middle", color=INK, size=9.5, down=15)
    facts = "; ".join(
        f"of {sum(row):,} that are {short(name)} {row[i]:,} were answered so"
        for i, (name, row) in enumerate(zip(names, cells, strict=True))
    )
    return [draw("confusion", "Confusion", _CONFUSION, chart, facts=facts)]


def _thresholds(line: Mapping[str, Any]) -> list[Plot]:
    chart = Chart("decision threshold", "", y_lim=UNIT)
    chart.line(line["at"], line["precision"], ONE, label="precision")
    chart.line(line["at"], line["recall"], TWO, label="recall")
    if line["in_use"] is not None:
        chart.upright(line["in_use"], INK, dash=DOTTED, label=f"in use: {line['in_use']:g}")
    return [draw("threshold", "Choice of threshold", _THRESHOLD, chart)]


def _cloud(found: Mapping[str, Any]) -> list[Plot]:
    truth, predicted = found["true"], found["predicted"]
    ends = [min(*truth, *predicted), max(*truth, *predicted)] if truth else [0, 1]
    cloud, errors = Chart("predicted", "true"), Chart("predicted", "true - predicted")
    cloud.line(ends, ends, MUTED, width=1, dash=DASHED)
    cloud.dots(predicted, truth, radius=1.7, opacity=0.45)
    errors.level(0, dash=DASHED)
    errors.dots(predicted, [t - p for t, p in zip(truth, predicted, strict=True)], radius=1.7, opacity=0.45)
    return [draw("predicted", "Predicted and true", _PREDICTED, cloud), draw("residuals", "Residuals", _RESIDUALS, errors)]


def _errors(found: Mapping[str, Any]) -> list[Plot]:
    chart = Chart("true - predicted", "rows")
    chart.bars(found["edges"], found["counts"], hover=[f"{count:,} rows" for count in found["counts"]])
    chart.upright(0, dash=DASHED)
    chart.upright(found["mean"], TWO, label=f"mean {found['mean']:.3g}")
    return [draw("errors", "Size of the errors", _ERRORS, chart, facts=f"the mean error is {found['mean']:.3g}")]


def _deciles(found: Mapping[str, Any]) -> list[Plot]:
    at = list(range(1, len(found["true"]) + 1))
    chart = Chart("tenth of the rows, by prediction", "mean", x_names=[(i, str(i)) for i in at])
    for key, color in (("predicted", MUTED), ("true", ONE)):
        chart.line(at, found[key], color, label=key)
        chart.dots(at, found[key], color, radius=2.4)
    return [draw("deciles", "Level by tenths", _DECILES, chart)]


def _series(lines: Sequence[Mapping[str, Any]]) -> list[Plot]:
    drawn = []
    for i, line in enumerate(lines):
        if len(line["at"]) > 1:
            times = [datetime.fromisoformat(at).timestamp() for at in line["at"]]
            chart = Chart("", "", size=WIDE, x_names=_dates(line["at"], times), x_lim=(times[0], times[-1]))
            chart.line(times, _known(line["true"]), ONE, width=1.6, label="true")
            chart.line(times, _known(line["predicted"]), TWO, width=1.6, label="forecast")
            drawn.append(draw(f"series-{i}", f"Over time{': ' + short(line['name'], 40) if line['name'] else ''}", _SERIES, chart))
    return drawn


def _dates(written: Sequence[str], times: Sequence[float]) -> list[tuple[float, str]]:
    """Four of the times, evenly taken: as days, or with the hour where they lie close."""
    close = times[-1] - times[0] < 4 * 86_400
    chosen = sorted({round(i * (len(times) - 1) / 3) for i in range(4)})
    return [(times[i], written[i][5:16].replace("T", " ") if close else written[i][:10]) for i in chosen[1:-1]]


def _ranking(found: Mapping[str, Any]) -> list[Plot]:
    at = list(range(len(found["at"])))
    chart = Chart("places that count", "", x_names=[(i, str(k)) for i, k in zip(at, found["at"], strict=True)], y_lim=UNIT)
    for key, label, color in (("ndcg", "NDCG", ONE), ("hit_rate", "hit rate", TWO)):
        chart.line(at, _known(found[key]), color, label=label)
        chart.dots(at, _known(found[key]), color, radius=2.6)
    facts = ", ".join(f"NDCG of the first {k} {v}" for k, v in zip(found["at"], found["ndcg"], strict=True))
    return [draw("ranking", "Quality by place", _RANKING, chart, facts=facts)]


def search(found: Mapping[str, Any]) -> list[Plot]:
    """A search over hyperparameters (tuning.json): how the objective went, and which hyperparameters mattered."""
    whole = [t for t in found["trials"] if t["value"] is not None][-MAX_TRIALS:]
    if not whole:
        return []
    sign = -1 if found["direction"] in ("minimize", "min") else 1
    best, so_far = [], -math.inf
    for trial in whole:
        so_far = max(so_far, sign * trial["value"]) if trial["state"] == "complete" else so_far
        best.append(sign * so_far)
    chart = Chart("trial", short(str(found["metric"]), 30), size=WIDE)
    at = [t["number"] for t in whole]
    chart.line(at, best, TWO, steps=True, label="best so far")
    for state, color in (("complete", ONE), ("pruned", MUTED)):
        some = [t for t in whole if t["state"] == state]
        if some:
            chart.dots([t["number"] for t in some], [t["value"] for t in some], color, radius=3, label=state)
    drawn = [draw("tuning-history", "How the search went", _HISTORY, chart, facts=f"the best of {len(whole)} trials has {best[-1]:.4g}")]
    shares = sorted((found.get("importances") or {}).items(), key=lambda item: -item[1])[:15]
    if shares:
        chart = Chart(
            "share of the spread", size=WIDE, rising=False, x_lim=(0, max(shares[0][1] * 1.15, 1e-9)), y_lim=(-0.6, len(shares) - 0.4)
        )
        chart.y_names = [(i, short(name, 24)) for i, (name, _) in enumerate(shares)]
        chart.rows(range(len(shares)), [v for _, v in shares], [ONE] * len(shares), ends=[f"{v:.0%}" for _, v in shares])
        drawn.append(draw("tuning-importances", "What mattered", _SHARES, chart, facts=", ".join(f"{n} {v:.0%}" for n, v in shares)))
    return drawn


def forest(name: str, title: str, rows: Sequence[Mapping[str, Any]], neutral: Mapping[str, float]) -> Plot | None:
    """Bias metrics of one comparison as dots with intervals. Ratios (neutral at 1) are drawn less 1, so that one line is neutral for all.

    rows: {"metric", "value", "low", "high"}, numbers or None; rows without a finite value are left out. None where none has one.
    """
    shown = [(row["metric"], *(_off(row.get(key), neutral[row["metric"]]) for key in ("value", "low", "high"))) for row in rows]
    shown = [row for row in shown if row[1] is not None]
    if not shown:
        return None
    edge = min(2.0, max(0.2, *(abs(v) for row in shown for v in row[1:] if v is not None)) * 1.06)
    chart = Chart(
        "away from neutral", size=(WIDE[0], 56 + 17 * len(shown)), rising=False, x_lim=(-edge, edge), y_lim=(-0.7, len(shown) - 0.3)
    )
    chart.y_names = [(i, f"{row[0]} - 1" if neutral[row[0]] else row[0]) for i, row in enumerate(shown)]
    chart.upright(0, INK, dash=DASHED)
    for i, (metric, value, low, high) in enumerate(shown):
        color = TWO if metric not in ONE_SIDED and low is not None and high is not None and not low <= 0 <= high else ONE
        if low is not None and high is not None:
            chart.spans([i], [max(-edge, low)], [min(edge, high)], color)
        chart.dots([max(-edge, min(edge, value))], [i], color, radius=3.6)
    facts = ", ".join(f"{row[0]} {row[1] + neutral[row[0]]:.3g}" for row in shown)
    return draw(name, title, _FOREST, chart, facts=facts)


def away(row: Mapping[str, Any], neutral: float) -> bool:
    """Whether a bias metric's interval leaves its neutral value out, of a metric that may lie on either side."""
    low, high = _off(row.get("low"), neutral), _off(row.get("high"), neutral)
    return row["metric"] not in ONE_SIDED and low is not None and high is not None and not low <= 0 <= high


def _off(value: Any, neutral: float) -> float | None:
    number = float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    return None if number is None else number - neutral


def _known(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
