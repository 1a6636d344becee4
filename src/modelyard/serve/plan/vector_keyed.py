"""Encodings of categories for many rows at once: a look-up a row in a dict."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from modelyard.serve.plan import floats
from modelyard.serve.plan.schema import Lookup, OneHot, Plan
from modelyard.serve.plan.slots import width
from modelyard.serve.plan.vector_slots import Hot, Places, Run, Slots


class _Table:
    """What a key leads to; `unknown` for a value that is no key, `missing` for None and NaN, where they lead anywhere."""

    def __init__(self, keys: dict[Any, int], unknown: int | None, missing: int | None, most: int) -> None:
        self._keys, self._unknown, self._missing, self._bytes = keys, unknown, missing, most < 256

    def found(self, values: Sequence[Any]) -> tuple[int, ...]:
        """Whole numbers of up to `most`, one a value. Raises KeyError."""
        try:  # one call of C does for all of them
            return itemgetter(*values)(self._keys) if len(values) > 1 else tuple(map(self._keys.__getitem__, values))
        except KeyError:
            return tuple(map(self._place, values))

    def places(self, values: Sequence[Any]) -> Places:
        """Likewise as an array."""
        found = self.found(values)
        return np.frombuffer(bytes(found), np.uint8) if self._bytes else np.array(found, np.intp)

    def _place(self, value: Any) -> int:
        found = self._keys.get(value)
        if found is None:
            found = self._missing if value is None or value != value else self._unknown
        if found is None:
            raise KeyError(value)
        return found


def _of_one_hot(step: OneHot) -> _Table:
    """Places among the new slots; `width` is that of none."""
    places = (step.width if place < 0 else place for place in step.places)
    unknown, missing = (step.width if place == -1 else place for place in (step.unknown, step.missing))
    return _Table(dict(zip(step.keys, places, strict=True)), unknown, missing, step.width)


class Encodings:
    """The one-hot encodings of a plan's columns of text: looked up together, which takes less than one by one."""

    def __init__(self, plan: Plan) -> None:
        texts = {i for i, column in enumerate(plan.inputs) if column.type == "str"}
        chosen = [(i, s) for i, s in enumerate(plan.steps) if isinstance(s, OneHot) and s.slot in texts and s.width < 256]
        self._numbers = [number for number, _ in chosen]
        self._tables = [(step.slot, _of_one_hot(step)) for _, step in chosen]

    def look_up(self, slots: Slots) -> None:
        """Put their places among those of the slots. Raises KeyError."""
        found = b"".join([bytes(table.found(slots[slot])) for slot, table in self._tables])  # type: ignore[arg-type]
        slots.places.update(zip(self._numbers, np.frombuffer(found, np.uint8).reshape(len(self._numbers), slots.rows), strict=True))


def encoding(step: OneHot | Lookup, number: int) -> Run:
    """One look-up a row in a dict, which gives the place among the new slots, or the number of the row of values."""
    if isinstance(step, OneHot):
        hots = [Hot(number, index, step.width) for index in range(step.width)]
        table = _of_one_hot(step)
    else:
        rows = [*step.values, step.unknown, step.missing]
        count = len(step.keys)
        unknown, missing = (None if rows[i] is None else i for i in (count, count + 1))
        table = _Table(dict(zip(step.keys, range(count), strict=True)), unknown, missing, count + 1)
        cells = np.array([[floats.NAN] * width(step) if row is None else [floats.NAN if c is None else c for c in row] for row in rows]).T

    def places(slots: Slots) -> Places:
        slot = slots[step.slot]
        return table.places(slots.numbers(step.slot).tolist() if isinstance(slot, np.ndarray | Hot) else slot)

    def run(slots: Slots) -> None:
        if isinstance(step, Lookup):
            found = places(slots)
            slots += [column.take(found) for column in cells]
            return
        if number not in slots.places:  # else Encodings has done it
            slots.places[number] = places(slots)
        slots += hots

    return run
