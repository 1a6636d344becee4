"""Which slots a step reads, and how many it makes."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from modelyard.serve.plan.schema import (
    AnyStep,
    Gauss,
    Impute,
    Linear,
    Link,
    Lookup,
    Normalize,
    OneHot,
    Plan,
    Products,
    Require,
    Trees,
)


def reads(step: AnyStep) -> tuple[int, ...]:
    """The slots that a step reads."""
    if isinstance(step, Require | Normalize | Linear | Gauss | Trees | Link):
        return step.slots
    if isinstance(step, Products):
        return tuple(dict.fromkeys(slot for term in step.terms for slot in term))
    return (step.slot,)


def width(step: AnyStep) -> int:
    """How many new slots a step makes."""
    match step:
        case Require():
            return 0
        case OneHot() | Trees():
            return step.width
        case Lookup():
            rows = (*step.values, step.unknown, step.missing)
            return max((len(row) for row in rows if row is not None), default=0)
        case Products():
            return len(step.terms)
        case Normalize():
            return len(step.slots)
        case Linear():
            return len(step.weights)
        case Gauss():
            return len(step.means)
        case Link():
            return 2 if step.kind == "complement" else len(step.slots)
        case _:
            return 1


def texts(plan: Plan) -> list[bool]:
    """For each slot of a plan, whether it is text."""
    found = [column.type == "str" for column in plan.inputs]
    for step in plan.steps:
        found += [found[step.slot] if isinstance(step, Impute) else False] * width(step)
    return found


def producers(plan: Plan) -> list[tuple[AnyStep, int] | None]:
    """For each slot of a plan, the step that makes it with the slot's place among the step's new slots; None for a column."""
    found: list[tuple[AnyStep, int] | None] = [None] * len(plan.inputs)
    for step in plan.steps:
        found += [(step, place) for place in range(width(step))]
    return found


def renumbered(step: AnyStep, numbers: Mapping[int, int]) -> AnyStep:
    """The same step where slots have other numbers."""
    if isinstance(step, Products):
        return replace(step, terms=tuple(tuple(numbers[slot] for slot in term) for term in step.terms))
    if isinstance(step, Require | Normalize | Linear | Gauss | Trees | Link):
        return replace(step, slots=tuple(numbers[slot] for slot in step.slots))
    return replace(step, slot=numbers[step.slot])
