"""Keys that hold by themselves, and that nothing would ever heed beside the others: refused, for whoever writes one expects it to count.

What is switched off (`enabled: false`, `off`) may keep its settings.
"""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.config import files, scripts
from modelyard.config.load import Loaded
from modelyard.config.spec import Config

_BODIES = ("input_fn", "output_fn", "transform_fn")


def findings(loaded: Loaded) -> Iterator[files.Finding]:
    config = loaded.config
    data = config.data
    if data.split.by == "provided" and "ratios" in data.split.model_fields_set:
        yield ("data", "split", "ratios"), f"`ratios` have no say where `{data.split.column}` says who is in which split", "remove them"
    if "time_order" in data.leakage.model_fields_set and data.leakage.time_order != "off" and data.time_col is None:
        said = "the order of time cannot be judged: no column holds the time"
        yield ("data", "leakage", "time_order"), said, "name it: `data.time_col`"
    if config.bring is not None and not config.steps:
        for key in sorted({"channel_format", "channel_target"} & data.model_fields_set):
            yield ("data", key), f"`{key}` is how training and steps find the splits, and there are neither", "remove it"
    yield from _overwritten(config)
    yield from _serving(loaded, config)
    yield from _unseen(config)
    yield from _unwatched(config)


_JOBS = ("TRAINING_JOB_NAME", "TRAINING_JOB_ARN")
_CLASSIC = (*_JOBS, "CURRENT_HOST", "SAGEMAKER_JOB_NAME", "SAGEMAKER_REGION")


def _overwritten(config: Config) -> Iterator[files.Finding]:
    """Variables that training's dialect sets whatever the config says, and a second name for the script that predicts."""
    train, inference = config.train, config.inference
    if train is not None:
        for name in (name for name in (_CLASSIC if train.contract == "classic" else _JOBS) if name in train.environment):
            next = f"write `{name.lower()}` under `train.hyperparameters`" if name.startswith("SAGEMAKER_") else "remove it"
            yield ("train", "environment", name), f"`{name}` is set by the contract, whatever stands here", next
    program = inference.environment.get("SAGEMAKER_PROGRAM")
    if program is not None and inference.entry_point not in (None, program):
        said = f"SAGEMAKER_PROGRAM names another script than `inference.entry_point`, {inference.entry_point}"
        yield ("inference", "environment", "SAGEMAKER_PROGRAM"), said, "leave one out"


def _unwatched(config: Config) -> Iterator[files.Finding]:
    """Settings of monitors that have nothing to judge, or of columns that nobody watches."""
    watch, drift = config.monitor, config.monitor.drift
    for kind, part, needs, there in (
        ("bias", watch.bias, "no comparison is asked for", config.bias),
        ("attribution", watch.attribution, "the build explains nothing", config.explain),
    ):
        if part.enabled and part.model_fields_set - {"enabled"} and there is None:
            key = "bias" if kind == "bias" else "explain"
            yield ("monitor", kind), f"`monitor.{kind}` judges nothing: {needs}", f"add `{key}`, or remove this"
    for name in drift.overrides if drift.enabled and drift.columns is not None else ():
        if name not in (drift.columns or ()):
            said = f"`{name}` has a measure of its own, and `monitor.drift.columns` does not watch it"
            yield ("monitor", "drift", "overrides", name), said, "name it there, or remove this"


def _unseen(config: Config) -> Iterator[files.Finding]:
    """What judges a new version by captured rows, where none are kept, or by more of them than it looks at."""
    deploy = config.deploy
    kept, replay = deploy.capture.mode != "off" and deploy.capture.sample > 0, deploy.replay
    hint = "remove it, or let `deploy.capture` keep rows"
    if not kept and replay is not None:
        yield ("deploy", "replay"), "no request is captured, so that there is none to replay", hint
    if not kept and deploy.strategy.metric is not None:
        said = f"{deploy.strategy.metric} cannot decide: no request is captured, so that no label finds its answer"
        yield ("deploy", "strategy", "metric"), said, hint
    if not kept and "drift" in deploy.rollback.model_fields_set:
        yield ("deploy", "rollback", "drift"), "no request is captured, so that no drift can be seen", hint
    if replay is not None and replay.min_rows > replay.last:
        said = f"`min_rows` is more than `last`, so that {replay.min_rows:,} rows are never replayed and nothing is ever judged"
        yield ("deploy", "replay", "min_rows"), said, f"write at most {replay.last}"


def _serving(loaded: Loaded, config: Config) -> Iterator[files.Finding]:
    inference, part = config.inference, config.train or config.bring
    if inference.source_dir is not None and not (inference.entry_point or inference.pre or inference.post):
        yield ("inference", "source_dir"), "`inference.source_dir` needs a script in it", "set `inference.entry_point`"
    written = sorted({"content_type", "accept"} & inference.model_fields_set)
    if not written or part is None or part.framework == "custom":
        return
    if part.framework == "r":
        said = "R is given a data frame"
    elif (name := inference.entry_point) is None or not _without(loaded, config, name):
        return
    else:
        said = f"{name} has no {', '.join(_BODIES[:-1])} or {_BODIES[-1]}, and so is given a table"
    for key in written:
        yield ("inference", key), f"`{key}` has no say: {said}", "remove it"


def _without(loaded: Loaded, config: Config, name: str) -> bool:
    """Whether a script surely has none of the functions that take or give a body."""
    beside = config.inference.source_dir or (config.train.source_dir if config.train else None)
    script = files.found(loaded.folder, name, beside)
    known = scripts.names(script) if script is not None and script.suffix == ".py" else None
    return known is not None and "*" not in known and not set(_BODIES) & set(known)
