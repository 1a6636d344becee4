"""The numbers that a config asks for: gates, monitors and the tuning's objective name metrics that there will be."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping

from modelyard.config import words
from modelyard.config.files import Finding
from modelyard.config.spec import OPERATIONAL, Config


def findings(config: Config, metrics: Collection[str] | None, greater_is_better: Mapping[str, bool]) -> Iterator[Finding]:
    """What no build will ever report. `metrics` are those of the problem type; None leaves them unjudged."""
    yield from _objective(config, metrics, greater_is_better)
    yield from _searched(config)
    yield from _read_twice(config)
    yield from _worst(config)
    if metrics is not None:
        yield from _named(config, metrics)


def _worst(config: Config) -> Iterator[Finding]:
    """A gate on the weakest part, where it is not looked for."""
    evaluate = config.evaluate
    for i, criterion in enumerate(evaluate.validation_criteria):
        if criterion.slice == "worst" and not evaluate.worst_slice.enabled:
            said = "the weakest part is judged here and not looked for"
            yield ("evaluate", "validation_criteria", i, "slice"), said, "write `evaluate.worst_slice.enabled: true`"


def _named(config: Config, metrics: Collection[str]) -> Iterator[Finding]:
    evaluate, kind = config.evaluate, config.model.problem_type
    own = [m.name for m in evaluate.custom_metrics]
    gates = [(("evaluate", "validation_criteria", i, "metric"), c.metric) for i, c in enumerate(evaluate.validation_criteria)]
    performance = config.monitor.performance.criteria
    watched = [(("monitor", "performance", "criteria", i, "metric"), c.metric) for i, c in enumerate(performance)]
    single: list[tuple[words.Path, str | None]] = [(("evaluate", "baseline", "metric"), evaluate.baseline.metric)]
    single += [(("deploy", "strategy", "metric"), config.deploy.strategy.metric)]
    others = [(path, name) for path, name in single if name is not None]
    for places, known in ((gates, [*metrics, *own, *OPERATIONAL]), (watched, [*metrics, *own]), (others, [*metrics])):
        for path, metric in places:
            if metric not in known:
                near = words.nearest(metric, known)
                hint = f"; did you mean {near}?" if near else ""
                yield path, f"{kind} has no metric {metric}{hint}", f"its metrics: {', '.join(sorted(known))}"
    for i, name in enumerate(own):
        if name in metrics or name in OPERATIONAL or name in own[:i]:
            yield ("evaluate", "custom_metrics", i, "name"), f"there is a metric {name} already", "give it a name of its own"


def _read_twice(config: Config) -> Iterator[Finding]:
    """Metrics of one name, of which no value could be told from the other's."""
    names = [m.name for m in config.train.metric_definitions] if config.train else []
    for i, name in enumerate(names):
        if name in names[:i]:
            said = f"two metric definitions are named `{name}`"
            yield (
                ("train", "metric_definitions", i, "name"),
                said,
                "give it a name of its own, or one regex that finds both: (?:a|b)=([0-9.]+)",
            )


def _searched(config: Config) -> Iterator[Finding]:
    """What no trial could be given: SageMaker's limits, and a range that no number can be drawn from evenly."""
    if config.train is None or config.train.tune is None:
        return
    path: words.Path = ("train", "tune", "space")
    space = config.train.tune.space
    if (count := len({*config.train.hyperparameters, *space})) > 100:
        yield path, f"{count} hyperparameters with those of `train.hyperparameters`; 100 are the most", "leave some out"
    if config.train.tune.timeout is not None and not config.train.tune.timeout:
        yield ("train", "tune", "timeout"), "no trial begins within no time at all", "write a longer one, or leave it out"
    for name, values in space.items():
        if values.float_ is not None and not math.isfinite(values.float_[1] - values.float_[0]):
            yield (*path, name), "the range is wider than any number", "bring its ends closer together"
        if any(len(json.dumps(value)) > 2500 for value in values.choice or ()):
            yield (*path, name), "a choice is longer than 2,500 characters", "put long values into a file of the code"


def _objective(config: Config, metrics: Collection[str] | None, greater_is_better: Mapping[str, bool]) -> Iterator[Finding]:
    tune = config.train.tune if config.train else None
    if config.train is None or tune is None:
        return
    path: words.Path = ("train", "tune", "objective", "metric")
    read = [m.name for m in config.train.metric_definitions]
    name = tune.objective.metric
    if name in read:
        if tune.objective.direction is None:
            yield path, f"which way {name} is better is not known", "write `direction: maximize` or `minimize`"
    elif metrics is not None and name not in metrics:
        known = [*read, *metrics]
        near = words.nearest(name, known)
        hint = f"; did you mean {near}?" if near else ""
        yield path, f"no trial will report {name}{hint}", f"name one of `train.metric_definitions` or a metric: {', '.join(known)}"
    elif config.data.split.by != "provided" and config.data.split.ratios[1] == 0:
        said = f"{name} is computed on the validation split, whose share is 0"
        yield path, said, "give it one in `data.split.ratios`, or read the objective off the log"
    if name not in read and name in greater_is_better and tune.objective.direction is not None:
        right = "maximize" if greater_is_better[name] else "minimize"
        if tune.objective.direction != right:
            said = f"{name} is to be {right}d, not {tune.objective.direction}d"
            yield (*path[:-1], "direction"), said, f"leave out `direction`, or write {right}"
    if tune.pruner != "none" and name not in read:
        said = f"`pruner: {tune.pruner}` needs a metric that the script prints while it trains"
        yield ("train", "tune", "pruner"), said, "read it off the log with `train.metric_definitions`, and make it the objective"
    for key in tune.space:
        if key in config.train.hyperparameters:
            yield ("train", "tune", "space", key), f"`{key}` has a fixed value under `train.hyperparameters` too", "leave one out"
