"""Folding a row plan at build time: the same answers to the last bit with less to do for a row.

What lies between a column and a tree's threshold (scaling, clipping, imputing, binning, the cast to float32) goes into the threshold,
which becomes the largest float64 of the column itself that goes left. Guards likewise become bounds of the column. Imputing before
an encoding goes into its table. What nothing reads any more is left out.
"""

from __future__ import annotations

from msgspec.structs import replace

from modelyard.serve.plan.chains import Chain, Chains
from modelyard.serve.plan.floats import FLOAT32_ENDS, INF, LARGEST, NAN
from modelyard.serve.plan.fold_trees import fold_trees
from modelyard.serve.plan.interpret import held
from modelyard.serve.plan.schema import AnyStep, Impute, Key, Lookup, OneHot, Plan, Require, Trees
from modelyard.serve.plan.slots import producers, reads, renumbered, width
from modelyard.serve.plan.turning import first_true, last_true


def fold(plan: Plan) -> Plan:
    """A plan that gives the same answers and refuses the same rows. Messages may be those of another guard."""
    plan = _over_imputed(plan)
    chains, guards = Chains(plan), _Guards()
    steps: list[AnyStep] = []
    for step in plan.steps:
        if isinstance(step, Require):
            steps += [made for slot in step.slots for made in _guard(replace(step, slots=(slot,)), chains) if guards.needs(made)]
        else:
            steps.append(fold_trees(step, chains) if isinstance(step, Trees) else step)
    return _pruned(replace(plan, steps=tuple(steps)))


def _over_imputed(plan: Plan) -> Plan:
    """Encodings read what their imputing reads."""
    made = producers(plan)
    steps = []
    for step in plan.steps:
        while isinstance(step, OneHot | Lookup) and (before := made[step.slot]) is not None and isinstance(before[0], Impute):
            step = _through(step, before[0])
        steps.append(step)
    return replace(plan, steps=tuple(steps))


def _through(step: OneHot | Lookup, impute: Impute) -> OneHot | Lookup:
    """The encoding of what was imputed, as one of what is imputed."""
    values = step.places if isinstance(step, OneHot) else step.values
    table: dict[Key, object] = dict(zip(step.keys, values, strict=True))
    found = table.get(impute.value, step.unknown)
    missing = found if impute.nan else step.missing
    if impute.missing is not None:
        table.pop(impute.missing, None)
        if found is not None:  # where it is None, no unknown value passes either
            table[impute.missing] = found
    name = "places" if isinstance(step, OneHot) else "values"
    return replace(step, slot=impute.slot, keys=tuple(table), missing=missing, **{name: tuple(table.values())})


class _Guards:
    """What is already sure of each slot."""

    def __init__(self) -> None:
        self._present: set[int] = set()
        self._bounds: dict[int, tuple[float, float]] = {}

    def needs(self, step: Require) -> bool:
        """Whether a guard of one slot refuses anything that those before it let through."""
        slot = step.slots[0]
        if step.what == "present":
            new = slot not in self._present
            self._present.add(slot)
            return new
        if step.what != "between":
            return True
        low, high = self._bounds.get(slot, (-INF, INF))
        self._bounds[slot] = max(low, step.low), min(high, step.high)
        return step.low > low or step.high < high


_BOUNDS = {"finite": (-LARGEST, LARGEST), "bounded": (-LARGEST, LARGEST), "float32": FLOAT32_ENDS}


def _guard(step: Require, chains: Chains) -> list[Require]:
    """A guard of one slot as guards of the slot that its chain begins with."""
    if step.what == "present" and chains.texts[step.slots[0]]:
        return [step]
    chain = chains.of(step.slots[0])
    made = [] if held(step, chain(NAN)) else [replace(step, slots=(chain.base,), what="present")]
    if step.what == "present":
        return made
    bounds = (step.low, step.high) if step.what == "between" else _BOUNDS.get(step.what)
    if bounds is None or held(step, chain(INF)) or held(step, chain(-INF)):
        return [step]
    between = _between(chain, *bounds)
    if between is None:
        return [step]
    return [*made, replace(step, slots=(chain.base,), what="between", low=between[0], high=between[1])]


def _between(chain: Chain, low: float, high: float) -> tuple[float, float] | None:
    """The bounds of the base between which the chain lies between `low` and `high`; None where it never does."""
    if chain.falls:
        bounds = first_true(lambda x: chain(x) <= high), last_true(lambda x: chain(x) >= low)
    else:
        bounds = first_true(lambda x: chain(x) >= low), last_true(lambda x: chain(x) <= high)
    first, last = bounds
    return None if first is None or last is None else (first, last)


def _raises(step: AnyStep) -> bool:
    return isinstance(step, Require) or (isinstance(step, OneHot | Lookup) and (step.unknown is None or step.missing is None))


def _pruned(plan: Plan) -> Plan:
    """Without the steps that nothing reads and that refuse nothing."""
    first, starts = len(plan.inputs), []
    for step in plan.steps:
        starts.append(first)
        first += width(step)
    alive = {*plan.answers, *(() if plan.decided is None else (plan.decided,))}
    kept = []
    for place in reversed(range(len(plan.steps))):
        step = plan.steps[place]
        if _raises(step) or not alive.isdisjoint(range(starts[place], starts[place] + width(step))):
            alive.update(reads(step))
            kept.append(place)
    numbers = {slot: slot for slot in range(len(plan.inputs))}
    steps: list[AnyStep] = []
    for place in reversed(kept):
        step = plan.steps[place]
        steps.append(renumbered(step, numbers))
        new = len(numbers)
        numbers.update({starts[place] + i: new + i for i in range(width(step))})
    decided = None if plan.decided is None else numbers[plan.decided]
    return replace(plan, steps=tuple(steps), answers=tuple(numbers[slot] for slot in plan.answers), decided=decided)
