"""What a step of a row plan reads and appends, for many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.integer[Any]]


class RefusedSome(Exception):
    """Some of the rows are refused; which one, and why, the function of one row says."""


@dataclass(frozen=True, slots=True)
class Hot:
    """A slot of the one-hot encoding of step `step`: 1 where the row's place is `index`; `width` is the place of no slot."""

    step: int
    index: int
    width: int


Slot = Floats | Hot | Sequence[Any]


class Slots(list[Slot]):
    """The slots so far, and the rows' places in each one-hot encoding, by its step. `table` has the columns of numbers: (columns, rows)."""

    __slots__ = ("places", "rows", "table")

    def __init__(self, slots: Iterable[Slot], rows: int, table: Floats) -> None:
        super().__init__(slots)
        self.rows, self.table = rows, table
        self.places: dict[int, Places] = {}

    def numbers(self, slot: int) -> Floats:
        """A slot of numbers as an array."""
        found = self[slot]
        if isinstance(found, Hot):
            hot: Floats = (self.places[found.step] == found.index).astype(np.float64)
            return hot
        assert isinstance(found, np.ndarray)
        return found

    def several(self, slots: Iterable[int]) -> list[Floats]:
        """Slots of numbers as arrays."""
        return [self.numbers(slot) for slot in slots]


Run = Callable[[Slots], None]
