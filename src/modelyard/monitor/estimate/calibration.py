"""Calibration: from scores to how often they come true, learned from the hold-out.

Three ways are tried on rows that they were not fitted on, and the Brier score decides: scores as they are; a sigmoid of their log-odds
(Platt 1999, "Probabilistic outputs for support vector machines"), which a small hold-out can bear; and isotonic regression by pool adjacent
violators (Zadrozny & Elkan 2002, "Transforming classifier scores into accurate multiclass probability estimates"), which follows any rising
shape. Several classes go one against the rest, and are then made to sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FOLDS = 5
FEWEST = 50
"""Rows below which nothing is fitted."""
_EDGE = 1e-6
"""How near to 0 and 1 a score may come before its log-odds are taken."""
_STEPS, _RIDGE = 50, 1e-8


@dataclass(frozen=True)
class Isotonic:
    """A rising line through (x, y); level beyond its ends."""

    x: Floats
    y: Floats

    def apply(self, scores: Floats) -> Floats:
        return np.interp(scores, self.x, self.y)


@dataclass(frozen=True)
class Sigmoid:
    """1 / (1 + exp(-(slope * log-odds + shift)))."""

    slope: float
    shift: float

    def apply(self, scores: Floats) -> Floats:
        return _logistic(self.slope * _log_odds(scores) + self.shift)


Curve = Isotonic | Sigmoid


@dataclass(frozen=True)
class Calibrator:
    """`curves`: a class each, of two classes the positive one's; empty where scores stay as they are."""

    curves: tuple[Curve, ...] = ()

    def apply(self, scores: Floats) -> Floats:
        """Scores (n, k), of two classes the positive one last, as probabilities (n, k) that sum to 1."""
        if scores.shape[1] == 2:
            positive = self.curves[0].apply(scores[:, 1]) if self.curves else np.clip(scores[:, 1], 0.0, 1.0)
            return np.column_stack([1 - positive, positive])
        some = [curve.apply(scores[:, k]) for k, curve in enumerate(self.curves)] or list(np.clip(scores, 0.0, 1.0).T)
        some += [np.zeros(len(scores))] * (scores.shape[1] - len(some))  # a class that the hold-out did not have
        cells: Floats = np.column_stack(some)
        sums = cells.sum(axis=1, keepdims=True)
        return np.where(sums > 0, cells / np.where(sums > 0, sums, 1.0), 1.0 / cells.shape[1])


def fit(scores: Floats, truth: Ints, weights: Floats | None = None, *, seed: int = 0) -> Calibrator:
    """The calibrator of a hold-out.

    scores: (n, k), of two classes the positive one last. truth: (n,) class index. weights: (n,), by default 1 each.
    The same rows and seed give the same one.
    """
    w = np.ones(len(truth)) if weights is None else weights
    if len(truth) < FEWEST:
        return Calibrator()
    fold = np.random.default_rng(seed).permutation(len(truth)) % FOLDS
    best, least = None, _brier(Calibrator().apply(scores), truth, w)
    for way in (sigmoid, isotonic):
        judged = np.empty(scores.shape)
        for k in range(FOLDS):
            others, own = fold != k, fold == k
            judged[own] = curves(way, scores[others], truth[others], w[others]).apply(scores[own])
        if (found := _brier(judged, truth, w)) < least:
            best, least = way, found
    return Calibrator() if best is None else curves(best, scores, truth, w)


def curves(way: Callable[[Floats, Floats, Floats], Curve], scores: Floats, truth: Ints, w: Floats) -> Calibrator:
    """The calibrator of one way, `isotonic` or `sigmoid`."""
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    return Calibrator(tuple(way(scores[:, k], (truth == k).astype(np.float64), w) for k in classes))


def isotonic(x: Floats, y: Floats, w: Floats) -> Isotonic:
    """The rising step function nearest to y over x (n,), as the ends of its steps."""
    from scipy.optimize import isotonic_regression

    places, of = np.unique(x, return_inverse=True)
    weight = np.bincount(of, w)
    some = weight > 0
    mean = np.bincount(of, w * y)[some] / weight[some]
    fitted = np.asarray(isotonic_regression(mean, weights=weight[some]).x, dtype=np.float64)
    ends = np.ones(len(fitted), dtype=bool)  # inside a level stretch nothing is to be kept
    ends[1:-1] = (fitted[1:-1] != fitted[:-2]) | (fitted[1:-1] != fitted[2:])
    return Isotonic(places[some][ends], fitted[ends])


def sigmoid(x: Floats, y: Floats, w: Floats) -> Sigmoid:
    """Logistic regression on the log-odds by Newton's method, of targets that are a little less than sure, as Platt has them."""
    positive, negative = float(w @ y), float(w @ (1 - y))
    target = np.where(y > 0, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.column_stack([_log_odds(x), np.ones(len(x))])
    at = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        p = _logistic(design @ at)
        slope = design.T @ (w * (target - p))
        bend = (design * (w * p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(bend, slope)
        at = at + step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-9:
            break
    return Sigmoid(float(at[0]), float(at[1]))


def _log_odds(scores: Floats) -> Floats:
    inside = np.clip(scores, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def _logistic(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -500, 500))), dtype=np.float64)


def _brier(p: Floats, truth: Ints, w: Floats) -> float:
    return float(w @ ((p - np.eye(p.shape[1])[truth]) ** 2).sum(axis=1) / w.sum())
