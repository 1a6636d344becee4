"""Each step of a row plan for many rows at once, in the same order of operations as for one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.serve.plan import floats
from modelyard.serve.plan.schema import (
    AnyStep,
    Arithmetic,
    Binarize,
    Bins,
    Function,
    Gauss,
    Impute,
    Isotonic,
    Linear,
    Link,
    Lookup,
    Missing,
    Normalize,
    OneHot,
    Products,
    Require,
    Trees,
)  # fmt: skip
from modelyard.serve.plan.vector_keyed import encoding
from modelyard.serve.plan.vector_scores import linear, linked
from modelyard.serve.plan.vector_slots import Floats, Hot, RefusedSome, Run, Slot, Slots
from modelyard.serve.plan.vector_trees import run_trees


def run_of(step: AnyStep, number: int) -> Run:
    """A function that appends a step's new slots. It raises RefusedSome or KeyError where rows are refused."""
    match step:
        case Require():
            return lambda slots: _require(step, slots)
        case OneHot() | Lookup():
            return encoding(step, number)
        case Products():
            return lambda slots: slots.extend([_product(slots.several(term), slots.rows) for term in step.terms])
        case Normalize():
            return lambda slots: slots.extend(_normalized(step, slots.several(step.slots)))
        case Linear():
            return linear(step)
        case Gauss():
            return lambda slots: slots.extend(_gauss(step, slots.several(step.slots)))
        case Trees():
            return run_trees(step)
        case Link():
            return lambda slots: slots.extend(linked(step, slots.several(step.slots)))
        case _:
            return lambda slots: slots.append(_single(step, slots))


def _require(step: Require, slots: Slots) -> None:
    for slot in step.slots:
        found = slots[slot]
        if _bad(step, slots.numbers(slot)).any() if isinstance(found, np.ndarray | Hot) else None in found:
            raise RefusedSome


def _bad(step: Require, x: Floats) -> NDArray[np.bool_]:
    match step.what:
        case "present":
            return np.isnan(x)
        case "finite":
            return ~np.isfinite(x)
        case "bounded":
            return np.isinf(x)
        case "float32":
            return (x < floats.FLOAT32_ENDS[0]) | (x > floats.FLOAT32_ENDS[1])
        case "positive":
            return x <= 0
        case "between":
            return (x < step.low) | (x > step.high)


def _single(step: Arithmetic | Function | Impute | Missing | Bins | Binarize | Isotonic, slots: Slots) -> Slot:
    if isinstance(step, Impute | Missing):
        found = slots[step.slot]
        return _imputed(step, slots.numbers(step.slot)) if isinstance(found, np.ndarray | Hot) else _imputed_text(step, found)
    x = slots.numbers(step.slot)
    match step:
        case Arithmetic():
            return _arithmetic(step, x)
        case Function():
            return _function(step, x)
        case Bins():
            return np.searchsorted(step.edges, x, side="right").astype(np.float64)
        case Binarize():
            return (x > step.threshold).astype(np.float64)
        case Isotonic():
            return np.where(np.isnan(x), x, np.interp(x, step.xs, step.ys))  # of a single point it would give that for NaN too


def _imputed(step: Impute | Missing, x: Floats) -> Floats:
    where = np.isnan(x) if step.nan else np.zeros(len(x), np.bool_)
    if step.missing is not None:
        where |= x == float(step.missing)
    return where.astype(np.float64) if isinstance(step, Missing) else np.where(where, float(step.value), x)


def _imputed_text(step: Impute | Missing, texts: Sequence[Any]) -> Slot:
    held: set[Any] = {None} if step.nan else set()
    held |= set() if step.missing is None else {step.missing}
    if isinstance(step, Missing):
        return np.fromiter((float(value in held) for value in texts), np.float64, len(texts))
    return [step.value if value in held else value for value in texts]


def _arithmetic(step: Arithmetic, x: Floats) -> Floats:
    for what, by in step.ops:
        match what:
            case "add":
                x = x + by
            case "sub":
                x = x - by
            case "mul":
                x = x * by
            case "div":
                x = x / by
            case "at_least":
                x = np.where(x < by, by, x)
            case "at_most":
                x = np.where(x > by, by, x)
    return x


def _function(step: Function, x: Floats) -> Floats:
    if step.name == "exp2":
        return np.power(2.0, x)
    if step.parameter is None:
        made: Floats = getattr(np, step.name)(x)
        return made
    by = step.parameter
    if step.name == "yeo_johnson":
        other, rising = 2.0 - by, np.log1p(np.where(x >= 0, x, 0.0))
        falling = np.log1p(np.where(x < 0, -x, np.where(x != x, x, 0.0)))
        up = rising if abs(by) < floats.EPS else np.expm1(by * rising) / by
        down = -np.expm1(other * falling) / other if abs(other) > floats.EPS else -falling
        return np.where(x >= 0, up, down)
    logged = np.log(x)
    if abs(by) < 1e-19:
        return logged
    usual = np.expm1(by * logged) / by
    large = math.copysign(1.0, by) * np.exp(by * logged - math.log(abs(by))) - 1.0 / by
    return np.where(by * logged >= 709.78, large, usual)


def _product(factors: Sequence[Floats], count: int) -> Floats:
    made = factors[0] if factors else np.ones(count)
    for x in factors[1:]:
        made = made * x
    return made


def _normalized(step: Normalize, values: Sequence[Floats]) -> list[Floats]:
    norm = np.zeros_like(values[0])
    for x in values:
        norm = np.maximum(norm, np.abs(x)) if step.norm == "max" else norm + (np.abs(x) if step.norm == "l1" else x * x)
    norm = np.sqrt(norm) if step.norm == "l2" else norm
    norm = np.where(norm < floats.NO_NORM, 1.0, norm)
    return [x / norm for x in values]


def _gauss(step: Gauss, values: Sequence[Floats]) -> list[Floats]:
    found = []
    for means, variances, prior in zip(step.means, step.variances, step.priors, strict=True):
        spread, distance = 0.0, np.zeros_like(values[0])
        for x, mean, variance in zip(values, means, variances, strict=True):
            spread += math.log(2.0 * math.pi * variance)
            distance = distance + (x - mean) * (x - mean) / variance
        found.append(prior + (-0.5 * spread - 0.5 * distance))
    return found
