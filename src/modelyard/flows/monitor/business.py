"""Metrics of the user's own on a window's labelled rows: the functions that the version was built with, in its own environment.

They run in a sandboxed job as in the build, never in our process. What they said is kept in the word's evidence, so that nothing runs
twice on the same rows and labels; one that fails leaves its metric unknown, with the reason, and the monitor goes on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from modelyard import tables
from modelyard.config.spec import CustomMetric
from modelyard.errors import YardError
from modelyard.flows import measuring
from modelyard.flows.monitor import reference
from modelyard.flows.monitor.window import Window
from modelyard.monitor.performance import Value

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 200_000
"""Rows that a function is given at the most: more would go through JSON for minutes, and of fewer a sum would be another one."""


class Business(NamedTuple):
    """values: by metric. greater_is_better: of every function. missing: why a metric has no value. evidence: to be kept."""

    values: dict[str, Value]
    greater_is_better: dict[str, bool]
    missing: dict[str, str]
    evidence: dict[str, Any]


def measure(window: Window, level: float) -> Business:
    """The functions' numbers with intervals of `level`; nothing runs where the version has none."""
    import polars as pl

    asked = reference.custom_metrics(window)
    lacking = {m.name: _not_built(window.version, m.name) for m in window.config.evaluate.custom_metrics}
    if not asked:
        return Business({}, {}, lacking, {})
    better = {m.name: m.greater_is_better for m in asked}
    lacking = {name: said for name, said in lacking.items() if name not in better}
    rows = window.labelled.filter(pl.col(tables.LABEL).is_not_null())
    of = _digest(window, rows, level)
    if (kept := _kept(window, of)) is not None:
        return Business({name: Value.of_list(v) for name, v in kept.items()}, better, lacking, {"custom": {"of": of, "values": kept}})
    found, missing = _measured(window, rows, level, asked)
    keeping = {name: value.to_list() for name, value in found.items()}
    evidence = {"custom": {"of": of, "values": keeping, **({"failed": missing} if missing else {})}}
    return Business(found, better, {**lacking, **missing}, evidence)


def _not_built(version: str, name: str) -> str:
    return f"{name} is none of the metrics that version {version} was built with"


def _measured(window: Window, rows: pl.DataFrame, level: float, asked: Sequence[CustomMetric]) -> tuple[dict[str, Value], dict[str, str]]:
    names = [m.name for m in asked]
    if rows.height > MOST_ROWS:
        return {}, dict.fromkeys(names, f"{rows.height:,} labelled rows are more than a function is given ({MOST_ROWS:,})")
    try:
        answer = measuring.again(window.shop, window.model, window.bundle.path, asked, rows)
    except YardError as exc:
        return {}, dict.fromkeys(names, f"the functions did not run: {exc.what}"[:200])
    found, missing = dict[str, Value](), dict[str, str]()
    for name in names:
        said = answer.get(name, {"error": "no answer"})
        if "error" in said:
            missing[name] = f"{name} failed: {said['error']}"[:200]
        elif said["rows"] is None:
            missing[name] = f"{name} gave no number"
        else:
            found[name] = spread(said["rows"], said["without rows"], level)
    return found, missing


def spread(value: float, without: list[float | None], level: float) -> Value:
    """The value with its interval of `level` by the grouped jackknife (Efron & Tibshirani 1993, ch. 11), with Student's quantile.

    Right for what does not grow with the rows, such as a mean or a share; of a sum it is a tenth too narrow.
    without: the value without each of the groups; one that is no number leaves the value without interval.
    """
    from scipy.special import stdtrit

    known = [v for v in without if v is not None]
    if len(known) < len(without) or len(known) < 2:
        return Value(value)
    groups, mean = len(known), math.fsum(known) / len(known)
    deviation = math.sqrt((groups - 1) / groups * math.fsum((v - mean) ** 2 for v in known))
    reach = float(stdtrit(groups - 1, (1 + level) / 2)) * deviation
    return Value(value, value - reach, value + reach)


def _digest(window: Window, rows: pl.DataFrame, level: float) -> str:
    """Of the version, the rows and their labels."""
    hashed = hashlib.sha256(f"{window.state.versions[window.version].digest} {level}".encode())
    for id, label in rows.select(tables.INFERENCE_ID, tables.LABEL).sort(tables.INFERENCE_ID).iter_rows():
        hashed.update(f"\n{id}\t{label!r}".encode())
    return hashed.hexdigest()[:16]


def _kept(window: Window, of: str) -> dict[str, list[float | None]] | None:
    """What the functions said of the very same rows before; a failure is tried again."""
    word = window.word("performance")
    kept: dict[str, Any] = word.evidence.get("custom", {}) if word else {}
    return kept["values"] if kept.get("of") == of and "failed" not in kept else None
