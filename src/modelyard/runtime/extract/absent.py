"""XGBoost on a sparse table: whatever has no entry there is missing to it, a 0 that any other model takes for a 0.

An entry may be 0, too, such as a number that float32 makes 0 of: that one is compared. So what is missing is told before the cast.
"""

from __future__ import annotations

from collections.abc import Callable

from modelyard.runtime.extract.builder import Builder, Cannot, Fact, Table
from modelyard.runtime.extract.groves import Node, Split

Read = Callable[[int], Node]


class Absent:
    """Of trees that compare by <, the splits over a table, and then the table that they compare: where it isn't sparse, as they are."""

    def __init__(self, builder: Builder, table: Table) -> None:
        if table.sparse and table.entries is None:
            raise Cannot("XGBoost is given a sparse table of which it is not known which zeros it holds as entries")
        self._builder, self._table, self._entries = builder, table, table.entries or []
        pairs = list(zip(table.slots, self._entries))
        self._flags = {place for place, (slot, entry) in enumerate(pairs) if slot == entry and _two(builder.facts[slot])}
        self._apart: set[int] = set()

    def read(self, node: Read) -> Read:
        """What a node of the library's is, where a 0 without an entry goes the way of missing values."""
        return (lambda number: self._split(node, number)) if self._table.sparse else node

    def _split(self, read: Read, number: int) -> Node:
        """A split of 0 and 1 that lets both go one way is what stands there."""
        node = read(number)
        while isinstance(node, Split):
            if node.members is not None:
                raise Cannot("XGBoost's categories in a sparse table have no row plan")
            if node.feature not in self._flags:
                if (node.threshold > 0.0) != node.missing_left:
                    self._apart.add(node.feature)
                return node
            zero = node.left if node.missing_left else node.right
            one = node.left if node.threshold > 1.0 else node.right
            if zero != one:
                return Split(node.feature, 1.0, zero, one, missing_left=True)
            node = read(one)
        return node

    def table(self) -> Table:
        """The table, missing where it has no entry in the columns of which a split, of those that were read, sends 0 elsewhere."""
        slots = list(self._table.slots)
        for place in sorted(self._apart):
            slots[place] = self._missing(slots[place], self._entries[place])
        return self._table._replace(slots=slots)

    def _missing(self, slot: int, entry: int) -> int:
        """The slot where `entry` is not 0."""
        one = [1.0]
        there = self._builder.add("lookup", [Fact(limit=1.0)], slot=entry, keys=[0.0], values=[[None]], unknown=one, missing=one)
        fact = Fact(limit=self._builder.facts[slot].limit)
        return self._builder.add("products", [fact], terms=[[slot, *there]])[0]


def _two(fact: Fact) -> bool:
    """Whether a slot is 0 or 1, or missing."""
    return fact.flag or fact.kind == "bool"
