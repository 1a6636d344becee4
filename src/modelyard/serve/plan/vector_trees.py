"""An ensemble of trees for many rows at once.

Trees of up to 64 leaves by bit masks (see `leaves`). For each feature the masks of all splits that a value sends to the right are AND-ed
beforehand, a row of masks for each interval between thresholds, so that a row of data costs one look-up a feature; the lowest bit left is
the leaf. Larger trees are walked level by level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.serve.plan import sums
from modelyard.serve.plan.leaves import Tree, tree_of
from modelyard.serve.plan.schema import Trees
from modelyard.serve.plan.symmetric import symmetric
from modelyard.serve.plan.vector_masks import Masks, Split, Table, cast, tables_of
from modelyard.serve.plan.vector_slots import Places, Run, Slots
from modelyard.serve.plan.vector_symmetric import SymmetricForest
from modelyard.serve.plan.vector_walk import Walk

MOST_LEAVES = 64
_TABLE_BYTES = 2**20
"""A block of trees has tables of about this size: they stay in the processor's cache."""
_PART_BYTES = 2**19
"""Masks looked up at once: likewise."""
_WORDS: tuple[tuple[int, Any], ...] = ((8, np.uint8), (16, np.uint16), (32, np.uint32), (64, np.uint64))


def run_trees(step: Trees) -> Run:
    """A function that appends the sums of an ensemble."""
    found = symmetric(step)
    return _Forest(step).run if found is None else SymmetricForest(found).run


class _Forest:
    """Where the leaves' numbers lie, and the blocks of trees that find each row's leaf."""

    def __init__(self, step: Trees) -> None:
        self._step = step
        trees = [tree_of(step, root) for root in step.roots]
        self._kind = np.float32 if step.sums == "f4" else np.float64
        starts = np.cumsum([0, *(len(tree.leaves) for tree in trees)])
        self._starts: Places = starts[:-1].astype(np.intp)
        self._leaves = self._numbers(trees)
        small = [t for t, tree in enumerate(trees) if len(tree.leaves) <= MOST_LEAVES]
        self._blocks = _blocks(step, trees, small, self._starts)
        large = [t for t, tree in enumerate(trees) if len(tree.leaves) > MOST_LEAVES]
        self._walk = Walk(step, large, [tree.leaves for tree in trees], self._starts) if large else None
        self._groups = [
            (place, np.array([t for t, target in enumerate(step.targets) if target in (place, -1)], np.intp)) for place in range(step.width)
        ]

    def _numbers(self, trees: Sequence[Tree]) -> NDArray[Any]:
        """What each leaf adds to each sum: (leaves) where each tree adds to one, (sums, leaves) where some add to all."""
        step, nodes = self._step, [node for tree in trees for node in tree.leaves]
        if all(target >= 0 for target in step.targets):
            return np.array([step.leaf[node] for node in nodes], self._kind)
        found: list[Any] = [step.leaf[node] for node in nodes]
        rows = [leaf if isinstance(leaf, tuple) else (leaf,) * step.width for leaf in found]
        return np.ascontiguousarray(np.array(rows, self._kind).reshape(-1, step.width).T)

    def run(self, slots: Slots) -> None:
        """Append the sums."""
        step = self._step
        where = np.empty((len(step.roots), slots.rows), np.intp)
        for block in self._blocks:
            block.leaves(slots, where)
        if self._walk is not None:
            self._walk.leaves([cast(step, slots.numbers(slot)) for slot in step.slots], where)
        for place, trees in self._groups:
            leaves = self._leaves if self._leaves.ndim == 1 else self._leaves[place]
            chosen = where if len(trees) == len(where) else where[trees]
            total = sums.of_rows(leaves.take(chosen), self._kind(step.init[place])).astype(np.float64)
            slots.append(total / step.divide if step.scale is None else total * step.scale)


class _Block:
    """Trees that are looked up together: all of their tables one below another, and where in it each feature's begins."""

    def __init__(self, step: Trees, trees: Sequence[Tree], chosen: list[int], starts: Places) -> None:
        self._trees: Any = slice(chosen[0], chosen[-1] + 1) if chosen == list(range(chosen[0], chosen[-1] + 1)) else np.array(chosen)
        self._starts = starts[chosen][:, None] - 1
        most = max(len(trees[t].leaves) for t in chosen)
        self._word = next(word for size, word in _WORDS if most <= size)
        self._step, self._count = step, len(chosen)
        self._splits: dict[int, list[Split]] = {}  # slot: its splits
        for place, t in enumerate(chosen):
            for node, first, end in trees[t].splits:
                self._splits.setdefault(step.slots[step.feature[node]], []).append(Split(node, place, first, end))
        self._tables: _Tables | None = None

    def leaves(self, slots: Slots, where: Places) -> None:
        """Write into `where` (trees, rows) the place of each row's leaf among all leaves."""
        if not self._splits:
            where[self._trees] = self._starts + 1
            return
        if self._tables is None:
            self._tables = self._made(slots)
        masks, rows = self._tables.masks, self._tables.rows(slots)
        part = max(16, _PART_BYTES // (len(rows) * masks.shape[1] * masks.itemsize))
        for start in range(0, slots.rows, part):
            end = min(start + part, slots.rows)
            left = np.bitwise_and.reduce(masks.take(rows[:, start:end], axis=0, mode="clip"), axis=0).view(self._word)
            lowest = np.bitwise_count(left ^ (left - self._word(1)))[:, : self._count]
            if type(self._trees) is slice:
                np.add(lowest.T, self._starts, out=where[self._trees, start:end])
            else:
                where[self._trees, start:end] = lowest.T + self._starts

    def _made(self, slots: Slots) -> _Tables:
        """The tables, and their masks as long words: trees that are none fill the last one up."""
        word = np.dtype(self._word)
        full = np.full(-(-self._count * word.itemsize // 8) * 8 // word.itemsize, np.iinfo(word).max, word)
        hots, numbers = tables_of(self._step, self._splits, slots, full)
        every = [table.masks for table in hots] + [table.masks for _, table in numbers]
        starts = np.cumsum([0, *map(len, every[:-1])])
        return _Tables([table.encoding for table in hots], numbers, starts[:, None], np.concatenate(every).view(np.uint64))


@dataclass(frozen=True)
class _Tables:
    """The tables of a block, of encodings and then of numbers (slot, table), one below another in `masks`, where they begin at `starts`."""

    encodings: list[int]
    numbers: list[tuple[int, Table]]
    starts: Places
    masks: Masks

    def rows(self, slots: Slots) -> Places:
        """The row of `masks` that each row of data has in each table: (tables, rows)."""
        cases = [slots.places[number] for number in self.encodings] + [table.rows(slots, slot) for slot, table in self.numbers]
        found: Places = np.concatenate(cases).reshape(len(cases), slots.rows) + self.starts
        return found


def _blocks(step: Trees, trees: Sequence[Tree], chosen: Sequence[int], starts: Places) -> list[_Block]:
    """Blocks whose tables have about `_TABLE_BYTES`: as many rows as their trees have splits, each of a word a tree."""
    blocks: list[_Block] = []
    waiting: list[int] = []
    splits, most = 0, 0
    for t in chosen:
        tree = trees[t]
        splits, most = splits + len(tree.splits), max(most, len(tree.leaves))
        if waiting and splits * (len(waiting) + 1) * max(most, 8) / 8 > _TABLE_BYTES:
            blocks.append(_Block(step, trees, waiting, starts))
            waiting, splits, most = [], len(tree.splits), len(tree.leaves)
        waiting.append(t)
    return [*blocks, _Block(step, trees, waiting, starts)] if waiting else blocks
