"""Chains of monotone steps from a slot back to the slot that they begin with, as functions of one float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modelyard.serve.plan import floats
from modelyard.serve.plan.interpret import single
from modelyard.serve.plan.schema import AnyStep, Arithmetic, Binarize, Bins, Function, Impute, Lookup, Missing, OneHot, Plan
from modelyard.serve.plan.slots import producers, texts

_UNDONE: dict[str, Callable[[float, float], float]] = {
    "add": lambda y, by: y - by, "sub": lambda y, by: y + by, "mul": lambda y, by: y / by, "div": lambda y, by: y * by,
    "at_least": max, "at_most": min,
}  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """What happens to slot `base` on the way to a slot: never falling over all floats that are not missing, or never rising (`falls`)."""

    base: int
    steps: tuple[Arithmetic | Bins | Binarize | Function | Impute | Missing, ...] = ()
    falls: bool = False

    def __call__(self, x: float) -> float:
        for step in self.steps:
            x = single(step, x)
        return x

    def before(self, y: float) -> float | None:
        """About the number of which the chain makes `y`; None where that is hard to say."""
        for step in reversed(self.steps):
            if isinstance(step, Bins | Binarize | Function | Missing):
                return None
            for what, by in reversed(step.ops if isinstance(step, Arithmetic) else ()):
                y = _UNDONE[what](y, by)
        return y if math.isfinite(y) else None


class Chains:
    """The chains of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.texts = texts(plan)
        self._producers = producers(plan)

    def of(self, slot: int, *, loose: bool = False) -> Chain:
        """The longest chain that ends at a slot of numbers. A `loose` one goes through functions too that rise, if not in their last bits
        and not for all values."""
        steps: list[Any] = []
        falls = False
        while (made := self._producers[slot]) is not None and (turns := _turns(made[0], loose)) is not None:
            step: Any = made[0]
            if self.texts[step.slot]:
                break
            steps.append(step)
            falls ^= turns
            slot = step.slot
        return Chain(slot, tuple(reversed(steps)), falls)

    def whole(self, slot: int) -> bool:
        """Whether a slot surely holds whole numbers that float32 has too."""
        made = self._producers[slot]
        if made is None or isinstance(made[0], Missing | Bins | Binarize | OneHot):
            return made is not None
        if not isinstance(made[0], Lookup):
            return False
        rows = (*made[0].values, made[0].unknown or (), made[0].missing or ())
        return all(cell is None or (cell.is_integer() and abs(cell) <= 2**24) for row in rows for cell in row)


def _turns(step: AnyStep, loose: bool) -> bool | None:
    """Whether a step makes greater of smaller; None where it is not monotone, or makes a missing value of one that is not."""
    match step:
        case Function():
            return False if loose and step.name not in ("square", "abs") else None
        case Arithmetic():
            turns = False
            for what, by in step.ops:
                if what in ("mul", "div"):
                    if by == 0:
                        return None
                    turns ^= by < 0
            return turns
        case Impute() | Missing() if step.missing is None:
            return False
        case Bins() | Binarize():
            return False
        case _:
            return None


def infinities_agree(test: Callable[[float], bool]) -> bool:
    """Whether a test says of the infinities what it says of the largest floats: then a threshold among floats says it all."""
    return test(floats.INF) == test(floats.LARGEST) and test(-floats.INF) == test(-floats.LARGEST)
