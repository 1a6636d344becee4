"""A row plan for many rows at once, by NumPy: the same numbers as for one row, in blocks that bound the memory."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.serve.plan.answers import SLACK, Finish
from modelyard.serve.plan.floats import FLOAT32_ENDS, LARGEST, NAN
from modelyard.serve.plan.schema import Plan, Require
from modelyard.serve.plan.vector_keyed import Encodings
from modelyard.serve.plan.vector_slots import Floats, RefusedSome, Slots
from modelyard.serve.plan.vector_steps import run_of

BLOCK = 2048
_BOUNDS = {"float32": FLOAT32_ENDS, "positive": (5e-324, LARGEST)}
_INSTANTS = np.dtype("datetime64[us]")


class Vector:
    """A plan's answers for columns of values."""

    def __init__(self, plan: Plan, how: Finish) -> None:
        self._plan, self._how = plan, how
        self._threshold = NAN if how.threshold is None else how.threshold
        self._numbers = [i for i, column in enumerate(plan.inputs) if column.type != "str"]
        required = [not plan.inputs[i].nullable for i in self._numbers]
        self._never_missing: Any = slice(None) if all(required) else np.array(required)
        self._guards, self._encodings = _Guards(plan, self._numbers), Encodings(plan)
        self._runs = [run_of(step, i) for i, step in enumerate(plan.steps) if step not in self._guards.steps]

    def __call__(self, columns: Sequence[Any]) -> tuple[NDArray[Any], list[Floats]]:
        """The predictions and the scores of rows given as a list or array a column. Predictions that are classes come as places among
        the classes, sets of labels as texts. Raises RefusedSome where a row is refused."""
        try:
            with np.errstate(all="ignore"):
                scores, decided = self._scores(columns)
                return self._finished(scores, decided)
        except KeyError:
            raise RefusedSome from None

    def _scores(self, columns: Sequence[Any]) -> tuple[list[Floats], Floats | None]:
        slots = self._opened(columns)
        if np.isnan(slots.table[self._never_missing]).any():
            raise RefusedSome
        if not self._guards.sure(slots):
            for run in self._guards.runs:
                run(slots)
        self._encodings.look_up(slots)
        for run in self._runs:
            run(slots)
        decided = self._plan.decided
        return slots.several(self._plan.answers), None if decided is None else slots.numbers(decided)

    def _opened(self, columns: Sequence[Any]) -> Slots:
        """The columns as slots: a number's is a row of the table of all numbers."""
        numbers = iter(table := self._table(columns))
        slots = (next(numbers) if c.type != "str" else texts(v) for c, v in zip(self._plan.inputs, columns, strict=True))
        return Slots(slots, len(columns[0]), table)

    def _table(self, columns: Sequence[Any]) -> Floats:
        """The columns of numbers: (columns, rows)."""
        given = [columns[i] for i in self._numbers]
        form = f"{len(columns[0])}d"
        try:  # by far the fastest way for lists without a missing value
            packed = b"".join([struct.pack(form, *values) for values in given if type(values) is list])
        except struct.error:
            packed = b""
        if len(packed) == 8 * len(given) * len(columns[0]):
            return np.frombuffer(packed).reshape(len(given), len(columns[0]))
        return np.stack([instants(v) if isinstance(v, np.ndarray) and v.dtype.kind == "M" else np.asarray(v, np.float64) for v in given])

    def _finished(self, scores: list[Floats], decided: Floats | None) -> tuple[NDArray[Any], list[Floats]]:
        """As `answers.finish`."""
        how = self._how
        bounds = (-LARGEST, LARGEST) if how.kind in ("number", "anomaly") else (-SLACK, 1 + SLACK)
        lows, highs = [float(np.minimum.reduce(x)) for x in scores], [float(np.maximum.reduce(x)) for x in scores]
        if not all(bounds[0] <= low and high <= bounds[1] for low, high in zip(lows, highs, strict=True)):
            raise RefusedSome
        if how.kind == "number":
            return scores[0], []
        if how.kind == "anomaly":
            strange = decided < 0 if how.threshold is None and decided is not None else scores[0] >= self._threshold
            return self._either(strange), scores
        if min(lows) < 0.0 or max(highs) > 1.0:
            scores = [np.clip(x, 0.0, 1.0) for x in scores]
        if how.kind == "class":
            return np.argmax(np.stack(scores), axis=0), scores
        if how.kind == "binary":
            return self._either(scores[how.positive] >= self._threshold), scores
        return self._labels(scores), scores

    def _either(self, positive: NDArray[np.bool_]) -> NDArray[Any]:
        return np.where(positive, self._how.positive, 1 - self._how.positive)

    def _labels(self, scores: Sequence[Floats]) -> NDArray[Any]:
        named, joined = [str(c) for c in self._how.classes], self._how.separator.join
        held = np.stack(scores, axis=1) >= self._threshold
        known: dict[bytes, str] = {}
        texts = np.empty(len(held), object)
        for row, marks in enumerate(held):
            key = marks.tobytes()
            if key not in known:
                known[key] = joined(name for name, mark in zip(named, marks, strict=True) if mark)
            texts[row] = known[key]
        return texts


class _Guards:
    """The guards of columns of numbers: where no value is missing and all lie between bounds that every guard accepts, they are sure."""

    def __init__(self, plan: Plan, numbers: Sequence[int]) -> None:
        self.steps = [step for step in plan.steps if isinstance(step, Require) and set(step.slots) <= set(numbers)]
        self.runs = [run_of(step, 0) for step in self.steps]
        bounds = dict[int, tuple[float, float]]()
        for step in self.steps:
            for slot in step.slots:
                low, high = bounds.get(slot, (-LARGEST, LARGEST))
                least, most = _BOUNDS.get(step.what, (step.low, step.high))
                bounds[slot] = max(low, least), min(high, most)
        guarded = [i for i in numbers if i in bounds]
        self._rows: Any = slice(None) if guarded == list(numbers) else [numbers.index(i) for i in guarded]
        self._lows, self._highs = (np.array([bounds[i][side] for i in guarded])[:, None] for side in (0, 1))

    def sure(self, slots: Slots) -> bool:
        """Whether no guard refuses anything, by a glance at all of their columns together."""
        table = slots.table[self._rows]
        return bool(((table >= self._lows) & (table <= self._highs)).all())


def texts(values: Any) -> Sequence[Any]:
    """A column of text as a list."""
    listed: Sequence[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    return listed


def instants(values: NDArray[Any]) -> Floats:
    """Instants of NumPy's as microseconds, NaN for a missing one."""
    return np.where(np.isnat(values), np.nan, values.astype(_INSTANTS).astype(np.int64).astype(np.float64))
