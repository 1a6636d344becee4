"""What release, capture, retraining and limits of time are told that could never do anything, or only ever end in a refusal.

Each key holds by itself. A config in force may hold such words from before they were refused, so `check` tells and the types do not.
What is switched off (`enabled: false`, `off`, `retrain.on: []`) may keep its settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from modelyard.config.files import Finding
from modelyard.config.load import Loaded
from modelyard.config.spec import STAGES, Capture, Config, Processing
from modelyard.config.words import Path

_MONITORS = ("drift", "performance", "bias", "attribution")


def findings(loaded: Loaded) -> Iterator[Finding]:
    config = loaded.config
    asked = [one.deploy.capture for one in (loaded.config, loaded.staging) if one.deploy.capture.sagemaker]
    if asked and not any(_keeps(capture) for capture in asked):
        said = "no request is captured, so that SageMaker's files would stay empty"
        yield ("deploy", "capture", "sagemaker"), said, "remove it, or let `deploy.capture` keep rows"
    if config.deploy.strategy.type == "shadow" and not config.deploy.strategy.share:
        said = "a shadow that is asked nothing answers nothing, and every roll-out goes back for want of requests"
        yield ("deploy", "strategy", "share"), said, "write a share above 0, or another `type`"
    if config.alerts.to and not config.alerts.on:
        yield ("alerts", "to"), "`alerts.on` names nothing to tell, so that no channel ever hears", "name what to tell, or remove both"
    watch = config.monitor
    if watch.segments and not watch.drift.enabled and not watch.performance.enabled:
        said = "drift and performance are judged by segment, and both are off"
        yield ("monitor", "segments"), said, "remove it, or set monitor.drift.enabled: true"
    yield from _retraining(config)
    yield from _bounds(config)
    yield from _at_once(config)


def _keeps(capture: Capture) -> bool:
    return capture.mode != "off" and capture.sample > 0


def _retraining(config: Config) -> Iterator[Finding]:
    """Causes that nobody can give, and brakes that hold none of those back that are named."""
    retrain, watch = config.retrain, config.monitor
    lacking = {"bias": config.bias is None, "attribution": config.explain is None}
    for i, cause in enumerate(retrain.on):
        if cause not in _MONITORS:
            continue
        if not getattr(watch, cause).enabled:
            why = f"`monitor.{cause}` is off"
        elif lacking.get(cause):
            why = "no comparison is asked for (`bias`)" if cause == "bias" else "the build explains nothing (`explain`)"
        elif not _keeps(config.deploy.capture):
            why = "no request is captured"
        else:
            continue
        yield ("retrain", "on", i), f"{cause} never asks for a retraining: {why}", "take it out, or have it watched"
    if retrain.on and "after" in retrain.model_fields_set and not set(retrain.on) & set(_MONITORS):
        said = f"`after` counts a monitor's windows, and none is named: {', '.join(retrain.on)}"
        yield ("retrain", "after"), said, "remove it, or name a monitor in `on`"
    if set(retrain.on) == {"schedule"} and "min_new_labels" in retrain.model_fields_set:
        yield ("retrain", "min_new_labels"), "a schedule asks without new labels, and nothing else does", "remove it, or name more in `on`"


def _bounds(config: Config) -> Iterator[Finding]:
    """Bounds between which nothing lies."""
    expect = config.data.expect
    if expect.min_rows is not None and expect.max_rows is not None and expect.min_rows > expect.max_rows:
        yield ("data", "expect", "min_rows"), "`min_rows` is more than `max_rows`, so that no data passes", "write the smaller number here"
    for name, asked in expect.columns.items():
        if asked.min is not None and asked.max is not None and asked.min > asked.max:
            said = f"`min` of `{name}` is greater than its `max`, so that no value passes"
            yield ("data", "expect", "columns", name, "min"), said, "write the smaller number here"


def _at_once(config: Config) -> Iterator[Finding]:
    """Spans of no time at all, which are over as they begin."""
    parts: list[tuple[Path, Processing | None]] = [(("preprocess",), config.preprocess), (("postprocess",), config.postprocess)]
    parts += [(("steps", i), step) for i, step in enumerate(config.steps)]
    spans: list[tuple[Path, timedelta | None, str]] = [
        ((*path, "max_runtime"), part.max_runtime, "the step is stopped as it begins") for path, part in parts if part is not None
    ]
    if config.train is not None:
        limit = config.train.instances.max_runtime
        spans.append((("train", "instances", "max_runtime"), limit, "training is stopped as it begins"))
    for stage in STAGES:
        expires = getattr(config.environments, stage).approval.expires
        spans.append((("environments", stage, "approval", "expires"), expires, "a request is over before anybody can approve it"))
    length = config.retrain.window.length if config.retrain.on else None
    spans.append((("retrain", "window", "length"), length, "a retrained version learns from no rows"))
    for path, span, said in spans:
        if span is not None and not span:
            yield path, f"within no time at all, {said}", "write a longer span, such as 1h"
