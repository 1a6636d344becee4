"""Boosted trees of any library as the one list of nodes that a plan's `trees` step has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Union

from modelyard.runtime.extract.builder import Builder, Cannot, Fact, Table, clipped


class Split(NamedTuple):
    """An inner node: `left` and `right` are what the library's own nodes are. `members`: left means that the value is one of them."""

    feature: int
    threshold: float
    left: Any
    right: Any
    missing_left: bool
    members: tuple[int, ...] | None = None


Node = Union[Split, float, "list[float]"]
"""A leaf is what it adds: a number, or a number a slot."""


class Grove:
    """Trees in their order; features are places of the model's input table."""

    def __init__(self) -> None:
        self._roots: list[int] = []
        self._targets: list[int] = []
        self._feature: list[int] = []
        self._threshold: list[float] = []
        self._left: list[int] = []
        self._right: list[int] = []
        self._leaf: list[Any] = []
        self._missing: list[bool] = []
        self._sets: dict[str, tuple[int, ...]] = {}

    def plant(self, root: Any, target: int, read: Callable[[Any], Node]) -> None:
        """One tree, which adds to slot `target` (-1: a number to each). `read` says what a node of the library's is."""
        self._roots.append(self._grow())
        self._targets.append(target)
        waiting = [(self._roots[-1], root)]
        while waiting:
            number, own = waiting.pop()
            node = read(own)
            if not isinstance(node, Split):
                self._leaf[number] = node
                continue
            if not math.isfinite(node.threshold):
                raise Cannot("a split at a threshold that is not finite")
            self._feature[number], self._threshold[number] = node.feature, node.threshold
            self._missing[number] = node.missing_left
            if node.members is not None:
                self._sets[str(number)] = node.members
            self._left[number], self._right[number] = self._grow(), self._grow()
            waiting += [(self._right[number], node.right), (self._left[number], node.left)]

    def _grow(self) -> int:
        self._feature.append(-1)
        self._threshold.append(0.0)
        self._left.append(0)
        self._right.append(0)
        self._missing.append(False)
        self._leaf.append(0.0)
        return len(self._feature) - 1

    def stand(self, builder: Builder, table: Table, coded: set[int], init: list[float], **fields: Any) -> list[int]:
        """Write the step; the slots of the sums, which begin with `init`. Raises Cannot.

        `coded` are the slots that hold whole numbers only; `fields`: compare, cast, sums, scale, divide."""
        used = sorted({place for place in self._feature if place >= 0})
        if any(place >= len(table.slots) for place in used):
            raise Cannot("the model wants more columns than it is given")
        if any(builder.facts[table.slots[place]].kind == "text" for place in used):
            raise Cannot("a split on a column of text")
        if any(table.slots[self._feature[int(node)]] not in coded for node in self._sets):
            raise Cannot("a categorical split on a column that is not of whole numbers")
        used = used or [0]  # a step reads a slot, though no tree splits
        places = {place: i for i, place in enumerate(used)}
        features = [places[place] if place >= 0 else -1 for place in self._feature]
        return builder.add(
            "trees",
            [Fact(missing=False)] * len(init),
            slots=clipped(builder, [table.slots[place] for place in used], features, self._threshold),
            roots=self._roots,
            feature=features,
            threshold=self._threshold,
            left=self._left,
            right=self._right,
            leaf=self._leaf,
            targets=self._targets,
            width=len(init),
            init=init,
            missing_left=self._missing,
            sets=self._sets,
            **fields,
        )


def whole(builder: Builder, table: Table) -> set[int]:
    """The slots of a table that are int or bool columns of the request, and so hold whole numbers only."""
    columns = builder.signature["columns"]
    return {slot for slot in table.slots if slot < len(columns) and columns[slot]["type"] in ("int", "bool")}
