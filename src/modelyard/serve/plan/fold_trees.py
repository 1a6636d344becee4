"""Thresholds of trees as thresholds of the slots that their features are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from modelyard.serve.plan.chains import Chain, Chains, infinities_agree
from modelyard.serve.plan.floats import LARGEST, NAN, f4
from modelyard.serve.plan.interpret import is_missing, missing_goes_left
from modelyard.serve.plan.schema import Trees
from modelyard.serve.plan.turning import last_true


@dataclass(frozen=True)
class Split:
    """Of the slot `base`: what is at most `threshold` goes left (to what was the right where `swapped`), and a missing value may too."""

    base: int
    threshold: float
    swapped: bool
    missing_left: bool


def fold_trees(step: Trees, chains: Chains) -> Trees:
    """The same trees over other slots, comparing float64s by `le`."""
    folder = _Folder(step, chains)
    if folder.done or not folder.can:
        return step
    splits = [None if feature < 0 or str(node) in step.sets else folder.split(node) for node, feature in enumerate(step.feature)]
    slots = dict[int, int]()  # slot: feature
    features, thresholds, missings = list(step.feature), list(step.threshold), list(step.missing_left) or [False] * len(splits)
    lefts, rights = list(step.left), list(step.right)
    for node, split in enumerate(splits):
        if split is not None:
            features[node] = slots.setdefault(split.base, len(slots))
            thresholds[node], missings[node] = split.threshold, split.missing_left
            if split.swapped:
                lefts[node], rights[node] = step.right[node], step.left[node]
        elif features[node] >= 0:
            features[node] = slots.setdefault(step.slots[features[node]], len(slots))
    return replace(
        step, slots=tuple(slots) or step.slots[:1], feature=tuple(features), threshold=tuple(thresholds), left=tuple(lefts),
        right=tuple(rights), missing_left=tuple(missings) if any(missings) else (), compare="le", cast="f8",
    )  # fmt: skip


class _Folder:
    """Folds the splits of one Trees step; equal ones are worked out once."""

    def __init__(self, step: Trees, chains: Chains) -> None:
        self._step, self._chains = step, chains
        self._of = {slot: chains.of(slot) for slot in step.slots}
        self._known: dict[tuple[int, float, bool], Split] = {}
        self._ends: dict[float, float | None] = {}
        self.done = (step.cast, step.compare) == ("f8", "le") and not any(chain.steps for chain in self._of.values())
        in_sets = {step.slots[step.feature[int(node)]] for node in step.sets}
        self.can = step.cast == "f8" or all(chains.whole(slot) for slot in in_sets)

    def split(self, node: int) -> Split:
        """An inner node that compares with a threshold."""
        step = self._step
        slot = step.slots[step.feature[node]]
        key = (slot, step.threshold[node], missing_goes_left(step, node))
        if key not in self._known:
            self._known[key] = self._folded(*key)
        return self._known[key]

    def _folded(self, slot: int, threshold: float, missing_left: bool) -> Split:
        if threshold not in self._ends:
            self._ends[threshold] = last_true(lambda x: self._left(x, threshold), self._near(threshold))
        end = self._ends[threshold]
        chain = self._of[slot]

        def left(x: float) -> bool:
            return end is not None and chain(x) <= end

        if chain.steps and not infinities_agree(left):
            chain = Chain(slot)
        through = chain(NAN)
        missing = missing_left if is_missing(through) else end is not None and through <= end
        return _split(chain, left, missing, None if end is None else chain.before(end))

    def _near(self, threshold: float) -> float:
        """About where the cast turns: half-way between the float32s below and above the threshold."""
        near = f4(threshold)
        if self._step.cast == "f8" or not math.isfinite(near):
            return threshold
        half = math.ulp(near) * 2.0**28
        return near + half if near <= threshold else near - half

    def _left(self, x: float, threshold: float) -> bool:
        cast = f4(x) if self._step.cast == "f4" else x
        return cast <= threshold if self._step.compare == "le" else cast < threshold


def _split(chain: Chain, left: Callable[[float], bool], missing_left: bool, near: float | None) -> Split:
    """The threshold of the base, about `near`, that parts what goes left from what does not."""
    if not chain.falls:
        found = last_true(left, near)
        if found is None:  # nothing goes left: what is at most the largest goes right
            return Split(chain.base, LARGEST, True, not missing_left)
        return Split(chain.base, found, False, missing_left)
    found = last_true(lambda x: not left(x), near)
    if found is None:
        return Split(chain.base, LARGEST, False, missing_left)
    return Split(chain.base, found, True, not missing_left)
