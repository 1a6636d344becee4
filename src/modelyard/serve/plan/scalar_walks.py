"""Trees walked node by node, for one row: what is too deep to be compiled, and what is large until it is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from modelyard.serve.plan import floats
from modelyard.serve.plan.interpret import goes_left
from modelyard.serve.plan.schema import Trees

Node = tuple[int, Any, Any, Any]


def nodes_of(step: Trees, root: int) -> list[int]:
    """The nodes of a tree, parents before their children."""
    found = [root]
    for node in found:
        if step.feature[node] >= 0:
            found += (step.left[node], step.right[node])
    return found


def rounded(step: Trees, leaf: Any) -> Any:
    """What a leaf adds, as a float32 where the sums are such."""
    if step.sums == "f8":
        return leaf
    return tuple(map(floats.f4, leaf)) if isinstance(leaf, tuple) else floats.f4(leaf)


def is_plain(step: Trees) -> bool:
    """Whether all nodes compare by <= and missing values go right."""
    return step.compare == "le" and not step.sets and not any(step.missing_left)


def linked(step: Trees, root: int) -> Node:
    """A tree as nested tuples: (feature, threshold, left, right), a leaf (-1, 0, what it adds, None). Where the trees are not plain, the
    second is a function of the value: whether it goes left."""
    plain, made = is_plain(step), dict[int, Node]()
    for node in reversed(nodes_of(step, root)):
        if step.feature[node] < 0:
            made[node] = (-1, 0, rounded(step, step.leaf[node]), None)
        else:
            test = step.threshold[node] if plain else partial(goes_left, step, node)
            made[node] = (step.feature[node], test, made.pop(step.left[node]), made.pop(step.right[node]))
    return made[root]


def walk(node: Node, values: Sequence[float]) -> Any:
    """What the leaf adds that a row's features lead to, in a plain tree."""
    feature, threshold, left, right = node
    while feature >= 0:
        feature, threshold, left, right = left if values[feature] <= threshold else right
    return left


def walk_carefully(node: Node, values: Sequence[float]) -> Any:
    """Likewise in any tree."""
    feature, test, left, right = node
    while feature >= 0:
        feature, test, left, right = left if test(values[feature]) else right
    return left


class Later:
    """A function that puts a faster one in its place after some calls: a large model answers at once, and pays for its speed by and by."""

    def __init__(self, now: Callable[..., Any], calls: int, faster: Callable[[], Callable[..., Any]]) -> None:
        self._now, self._calls, self._faster = now, calls, faster

    def __call__(self, *given: Any) -> Any:
        self._calls -= 1
        return (self._now if self._calls >= 0 else self._faster())(*given)
