"""What the report's template shows, made ready as plain values: no markup is made here, and none survives the template's escaping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.quality.metrics import METRICS, names_for
from modelyard.signature import ProblemType, Signature

if TYPE_CHECKING:
    import polars as pl

MAX_COLUMNS = 200
MAX_SLICES = 60
FEW_ROWS = 30
"""Below this many rows a slice's metrics are mostly chance: such slices come last and are marked."""
MAX_TEXT = 300
BINS = 16


def text(value: Any) -> str:
    """A value as short text that any page can hold: control and unpaired surrogate characters become �, and long text is cut."""
    raw = "—" if value is None else str(value)
    clean = "".join(c if c.isprintable() or c == " " else "\N{REPLACEMENT CHARACTER}" for c in raw[: MAX_TEXT + 1])
    return clean if len(clean) <= MAX_TEXT else clean[: MAX_TEXT - 1] + "…"


def number(value: Any) -> str:
    """A number with 4 significant digits, thousands grouped; `—` where there is none."""
    if value is None or not math.isfinite(value):
        return "—"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
    return f"{value:.3e}"


def measure(value: Any) -> str:
    """A metric's value so that a column of them lines up: 4 decimals below 10, else as `number` writes it."""
    return f"{value:.4f}" if _finite(value) and (value == 0 or 1e-3 <= abs(value) < 10) else number(value)


def metric_rows(metrics: Mapping[str, float], champion: Mapping[str, Any], problem: ProblemType) -> list[dict[str, Any]]:
    """A row a metric: its title, value, the champion's, the difference, and whether that is better, worse or neither."""
    known = [name for name in names_for(problem) if name in metrics]
    found = []
    for name in known + sorted(n for n in metrics if n not in METRICS and n not in ("rows", "positive_rate")):
        fact, ours, theirs = METRICS.get(name), metrics[name], champion.get(name)
        change = None if theirs is None or not (_finite(ours) and _finite(theirs)) else ours - theirs
        better = None if not change or fact is None else (change > 0) == fact.greater_is_better
        found.append(
            {
                "name": name,
                "title": fact.title if fact else name,
                "meaning": fact.meaning if fact else "",
                "direction": "" if fact is None else "higher" if fact.greater_is_better else "lower",
                "value": measure(ours),
                "champion": measure(theirs),
                "change": "—"
                if change is None
                else "0"
                if not change
                else f"{change:+.4f}"
                if 5e-5 <= abs(change) < 10
                else f"{change:+.2g}",
                "better": better,
            }
        )
    return found


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _value(value: Any) -> float:
    return float(value) if _finite(value) else math.nan


def gate_rows(gates: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Gates (dicts of `GateResult`) with a verdict in a word and the numbers as text."""
    rows = []
    for gate in gates:
        state = "passed" if gate["ok"] else "warning" if gate.get("on_fail") == "warn" else "failed"
        numbers = {key: measure(gate.get(key)) for key in ("value", "bound", "champion")}
        rows.append({"metric": gate["metric"], "state": state, "sentence": gate["sentence"], **numbers})
    return rows


def headline(metrics: Mapping[str, float], gates: Iterable[Mapping[str, Any]], problem: ProblemType) -> str:
    """The metric that matters most here: the first gate's, else the problem type's first."""
    gated = [g["metric"] for g in gates if g["metric"] in METRICS]
    return next(iter([*gated, *(n for n in names_for(problem) if n in metrics)]), names_for(problem)[0])


def slice_rows(slices: Sequence[Mapping[str, Any]], overall: Mapping[str, float], main: str, problem: ProblemType) -> dict[str, Any]:
    """The slices, worst first by the headline metric; small ones and those without a value last."""
    sign = 1 if METRICS[main].greater_is_better else -1

    def rank(part: Mapping[str, Any]) -> tuple[bool, float, str]:
        value = _value(part.get(main))
        return math.isnan(value) or part["rows"] < FEW_ROWS, math.inf if math.isnan(value) else sign * value, str(part["value"])

    shown = [main, *[n for n in names_for(problem) if n != main and any(n in s for s in slices)][:3]]
    ordered = sorted(slices, key=rank)
    rows = []
    for part in ordered[:MAX_SLICES]:
        gap = _value(part.get(main)) - _value(overall.get(main))
        rows.append(
            {
                "column": part["column"],
                "value": part["value"],
                "rows": number(part["rows"]),
                "few": part["rows"] < FEW_ROWS,
                "metrics": [measure(part.get(n)) for n in shown],
                "gap": "—" if math.isnan(gap) else f"{gap:+.4f}" if abs(gap) < 1 else f"{gap:+.4g}",
                "worse": sign * gap < -0.01 * abs(_value(overall.get(main))),  # less than a hundredth is no reason to alarm
            }
        )
    return {"rows": rows, "left_out": len(ordered) - len(rows), "titles": [METRICS[n].title for n in shown]}


def profile(table: pl.DataFrame, signature: Signature) -> dict[str, Any]:
    """Each feature's type, share missing, range or most frequent values, and a small histogram (bar heights 0-100)."""
    columns = [c for c in signature.columns if tables.feature(c.name) in table.columns]
    rows = [{"name": c.name, "type": c.type, **_column(table[tables.feature(c.name)])} for c in columns[:MAX_COLUMNS]]
    return {"rows": rows, "left_out": max(0, len(columns) - MAX_COLUMNS)}


def _column(series: pl.Series) -> dict[str, Any]:
    count = len(series)
    if series.dtype.is_float():
        series = series.fill_nan(None)
    known = series.drop_nulls()
    missing = (count - len(known)) / count if count else 0.0
    base = {"missing": f"{missing:.1%}" if missing else "none", "gaps": missing > 0, "distinct": number(known.n_unique())}
    if not len(known):
        return base | {"summary": "no values", "middle": "—", "bars": [], "labels": []}
    if known.dtype.is_numeric() or known.dtype.is_temporal():
        return base | _range(known)
    common = known.cast(str).value_counts(sort=True).sort(["count", known.name], descending=[True, False]).head(BINS)
    words, counts = common[known.name].to_list(), common["count"].to_list()
    named = ", ".join(f"{text(w)[:24]} {c / len(known):.0%}" for w, c in zip(words[:3], counts[:3], strict=True))
    return base | {
        "summary": named,
        "middle": "—",
        "bars": _heights(counts),
        "labels": [f"{text(w)[:40]}: {c:,}" for w, c in zip(words, counts, strict=True)],
    }


def _range(known: pl.Series) -> dict[str, Any]:
    import numpy as np

    low, high = known.min(), known.max()
    if known.dtype.is_temporal():
        summary, middle = f"{text(low)} to {text(high)}", text(known.median())
        values = known.to_physical().cast(float).to_numpy()
    else:
        values = known.cast(float).to_numpy()
        values = values[np.isfinite(values)]
        summary, middle = f"{number(low)} to {number(high)}", number(known.median())
    if not len(values):
        return {"summary": summary, "middle": middle, "bars": [], "labels": []}
    distinct = np.unique(values)
    bins = min(BINS, len(distinct)) if known.dtype.is_integer() else BINS
    span = float(values.max()) - float(values.min())
    counts, edges = np.histogram(values, bins if np.isfinite(span) and span > 0 else 1)
    if known.dtype.is_temporal():
        labels = [f"{c:,} rows" for c in counts]
    else:
        labels = [f"{number(a)} to {number(b)}: {c:,}" for a, b, c in zip(edges[:-1], edges[1:], counts, strict=True)]
    return {"summary": summary, "middle": middle, "bars": _heights(counts.tolist()), "labels": labels}


def _heights(counts: Sequence[int]) -> list[float]:
    top = max(counts)
    return [round(100 * c / top, 1) for c in counts]


def flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as (name, text) pairs, such as `environment.lock`; lists are joined."""
    found: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            found.append((name, ", ".join(map(str, value))))
        else:
            found.append((name, "yes" if value is True else "no" if value is False else text(value) or "—"))
    return found
