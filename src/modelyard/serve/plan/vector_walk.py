"""Large trees for many rows at once: all rows go down one tree together, a level at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.serve.plan import floats
from modelyard.serve.plan.schema import Trees
from modelyard.serve.plan.symmetric import highest_left
from modelyard.serve.plan.vector_slots import Floats, Places

_LEVELS = 4
"""Levels between two looks at which rows have arrived."""


class Walk:
    """The nodes of some trees, numbered anew: a right child comes just after the left one, and a leaf is its own left child, to which
    every value goes."""

    def __init__(self, step: Trees, trees: Sequence[int], leaves: Sequence[Sequence[int]], starts: Places) -> None:
        self._trees = trees
        order: list[int] = []  # the old number of each node
        left: list[int] = []
        self._roots: list[int] = []
        for t in trees:
            self._roots.append(len(order))
            order.append(step.roots[t])
            while (place := len(left)) < len(order):
                inner = step.feature[order[place]] >= 0
                left.append(len(order) if inner else place)
                if inner:
                    order += (step.left[order[place]], step.right[order[place]])
        old = np.array(order, np.intp)
        self._left = np.array(left, np.intp)
        self._inner = self._left != np.arange(len(left))
        self._feature = np.where(self._inner, np.array(step.feature, np.intp)[old], 0)
        self._threshold = np.where(self._inner, highest_left(step)[old], floats.INF)
        self._missing_left: NDArray[np.bool_] | None = None
        if any(step.missing_left):
            self._missing_left = np.array(step.missing_left)[old] | ~self._inner
        in_sets = [place for place, node in enumerate(order) if str(node) in step.sets] if step.sets else []
        self._sets = {place: np.array(step.sets[str(order[place])], np.float64) for place in in_sets}
        self._in_sets = np.zeros(len(order), np.bool_)
        self._in_sets[in_sets] = True
        places = np.zeros(len(step.feature), np.intp)
        for t in trees:
            places[list(leaves[t])] = starts[t] + np.arange(len(leaves[t]))
        self._leaf = places[old]

    def leaves(self, features: Sequence[Floats], where: NDArray[Any]) -> None:
        """Write into `where` (trees, rows) the place of each row's leaf among all leaves."""
        count = where.shape[1]
        if self._missing_left is None:  # a missing value goes right, as an infinite one does, and stays at a leaf
            features = [np.where(np.isnan(x), floats.INF, x) for x in features]
        table = np.ascontiguousarray(np.stack(features, axis=1)).reshape(-1)
        starts = np.arange(count) * len(features)
        for t, root in zip(self._trees, self._roots, strict=True):
            nodes: Places = np.full(count, root, np.intp)
            active, at, offsets = None, nodes, starts
            while True:
                for _ in range(_LEVELS):
                    at = self._down(at, table.take(offsets + self._feature.take(at)))
                if active is None:
                    nodes = at
                else:
                    nodes[active] = at
                going = self._inner.take(at)
                if not going.any():
                    break
                active = np.flatnonzero(going) if active is None else active[going]
                at, offsets = at[going], starts[active]
            where[t] = self._leaf.take(nodes)

    def _down(self, at: Places, x: Floats) -> Places:
        """The children that rows go to, by their values."""
        right = x > self._threshold.take(at)
        if self._sets and (special := self._in_sets.take(at)).any():
            for row in np.flatnonzero(special):
                right[row] = x[row] not in self._sets[int(at[row])]
        if self._missing_left is not None:
            missing = np.isnan(x)
            right[missing] = ~self._missing_left.take(at[missing])
        found: Places = self._left.take(at) + right
        return found
