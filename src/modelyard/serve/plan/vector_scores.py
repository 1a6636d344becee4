"""Weighted sums and links for many rows at once, in the order of operations that one row has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from modelyard.serve.plan import floats
from modelyard.serve.plan.schema import Linear, Link
from modelyard.serve.plan.vector_slots import Floats, Hot, Run, Slots

Term = tuple[int, NDArray[np.float64], bool]


def _terms(step: Linear, slots: Slots) -> list[Term]:
    """(slot, weights, whether they are looked up): a term a slot; slots side by side of one encoding are one term."""
    weights = np.array(step.weights)  # (rows of weights, slots)
    terms: list[Term] = []
    last, seen = -1, set[int]()
    for place, number in enumerate(step.slots):
        slot = slots[number]
        if not isinstance(slot, Hot):
            terms.append((number, weights[:, place, None], False))
            last = -1
            continue
        if slot.step != last or slot.index in seen:
            last, seen = slot.step, set()
            terms.append((number, np.zeros((len(weights), slot.width + 1)), True))
        seen.add(slot.index)
        terms[-1][1][:, slot.index] = weights[:, place]
    return terms


def linear(step: Linear) -> Run:
    known: list[list[Term]] = []
    bias = np.array(step.bias)[:, None]

    def run(slots: Slots) -> None:
        if not known:
            known.append(_terms(step, slots))
        total = np.zeros((len(step.weights), slots.rows))
        for number, weights, looked_up in known[0]:
            slot = slots[number]
            if looked_up and isinstance(slot, Hot):
                total += weights.take(slots.places[slot.step], axis=1)
            else:
                total += weights * slots.numbers(number)
        slots += list(total + bias)

    return run


def _single_precision(x: Floats) -> Floats:
    return x.astype(np.float32).astype(np.float64)


def linked(step: Link, values: Sequence[Floats]) -> Sequence[Floats]:
    """The new slots of a link."""
    rounded: Callable[[Floats], Floats] = _single_precision if step.float32 else lambda x: x
    match step.kind:
        case "sigmoid":
            if not step.float32:
                return [1.0 / (1.0 + np.exp(-x)) for x in values]
            return [rounded(1.0 / rounded(rounded(np.exp(np.minimum(-x, 88.7))) + 1.0)) for x in values]
        case "exp":
            return [rounded(np.exp(x)) for x in values]
        case "clip":
            return [np.where(x < 0.0, 0.0, np.where(x > 1.0, 1.0, x)) for x in values]
        case "complement":
            return [rounded(1.0 - values[0]), values[0]]
        case _:
            return _together(step, values)


def _together(step: Link, values: Sequence[Floats]) -> Sequence[Floats]:
    rounded: Callable[[Floats], Floats] = _single_precision if step.float32 and step.kind == "softmax" else lambda x: x
    if step.kind == "softmax":
        greatest = values[0]
        for x in values[1:]:
            greatest = np.maximum(greatest, x)
        values = [rounded(np.exp(rounded(x - greatest))) for x in values]
    total = np.zeros_like(values[0])
    for x in values:
        total = total + x
    total = rounded(total)
    none = total == 0.0
    if not none.any():
        return [rounded(x / total) for x in values]
    instead = 1.0 / len(values) if step.kind == "normalize" else floats.NAN
    return [np.where(none, instead, rounded(x / total)) for x in values]
