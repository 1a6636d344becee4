"""Symmetric trees (CatBoost's): every node of a level asks the same, so that the answers of a row to the levels, a bit each, are the
number of its leaf.

For each feature the bits of all trees are worked out beforehand, a row of them for each interval between thresholds; a row of data looks
one up a feature, ORs them, and has the leaves of all trees. NumPy is imported with this module, so only where such trees may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelyard.serve.plan import floats, sums
from modelyard.serve.plan.schema import Trees

DEEPEST = 16
"""Levels of a tree: a leaf's number has two bytes."""
BLOCK = 1024
"""Trees whose bits are worked out together: their tables grow with the square of it."""
Bits = NDArray[Any]
Floats = NDArray[np.float64]
Places = NDArray[np.intp]


class Tests(NamedTuple):
    """What some levels ask, arrays of equal length: the tree, the bit that is set where a row goes right, the feature, the largest value
    that goes left, and whether a missing value does."""

    tree: Places
    bit: Places
    feature: Places
    below: Floats
    missing_left: NDArray[np.bool_]

    def where(self, chosen: NDArray[np.bool_]) -> Tests:
        """Some of them."""
        return Tests(self.tree[chosen], self.bit[chosen], self.feature[chosen], self.below[chosen], self.missing_left[chosen])

    def set(self, bits: Bits, rows: Any = ()) -> None:
        """Set the tests' bits in some rows of `bits`, a word a tree."""
        word = bits.dtype.type
        np.bitwise_or.at(bits, (*rows, self.tree), word(1) << self.bit.astype(word))


@dataclass(frozen=True)
class Symmetric:
    """An ensemble: its tests, `word` that holds a leaf's number in its tree, where each tree's leaves begin, and what all leaves add, a
    number or a row of the step's width, as they are summed."""

    step: Trees
    tests: Tests
    word: np.dtype[Any]
    starts: Places
    leaves: NDArray[Any]
    init: Any

    def blocks(self) -> list[tuple[int, int]]:
        """Trees side by side: from the first to before the second."""
        count = len(self.starts)
        return [(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]

    def by_feature(self, first: int, end: int) -> dict[int, Tests]:
        """The tests of some trees, which are numbered from 0, by the feature that they look at."""
        some = self.tests.where((self.tests.tree >= first) & (self.tests.tree < end))
        some = some._replace(tree=some.tree - first)
        return {feature: some.where(some.feature == feature) for feature in np.unique(some.feature).tolist()}

    def of_number(self, tests: Tests, trees: int) -> tuple[Floats, Bits]:
        """(edges, bits) of a feature that is a number: `bits` has a row for values above just j of the edges, and a last one for a
        missing value."""
        edges = np.unique(tests.below)
        bits = np.zeros((len(edges) + 2, trees), self.word)
        tests.set(bits, (np.searchsorted(edges, tests.below) + 1,))
        np.bitwise_or.accumulate(bits[:-1], axis=0, out=bits[:-1])
        tests.where(~tests.missing_left).set(bits[-1])
        return edges, bits

    def of_encoding(self, hot: Sequence[tuple[int, Tests]], width: int, trees: int) -> Bits:
        """The bits of features that are places of one encoding, a row for each place, and a last one for none of them."""
        bits = np.zeros((width + 1, trees), self.word)
        for place, tests in hot:
            cold = tests.where(tests.below < 0.0)
            for row in range(width + 1):
                (tests.where(tests.below < 1.0) if row == place else cold).set(bits[row])
        return bits

    def sums_of(self, numbers: bytes) -> Any:
        """The sums of one row by the numbers of its leaves, in the trees' order, not yet scaled: a float, or a list of `width` floats."""
        return sums.of_row(self.leaves.take(np.frombuffer(numbers, self.word) + self.starts, axis=0), self.init)


def symmetric(step: Trees) -> Symmetric | None:
    """The ensemble as symmetric trees, or None where it is none. Ensembles whose sums might overflow are left to others."""
    wide = [target < 0 for target in step.targets]
    if step.sets or not wide or not (all(wide) or (step.width == 1 and not any(wide))):
        return None
    walked = _levels(step)
    if walked is None:
        return None
    tests, ends = walked
    sizes = np.empty(len(step.roots), np.intp)
    for trees, nodes in ends:
        sizes[trees] = nodes.shape[1]
    starts = np.cumsum(sizes) - sizes
    order = np.empty(sizes.sum(), np.intp)
    for trees, nodes in ends:
        order[starts[trees][:, None] + np.arange(nodes.shape[1])] = nodes
    kind = np.float32 if step.sums == "f4" else np.float64
    with np.errstate(over="ignore"):
        leaves = np.array([step.leaf[node] for node in order.tolist()], np.float64).astype(kind)
        init: Any = np.array(step.init).astype(kind)
        largest = float(np.abs(leaves).max()) * len(sizes) + float(np.abs(init).max())
    if not largest < np.finfo(kind).max / 2:
        return None
    word = np.dtype("<u1" if sizes.max() <= 256 else "<u2")
    if step.width == 1:
        leaves, init = leaves.reshape(-1), init[0]
    return Symmetric(step, tests, word, starts, leaves, init)


def highest_left(step: Trees) -> Floats:
    """For each node, the largest value that goes left."""
    found = np.array(step.threshold)
    with np.errstate(over="ignore"):
        return found if step.compare == "le" else np.nextafter(found, -floats.INF)


def _levels(step: Trees) -> tuple[Tests, list[tuple[Places, Places]]] | None:
    """The tests of all trees, level by level, and (trees, their leaves in the order of their numbers) for each depth; None where the nodes
    of a level differ, or a tree is deeper than `DEEPEST`."""
    feature, below = np.array(step.feature, np.intp), highest_left(step)
    missing_left = np.array(step.missing_left, np.bool_) if step.missing_left else np.zeros(len(feature), np.bool_)
    left, right = np.array(step.left, np.intp), np.array(step.right, np.intp)
    trees, nodes = np.arange(len(step.roots)), np.array(step.roots, np.intp)[:, None]
    found: list[Tests] = []
    ends: list[tuple[Places, Places]] = []
    for level in range(DEEPEST + 1):
        if _differ(feature, nodes):
            return None
        first = nodes[:, 0]
        done = feature[first] < 0
        ends.append((trees[done], nodes[done]))
        trees, nodes, first = trees[~done], nodes[~done], first[~done]
        found.append(Tests(trees, np.full(len(trees), level), feature[first], below[first], missing_left[first]))
        if not len(trees):
            return Tests(*map(np.concatenate, zip(*found, strict=True))), ends
        if _differ(below, nodes) or _differ(missing_left, nodes):
            return None
        nodes = np.concatenate([left[nodes], right[nodes]], axis=1)
    return None


def _differ(values: NDArray[Any], nodes: Places) -> bool:
    """Whether some node of a row of `nodes` has another value than the row's first."""
    return bool((values[nodes] != values[nodes[:, :1]]).any())
