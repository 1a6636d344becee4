"""A row plan as the front uses it: one row by a generated function, many rows by NumPy, which is not imported before they come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.errors import BadInput
from modelyard.serve.plan.answers import NOT_FINITE, finish_for
from modelyard.serve.plan.reading import read
from modelyard.serve.plan.refused import Refused, missing
from modelyard.serve.plan.scalar import Row, row_function
from modelyard.serve.plan.schema import Lookup, OneHot, Plan
from modelyard.signature import Scalar, Signature

if TYPE_CHECKING:
    from modelyard.serve.plan.vector import Vector

FEW = 8
"""Up to so many rows go one by one without any measuring."""
_SMALL, _LARGE = 16, 256


class RowPlan:
    """A model as functions of ours. Values are as `serve.coerce` gives them: None is missing, datetimes are microseconds.

    `row` takes one row in the signature's order and gives (prediction, *scores) in the order of `signature.outputs`; it raises Refused
    where the native model raises.
    """

    row: Row

    def __init__(self, plan: Plan, signature: Signature) -> None:
        """Raises BadInput where the plan is not one of the signature's."""
        self._plan, self._finish = plan, finish_for(plan, signature)
        self._names, self._outputs = signature.names, signature.outputs
        self.row = row_function(plan, self._finish)
        self._vector: Vector | None = None
        self._many: float | None = None

    @property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """By column of text, the texts that the model knows."""
        found: dict[str, dict[str, None]] = {}
        for step in self._plan.steps:
            if isinstance(step, OneHot | Lookup) and step.slot < len(self._names) and self._plan.inputs[step.slot].type == "str":
                found.setdefault(self._names[step.slot], {}).update((key, None) for key in step.keys if isinstance(key, str))
        return {name: tuple(keys) for name, keys in found.items() if keys}

    @classmethod
    def load(cls, path: Path, signature: Signature) -> RowPlan:
        """The plan in a file. Raises BadInput where it does not hold."""
        try:
            return cls(read(path.read_bytes()), signature)
        except BadInput as exc:
            raise BadInput(exc.what, where=str(path)) from exc
        except OSError as exc:
            raise BadInput(f"the row plan cannot be read: {exc.strerror}", where=str(path)) from exc

    def predict(self, columns: Mapping[str, Sequence[Any]], count: int) -> dict[str, list[Any]]:
        """The outputs of `count` rows, as a runner answers. Raises Refused, which names the row."""
        given = [columns[name] for name in self._names]
        return self.many(columns, count) if self._is_many(given, count) else self._one_by_one(given)

    def many(self, columns: Mapping[str, Sequence[Any]], count: int) -> dict[str, list[Any]]:
        """As `predict`, but by NumPy however few the rows are: for whoever holds both ways against the model. Raises Refused."""
        found = self._by_blocks([columns[name] for name in self._names], count)
        return {name: values if isinstance(values, list) else values.tolist() for name, values in found.items()}

    def table(self, columns: Mapping[str, Any], count: int) -> dict[str, Any]:
        """The outputs of `count` rows as arrays, for columns that may be arrays too (there NaN and NaT are missing as well). Raises
        Refused, which names the row."""
        import numpy as np

        given = [columns[name] for name in self._names]
        listed = [self._listed(i, values[:_LARGE]) for i, values in enumerate(given)]
        if self._is_many(listed, count):
            found: dict[str, Any] = self._by_blocks(given, count)
        else:
            found = self._one_by_one([self._listed(i, values) for i, values in enumerate(given)])
        kinds = dict.fromkeys(self._outputs[1:], np.float64)
        texts = any(isinstance(c, str) for c in self._finish.classes)
        return {name: np.asarray(values, kinds.get(name, object if texts else None)) for name, values in found.items()}

    def _listed(self, place: int, values: Any) -> Sequence[Any]:
        """An array of column `place` as a list of what the function of one row takes."""
        if isinstance(values, list | tuple):
            return values
        from modelyard.serve.plan.vector import instants

        made: list[Any] = (instants(values) if values.dtype.kind == "M" else values).tolist()
        return made if self._plan.inputs[place].nullable else [None if value != value else value for value in made]

    def _one_by_one(self, given: Sequence[Sequence[Any]], first: int = 0) -> dict[str, list[Any]]:
        answers: list[tuple[Scalar, ...]] = []
        try:
            for values in zip(*given, strict=True):
                answers.append(self.row(values))
        except Refused as exc:
            raise Refused(exc.what, first + len(answers)) from None
        return dict(zip(self._outputs, map(list, zip(*answers, strict=True)), strict=True)) if answers else {n: [] for n in self._outputs}

    def _by_blocks(self, given: Sequence[Any], count: int) -> dict[str, Any]:
        """By NumPy, some thousand rows at a time: a list of predictions, and arrays of scores."""
        import numpy as np

        from modelyard.serve.plan.vector import BLOCK

        parts = [self._block([v[i : i + BLOCK] for v in given] if count > BLOCK else given, i) for i in range(0, count, BLOCK)]
        if len(parts) == 1:
            predictions, scores = parts[0]
        else:
            predictions = np.concatenate([part[0] for part in parts])
            scores = [np.concatenate(several) for several in zip(*(part[1] for part in parts), strict=True)]
        made: Any = predictions
        if self._finish.kind in ("binary", "class", "anomaly"):
            made = [self._finish.classes[i] for i in predictions.tolist()]
        return dict(zip(self._outputs, (made, *scores), strict=True))

    def _block(self, given: Sequence[Any], first: int) -> tuple[Any, list[Any]]:
        from modelyard.serve.plan.vector_slots import RefusedSome

        try:
            return self._vectored()(given)
        except RefusedSome:
            listed = [self._listed(i, values) for i, values in enumerate(given)]
        self._one_by_one(listed, first)
        for column, values in zip(self._plan.inputs, listed, strict=True):  # a missing value that no step stumbles over
            if not column.nullable and (gaps := [row for row, value in enumerate(values) if value is None or value != value]):
                raise Refused(missing(column.name), first + gaps[0])
        raise Refused(NOT_FINITE, first)  # not reached where one row and many agree

    def _vectored(self) -> Vector:
        if self._vector is None:
            from modelyard.serve.plan.vector import Vector

            self._vector = Vector(self._plan, self._finish)
        return self._vector

    def _is_many(self, given: Sequence[Sequence[Any]], count: int) -> bool:
        """Whether NumPy is faster for so many rows: measured once, with the first rows that may be many."""
        if count <= FEW:
            return False
        if self._many is None:
            self._many = self._measured(given)
        return count >= (self._many or math.inf)

    def _measured(self, given: Sequence[Sequence[Any]]) -> float | None:
        """From how many rows on NumPy is faster, by what a row costs one by one and what a call costs, and each row more, by NumPy. None
        where the rows are refused: the next ones will be measured."""
        from modelyard.serve.plan.vector_slots import RefusedSome

        some = [_repeated(values, FEW) for values in given]
        small, large = ([_repeated(values, count) for values in given] for count in (_SMALL, _LARGE))
        vector = self._vectored()
        try:
            vector(small)
            one = _seconds(lambda: self._one_by_one(some)) / FEW
            call, calls = _seconds(lambda: vector(small)), _seconds(lambda: vector(large))
        except (Refused, RefusedSome):
            return None
        each = max(calls - call, 0.0) / (_LARGE - _SMALL)
        return max(FEW + 1.0, (call - _SMALL * each) / (one - each)) if one > each else math.inf


def _repeated(values: Sequence[Any], count: int) -> list[Any]:
    start = list(values[:count])
    return (start * (count // len(start) + 1))[:count]


def _seconds(work: Callable[[], object], times: int = 3) -> float:
    """The shortest of some runs."""
    best = math.inf
    for _ in range(times):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
