"""Data quality of a window: its rows against the constraints that the training data suggests and the config has the last word over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard import tables
from modelyard.config.spec import ColumnConstraint, Config
from modelyard.flows.monitor.window import Window
from modelyard.monitor import quality
from modelyard.monitor.quality import Violation
from modelyard.monitor.verdicts import Verdict
from modelyard.signature import Signature


def judge(window: Window) -> Verdict:
    """The verdict; columns that the capture does not keep are left out, and named."""
    settings = window.config.monitor.data_quality
    if window.rows.height < settings.min_rows:
        return quality.judge([], window.rows.height, settings, 0)
    held, redacted = holding(window.config, window.baseline, window.signature)
    return quality.judge(violations(window, held), window.rows.height, settings, len(held), redacted)


def violations(window: Window, held: Mapping[str, ColumnConstraint]) -> list[Violation]:
    """What of these constraints a window breaks, and the columns in it that nobody expected."""
    counts = quality.of_window(window.rows, window.profile, window.baseline, held)
    extra = unexpected(window.profile, window.baseline, window.config, window.signature, held)
    return quality.check(counts, held, window.config.monitor.data_quality.tolerance, extra)


def holding(config: Config, baseline: Mapping[str, Any], signature: Signature) -> tuple[dict[str, ColumnConstraint], list[str]]:
    """The constraints that hold for captured rows, and the columns whose values the capture does not keep.

    What no request has, such as the target, is left out: a constraints.json that was made of a training table names it too.
    """
    known = {config.data.target_col, config.data.id_col, config.data.time_col} - set(signature.names)
    lost = config.deploy.capture.redacted
    found = quality.held(baseline, signature, config.monitor.data_quality)
    held = {name: one for name, one in found.items() if name not in known}
    return {name: one for name, one in held.items() if name not in lost}, [name for name in held if name in lost]


def unexpected(
    profile: Mapping[str, Any], baseline: Mapping[str, Any], config: Config, signature: Signature, held: Mapping[str, ColumnConstraint]
) -> dict[str, int]:
    """Columns that hold values and are no feature, did not come along in training, and are not named by the config."""
    beside = {*signature.companions, *config.data.schema_.sensitive_not_served, *held}
    named = {place(name) for name in beside for place in (tables.feature, tables.extra)} | set(baseline.get("extra") or {})
    return {column.partition(".")[2]: count for column, count in profile["extra"].items() if count and column not in named}
