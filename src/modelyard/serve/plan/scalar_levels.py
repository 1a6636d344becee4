"""The source of large forests, for one row: all trees together, a level at a time, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.serve.plan import floats
from modelyard.serve.plan.schema import Trees
from modelyard.serve.plan.source import Code, Hot, value_of

DEEPEST = 64
"""Levels, each of which takes some microseconds however few trees are so deep."""
_FEWEST, _FEWEST_COMPILED = 64, 300
"""Trees from which on this is quicker than walking one after the other, and than functions that the processor's cache does not hold."""
_UNCACHED = 100_000
"""Nodes of which such functions consist."""


def by_levels(step: Trees, depths: Sequence[int], *, compiled: bool) -> bool:
    """Whether all trees of an ensemble go together; `depths` is each tree's, `compiled` whether it would be compiled else."""
    if compiled and len(step.feature) < _UNCACHED:
        return False
    alike = len({target < 0 for target in step.targets}) == 1
    if step.sets or not alike or max(depths) > DEEPEST or len(depths) < (_FEWEST_COMPILED if compiled else _FEWEST):
        return False
    leaves = max(max(map(abs, leaf)) if isinstance(leaf, tuple) else abs(leaf) for leaf in step.leaf)
    largest = floats.LARGEST if step.sums == "f8" else floats.FLOAT32_ENDS[1]
    return leaves * len(depths) + max(map(abs, step.init)) < largest / 2


def write_levels(code: Code, step: Trees, features: Sequence[str | Hot]) -> str:
    """An expression for the sums of an ensemble: a float, or a list of `width` floats."""
    from modelyard.serve.plan.levels import Levels

    return f"{code.keep(Levels(step))}(({''.join(f'{value_of(found)},' for found in features)}))"
