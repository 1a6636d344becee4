"""What `deploy.capture` keeps, against what monitors, retraining and the replay need of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from modelyard.config.files import Finding
from modelyard.config.spec import Config, Redact, format_duration
from modelyard.config.words import Path

_LONGEST = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "mo": 31 * 86400}


def findings(config: Config) -> Iterator[Finding]:
    capture = config.deploy.capture
    if capture.mode == "off":
        return  # what is switched off may keep its settings
    seen = set[str]()
    for i, rule in enumerate(capture.redact):
        path: Path = ("deploy", "capture", "redact", i, "column")
        if rule.column in seen:
            yield path, f"`{rule.column}` is redacted twice", "remove one of the two"
            continue
        seen.add(rule.column)
        yield from ((path, said, next) for said, next in _needed(config, rule))
    yield from _too_short(config)


def _needed(config: Config, rule: Redact) -> Iterator[tuple[str, str]]:
    """Who could not do without a column as it came."""
    data, name = config.data, rule.column
    fixed = {
        data.target_col: ("the target, which no request has", "remove this rule"),
        data.id_col: ("each prediction's id, by which its label finds it", "let callers send ids that name nobody"),
        data.time_col: ("when a row happened, by which monitors and retraining go", "remove this rule"),
    }
    if name in fixed:
        what, way = fixed[name]
        yield f"`{name}` is {what}", way
        return
    yield from _watched(config, name)
    if name in config.monitor.data_quality.columns and config.monitor.data_quality.enabled:
        way = "take it out of `monitor.data_quality` (`columns`, or the file of `constraints`), or of `redact`"
        yield f"the quality of `{name}` is watched, and the capture does not keep it", way
    measured = name == data.schema_.weight_col or (name == data.schema_.group_col and rule.how == "drop")
    if measured and config.monitor.performance.enabled:
        yield f"performance is measured by `{name}`, and the capture does not keep it", "keep it, or set monitor.performance.enabled: false"
    if name in data.schema_.sensitive_not_served:
        return
    if config.retrain.on and name not in data.schema_.exclude:
        way = "leave the column out of the model (`data.schema.exclude`), keep it, or set retrain.on: []"
        yield f"a retrained version would learn from captured rows without `{name}`", way
    companions = (*data.entity_cols, data.schema_.group_col, data.schema_.weight_col)
    if config.deploy.replay is not None and name not in companions:
        yield f"the replay asks with captured rows, which lack `{name}`", "keep the column, or remove `deploy.replay`"


def _watched(config: Config, name: str) -> Iterator[tuple[str, str]]:
    """Where drift goes by a column, and where segments do."""
    drift, watch = config.monitor.drift, config.monitor
    keys = [key for key, names in (("columns", drift.columns or ()), ("overrides", drift.overrides)) if name in names]
    if keys and drift.enabled:
        way = f"take it out of {' and '.join(f'`monitor.drift.{key}`' for key in keys)}, or of `redact`"
        yield f"drift of `{name}` is watched, and the capture does not keep it", way
    if name in watch.segments and (drift.enabled or watch.performance.enabled):
        way = "take it out of `monitor.segments`, or of `redact`"
        yield f"windows are told apart by `{name}`, and the capture does not keep it", way


def _too_short(config: Config) -> Iterator[Finding]:
    """Rows that are let go before who needs them has looked."""
    retain, watch = config.deploy.capture.retain, config.monitor
    if retain is None:
        return
    window, delay = _length(watch.window), watch.performance.label_delay
    explained = max(window, _length(watch.attribution.window))
    season = watch.drift.season
    needs = {
        "the drift monitor": window if watch.drift.enabled else None,
        "the season of drift": window + season.count * season.period if watch.drift.enabled and season is not None else None,
        "the performance monitor": window + delay if watch.performance.enabled else None,
        "the bias monitor": window + delay if config.bias is not None and watch.bias.enabled else None,
        "the attribution monitor": explained if config.explain is not None and watch.attribution.enabled else None,
        "a retrained version": config.retrain.window.length if config.retrain.on else None,
    }
    for who, span in needs.items():
        if span is not None and retain < span:
            said = f"captured rows are let go after {format_duration(retain)}, and {who} needs those of {format_duration(span)}"
            yield ("deploy", "capture", "retain"), said, "keep them longer, or ask for less there"


def _length(window: str) -> timedelta:
    """How long a window may be."""
    return timedelta(seconds=int(window.rstrip("smhdwo")) * _LONGEST[window.lstrip("0123456789")])
