"""Rows at the edges of a row plan, to prove on them that it says what the native model says.

Each row is a real one with one value changed to one of an edge (some with several): the thresholds of trees and of bins, their neighbours
in float64 and in float32, missing values, unseen and odd texts, extreme numbers. All are rows that the front lets through.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from modelyard.serve.plan import floats
from modelyard.serve.plan.chains import Chain, Chains
from modelyard.serve.plan.schema import (
    AnyStep,
    Arithmetic,
    Binarize,
    Bins,
    Impute,
    Input,
    Isotonic,
    Key,
    Lookup,
    Missing,
    OneHot,
    Plan,
    Products,
    Require,
    Trees,
)
from modelyard.serve.plan.slots import producers, texts
from modelyard.serve.plan.turning import first_true, last_true

MOST = 20_000
_AROUND = 7
"""Values that are tried for each threshold."""
_COMBINED = 0.1
"""The share of rows in which several values are changed."""
_HUGE = 1e300
"""Of several numbers so large, what a sum comes to depends on the order in which it is added up, as soon as a part of it overflows. BLAS
adds otherwise for one row than for many: the native model has no answer of its own to such a row, and no row has two of them."""
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e300, -1e300, 1e38, -1e38, floats.LARGEST, -floats.LARGEST, 5e-324, 1e-310, *floats.FLOAT32_ENDS)
_INTS = (0, 1, -1, 2**24 + 1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))
_INSTANTS = (0, 1, -1, -62_135_596_800_000_000, 253_402_300_799_999_999)
_TEXTS = ("", " ", "a category that training never saw", "nan", "None", "0", "\n\t\"'\\", "é" * 3, "x" * 10_000)


def edge_rows(plan: Plan, folded: Plan, rows: Sequence[Sequence[Any]], *, most: int = MOST, seed: int = 0) -> list[tuple[Any, ...]]:
    """At most `most` rows in the inputs' order, made of `rows` (at least one), at the edges of a plan and of what folding made of it. The
    same seed gives the same rows."""
    drawn = random.Random(seed)  # noqa: S311  rows for a proof, no secret
    found = _values(plan, folded, drawn, int(most * (1 - _COMBINED)))
    made = [_changed(drawn.choice(rows), {place: value}) for place, values in enumerate(found) for value in values]
    nullable = [place for place, column in enumerate(plan.inputs) if column.nullable]
    if nullable:
        made.append(_changed(drawn.choice(rows), dict.fromkeys(nullable)))
    made = drawn.sample(made, int(most * (1 - _COMBINED))) if len(made) > most * (1 - _COMBINED) else made
    made += _combined(found, rows, min(int(most * _COMBINED), most - len(made)), drawn)
    return made


def _combined(found: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]], count: int, drawn: random.Random) -> Iterable[tuple[Any, ...]]:
    """Rows with about half of all values changed; of numbers that are `_HUGE` to one at the most."""
    places = [(place, values, len(values)) for place, values in enumerate(found) if values]
    for _ in range(count):
        row, chosen, huge = list(drawn.choice(rows)), drawn.getrandbits(max(1, len(places))), False
        for place, values, size in places:
            if chosen & 1:
                value = values[int(drawn.random() * size)]
                large = isinstance(value, float) and abs(value) >= _HUGE
                if not (large and huge):
                    row[place], huge = value, huge or large
            chosen >>= 1
        yield tuple(row)


def _changed(row: Sequence[Any], by: dict[int, Any]) -> tuple[Any, ...]:
    return tuple(by.get(place, value) for place, value in enumerate(row))


def _values(plan: Plan, folded: Plan, drawn: random.Random, most: int) -> list[list[Any]]:
    """For each column, the values of its edges."""
    usual = [_usual(column) for column in plan.inputs]
    for place, keys in enumerate(_keys(plan)):
        usual[place] += [value for key in keys for value in _as(plan.inputs[place], [key])]
    room = max(most - sum(map(len, usual)), 0) // _AROUND
    both = zip(_thresholds(plan), _thresholds(folded), strict=True)  # what folding moved by the cast to float32, and what it lost
    thresholds = [sorted(a | b) for a, b in both]
    for several in thresholds:
        drawn.shuffle(several)
    turns = [(place, value) for turn in zip_longest(*thresholds) for place, value in enumerate(turn) if value is not None]
    for place, value in turns[:room]:
        usual[place] += _as(plan.inputs[place], _around(value))
    return [list({(type(v), str(v)): v for v in values}.values()) for values in usual]


def _usual(column: Input) -> list[Any]:
    """What may go wrong with any column of a type."""
    values: dict[str, Sequence[Any]] = {
        "float": _FLOATS, "int": _INTS, "datetime": _INSTANTS, "bool": (True, False), "str": _TEXTS,
    }  # fmt: skip
    return [*values[column.type], *([None] if column.nullable else [])]


def _around(x: float) -> list[float]:
    """A threshold, its neighbours, and those of the float32 nearest to it."""
    found = [x, math.nextafter(x, floats.INF), math.nextafter(x, -floats.INF)]
    near = floats.f4(x)
    if math.isfinite(near):
        gap = math.ulp(near) * 2.0**29
        found += [near, near + gap, near - gap, near + gap / 2]
    return found


def _as(column: Input, values: Iterable[Key]) -> list[Any]:
    """Values of a column's type that are at or beside the given ones."""
    if column.type == "str":
        return [value for text in values if isinstance(text, str) for value in (text, text + " ", text.upper())]
    numbers = [float(x) for x in values if not isinstance(x, str) and math.isfinite(x)]
    if column.type == "float":
        return numbers
    if column.type == "bool":
        return []
    low, high = (-(2**63), 2**63 - 1) if column.type == "int" else (_INSTANTS[-2], _INSTANTS[-1])
    whole = [n for x in numbers for n in (math.floor(x), math.floor(x) + 1)]
    return [n for n in whole if low <= n <= high]


def _keys(plan: Plan) -> list[list[Key]]:
    """For each column, the categories and the marks of missing values that the plan knows of it."""
    found: list[list[Key]] = [[] for _ in plan.inputs]
    made = producers(plan)
    for step in plan.steps:
        if not isinstance(step, OneHot | Lookup | Impute | Missing):
            continue
        slot = step.slot
        while (before := made[slot]) is not None and isinstance(before[0], Impute):
            slot = before[0].slot
        if slot < len(found):
            found[slot] += step.keys if isinstance(step, OneHot | Lookup) else [] if step.missing is None else [step.missing]
    return found


def _thresholds(plan: Plan) -> list[set[float]]:
    """For each column, where something changes."""
    found: list[set[float]] = [set() for _ in plan.inputs]
    chains, known = Chains(plan), set[tuple[int, float]]()
    made = producers(plan)
    for slot, value in _compared(plan):
        slot = _multiplied(made, slot)
        if (slot, value) in known:
            continue
        known.add((slot, value))
        chain = chains.of(slot, loose=True)
        if chain.base >= len(found):
            continue
        edge = _turn(chain, value) if chain.steps else value
        if edge is not None:
            found[chain.base].add(edge)
    return found


def _multiplied(made: Sequence[tuple[AnyStep, int] | None], slot: int) -> int:
    """Of a product with what was looked up (a sparse table's column, missing where that has no entry), the slot that it is made of."""
    match made[slot]:
        case (Products(terms=terms), place) if len(terms[place]) == 2 and (by := made[terms[place][1]]) and isinstance(by[0], Lookup):
            return terms[place][0]
    return slot


def _turn(chain: Chain, value: float) -> float | None:
    """The first number, or the last, at which a chain is above a value; None where it is so nowhere."""
    return (last_true if chain.falls else first_true)(lambda x: chain(x) > value, chain.before(value))


def _compared(plan: Plan) -> Iterable[tuple[int, float]]:
    """(slot, value): what the plan compares with what, slots of numbers only."""
    text = texts(plan)
    for step in plan.steps:
        match step:
            case Trees():
                for node, feature in enumerate(step.feature):
                    if feature >= 0:
                        chosen = step.sets.get(str(node))
                        yield from ((step.slots[feature], float(x)) for x in ((step.threshold[node],) if chosen is None else chosen))
            case Lookup() if not text[step.slot]:
                yield from ((step.slot, float(key)) for key in step.keys)
            case Bins():
                yield from ((step.slot, edge) for edge in step.edges)
            case Binarize():
                yield step.slot, step.threshold
            case Isotonic():
                yield from ((step.slot, x) for x in step.xs)
            case Require() if step.what == "between":
                yield from ((slot, x) for slot in step.slots if not text[slot] for x in (step.low, step.high))
            case Arithmetic() if step.ops[0][0] in ("at_least", "at_most"):
                yield step.slot, step.ops[0][1]
            case _:
                pass
