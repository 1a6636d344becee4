"""A tree by its leaves: which of them each test rules out. The idea is QuickScorer's: a test that sends a row to the right rules out the
leaves on its left, whatever the tests above it say, and the first leaf from the left that none rules out is the row's."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.serve.plan.schema import Trees


@dataclass(frozen=True)
class Tree:
    """A tree: its leaves from left to right, its inner nodes with the places of the leaves on their left, from `first` to before `end`."""

    leaves: list[int]
    splits: list[tuple[int, int, int]]


def tree_of(step: Trees, root: int) -> Tree:
    """The tree that begins at a node."""
    leaves: list[int] = []
    splits: list[tuple[int, int, int]] = []
    waiting: list[tuple[int, int]] = [(root, -1)]  # (node, first leaf on its left) where a left side is done
    while waiting:
        node, first = waiting.pop()
        if step.feature[node] < 0:
            leaves.append(node)
        elif first < 0:
            waiting += [(node, len(leaves)), (step.left[node], -1)]
        else:
            splits.append((node, first, len(leaves)))
            waiting.append((step.right[node], -1))
    return Tree(leaves, splits)
