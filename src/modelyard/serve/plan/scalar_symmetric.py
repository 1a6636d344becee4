"""The source of symmetric trees, for one row: an integer a feature holds the bits of all trees, and the sums are one call of NumPy's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.serve.plan.schema import Trees
from modelyard.serve.plan.source import Code, Hot, joined

if TYPE_CHECKING:
    from modelyard.serve.plan.symmetric import Symmetric

FEWEST_LEVELS = 400
"""Levels of all trees together from which on this is quicker than nested conditions: some 70 trees of depth 6."""


def write_symmetric(code: Code, step: Trees, features: list[str | Hot]) -> str | None:
    """An expression for the sums of an ensemble, a float or a list of `width` floats, after the lines that it needs. None where the trees
    are not symmetric, or so few that it does not pay."""
    if not _may_be(step):
        return None
    from modelyard.serve.plan.symmetric import symmetric

    found = symmetric(step)
    if found is None:
        return None
    names = [_write_block(code, found, features, first, end) for first, end in found.blocks()]
    return f"{code.keep(found.sums_of)}({'+'.join(names)})"


def _may_be(step: Trees) -> bool:
    """Whether there are levels enough, and no node beside the way that always goes left asks what that one does not: a glance that needs
    no NumPy and tells nearly all others apart."""
    levels = 0
    for node in step.roots:
        while step.feature[node] >= 0:
            levels += 1
            left, right = step.left[node], step.right[node]
            if step.feature[left] != step.feature[right] or (step.feature[left] >= 0 and step.threshold[left] != step.threshold[right]):
                return False
            node = left
    return levels >= FEWEST_LEVELS


def _write_block(code: Code, found: Symmetric, features: list[str | Hot], first: int, end: int) -> str:
    """A name that holds the numbers of the leaves of some trees, as bytes."""
    name, trees = code.name("m"), end - first
    terms, hots = list[str](), dict[str, list[tuple[int, Any]]]()
    for feature, tests in found.by_feature(first, end).items():
        x = features[feature]
        if isinstance(x, Hot):
            hots.setdefault(x.place, []).append((x.index, tests))
            continue
        edges, bits = found.of_number(tests, trees)
        terms.append(f"{code.keep(_integers(bits))}[-1 if {x}!={x} else bisect_left({code.keep(edges.tolist())},{x})]")
    for place, several in hots.items():
        terms.append(f"{code.keep(_integers(found.of_encoding(several, code.widths[place], trees)))}[{place}]")
    code.lines += [*joined(name, "|", terms or ["0"]), f"{name}={name}.to_bytes({trees * found.word.itemsize},'little')"]
    return name


def _integers(bits: Any) -> list[int]:
    """Each row of bits as one integer."""
    return [int.from_bytes(row.tobytes(), "little") for row in bits]
