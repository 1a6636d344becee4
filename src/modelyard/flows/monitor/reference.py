"""What a version was when it was built, for windows to be held against: its hold-out's metrics with their intervals, and its rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.config.spec import CustomMetric
from modelyard.flows.monitor.window import Window
from modelyard.monitor.performance import Value, at_level

if TYPE_CHECKING:
    import polars as pl

DOCUMENT = "evaluation.json"


def document(window: Window) -> dict[str, Any]:
    """What the build measured (evaluation.json); empty for a version that has none."""
    return window.document(DOCUMENT) or {}


def values(window: Window, level: float) -> tuple[dict[str, Value], int]:
    """The hold-out's metrics, with intervals of `level` where the build made some, and how many rows it had (0: not known)."""
    found = document(window)
    metrics = {**window.holdout, **{name: own["value"] for name, own in found.get("custom", {}).items()}}
    ends, had = found.get("intervals", {}), found.get("level", level)
    plain = {name: float(v) for name, v in metrics.items() if v is not None and math.isfinite(v)}
    return {name: at_level(Value(v, *ends.get(name, (None, None))), had, level) for name, v in plain.items()}, int(plain.get("rows", 0))


def rows(window: Window) -> pl.DataFrame | None:
    """The hold-out as a predictions table; None where the version has none, or none with labels."""
    table = window.built(window.version).scored
    if table is None:
        return None
    return table if tables.LABEL in table.columns and table[tables.LABEL].null_count() < table.height else None


def custom_metrics(window: Window) -> tuple[CustomMetric, ...]:
    """The functions that the version was built with, by its own config."""
    said = window.document("config.json") or {}
    asked = said.get("production", {}).get("evaluate", {}).get("custom_metrics", ())
    return tuple(CustomMetric.model_validate(one) for one in asked)
