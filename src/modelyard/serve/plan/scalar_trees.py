"""The source of an ensemble of trees, for one row: symmetric trees (scalar_symmetric), those of a large forest (scalar_levels), and small
ones (scalar_masks) go together; any other tree is one nested conditional expression.

Trees that are too deep for the compiler, and ensembles that would take it seconds, are walked node by node instead (scalar_walks); what
would take it tenths of a second is walked at first and compiled piece by piece while it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from modelyard.serve.plan import floats
from modelyard.serve.plan.interpret import goes_left, missing_goes_left
from modelyard.serve.plan.scalar_levels import by_levels, write_levels
from modelyard.serve.plan.scalar_masks import lines_of
from modelyard.serve.plan.scalar_symmetric import write_symmetric
from modelyard.serve.plan.scalar_walks import Later, is_plain, linked, nodes_of, rounded
from modelyard.serve.plan.schema import Trees
from modelyard.serve.plan.source import Code, Hot, value_of

DEEPEST = 40
"""Levels of a tree that is compiled: the parser's recursion is bounded."""
AT_ONCE = 10_000
"""Nodes of an ensemble that is compiled before its first row: some 0.1 s."""
COMPILED_NODES = 300_000
"""Nodes of an ensemble that is compiled at all."""
_CHUNK_NODES = 2000
_WALKS = 20
"""Rows for which an ensemble is walked before its first chunk is compiled, and then one after the other every so many rows."""
_SEPARATE = 16
"""Sums up to which each is a variable of its own."""


def write_trees(code: Code, step: Trees) -> None:
    """Append the lines of a Trees step, and its new slots."""
    sums = _begun(code, step)
    features = [_cast(code, step, feature) for feature in range(len(step.slots))]
    together = write_symmetric(code, step, features)
    if together is None:
        _write_apart(code, step, features, sums)
    else:
        code.lines.append(f"{','.join(sums)}={together}")
    for place in range(step.width):
        name = sums[place] if step.width <= _SEPARATE else f"{sums[0]}[{place}]"
        scaled = f"{name}/{step.divide!r}" if step.scale is None else f"{name}*{step.scale!r}"
        made = code.name("s")
        code.lines.append(f"{made}={name if (step.scale, step.divide) == (None, 1.0) else scaled}")
        code.add(made)


def _write_apart(code: Code, step: Trees, features: list[str | Hot], sums: list[str]) -> None:
    """Append the lines of trees that stand in functions of their own, some thousand nodes each, or that go down together."""
    sizes, depths = shapes(step)
    total = sum(sizes)
    if by_levels(step, depths, compiled=total <= COMPILED_NODES):
        code.lines.append(f"{','.join(sums)}={write_levels(code, step, features)}")
        return
    writer = _Writer(code, step, features, sums, [total > COMPILED_NODES or depth > DEEPEST for depth in depths])
    for number, chunk in enumerate(_chunks(sizes)):
        writer.write(chunk, later=None if total <= AT_ONCE or total > COMPILED_NODES else (number + 1) * _WALKS)


def _begun(code: Code, step: Trees) -> list[str]:
    """The names of the sums, which begin with `init`; one name of a list where they are many."""
    inits = [repr(rounded(step, x)) for x in step.init]
    if step.width > _SEPARATE:
        name = code.name("r")
        code.lines.append(f"{name}=[{','.join(inits)}]")
        return [name]
    sums = [code.name("r") for _ in inits]
    code.lines += [f"{name}={init}" for name, init in zip(sums, inits, strict=True)]
    return sums


def _chunks(sizes: Sequence[int]) -> list[list[int]]:
    """Trees side by side of about `_CHUNK_NODES` nodes together."""
    chunks: list[list[int]] = []
    room = 0
    for tree, size in enumerate(sizes):
        if room <= 0:
            chunks.append([])
            room = _CHUNK_NODES
        chunks[-1].append(tree)
        room -= size
    return chunks


def shapes(step: Trees) -> tuple[list[int], list[int]]:
    """The number of nodes, and the depth, of each tree."""
    owners, levels = [-1] * len(step.feature), [0] * len(step.feature)
    sizes, depths = [0] * len(step.roots), [0] * len(step.roots)
    for tree, root in enumerate(step.roots):
        owners[root] = tree
    for node, feature in enumerate(step.feature):
        owner, level = owners[node], levels[node]
        sizes[owner] += 1
        depths[owner] = max(depths[owner], level)
        if feature >= 0:
            for child in (step.left[node], step.right[node]):
                owners[child], levels[child] = owner, level + 1
    return sizes, depths


def _largest(step: Trees) -> float:
    """What the sums cannot exceed."""
    leaves = (max(map(abs, leaf)) if isinstance(leaf, tuple) else abs(leaf) for leaf in step.leaf)
    return sum(leaves) + max(map(abs, step.init))


def _cast(code: Code, step: Trees, feature: int) -> str | Hot:
    """What a feature is called: an encoding's slot needs no cast."""
    slot = step.slots[feature]
    found = code.slots[slot]
    if isinstance(found, Hot) or step.cast == "f8":
        return found
    name = code.name("s")
    code.lines.append(f"{name}=f4({found})")
    return name


class _Writer:
    """Writes trees of one step as functions of the features that they look at and of the sums so far."""

    def __init__(self, code: Code, step: Trees, features: list[str | Hot], sums: list[str], deep: list[bool]) -> None:
        self.code, self.step, self.features, self.sums, self.deep = code, step, features, sums, deep
        self.used: dict[str, None] = {}
        self.bounded = step.sums == "f4" and _largest(step) < floats.FLOAT32_ENDS[1] / 2

    def write(self, trees: list[int], *, later: int | None = None) -> None:
        """One function of some trees, and its call. `later`: the trees are walked at first, and compiled after so many calls."""
        name, listed = self.code.name("t"), ",".join(self.sums)
        self.used = {}
        if later is None:
            lines = self._lines(trees)
        else:
            lines = [line for tree in trees for line in self._tree(tree, walked=True)]
            lines = [self._values(), *lines]
        arguments = ",".join([*self.used, *self.sums])
        self.code.function(f"{name}({arguments})", [*lines, f"return {listed}"])
        self.code.lines.append(f"{listed}={name}({arguments})")
        if later is not None:
            walking = self.code.namespace[name]
            self.code.namespace[name] = Later(walking, later, lambda: self._compiled(name, arguments, trees))

    def _compiled(self, name: str, arguments: str, trees: list[int]) -> Callable[..., Any]:
        """The function of the same name and arguments that does not walk; it takes the other's place."""
        self.code.function(f"{name}({arguments})", [*self._lines(trees), f"return {','.join(self.sums)}"])
        made: Callable[..., Any] = self.code.namespace[name]
        return made

    def _lines(self, trees: list[int]) -> list[str]:
        """The lines that add what some trees give."""
        if self.step.width <= _SEPARATE and (together := lines_of(self.code, self.step, trees, self.features, self.sums)) is not None:
            self.used.update(dict.fromkeys(together[1]))
            return together[0]
        lines = [line for tree in trees for line in self._tree(tree, walked=self.deep[tree])]
        return [self._values(), *lines] if any(self.deep[tree] for tree in trees) else lines

    def _values(self) -> str:
        """All features of a row, as trees that are walked look them up."""
        self.used.update(dict.fromkeys(found.place if isinstance(found, Hot) else found for found in self.features))
        return f"w=({''.join(f'{value_of(found)},' for found in self.features)})"

    def _tree(self, tree: int, *, walked: bool) -> list[str]:
        """The lines that add what one tree gives."""
        target = self.step.targets[tree]
        if walked:
            node = self.code.keep(linked(self.step, self.step.roots[tree]))
            found = f"{'walk' if is_plain(self.step) else 'walk_carefully'}({node},w)"
        else:
            found = self._expression(tree)
        if target >= 0:
            return [self._added(self.sums[target] if self.step.width <= _SEPARATE else f"{self.sums[0]}[{target}]", f"({found})")]
        if self.step.width > _SEPARATE:
            return [f"{'add_f4' if self.step.sums == 'f4' else 'add'}({self.sums[0]},{found})"]
        parts = [f"a{place}" for place in range(self.step.width)]
        return [f"{','.join(parts)},={found}"] + [self._added(name, part) for name, part in zip(self.sums, parts, strict=True)]

    def _added(self, name: str, found: str) -> str:
        """The line that adds to a sum, and rounds it to float32 where the sums are such: by way of four bytes, which a sum fits in that
        cannot overflow, else by a function."""
        if self.step.sums == "f8":
            return f"{name}+={found}"
        return f"{name},=unpack(pack({name}+{found}))" if self.bounded else f"{name}=f4({name}+{found})"

    def _expression(self, tree: int) -> str:
        """A nested conditional; children come before their parents in the walk, which goes backwards."""
        step, texts = self.step, dict[int, str]()
        for node in reversed(nodes_of(step, step.roots[tree])):
            feature = step.feature[node]
            if feature < 0:
                texts[node] = self._leaf(step.leaf[node])
                continue
            left, right = texts.pop(step.left[node]), texts.pop(step.right[node])
            test = self._test(node)
            if test in ("0", "1"):
                texts[node] = left if test == "1" else right
            else:
                texts[node] = f"({left})if {test} else {right}"
        return texts[step.roots[tree]]

    def _leaf(self, leaf: Any) -> str:
        return repr(rounded(self.step, leaf))

    def _test(self, node: int) -> str:
        """Whether the row goes left, as source; 0 or 1 where that is always so."""
        step = self.step
        found = self.features[step.feature[node]]
        if isinstance(found, Hot):
            cold, hot = goes_left(step, node, 0.0), goes_left(step, node, 1.0)
            if cold == hot:
                return str(int(cold))
            self.used[found.place] = None
            return f"{found.place}{'!=' if cold else '=='}{found.index}"
        self.used[found] = None
        missing_left = missing_goes_left(step, node)
        chosen = step.sets.get(str(node))
        if chosen is not None:
            name = self.code.keep(frozenset(map(float, chosen)))
            return f"{found} in {name}" + (f" or {found}!={found}" if missing_left else "")
        if missing_left:
            return f"not {found}{'>' if step.compare == 'le' else '>='}{step.threshold[node]!r}"
        return f"{found}{'<=' if step.compare == 'le' else '<'}{step.threshold[node]!r}"
