"""Confidence-based performance estimation: a row answered with probability 0.8 is one right answer with weight 0.8, one wrong with 0.2.

So each row stands there once for each class, weighing as much as that class is likely, and the metrics' own kernels, which take weights,
give what is to be expected: exact for means over rows (accuracy, log loss, Brier), and the ratio of expectations for ratios, as NannyML
has it. The same rows with one class drawn for each by its probability are a world that may come true: over many, they say how far the
realised value will lie from the expected one at this window's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from modelyard.monitor.estimate.calibration import Floats
from modelyard.monitor.performance import Value

SPREADS = 3.0
"""Standard deviations that a band reaches to each side, NannyML's."""
NOT_EXPECTED = ("ece", "ks_statistic")
"""Metrics that chance alone raises: of expected rows they say nothing."""
MOST_ROWS, MOST_CELLS = 100_000, 1_000_000
"""Rows (and rows times classes) that are expected of; more are sampled."""
DRAWN, FEWEST_DRAWN, CELLS = 5_000, 500, 2_000_000
"""Rows that worlds are drawn of, and rows x classes x worlds in all."""


def sizes(rows: int, classes: int) -> tuple[int, int, int]:
    """(rows expected of, rows that worlds are drawn of, how many worlds), so that any window takes a second or so."""
    expected = min(rows, MOST_ROWS, max(FEWEST_DRAWN, MOST_CELLS // classes))
    drawn = min(expected, DRAWN, max(FEWEST_DRAWN, 20_000 // classes))
    return expected, drawn, int(np.clip(CELLS // (drawn * classes), 50, 200))


def expected(probability: Floats) -> Floats:
    """How much each (row, class) weighs: (1, k * n), all rows of the first class first."""
    return np.ascontiguousarray(probability.T).reshape(1, -1)


def worlds(probability: Floats, count: int, *, seed: int = 0, step: int = 20) -> Iterator[Floats]:
    """Worlds that may come true, some at a time: (some, k * n) of 0 and 1, a class a row."""
    random, (size, classes) = np.random.default_rng(seed), probability.shape
    edges = np.cumsum(probability, axis=1)[:, :-1]
    for start in range(0, count, step):
        some = min(step, count - start)
        dice = random.random((some, size))
        drawn = np.zeros((some, size), dtype=np.int64)
        for k in range(classes - 1):
            drawn += dice >= edges[:, k]
        yield (drawn[:, None, :] == np.arange(classes)[None, :, None]).astype(np.float64).reshape(some, classes * size)


def bands(values: Mapping[str, Floats], drawn: Mapping[str, Floats], share: float, holdout: Mapping[str, float]) -> dict[str, Value]:
    """Each estimated metric with its band; one that is undefined has none and is left out.

    values: of the expected rows, (1,). drawn: of the worlds, (worlds,). share: of the window's rows that the worlds have. holdout: the
    standard deviation of each metric of the hold-out, since what was learned there is as unsure as that.
    """
    found = {}
    for name, value in values.items():
        worlds_of = drawn[name][np.isfinite(drawn[name])]
        if not math.isfinite(value[0]) or len(worlds_of) < len(drawn[name]) * 0.9:
            continue
        reach = SPREADS * math.hypot(float(np.std(worlds_of)) * math.sqrt(share), holdout.get(name, 0.0))
        found[name] = Value(float(value[0]), float(value[0]) - reach, float(value[0]) + reach)
    return found
