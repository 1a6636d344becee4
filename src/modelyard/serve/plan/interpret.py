"""A row plan done step by step, one row at a time: slow and obvious. What the fast ways are held against."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from modelyard.serve.plan import floats
from modelyard.serve.plan.answers import Finish, finish
from modelyard.serve.plan.refused import Refused
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
    Plan,
    Products,
    Require,
    Trees,
)  # fmt: skip
from modelyard.signature import Scalar

Slots = list[Any]


def opened(plan: Plan, row: Sequence[Any]) -> Slots:
    """The first slots: a row of the signature's columns, as `serve.coerce` gives them (None: missing)."""
    return [
        value if column.type == "str" else floats.NAN if value is None else float(value)
        for column, value in zip(plan.inputs, row, strict=True)
    ]


def slots_of(plan: Plan, row: Sequence[Any]) -> Slots:
    """All slots of one row. Raises Refused where the native model raises."""
    slots = opened(plan, row)
    for step in plan.steps:
        slots += _done(step, slots)
    return slots


def interpret(plan: Plan, how: Finish, row: Sequence[Any]) -> tuple[Scalar, ...]:
    """(prediction, *scores) of one row. Raises Refused."""
    slots = slots_of(plan, row)
    return finish(how, [slots[i] for i in plan.answers], floats.NAN if plan.decided is None else slots[plan.decided])


def is_missing(value: Any) -> bool:
    """Whether a slot is missing: NaN or None."""
    return value is None or value != value


def _counts_as_missing(step: Impute | Missing, value: Any) -> bool:
    if is_missing(value):
        return step.nan
    return step.missing is not None and bool(value == step.missing)


def _done(step: AnyStep, slots: Slots) -> Slots:
    """The new slots of one step."""
    if isinstance(step, Require):
        _require(step, slots)
        return []
    if isinstance(step, OneHot | Lookup):
        return _keyed(step, slots[step.slot])
    if isinstance(step, Products):
        return [math.prod((slots[i] for i in term), start=1.0) for term in step.terms]
    if isinstance(step, Normalize):
        return normalized(step, [slots[i] for i in step.slots])
    if isinstance(step, Linear):
        return [_dot([slots[i] for i in step.slots], weights) + bias for weights, bias in zip(step.weights, step.bias, strict=True)]
    if isinstance(step, Gauss):
        return _gauss(step, [slots[i] for i in step.slots])
    if isinstance(step, Trees):
        return _summed(step, [slots[i] for i in step.slots])
    if isinstance(step, Link):
        return _linked(step, [slots[i] for i in step.slots])
    return [single(step, slots[step.slot])]


def single(step: Arithmetic | Function | Impute | Missing | Bins | Binarize | Isotonic, x: Any) -> Any:
    """The new slot of a step that makes one of one slot."""
    match step:
        case Arithmetic():
            return _arithmetic(step, x)
        case Function():
            named = floats.NAMED.get(step.name)
            return named(x) if named else floats.WITH_PARAMETER[step.name](x, step.parameter or 0.0)
        case Impute():
            value = float(step.value) if isinstance(step.value, bool) else step.value
            return value if _counts_as_missing(step, x) else x
        case Missing():
            return float(_counts_as_missing(step, x))
        case Bins():
            return float(bisect_right(step.edges, x))
        case Binarize():
            return float(x > step.threshold)
        case Isotonic():
            return floats.interpolate(x, step.xs, step.ys, bisect_right(step.xs, x))


def _require(step: Require, slots: Slots) -> None:
    for slot in step.slots:
        x = slots[slot]
        if not held(step, x):
            raise Refused(step.message)


def held(step: Require, x: Any) -> bool:
    """Whether a slot is as a guard wants it."""
    match step.what:
        case "present":
            return not is_missing(x)
        case "finite":
            return math.isfinite(x)
        case "bounded":
            return not math.isinf(x)
        case "float32":
            return not math.isinf(floats.f4(x))
        case "positive":
            return is_missing(x) or x > 0
        case "between":
            return is_missing(x) or step.low <= x <= step.high


def _arithmetic(step: Arithmetic, x: float) -> float:
    for what, by in step.ops:
        if what == "add":
            x = x + by
        elif what == "sub":
            x = x - by
        elif what == "mul":
            x = x * by
        elif what == "div":
            x = x / by
        elif what == "at_least":
            x = by if x < by else x
        else:
            x = by if x > by else x
    return x


def _keyed(step: OneHot | Lookup, x: Any) -> Slots:
    if is_missing(x):
        found: Any = step.missing
    else:
        held: Any = dict(zip(step.keys, step.places if isinstance(step, OneHot) else step.values, strict=True))
        found = held.get(x, step.unknown)
    if found is None:
        raise unseen(x)
    if isinstance(step, OneHot):
        return [float(place == found) for place in range(step.width)]
    return [floats.NAN if cell is None else cell for cell in found]


def unseen(x: Any) -> Refused:
    """What is raised for a category that the model refuses."""
    return Refused("a value is missing" if is_missing(x) else f"{str(x)[:80]!r} is a category that training never saw")


def _dot(values: Slots, weights: Sequence[float]) -> float:
    total = 0.0
    for x, weight in zip(values, weights, strict=True):
        total += x * weight
    return total


def normalized(step: Normalize, values: Sequence[float]) -> Slots:
    """As `Normalize`."""
    if step.norm == "max":
        norm = floats.NAN if any(map(math.isnan, values)) else max(map(abs, values))
    else:
        norm = 0.0
        for x in values:
            norm += abs(x) if step.norm == "l1" else x * x
        norm = norm if step.norm == "l1" else math.sqrt(norm)
    norm = 1.0 if norm < floats.NO_NORM else norm
    return [x / norm for x in values]


def _gauss(step: Gauss, values: Slots) -> Slots:
    found = []
    for means, variances, prior in zip(step.means, step.variances, step.priors, strict=True):
        spread, distance = 0.0, 0.0
        for x, mean, variance in zip(values, means, variances, strict=True):
            spread += math.log(2.0 * math.pi * variance)
            distance += (x - mean) * (x - mean) / variance
        found.append(prior + (-0.5 * spread - 0.5 * distance))
    return found


def missing_goes_left(step: Trees, node: int) -> bool:
    """Whether a missing value goes left at an inner node."""
    return bool(step.missing_left) and step.missing_left[node]


def goes_left(step: Trees, node: int, x: float) -> bool:
    """Whether a row goes left at an inner node; x is already cast."""
    if math.isnan(x):
        return missing_goes_left(step, node)
    chosen = step.sets.get(str(node))
    if chosen is not None:
        return x in chosen
    return x <= step.threshold[node] if step.compare == "le" else x < step.threshold[node]


def _summed(step: Trees, values: Slots) -> Slots:
    cast = [floats.f4(x) for x in values] if step.cast == "f4" else values
    rounded = floats.f4 if step.sums == "f4" else float
    sums = [rounded(x) for x in step.init]
    for root, target in zip(step.roots, step.targets, strict=True):
        node = root
        while step.feature[node] >= 0:
            node = (step.left if goes_left(step, node, cast[step.feature[node]]) else step.right)[node]
        leaf: Any = step.leaf[node]
        for place, x in enumerate(leaf) if target < 0 else [(target, leaf)]:
            sums[place] = rounded(sums[place] + rounded(x))
    return [x / step.divide if step.scale is None else x * step.scale for x in sums]


def _linked(step: Link, values: Slots) -> Slots:
    rounded = floats.f4 if step.float32 else float
    match step.kind:
        case "sigmoid":
            return [floats.sigmoid_f4(x) if step.float32 else floats.sigmoid(x) for x in values]
        case "exp":
            return [rounded(floats.exp(x)) for x in values]
        case "clip":
            return [0.0 if x < 0.0 else 1.0 if x > 1.0 else x for x in values]
        case "complement":
            return [rounded(1.0 - values[0]), values[0]]
        case "normalize" | "shares" | "softmax":
            return together(step, values)


def together(step: Link, values: Sequence[float]) -> Slots:
    """The links that look at all their slots at once."""
    rounded = floats.f4 if step.float32 and step.kind == "softmax" else float
    if step.kind == "softmax":
        greatest = max(values)
        if math.isinf(greatest) or any(map(math.isnan, values)):
            return [floats.NAN] * len(values)
        values = [rounded(floats.exp(rounded(x - greatest))) for x in values]
    total = 0.0
    for x in values:
        total += x
    total = rounded(total)
    if total == 0.0:
        return [1.0 / len(values) if step.kind == "normalize" else floats.NAN] * len(values)
    return [rounded(x / total) for x in values]
