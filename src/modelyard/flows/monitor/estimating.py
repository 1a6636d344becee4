"""Estimating: a version's estimator, learned from its hold-out once and kept, and what it says of a window's rows."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.flows.monitor import reference
from modelyard.flows.monitor.window import Window
from modelyard.monitor.estimate import calibration, cbpe, dle, unrest
from modelyard.monitor.performance import Value, deviations
from modelyard.monitor.words import written
from modelyard.quality import metrics as measures
from modelyard.quality import resample

if TYPE_CHECKING:
    import polars as pl

    from modelyard.quality.kernels import Floats, Ints, Rows
    from modelyard.signature import Signature

KEPT = 512
"""Estimators that are kept in memory, some 100 kB each, those used last."""
LEVEL, RESAMPLES, MOST_ROWS = 0.95, 200, 20_000
"""Of the hold-out's intervals, where the build made none: their level, resamples, and rows that these are drawn from."""


class Kept:
    """The last `size` things by key, made where they are not there; thread-safe."""

    def __init__(self, size: int) -> None:
        self._size, self._kept, self._lock = size, OrderedDict[Hashable, Any](), threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()  # outside the lock: two that ask at once may both make it, and it is the same
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return made


_ESTIMATORS = Kept(KEPT)


def estimate(window: Window) -> dict[str, Value]:
    """Each metric that can be estimated, with its band; empty where the hold-out or the answers have nothing to go by.

    Raises BadInput for answers or weights that are none.
    """
    return _of_numbers(window) if window.signature.answer == "number" else _of_classes(window)


# -- classes ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Confidence:
    """`deviations`: of the hold-out's metrics. `moves`: of each from one stretch of `stretch` seconds to the next."""

    calibrator: calibration.Calibrator
    deviations: dict[str, float]
    moves: dict[str, float]
    stretch: float


def _of_classes(window: Window) -> dict[str, Value]:
    rows = _without_labels(window.rows, window.signature)
    if rows is None or rows.scores is None or not len(rows):
        return {}
    learned: _Confidence | None = _ESTIMATORS.get(("cbpe", window.bundle.digest), lambda: _learn_classes(window))
    if learned is None:
        return {}
    known = tuple(name for name in names(window.signature) if name in learned.deviations)  # no band without the hold-out's own doubt
    remaining = math.sqrt(_remaining(window, learned.stretch))
    doubt = {name: math.hypot(learned.deviations[name], learned.moves.get(name, 0.0) * remaining) for name in known}
    return expected(rows, learned.calibrator, doubt, known)


def _remaining(window: Window, stretch: float) -> float:
    return unrest.remaining(stretch, (window.span.end - window.span.start).total_seconds())


def names(signature: Signature) -> tuple[str, ...]:
    """The metrics of classes that can be expected."""
    return tuple(name for name in measures.names_of(signature) if name not in cbpe.NOT_EXPECTED)


def _without_labels(table: pl.DataFrame, signature: Signature) -> Rows | None:
    """Rows as arrays; their truth means nothing. Answers stand in for labels, since these have to be of the classes."""
    import polars as pl

    from modelyard.quality.encode import encode

    if tables.PREDICTION not in table.columns:
        return None
    return encode(table.with_columns(pl.col(tables.PREDICTION).alias(tables.LABEL)), signature)


def _learn_classes(window: Window) -> _Confidence | None:
    import numpy as np

    from modelyard.quality.encode import encode, usable

    table, signature = reference.rows(window), window.signature
    if table is None:
        return None
    rows = encode(table, signature)
    learned = np.flatnonzero(rows.truth < len(signature.classes))  # a class that the model does not know is never expected
    if rows.scores is None or not len(learned):
        return None
    known = rows.take(learned)
    calibrator = calibration.fit(rows.scores[learned, : len(signature.classes)], known.truth, known.weights)
    of, seconds = stretches(table.filter(usable(table, signature))[learned])
    return _Confidence(calibrator, _doubt(window, table), moves(known, of, calibrator, signature), seconds)


def stretches(table: pl.DataFrame) -> tuple[Ints | None, float]:
    """Which stretch of time each row of a hold-out is in, and how many seconds one has; None where there are none."""
    import polars as pl

    if tables.EVENT_TIME not in table.columns:
        return None, 1.0
    times = table[tables.EVENT_TIME].dt.epoch("us").cast(pl.Float64).fill_null(math.nan).to_numpy() / 1e6
    found = unrest.stretches(times)
    return found, 1.0 if found is None else float(times.max() - times.min()) / unrest.STRETCHES


def moves(rows: Rows, stretches: Ints | None, calibrator: calibration.Calibrator, signature: Signature) -> dict[str, float]:
    """How far each metric of the hold-out moves with time beyond what is expected of the rows of each stretch."""
    import numpy as np

    if stretches is None:
        return {}
    wanted, found = names(signature), dict[str, list[tuple[float, float]]]()
    for k in range(int(stretches.max()) + 1):
        part = rows.take(np.flatnonzero(stretches == k))
        real = measures.values(part, wanted, part.weighting())
        for name, value in expected(part, calibrator, {}, wanted).items():
            spread = ((value.high or 0.0) - value.value) / cbpe.SPREADS
            found.setdefault(name, []).append((float(real[name][0]) - value.value, spread))
    return {name: unrest.unrest(*np.array(pairs).T) for name, pairs in found.items()}


def _doubt(window: Window, table: pl.DataFrame) -> dict[str, float]:
    """The standard deviation of each metric of the hold-out: by the build's intervals, or, where it made none, by some made now."""
    found = {name: (v.low, v.high) for name, v in reference.values(window, LEVEL)[0].items() if v.low is not None and v.high is not None}
    ends = found or resample.intervals(table, window.signature, level=LEVEL, resamples=RESAMPLES, seed=0, most_rows=MOST_ROWS)
    return {name: (high - low) / 2 / deviations(LEVEL) for name, (low, high) in ends.items()}


def expected(
    rows: Rows, calibrator: calibration.Calibrator, spread: dict[str, float], wanted: tuple[str, ...], *, seed: int = 0
) -> dict[str, Value]:
    """The expected metrics of rows whose truth is not known. spread: the hold-out's standard deviation by metric."""
    import numpy as np

    most, few, count = cbpe.sizes(len(rows), rows.classes)
    some = resample.some_of(len(rows), None, most, seed)
    rows_most = rows if some is None else rows.take(some)
    copies, probability = _copies(rows_most, calibrator)
    values = measures.values(copies, wanted, copies.weighting(cbpe.expected(probability)))
    fewer = resample.some_of(len(rows_most), None, few, seed)
    copies, probability = _copies(rows_most if fewer is None else rows_most.take(fewer), calibrator)
    drawn: dict[str, list[Floats]] = {name: [] for name in wanted}
    for world in cbpe.worlds(probability, count, seed=seed):
        for name, found in measures.values(copies, wanted, copies.weighting(world)).items():
            drawn[name].append(found)
    share = len(probability) / len(rows)
    return cbpe.bands(values, {name: np.concatenate(parts) for name, parts in drawn.items()}, share, spread)


def _copies(rows: Rows, calibrator: calibration.Calibrator) -> tuple[Rows, Floats]:
    """Each row once for each class that may be true (all rows of the first class first), and how likely each is, (n, k)."""
    import numpy as np

    assert rows.scores is not None
    k = rows.classes
    many = replace(
        rows,
        truth=np.repeat(np.arange(k), len(rows)),
        predicted=None if rows.predicted is None else np.tile(rows.predicted, k),
        scores=np.tile(rows.scores, (k, 1)),
        weights=None if rows.weights is None else np.tile(rows.weights, k),
    )
    return many, calibrator.apply(rows.scores)


# -- numbers ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Losses:
    """`words`: for each column of text its values in the hold-out, None for numbers. `stretch`: seconds of a stretch of time."""

    words: tuple[tuple[str, ...] | None, ...]
    foretold: dict[str, dle.Foretold]
    stretch: float


def _of_numbers(window: Window) -> dict[str, Value]:
    import numpy as np
    import polars as pl

    table, signature = window.rows, window.signature
    if tables.PREDICTION not in table.columns:
        return {}
    table = table.filter(pl.col(tables.PREDICTION).is_finite())
    redacted = window.config.deploy.capture.redacted
    columns = tuple(c.name for c in signature.columns if tables.feature(c.name) in table.columns and c.name not in redacted)
    asked = [("mae" if c.metric == "mase" else c.metric) for c in window.config.monitor.performance.criteria]
    wanted = tuple(dict.fromkeys(name for name in ("mae", "rmse", *asked) if name in dle.LOSSES))
    key = ("dle", window.bundle.digest, columns, wanted)
    learned: _Losses | None = _ESTIMATORS.get(key, lambda: _learn_numbers(window, columns, wanted))
    if learned is None or table.is_empty():
        return {}
    x, weights = matrix(table, signature, columns, learned.words), _weights(table, signature)
    remaining = _remaining(window, learned.stretch)
    found = {name: one.estimate(x, name in dle.ROOTS, weights, remaining=remaining) for name, one in learned.foretold.items()}
    if signature.naive_error and "mae" in found and signature.problem_type == "forecasting":
        ends = (found["mae"].value, found["mae"].low or 0.0, found["mae"].high or 0.0)
        found["mase"] = Value(*(end / signature.naive_error for end in ends))
    known = measures.names_of(signature)
    return {name: v for name, v in found.items() if name in known and np.isfinite(v.value)}


def _learn_numbers(window: Window, columns: tuple[str, ...], wanted: tuple[str, ...]) -> _Losses | None:
    import numpy as np
    import polars as pl

    from modelyard.quality.encode import encode

    table, signature = reference.rows(window), window.signature
    if table is None or any(tables.feature(name) not in table.columns for name in columns):
        return None
    table = table.filter(pl.col(tables.LABEL).cast(pl.Float64, strict=False).is_finite(), pl.col(tables.PREDICTION).is_finite())
    rows = encode(table, signature)
    if rows.predicted is None or not len(rows):
        return None
    words = vocabulary(table, signature, columns)
    x = matrix(table, signature, columns, words)
    categories = np.array([0 if known is None else len(known) for known in words] + [0], dtype=np.int64)
    of, seconds = stretches(table)
    return _Losses(words, dle.learn(x, rows.truth, rows.predicted, categories, wanted, stretches=of), seconds)


def vocabulary(table: pl.DataFrame, signature: Signature, columns: tuple[str, ...]) -> tuple[tuple[str, ...] | None, ...]:
    """For each column of text its values, most frequent first, 1,000 at the most; None for the others."""

    types = {c.name: c.type for c in signature.columns}
    found: list[tuple[str, ...] | None] = []
    for name in columns:
        if types[name] != "str":
            found.append(None)
            continue
        values = written(table[tables.feature(name)]).drop_nulls().value_counts().sort(["count", tables.feature(name)], descending=True)
        found.append(tuple(values[tables.feature(name)].head(1000).to_list()))
    return tuple(found)


def matrix(table: pl.DataFrame, signature: Signature, columns: tuple[str, ...], words: tuple[tuple[str, ...] | None, ...]) -> Floats:
    """(n, f + 1): numbers, truths as 0 and 1, times in seconds, text as its place in `words`, then the answer; NaN for what is none."""
    import numpy as np
    import polars as pl

    found = []
    types = {c.name: c.type for c in signature.columns}
    for name, known in zip(columns, words, strict=True):
        column = table[tables.feature(name)]
        if known is not None:
            places = list(range(len(known)))
            coded = written(column).replace_strict(list(known), places, default=None, return_dtype=pl.Float64)
        elif types[name] == "datetime":
            coded = column.dt.epoch("s").cast(pl.Float64) if column.dtype.is_temporal() else column.cast(pl.Float64, strict=False)
        else:
            coded = column.cast(pl.Float64, strict=False)
        found.append(coded.fill_null(math.nan).to_numpy())
    found.append(table[tables.PREDICTION].cast(pl.Float64).to_numpy())
    return np.column_stack(found)


def _weights(table: pl.DataFrame, signature: Signature) -> Floats | None:
    rows = _without_labels(table, signature)
    return None if rows is None else rows.weights
