"""Words and numbers of pages: how a value is written, which metric matters most. No markup is made here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeGuard

from modelyard.quality.metrics import METRICS, names_for
from modelyard.signature import ProblemType

MAX_TEXT, MAX_PROSE = 300, 2000
REFUSED, WARNING = "refused: ", "warning: "
"""How the sentence of a gate that was not passed begins."""


def text(value: Any, most: int = MAX_TEXT) -> str:
    """A value as short text that any page can hold: control and unpaired surrogate characters become �, and text of more than `most`
    characters is cut."""
    raw = "—" if value is None else str(value)
    clean = "".join(c if c.isprintable() or c == " " else "\N{REPLACEMENT CHARACTER}" for c in raw[: most + 1])
    return clean if len(clean) <= most else clean[: most - 1] + "…"


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
    return f"{value:.4f}" if finite(value) and (value == 0 or 1e-3 <= abs(value) < 10) else number(value)


def span(low: Any, high: Any) -> str:
    """An interval; empty where there is none."""
    return f"{measure(low)} to {measure(high)}" if finite(low) and finite(high) else ""


def change(ours: Any, theirs: Any) -> str:
    """What a value is above another; `—` where one is missing."""
    if not (finite(ours) and finite(theirs)):
        return "—"
    gap = ours - theirs
    return "0" if not gap else f"{gap:+.4f}" if 5e-5 <= abs(gap) < 10 else f"{gap:+.2g}"


def better(name: str, ours: Any, theirs: Any) -> bool | None:
    """Whether a metric's value is better than another; None where they are the same, or nobody knows."""
    if name not in METRICS or not (finite(ours) and finite(theirs)) or ours == theirs:
        return None
    return bool((ours > theirs) == METRICS[name].greater_is_better)


def finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def moment(written: Any) -> str:
    """An ISO time as `2026-11-29 02:17 UTC`; what is none as it is."""
    try:
        at = datetime.fromisoformat(str(written))
    except ValueError:
        return text(written)
    return f"{at:%Y-%m-%d %H:%M}" + (" UTC" if at.utcoffset() is not None and not at.utcoffset() else f"{at:%z}")


def size(count: float) -> str:
    """Bytes, in units of a thousand."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def seconds(spent: Any) -> str:
    if not finite(spent):
        return "—"
    return f"{spent:.1f}\u00a0s" if spent < 120 else f"{spent / 60:.0f}\u00a0min"


def state_of(gate: Mapping[str, Any]) -> str:
    """A gate's verdict in a word: passed, warning or failed."""
    return "passed" if gate["ok"] else "warning" if gate.get("on_fail") == "warn" else "failed"


def headline(metrics: Mapping[str, Any], gates: Iterable[Mapping[str, Any]], problem: ProblemType) -> str:
    """The metric that matters most here: the first gate's, else the problem type's first."""
    gated = [g["metric"] for g in gates if g["metric"] in METRICS and g["metric"] in metrics]
    return next(iter([*gated, *(n for n in names_for(problem) if n in metrics)]), names_for(problem)[0])


def flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as (name, text) pairs, such as `environment.lock`; lists are joined."""
    found: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            found.append((name, ", ".join(map(str, value))))
        else:
            found.append((name, "yes" if value is True else "no" if value is False else text(value) or "—"))
    return found
