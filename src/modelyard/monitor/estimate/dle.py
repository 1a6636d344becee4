"""Direct loss estimation: from the features and the answer of a row, how large its error is to be expected; learned from the hold-out.

What a metric is a mean of (the absolute error, the squared one) is learned by boosted trees. How many, or whether any, the rows that
were not learned from decide: where nothing foretells an error, the hold-out's mean is the estimate. A band says where the realised value
will lie: rows scatter about what was foretold, and what was learned is as unsure as the hold-out is small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from modelyard.monitor.estimate import trees, unrest
from modelyard.monitor.estimate.calibration import Floats, Ints
from modelyard.monitor.estimate.cbpe import SPREADS
from modelyard.monitor.performance import Value

FEWEST, MOST_ROWS, ROUNDS, FOLDS = 100, 10_000, 60, 3
"""Least rows of a hold-out that are learned from, most, trees at the most, and parts of the hold-out that decide."""


def _relative(truth: Floats, answer: Floats) -> Floats:
    return np.abs(answer - truth) / np.maximum(np.abs(truth), np.finfo(np.float64).eps)


def _symmetric(truth: Floats, answer: Floats) -> Floats:
    both = (np.abs(truth) + np.abs(answer)) / 2
    return np.asarray(np.where(both > 0, np.abs(answer - truth) / np.where(both > 0, both, 1.0), 0.0))


def _log(truth: Floats, answer: Floats) -> Floats:
    return np.asarray((np.log1p(answer) - np.log1p(truth)) ** 2)


def _poisson(truth: Floats, answer: Floats) -> Floats:
    logs = np.where(truth > 0, truth * np.log(np.where(truth > 0, truth, 1.0) / answer), 0.0)
    return np.asarray(np.where(truth >= 0, 2 * (logs - truth + answer), np.nan))


def _gamma(truth: Floats, answer: Floats) -> Floats:
    return np.asarray(2 * (np.log(answer / truth) + truth / answer - 1))


LOSSES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "mae": lambda truth, answer: np.abs(answer - truth),
    "rmse": lambda truth, answer: (answer - truth) ** 2,
    "mape": _relative,
    "smape": _symmetric,
    "rmsle": _log,
    "poisson_deviance": _poisson,
    "gamma_deviance": _gamma,
}
"""What each metric is a mean of, or the root of one (ROOTS)."""
ROOTS = ("rmse", "rmsle")


@dataclass(frozen=True)
class Foretold:
    """What was learned of one loss.

    model: None where the mean foretells it as well. scatter: standard deviation of a row's loss about what is foretold, as a share of that:
    where errors are large they scatter more. unsure: that of the hold-out's mean loss. moves: how far it moves with time, from stretch to
    stretch (see `unrest`). worth: share of the loss's variance that is foretold, 0 to 1.
    """

    mean: float
    model: trees.Trees | None
    scatter: float
    unsure: float
    moves: float
    worth: float

    def estimate(self, x: Floats, root: bool, weights: Floats | None = None, *, remaining: float = 1.0) -> Value:
        """The metric of these rows with its band; `root`: it is the root of a mean. weights: (n,), by default alike. remaining: the share
        of the variance between stretches that these rows keep (`unrest.remaining`)."""
        foretold = self.model.predict(x) if self.model is not None else np.full(len(x), self.mean)
        shares = np.full(len(x), 1 / len(x)) if weights is None else weights / weights.sum()
        level = max(0.0, float(shares @ foretold))
        scatter = self.scatter * math.sqrt(float(shares**2 @ foretold**2))
        reach = SPREADS * math.hypot(scatter, self.unsure, self.moves * math.sqrt(remaining))
        ends = (level, max(0.0, level - reach), level + reach)
        return Value(*map(math.sqrt, ends)) if root else Value(*ends)


def learn(
    x: Floats,
    truth: Floats,
    answer: Floats,
    categories: Ints,
    metrics: Sequence[str],
    *,
    stretches: Ints | None = None,
    seed: int = 0,
) -> dict[str, Foretold]:
    """Each of `metrics` that has a loss which is defined on every row of the hold-out; none of fewer than 100 rows.

    x: (n, f) features and the answer, as `trees.fit` takes them. truth, answer: (n,). stretches: of time, see `unrest`.
    """
    if len(truth) < FEWEST:
        return {}
    random = np.random.default_rng(seed)
    some = random.permutation(len(truth))[:MOST_ROWS]
    found = {}
    for metric in metrics:
        if metric not in LOSSES:
            continue
        with np.errstate(all="ignore"):
            loss = LOSSES[metric](truth[some], answer[some])
        if np.isfinite(loss).all():
            found[metric] = _learn(x[some], loss, categories, None if stretches is None else stretches[some])
    return found


def _learn(x: Floats, loss: Floats, categories: Ints, stretches: Ints | None) -> Foretold:
    """The rows come in the order of a dice: every third of them is a part."""
    staged, part = np.empty((ROUNDS + 1, len(loss))), np.arange(len(loss)) % FOLDS
    for k in range(FOLDS):
        own = part == k
        staged[:, own] = trees.fit(x[~own], loss[~own], categories, rounds=ROUNDS).staged(x[own])
    errors = ((staged - loss) ** 2).mean(axis=1)
    rounds, unsure = int(errors.argmin()), float(loss.std()) / math.sqrt(len(loss))
    worth = float(1 - errors[rounds] / errors[0]) if errors[0] > 0 else 0.0
    model = trees.fit(x, loss, categories, rounds=rounds) if rounds else None
    size = float((staged[rounds] ** 2).mean())
    scatter = math.sqrt(float(errors[rounds]) / size) if size else 0.0
    moves = 0.0 if stretches is None else _unrest(loss - staged[rounds], staged[rounds], scatter, stretches)
    return Foretold(float(loss.mean()), model, scatter, unsure, moves, worth)


def _unrest(misses: Floats, foretold: Floats, scatter: float, stretches: Ints) -> float:
    count = np.maximum(np.bincount(stretches), 1)
    deviations = scatter * np.sqrt(np.bincount(stretches, foretold**2)) / count
    return unrest.unrest(np.bincount(stretches, misses) / count, deviations)
