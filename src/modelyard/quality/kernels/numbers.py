"""Kernels of answers that are numbers: errors, deviances, and errors of forecasts.

`mase` is Hyndman & Koehler (2006), "Another look at measures of forecast accuracy", scaled by the seasonal naive forecast's mean
absolute error on the training rows, all series together.
"""

from __future__ import annotations

import numpy as np

from modelyard.quality.kernels.rows import Floats, Rows, mean, ratio, total


def _truth(rows: Rows) -> Floats:
    return rows.once("truth", lambda: rows.truth.astype(np.float64))


def _predicted(rows: Rows) -> Floats:
    assert rows.predicted is not None
    predicted = rows.predicted
    return rows.once("predicted", lambda: predicted.astype(np.float64))


def _errors(rows: Rows) -> Floats:
    return rows.once("errors", lambda: _predicted(rows) - _truth(rows))


def _sizes(rows: Rows) -> Floats:
    return rows.once("sizes", lambda: np.abs(_errors(rows)))


def mae(rows: Rows, w: Floats) -> Floats:
    return mean(rows, "mae", lambda: _sizes(rows), w)


def rmse(rows: Rows, w: Floats) -> Floats:
    return np.sqrt(mean(rows, "squares", lambda: _errors(rows) ** 2, w))


def mape(rows: Rows, w: Floats) -> Floats:
    """Mean of |error| / |label|, as a share; a label of 0 counts as float64's epsilon, so it makes the result huge."""
    return mean(rows, "mape", lambda: _sizes(rows) / np.maximum(np.abs(_truth(rows)), np.finfo(np.float64).eps), w)


def smape(rows: Rows, w: Floats) -> Floats:
    """Mean of |error| / ((|label| + |answer|) / 2), 0 to 2; 0 where both are 0 (Makridakis 1993)."""

    def make() -> Floats:
        both = (np.abs(_truth(rows)) + np.abs(_predicted(rows))) / 2
        return np.nan_to_num(ratio(_sizes(rows), both))

    return mean(rows, "smape", make, w)


def wape(rows: Rows, w: Floats) -> Floats:
    """Sum of |error| over the sum of |label|."""
    return ratio(w @ _sizes(rows), w @ rows.once("label sizes", lambda: np.abs(_truth(rows))))


def total_error(rows: Rows, w: Floats) -> Floats:
    """|sum of the errors| over the sum of |label|."""
    return ratio(np.abs(w @ _errors(rows)), w @ rows.once("label sizes", lambda: np.abs(_truth(rows))))


def mase(rows: Rows, w: Floats) -> Floats:
    if not rows.naive_error:  # none known, or a series that never changes
        return np.full(len(w), np.nan)
    return mae(rows, w) / rows.naive_error


def rmsle(rows: Rows, w: Floats) -> Floats:
    """Root of the mean squared difference of ln(1 + x); NaN where a label or an answer is not above -1, as scikit-learn refuses it."""
    truth, predicted = _truth(rows), _predicted(rows)
    if not (np.all(truth > -1) and np.all(predicted > -1)):
        return np.full(len(w), np.nan)
    return np.sqrt(mean(rows, "rmsle", lambda: (np.log1p(predicted) - np.log1p(truth)) ** 2, w))


def poisson_deviance(rows: Rows, w: Floats) -> Floats:
    """2 (y ln(y / p) - y + p), averaged; NaN where a label is negative or an answer is not positive."""
    truth, predicted = _truth(rows), _predicted(rows)
    if not (np.all(truth >= 0) and np.all(predicted > 0)):
        return np.full(len(w), np.nan)

    def make() -> Floats:
        logs = np.zeros(len(truth))
        some = truth > 0
        logs[some] = truth[some] * np.log(truth[some] / predicted[some])
        return 2 * (logs - truth + predicted)

    return mean(rows, "poisson", make, w)


def gamma_deviance(rows: Rows, w: Floats) -> Floats:
    """2 (ln(p / y) + y / p - 1), averaged; NaN where a label or an answer is not positive."""
    truth, predicted = _truth(rows), _predicted(rows)
    if not (np.all(truth > 0) and np.all(predicted > 0)):
        return np.full(len(w), np.nan)
    return mean(rows, "gamma", lambda: 2 * (np.log(predicted / truth) + truth / predicted - 1), w)


def max_error(rows: Rows, w: Floats) -> Floats:
    if not len(rows.truth):
        return np.full(len(w), np.nan)
    falling = rows.once("largest first", lambda: np.argsort(-_sizes(rows), kind="stable"))
    ordered = w[:, falling] > 0
    first = ordered.argmax(axis=1)
    return np.where(ordered.any(axis=1), _sizes(rows)[falling][first], np.nan)


def median_ae(rows: Rows, w: Floats) -> Floats:
    """Median of |error|; weights count as repetitions of a row, and two middle values are averaged."""
    if not len(rows.truth):
        return np.full(len(w), np.nan)
    order = rows.once("smallest first", lambda: np.argsort(_sizes(rows), kind="stable"))
    size, passed = _sizes(rows)[order], np.cumsum(w[:, order], axis=1)
    half = passed[:, -1] / 2
    last = len(size) - 1
    low = np.array([np.searchsorted(row, h, side="left") for row, h in zip(passed, half, strict=True)])
    high = np.array([np.searchsorted(row, h, side="right") for row, h in zip(passed, half, strict=True)])
    middle = (size[np.minimum(low, last)] + size[np.minimum(high, last)]) / 2
    return np.where(passed[:, -1] > 0, middle, np.nan)


def _spread(values: Floats, w: Floats, sums: Floats) -> Floats:
    """Weighted sum of squared deviations from the weighted mean, shape (b,); an exact 0 where the values are all equal."""
    if not len(values):
        return np.zeros(len(w))
    values = values - values[0]
    middle = ratio(w @ values, sums)
    found = np.empty(len(w))
    for b, m in enumerate(middle):  # a row at a time: the deviations of all at once would not fit the cache
        found[b] = w[b] @ (values - m) ** 2
    return found


def r2(rows: Rows, w: Floats) -> Floats:
    """1 - (squared error) / (squared deviation from the mean label); NaN when the labels do not vary."""
    spread = rows.once("spread", lambda: _spread(_truth(rows), w, total(rows, w)), w)
    return 1 - ratio(w @ rows.once("squares", lambda: _errors(rows) ** 2), spread)


def explained_variance(rows: Rows, w: Floats) -> Floats:
    """1 - (squared deviation of the errors from their mean) / (that of the labels); NaN when the labels do not vary."""
    spread = rows.once("spread", lambda: _spread(_truth(rows), w, total(rows, w)), w)
    return 1 - ratio(_spread(_errors(rows), w, total(rows, w)), spread)
