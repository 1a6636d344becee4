"""Ensembles of many trees for one row: it goes down all trees together, a level at a time, by NumPy, which is imported with this module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.serve.plan import floats, sums
from modelyard.serve.plan.schema import Trees
from modelyard.serve.plan.symmetric import highest_left

Places = NDArray[np.intp]


class Levels:
    """The nodes of all trees, numbered anew: the roots first, those of deep trees before the others', a right child just after the left
    one. A leaf is its own left child, to which every value goes. A node fills half a line of the processor's cache: its left child, its
    feature, its threshold, and nothing."""

    def __init__(self, step: Trees) -> None:
        feature, left, right = (np.array(values, np.intp) for values in (step.feature, step.left, step.right))
        deep = np.argsort(-_depths(np.array(step.roots, np.intp), feature, left, right), kind="stable")
        order, lefts = _numbered(np.array(step.roots, np.intp)[deep], feature, left, right)
        self._back = np.argsort(deep)
        inner = feature[order] >= 0
        self._nodes = np.zeros((len(order), 4), np.int64)
        self._nodes[:, 0] = lefts
        self._nodes.view(np.float64)[:, 2] = np.where(inner, highest_left(step)[order], floats.INF)
        missing_left = np.array(step.missing_left or (False,) * len(order), np.bool_)[order]
        self._lefts, self._rights = bool((inner & missing_left).any()), bool((inner & ~missing_left).any())
        shifted = len(step.slots) if self._lefts and self._rights else 0
        self._nodes[:, 1] = np.where(inner, feature[order] + np.where(missing_left, 0, shifted), 0)
        depths = _depths(np.arange(len(deep)), np.where(inner, 0, -1), lefts, lefts + 1)
        self._going = [int((depths > level).sum()) for level in range(int(depths.max()))]
        self._sums(step, order)

    def _sums(self, step: Trees, order: Places) -> None:
        """What leaves add, as it is summed, and for each of several sums its trees."""
        kind = np.float32 if step.sums == "f4" else np.float64
        wide, none = step.targets[0] < 0, (0.0,) * step.width
        leaves: list[Any] = [step.leaf[node] if step.feature[node] < 0 else none if wide else 0.0 for node in order.tolist()]
        self._init, self._leaves = np.array(step.init).astype(kind), np.array(leaves).astype(kind)
        targets = np.array(step.targets)
        self._groups = None if wide else [np.flatnonzero(targets == place) for place in range(step.width)]
        if step.width == 1:
            self._init, self._leaves, self._groups = self._init[0], self._leaves.reshape(-1), None

    def __call__(self, values: Sequence[float]) -> Any:
        """The sums of a row of all features, in the trees' order, not yet scaled: a float, or a list of `width` floats."""
        x = np.array(values)
        if self._rights:  # a missing value goes right, as an infinite one does, and stays at a leaf; left it goes by itself
            far = np.where(x != x, floats.INF, x)
            x = np.concatenate([x, far]) if self._lefts else far
        at = np.arange(len(self._back))
        for going in self._going:
            nodes = self._nodes.take(at[:going], 0, None, "clip")
            np.add(nodes[:, 0], x.take(nodes[:, 1]) > nodes.view(np.float64)[:, 2], out=at[:going])
        found = self._leaves.take(at.take(self._back), 0)
        if self._groups is None:
            return sums.of_row(found, self._init)
        return [sums.of_row(found[trees], init) for trees, init in zip(self._groups, self._init, strict=True)]


def _depths(roots: Places, feature: Places, left: Places, right: Places) -> Places:
    """The depth of each tree."""
    depths, nodes, trees, level = np.zeros(len(roots), np.intp), roots, np.arange(len(roots)), 0
    while True:
        inner = feature[nodes] >= 0
        nodes, trees, level = nodes[inner], trees[inner], level + 1
        if not len(nodes):
            return depths
        depths[trees] = level
        nodes, trees = np.concatenate([left[nodes], right[nodes]]), np.concatenate([trees, trees])


def _numbered(roots: Places, feature: Places, left: Places, right: Places) -> tuple[Places, Places]:
    """(the old number of each node, the new number of its left child, a leaf's its own), level by level."""
    orders, lefts, nodes, first = [roots], list[Places](), roots, 0
    while len(nodes):
        inner, end = feature[nodes] >= 0, first + len(nodes)
        own = np.arange(first, end)
        own[inner] = end + 2 * np.arange(inner.sum())
        lefts.append(own)
        nodes, first = np.stack([left[nodes[inner]], right[nodes[inner]]], axis=1).reshape(-1), end
        orders.append(nodes)
    return np.concatenate(orders), np.concatenate(lefts)
