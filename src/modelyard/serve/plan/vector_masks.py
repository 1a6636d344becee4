"""Tables of bit masks: for each case that a feature's value may be, which leaves of each tree it leaves possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from modelyard.serve.plan import floats
from modelyard.serve.plan.interpret import goes_left, missing_goes_left
from modelyard.serve.plan.schema import Trees
from modelyard.serve.plan.vector_slots import Floats, Hot, Places, Slots

Masks = NDArray[Any]


def cast(step: Trees, x: Floats) -> Floats:
    """A feature's values as the trees compare them."""
    return x.astype(np.float32).astype(np.float64) if step.cast == "f4" else x


class Split(NamedTuple):
    """An inner node of the block's tree `tree`, whose left leaves are those from place `first` to before `end`."""

    node: int
    tree: int
    first: int
    end: int


class Table(Protocol):
    """Masks by what a number is: `masks` has a row of a mask a tree for each case, and `rows` finds the cases of values."""

    masks: Masks

    def rows(self, slots: Slots, slot: int) -> Places:
        """The case of each value of a slot."""
        ...


def _ruled_out(masks: Masks, tree: int, first: int, end: int) -> None:
    """Clear the leaves from `first` to before `end` of a tree in some rows of masks."""
    word = masks.dtype.type
    bits = ((1 << (end - first)) - 1) << first
    masks[..., tree] &= word(~bits & ((1 << (8 * masks.dtype.itemsize)) - 1))


class HotTable:
    """Of one encoding: a row for each of its places, and one for none of them. `encoding` is its step."""

    def __init__(self, step: Trees, hots: Sequence[tuple[Hot, Sequence[Split]]], full: Masks) -> None:
        first = hots[0][0]
        self.encoding = first.step
        self.masks = np.tile(full, (first.width + 1, 1))
        for hot, splits in hots:
            is_hot = np.arange(first.width + 1) == hot.index
            for node, tree, start, end in splits:
                right = np.where(is_hot, not goes_left(step, node, 1.0), not goes_left(step, node, 0.0))
                part = self.masks[right]
                _ruled_out(part, tree, start, end)
                self.masks[right] = part


class _Thresholds:
    """Of one number: row j for values above just j thresholds (the last but one for a missing one), and one for those that go left."""

    def __init__(self, step: Trees, splits: Sequence[Split], full: Masks) -> None:
        self._step = step
        below = [_at_most(step, node) for node, *_ in splits]
        self._edges = np.unique(np.array(below))
        self._missing = any(missing_goes_left(step, node) for node, *_ in splits)
        count = len(self._edges)
        self.masks = np.tile(full, (count + 2, 1))
        for (node, tree, first, end), edge in zip(splits, below, strict=True):
            above = int(np.searchsorted(self._edges, edge)) + 1
            _ruled_out(self.masks[above : above + 1], tree, first, end)
            if not missing_goes_left(step, node):
                _ruled_out(self.masks[count + 1 :], tree, first, end)
        np.bitwise_and.accumulate(self.masks[: count + 1], axis=0, out=self.masks[: count + 1])

    def rows(self, slots: Slots, slot: int) -> Places:
        x = cast(self._step, slots.numbers(slot))
        found: Places = self._edges.searchsorted(x)
        if self._missing:
            found[np.isnan(x)] = len(self._edges) + 1
        return found


def _at_most(step: Trees, node: int) -> float:
    """The largest value that goes left."""
    threshold = step.threshold[node]
    return threshold if step.compare == "le" else float(np.nextafter(threshold, -floats.INF))


class _Sets:
    """Of one whole number, by the sets it may be in: a row for each member of any, one for other values, one for a missing one."""

    def __init__(self, step: Trees, splits: Sequence[Split], full: Masks) -> None:
        self._step = step
        chosen = [np.array(step.sets[str(node)], np.float64) for node, *_ in splits]
        self._members = np.unique(np.concatenate([*chosen, np.zeros(1)]))
        count = len(self._members)
        self.masks = np.tile(full, (count + 2, 1))
        for (node, tree, first, end), members in zip(splits, chosen, strict=True):
            right = ~np.isin(self._members, members)
            cases = np.array([*right, True, not missing_goes_left(step, node)])
            part = self.masks[cases]
            _ruled_out(part, tree, first, end)
            self.masks[cases] = part

    def rows(self, slots: Slots, slot: int) -> Places:
        x = cast(self._step, slots.numbers(slot))
        count = len(self._members)
        found = np.searchsorted(self._members, x)
        known = self._members.take(found, mode="clip") == x
        rows: Places = np.where(known, found, count)
        rows[np.isnan(x)] = count + 1
        return rows


def tables_of(
    step: Trees, splits: Mapping[int, Sequence[Split]], slots: Slots, full: Masks
) -> tuple[list[HotTable], list[tuple[int, Table]]]:
    """A table an encoding, and (slot, table) of numbers. `full` is a mask a tree with nothing ruled out."""
    numbers: list[tuple[int, Table]] = []
    hots: dict[int, list[tuple[Hot, Sequence[Split]]]] = {}
    for slot, several in splits.items():
        found = slots[slot]
        if isinstance(found, Hot):
            hots.setdefault(found.step, []).append((found, several))
            continue
        in_sets = [split for split in several if str(split.node) in step.sets]
        others = [split for split in several if str(split.node) not in step.sets]
        numbers += [(slot, _Sets(step, in_sets, full))] if in_sets else []
        numbers += [(slot, _Thresholds(step, others, full))] if others else []
    return [HotTable(step, several, full) for several in hots.values()], numbers
