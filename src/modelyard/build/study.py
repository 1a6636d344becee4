"""The study of a search over hyperparameters: what to try next and what to stop early, by Optuna; which hyperparameters mattered.

It lives in memory and is told everything that its answers depend on, so that whoever keeps the trials can make it again: `again` brings
back a trial with the hyperparameters that it had, `tell` how it ended. Trials are numbered from 1.

Methods: TPE (Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011), the median rule (Golovin et al., Google
Vizier, KDD 2017), Hyperband (Li et al., JMLR 2018; here over asynchronous successive halving).
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from modelyard.config.spec import Range, Tune

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

Direction = Literal["maximize", "minimize"]
State = Literal["complete", "pruned", "failed"]
NAME = "tune"
"""Hyperband deals trials out to its brackets by the study's name and the trial's number: a fixed name makes that the same every time."""
FEWEST, MOST_GROUPS = 8, 5
"""Complete trials from which importances are told."""


class Study:
    """Thread-safe. What it proposes is settled by the seed and by what it was told before: a sampler of its own for every trial, seeded by
    the seed and the trial's number, so that a study that was made again goes on as the first one would have."""

    def __init__(self, tune: Tune, direction: Direction) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._tune = tune
        self._space = {name: _distribution(values) for name, values in tune.space.items()}
        self._study = optuna.create_study(study_name=NAME, direction=direction, pruner=_pruner(tune))
        self._trials: list[Trial] = []
        self._lock = threading.RLock()

    def ask(self) -> dict[str, Any]:
        """The next trial's hyperparameters, drawn from the space."""
        with self._lock:
            self._study.sampler = self._sampler()
            trial = self._study.ask(self._space)
            self._trials.append(trial)
            return {name: _value(self._tune.space[name], told) for name, told in trial.params.items()}

    def again(self, params: Mapping[str, Any]) -> None:
        """The next trial once more, with the hyperparameters that it was given. Raises ValueError for values outside the space."""
        import optuna

        given = {name: _told(values, params[name]) for name, values in self._tune.space.items()}
        with self._lock:
            self._study.sampler = optuna.samplers.RandomSampler(seed=0)  # draws nothing: all is given
            self._study.enqueue_trial(given)
            self._trials.append(self._study.ask(self._space))

    def report(self, number: int, step: int, value: float) -> bool:
        """A value (finite) that a trial has come to at a step from 0 on; whether it is so bad that the trial should end."""
        if self._tune.pruner == "none":
            return False
        with self._lock:
            trial = self._trials[number - 1]
            trial.report(value, step)
            return trial.should_prune()

    def tell(self, number: int, state: State, value: float | None) -> None:
        """How a trial ended; `value` (finite) of a complete one."""
        from optuna.trial import TrialState

        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        with self._lock:
            self._study.tell(self._trials[number - 1], value if state == "complete" else None, states[state])

    def _sampler(self) -> BaseSampler:
        """Of the next trial. Parallel trials that still run count as bad ones, so that not all of them try the same (constant liar)."""
        import optuna

        words = f"{self._tune.seed} {len(self._trials)}"
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "big")
        if self._tune.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, constant_liar=self._tune.parallel > 1)


def best(trials: Iterable[Mapping[str, Any]], direction: Direction) -> Mapping[str, Any] | None:
    """The complete trial with the best `value`, of equals the first by `number`; None where none is complete."""
    done = [trial for trial in trials if trial["state"] == "complete"]
    sign = -1 if direction == "maximize" else 1
    return min(done, key=lambda trial: (sign * trial["value"], trial["number"]), default=None)


def importances(trials: Iterable[Mapping[str, Any]], space: Mapping[str, Range]) -> dict[str, float] | None:
    """How much each hyperparameter tells by itself of a trial's rank by `value`, of complete trials; they sum to 1, the greatest first.

    Trials are grouped by the hyperparameter's value (choices) or by where it lies among all (numbers, in 2 to 5 groups), and
    the share of the ranks' variance between groups is counted, less what chance would give: epsilon squared (Kelley, PNAS 1935). Not
    Optuna's own: those load scikit-learn wherever it is installed. None: too few trials, or nothing that stands out from chance.
    """
    done = [trial for trial in trials if trial["state"] == "complete"]
    if len(done) < FEWEST:
        return None
    ranks = _ranks([trial["value"] for trial in done])
    found = {name: _explained(ranks, _groups([trial["params"][name] for trial in done], values)) for name, values in space.items()}
    total = sum(found.values())
    return {name: share / total for name, share in sorted(found.items(), key=lambda pair: -pair[1])} if total > 0 else None


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 0, equals sharing the mean of theirs."""
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values)):
        places.setdefault(value, []).append(place)
    return [fmean(places[value]) for value in values]


def _groups(values: Sequence[Any], of: Range) -> list[Any]:
    """Which group each trial is in."""
    if of.choice is not None:
        return [_told(of, value) for value in values]
    count = min(MOST_GROUPS, len(values) // 4)
    return [int(rank * count / len(values)) for rank in _ranks(values)]


def _explained(ranks: Sequence[float], groups: Sequence[Any]) -> float:
    """Epsilon squared of the grouping, 0 where chance would do as much."""
    members: dict[Any, list[float]] = {}
    for rank, group in zip(ranks, groups, strict=True):
        members.setdefault(group, []).append(rank)
    mean, spare = fmean(ranks), len(ranks) - len(members)
    total = sum((rank - mean) ** 2 for rank in ranks)
    if spare < 1 or total == 0 or len(members) < 2:
        return 0.0
    within = sum((rank - fmean(group)) ** 2 for group in members.values() for rank in group)
    return max(0.0, (total - within - (len(members) - 1) * within / spare) / total)


def _pruner(tune: Tune) -> BasePruner:
    import optuna

    if tune.pruner == "median":
        return optuna.pruners.MedianPruner()
    return optuna.pruners.HyperbandPruner() if tune.pruner == "hyperband" else optuna.pruners.NopPruner()


def _distribution(values: Range) -> BaseDistribution:
    from optuna import distributions

    if values.int_ is not None:
        return distributions.IntDistribution(*values.int_, log=values.log)
    if values.float_ is not None:
        return distributions.FloatDistribution(*values.float_, log=values.log)
    assert values.choice is not None  # by the spec's own rule
    return distributions.CategoricalDistribution(range(len(values.choice)))  # by place: to Optuna, 1 and true are one choice


def _value(values: Range, told: Any) -> Any:
    return values.choice[told] if values.choice is not None else told


def _told(values: Range, value: Any) -> Any:
    if values.choice is None:
        return value
    return next(i for i, choice in enumerate(values.choice) if type(choice) is type(value) and choice == value)
