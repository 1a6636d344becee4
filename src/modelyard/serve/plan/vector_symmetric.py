"""Symmetric trees for many rows at once: for each row and feature a row of bits is looked up, a bit a level of each tree."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelyard.serve.plan import sums
from modelyard.serve.plan.symmetric import Bits, Places, Symmetric
from modelyard.serve.plan.vector_masks import cast
from modelyard.serve.plan.vector_slots import Floats, Hot, Slots

_PART = 2**16
"""Leaves looked up at once: they stay in the processor's cache."""


class SymmetricForest:
    """An ensemble. A row has a case a table, a table for each number and each encoding that is looked at; the cases of all tables are
    numbered on end."""

    def __init__(self, found: Symmetric) -> None:
        self._found = found
        self._numbers: list[tuple[int, Floats, int]] = []  # feature, edges, first case
        self._encodings: list[tuple[int, int, int]] = []  # step of the encoding, its width, first case
        self._blocks: list[_Block] | None = None

    def run(self, slots: Slots) -> None:
        """Append the sums."""
        found, step = self._found, self._found.step
        if self._blocks is None:
            self._blocks = self._made(slots)
        cases = self._cases(slots)
        totals = np.empty((step.width, slots.rows))
        part = max(16, _PART // len(found.starts))
        for start in range(0, slots.rows, part):
            some = cases[:, start : start + part]
            where = np.empty((len(found.starts), some.shape[1]), np.intp)
            for block in self._blocks:
                block.leaves(some, where)
            totals[:, start : start + part] = sums.of_rows(found.leaves.take(where, axis=0), found.init).T
        for total in totals:
            slots.append(total / step.divide if step.scale is None else total * step.scale)

    def _cases(self, slots: Slots) -> Places:
        """(tables, rows)"""
        found = np.empty((len(self._numbers) + len(self._encodings), slots.rows), np.intp)
        for row, (feature, edges, first) in zip(found, self._numbers, strict=False):
            x = cast(self._found.step, slots.numbers(self._found.step.slots[feature]))
            np.add(np.searchsorted(edges, x, side="left"), first, out=row)
            row[np.isnan(x)] = first + len(edges) + 1
        for row, (step, _, first) in zip(found[len(self._numbers) :], self._encodings, strict=True):
            np.add(slots.places[step], first, out=row, dtype=np.intp)
        return found

    def _made(self, slots: Slots) -> list[_Block]:
        """The blocks, once it is known which slots are encodings'."""
        found, first = self._found, 0
        kinds = [slots[slot] for slot in found.step.slots]
        for feature, tests in found.by_feature(0, len(found.starts)).items():
            if not isinstance(kinds[feature], Hot):
                edges = np.unique(tests.below)
                self._numbers.append((feature, edges, first))
                first += len(edges) + 2
        for step, width in sorted({(kind.step, kind.width) for kind in kinds if isinstance(kind, Hot)}):
            self._encodings.append((step, width, first))
            first += width + 1
        return [self._block(kinds, *block, first) for block in found.blocks()]

    def _block(self, kinds: list[Any], first: int, end: int, cases: int) -> _Block:
        """The block of some trees. Tables of which it has no test lead to its row 0, which has no bits."""
        found, tables = self._found, [np.zeros((1, end - first), self._found.word)]
        rows, count, tests = np.zeros(cases, np.intp), 1, found.by_feature(first, end)
        for feature, edges, start in self._numbers:
            if feature in tests:
                own, bits = found.of_number(tests[feature], end - first)
                rows[start + 1 : start + len(edges) + 1] = np.searchsorted(own, edges, side="right")
                rows[start + len(edges) + 1] = len(own) + 1
                rows[start : start + len(edges) + 2] += count
                tables.append(bits)
                count += len(bits)
        for step, width, start in self._encodings:
            hot = [(kinds[feature].index, of) for feature, of in tests.items() if getattr(kinds[feature], "step", None) == step]
            rows[start : start + width + 1] = count + np.arange(width + 1)
            tables.append(found.of_encoding(hot, width, end - first))
            count += width + 1
        return _Block(found, slice(first, end), rows, np.concatenate(tables))


class _Block:
    """Some trees: `rows` has the row of `bits` that each case of a table leads to."""

    def __init__(self, found: Symmetric, trees: slice, rows: Places, bits: Bits) -> None:
        self._trees, self._word, self._rows = trees, found.word, rows
        self._starts = found.starts[trees][:, None]
        size = 8 // found.word.itemsize
        filled = np.zeros((len(bits), -(-bits.shape[1] // size) * size), found.word)
        filled[:, : bits.shape[1]] = bits
        self._bits = filled.view(np.uint64)

    def leaves(self, cases: Places, where: Places) -> None:
        """Write into `where` (trees, rows) the place of each row's leaf among all leaves."""
        if not len(cases):
            where[self._trees] = self._starts
            return
        found = np.bitwise_or.reduce(self._bits.take(self._rows.take(cases), axis=0, mode="clip"), axis=0)
        np.add(found.view(self._word)[:, : len(self._starts)].T, self._starts, out=where[self._trees])
