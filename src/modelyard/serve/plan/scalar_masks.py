"""Many small trees together, for one row: no test is made twice, and nothing branches.

Each tree has a byte, each of its leaves a bit of it. What a feature's value rules out in all of the trees is one long number, looked up by
the value; these numbers are AND-ed, and the lowest bit left in a tree's byte is its leaf (see `leaves`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelyard.serve.plan import floats
from modelyard.serve.plan.interpret import goes_left
from modelyard.serve.plan.leaves import Tree, tree_of
from modelyard.serve.plan.schema import Trees
from modelyard.serve.plan.source import Code, Hot, joined

MOST_LEAVES = 8
_TOGETHER = 256
"""Masks in a table of several encodings at the most: each is a byte a tree."""
_LOWEST = bytes(max((byte & -byte).bit_length() - 1, 0) for byte in range(256))
Features = Sequence[str | Hot]
Test = tuple[int, int]
"""A node, and a mask without the leaves that it rules out when it sends a row to the right."""
Hots = list[tuple[int, Test]]
"""Tests of an encoding: the index of a slot of it, and what is tested there."""


def lines_of(code: Code, step: Trees, trees: Sequence[int], features: Features, sums: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """The lines that add what some trees give to the sums, and the names that they look at. None where trees are no small ones that add
    float64 numbers to one sum each, or too few for their features."""
    if step.sums != "f8" or step.sets or any(step.targets[t] < 0 for t in trees):
        return None
    shapes = [tree_of(step, step.roots[t]) for t in trees]
    if any(len(tree.leaves) > MOST_LEAVES for tree in shapes):
        return None
    full = int.from_bytes(bytes((1 << len(tree.leaves)) - 1 for tree in shapes), "little")
    numbers: dict[str, list[Test]] = {}
    hots: dict[str, Hots] = {}
    for node, mask in _tests(shapes, full):
        found = features[step.feature[node]]
        if isinstance(found, Hot):
            hots.setdefault(found.place, []).append((found.index, (node, mask)))
        else:
            numbers.setdefault(found, []).append((node, mask))
    if not 0 < 2 * (len(numbers) + len(hots)) <= len(trees):
        return None
    terms = [_of_encodings(code, step, group, full) for group in _grouped(hots, code.widths)]
    terms += [_of_number(code, step, name, tests, full) for name, tests in numbers.items()]
    leaves = [f"l{place}" for place in range(len(trees))]
    lines = [*joined("m", "&", terms), f"{','.join(leaves)},=m.to_bytes({len(trees)},'little').translate({code.keep(_LOWEST)})"]
    for target, name in enumerate(sums):
        given = [
            f"({''.join(f'{step.leaf[node]!r},' for node in tree.leaves)})[{leaf}]"
            for tree, leaf, t in zip(shapes, leaves, trees, strict=True)
            if step.targets[t] == target
        ]
        lines += joined(name, "+", [name, *given])
    return lines, [*hots, *numbers]


def _tests(shapes: Sequence[Tree], full: int) -> Iterator[Test]:
    for place, tree in enumerate(shapes):
        for node, first, end in tree.splits:
            yield node, full & ~(((1 << (end - first)) - 1) << (8 * place + first))


def _grouped(hots: dict[str, Hots], widths: dict[str, int]) -> list[dict[str, Hots]]:
    """Encodings side by side that are looked up together."""
    groups: list[dict[str, Hots]] = []
    room = 0
    for name, tests in sorted(hots.items(), key=lambda item: widths[item[0]]):
        if widths[name] >= room:
            groups.append({})
            room = _TOGETHER
        groups[-1][name] = tests
        room //= widths[name] + 1
    return groups


def _of_encodings(code: Code, step: Trees, group: dict[str, Hots], full: int) -> str:
    """Source for what some encodings together do not rule out: lists in lists, by the place of each."""
    tables: Any = full
    for name, tests in reversed(group.items()):
        tables = [_masked(tables, mask) for mask in _of_places(step, tests, code.widths[name], full)]
    return code.keep(tables) + "".join(f"[{name}]" for name in group)


def _masked(tables: Any, mask: int) -> Any:
    return tables & mask if isinstance(tables, int) else [_masked(table, mask) for table in tables]


def _of_places(step: Trees, tests: Hots, width: int, full: int) -> list[int]:
    """By the place of an encoding, and last for none: what is not ruled out."""
    masks = [full] * (width + 1)
    for index, (node, mask) in tests:
        cold, hot = not goes_left(step, node, 0.0), not goes_left(step, node, 1.0)
        for place in range(width + 1):
            if hot if place == index else cold:
                masks[place] &= mask
    return masks


def _of_number(code: Code, step: Trees, name: str, tests: Sequence[Test], full: int) -> str:
    """Source for what a number does not rule out: by how many thresholds it is above, and last for a missing one."""
    by_edge: dict[float, int] = {}
    missing = full
    for node, mask in tests:
        by_edge[step.threshold[node]] = by_edge.get(step.threshold[node], full) & mask
        if not goes_left(step, node, floats.NAN):
            missing &= mask
    edges = sorted(by_edge)
    masks = [full]
    for edge in edges:
        masks.append(masks[-1] & by_edge[edge])
    search = "bisect_left" if step.compare == "le" else "bisect_right"
    return f"{code.keep([*masks, missing])}[{search}({code.keep(edges)},{name}) if {name}=={name} else -1]"
