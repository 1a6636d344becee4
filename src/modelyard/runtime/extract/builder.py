"""The row plan while it is written: slots, what is known of each, and the steps that make them.

Slots and steps are as in the plan's schema (`modelyard.serve.plan.schema`); here they are numbers and plain dicts.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

LARGEST = 1.7976931348623157e308
LARGEST32 = 3.4028234663852886e38
WHOLE = 2.0**63
"""The limit of a column of ints, which no other slot has."""


class Cannot(Exception):
    """The model cannot be written out as a row plan; the message says why, for people."""


class Fact(NamedTuple):
    """What is known of a slot. kind: number, bool (0 and 1) or text; limit: the greatest absolute value (inf: it may be infinite);
    missing: whether it may be missing; none: whether scikit-learn sees a missing one as None (else as NaN); object: whether its column is
    one of Python objects; flag: whether it is a number that is 0 or 1."""

    kind: str = "number"
    limit: float = math.inf
    missing: bool = True
    none: bool = False
    object: bool = False
    flag: bool = False


FLAG = Fact(limit=1.0, missing=False, flag=True)


class Table(NamedTuple):
    """What a transformer or a model is given. slots: its columns; names: theirs, where it is a DataFrame of the request; frame: whether
    its columns have their own dtypes; object: whether it is one array of Python objects; sparse: whether it is a sparse matrix; entries:
    of such a one, for each column the slot that is 0 just where the matrix has no entry (None: that is not known)."""

    slots: list[int]
    names: list[str] | None = None
    frame: bool = False
    object: bool = False
    sparse: bool = False
    entries: list[int] | None = None

    def made(self, slots: list[int], *, sparse: bool = False) -> Table:
        """An array of floats that was made of it, or a sparse matrix that has an entry wherever it is not 0."""
        return Table(slots, sparse=sparse, entries=slots if sparse else None)

    def scaled(self, slots: list[int]) -> Table:
        """An array of floats that was made of it; where it is sparse, a matrix of the same entries (also of those that became 0)."""
        return Table(slots, sparse=self.sparse, entries=self.entries)

    def picked(self, places: Iterable[int]) -> Table:
        """Some of its columns."""
        places = list(places)
        names = None if self.names is None else [self.names[i] for i in places]
        entries = None if self.entries is None else [self.entries[i] for i in places]
        return self._replace(slots=[self.slots[i] for i in places], names=names, entries=entries)

    def place(self, name: str) -> int:
        """Where a DataFrame has a column. Raises Cannot where it has none of the name."""
        if self.names is None or name not in self.names:
            raise Cannot(f"the model wants a column `{name}`, which the signature does not have")
        return self.names.index(name)


Transform = Callable[["Builder", Any, Table], Table]
"""Writes out a fitted transformer. Raises Cannot."""
Method = Callable[["Builder", Any, Table], "list[int]"]
"""Writes out what a fitted model's method gives: the slots of its columns. Raises Cannot."""


class Builder:
    """The plan's inputs and steps so far. `transforms` by (module root, class), `methods` by (module root, class, method)."""

    def __init__(
        self,
        signature: dict[str, Any],
        facts: list[Fact],
        transforms: dict[tuple[str, str], Transform],
        methods: dict[tuple[str, str, str], Method],
    ) -> None:
        self.np: Any = importlib.import_module("numpy")
        self.signature = signature
        self.facts = facts
        self.steps: list[dict[str, Any]] = []
        self.tolerance: float | None = None
        self.reason = ""
        self._transforms, self._methods = transforms, methods

    def tolerate(self, tolerance: float, reason: str) -> None:
        """Scores may lie `tolerance` from the native model's, because of how that one computes."""
        if self.tolerance is None or tolerance > self.tolerance:
            self.tolerance, self.reason = tolerance, reason

    def add(self, do: str, facts: Iterable[Fact], **fields: Any) -> list[int]:
        """Append a step; the numbers of its new slots, one a fact."""
        self.steps.append({"do": do, **fields})
        first = len(self.facts)
        self.facts.extend(facts)
        return list(range(first, len(self.facts)))

    def require(self, slots: Iterable[int], what: str, message: str) -> None:
        """The native model raises where a slot is not so; nothing is written for slots that always are."""
        wanted = [s for s in dict.fromkeys(slots) if not self._is(self.facts[s], what)]
        if not wanted:
            return
        self.steps.append({"do": "require", "slots": wanted, "what": what, "message": message})
        for slot in wanted:
            self.facts[slot] = self._after(self.facts[slot], what)

    @staticmethod
    def _is(fact: Fact, what: str) -> bool:
        if what == "positive":
            return False
        limit = {"present": math.inf, "float32": LARGEST32}.get(what, LARGEST)
        return fact.limit <= limit and not (fact.missing and what in ("present", "finite"))

    @staticmethod
    def _after(fact: Fact, what: str) -> Fact:
        limit = {"present": math.inf, "positive": math.inf, "float32": LARGEST32}.get(what, LARGEST)
        return fact._replace(limit=min(fact.limit, limit), missing=fact.missing and what not in ("present", "finite"))

    def objects(self, table: Table, slot: int) -> bool:
        """Whether scikit-learn sees the column of a slot as Python objects."""
        return self.facts[slot].object if table.frame else table.object

    def numbers(self, model: Any, table: Table, *, missing: bool = False, sparse: bool = True) -> list[int]:
        """The slots of a table that scikit-learn takes as float64: no text, none infinite, none missing unless `missing`. Raises Cannot.

        `sparse`: whether the model takes sparse tables.
        """
        name = type(model).__name__
        self.sized(model, table)
        self.numeric(model, table.slots)
        if table.sparse and not sparse:
            raise Cannot(f"{name} refuses sparse input")
        what = "bounded" if missing else "finite"
        self.require(table.slots, what, f"Input X of {name} contains infinity{'' if missing else ' or NaN'}")
        return table.slots

    def numeric(self, model: Any, slots: Iterable[int]) -> None:
        """Raises Cannot where a slot holds no number."""
        if any(self.facts[s].kind not in ("number", "bool") for s in slots):
            raise Cannot(f"{type(model).__name__} is given a column that is no number")

    @staticmethod
    def sized(model: Any, table: Table) -> None:
        """Raises Cannot where a model was fitted on another number of columns: scikit-learn raises for every row."""
        wanted = getattr(model, "n_features_in_", None)
        if isinstance(wanted, int) and wanted != len(table.slots):
            raise Cannot(f"{type(model).__name__} was fitted on {wanted} columns and is given {len(table.slots)}")

    def arithmetic(self, slot: int, *ops: tuple[str, float]) -> int:
        """A slot of `ops` done to a slot, or the slot itself where they change nothing. Raises Cannot for a number that is not finite."""
        if not all(math.isfinite(value) for _, value in ops):
            raise Cannot("a fitted number is not finite")
        kept = [(op, value) for op, value in ops if (op, value) not in (("mul", 1.0), ("div", 1.0), ("add", 0.0), ("sub", 0.0))]
        if not kept:
            return slot
        limit = self.facts[slot].limit
        missing = self.facts[slot].missing or math.isinf(limit)  # infinity times 0
        for op, value in kept:
            limit = _limit(limit, op, abs(value))
        return self.add("arithmetic", [Fact(limit=limit, missing=missing)], slot=slot, ops=kept)[0]

    def linear(self, slots: Sequence[int], weights: Any, bias: Any) -> list[int]:
        """A slot a row of `weights`."""
        rows, bias = self.floats(weights), self.floats(bias)
        sums = [_summed(row, [self.facts[s].limit for s in slots], b) for row, b in zip(rows, bias)]
        missing = any(self.facts[s].missing for s in slots)
        facts = [Fact(limit=limit, missing=missing or math.isinf(limit)) for limit in sums]  # infinity less infinity
        return self.add("linear", facts, slots=list(slots), weights=rows, bias=bias)

    def link(self, kind: str, slots: Sequence[int], **fields: Any) -> list[int]:
        """Probabilities of raw scores (exp: positive numbers). `fields`: float32."""
        limit = math.inf if kind == "exp" else 1.0
        count = 2 if kind == "complement" else len(slots)
        return self.add("link", [Fact(limit=limit, missing=True)] * count, slots=list(slots), kind=kind, **fields)

    def floats(self, values: Any) -> Any:
        """Nested lists of floats of an array. Raises Cannot for one that is not finite."""
        array = self.np.asarray(values, dtype=self.np.float64)
        if not self.np.isfinite(array).all():
            raise Cannot("a fitted number is not finite")
        return array.tolist()

    def transform(self, model: Any, table: Table) -> Table:
        """Write out a transformer. Raises Cannot."""
        if model is None or isinstance(model, str):
            return table
        made = self._transforms.get(_key(model))
        if made is None:
            raise Cannot(f"{_named(model)} has no row plan")
        return made(self, model, table)

    def knows(self, model: Any, method: str) -> bool:
        """Whether a model's method can be written out."""
        return (*_key(model), method) in self._methods

    def method(self, model: Any, method: str, table: Table) -> list[int]:
        """Write out what a model's method gives. Raises Cannot."""
        made = self._methods.get((*_key(model), method))
        if made is None:
            raise Cannot(f"{_named(model)} has no row plan")
        return made(self, model, table)


def clipped(builder: Builder, slots: Sequence[int], features: Iterable[int], thresholds: Iterable[float]) -> list[int]:
    """The slots of a `trees` step; its nodes have these features (places among the slots) and thresholds.

    An infinite value goes left at the threshold infinity, which a plan writes as the greatest number.
    """
    at = {feature for feature, threshold in zip(features, thresholds) if feature >= 0 and threshold == LARGEST}
    return [
        builder.arithmetic(slot, ("at_most", LARGEST)) if i in at and math.isinf(builder.facts[slot].limit) else slot
        for i, slot in enumerate(slots)
    ]


def _key(model: Any) -> tuple[str, str]:
    """The root of the module and the name of a model's own class: a subclass of the user's is none of scikit-learn's."""
    return type(model).__module__.split(".")[0], type(model).__name__


def _named(model: Any) -> str:
    root, name = _key(model)
    return name if root == "sklearn" else f"{root}.{name}"


def _limit(limit: float, op: str, value: float) -> float:
    if math.isinf(limit):
        return math.inf
    if op == "mul":
        return limit * value
    if op == "div":
        return limit / value if value else math.inf
    return limit + value if op in ("add", "sub") else limit


def _summed(weights: list[float], limits: list[float], bias: float) -> float:
    total = abs(bias)
    for weight, limit in zip(weights, limits):
        total += abs(weight) * limit if weight else (0.0 if math.isfinite(limit) else math.inf)
    return total
