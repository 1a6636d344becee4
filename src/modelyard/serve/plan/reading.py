"""Reading a row plan from JSON, and what holds of one beyond the types of its schema."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from modelyard.errors import BadInput
from modelyard.serve.plan.schema import (
    AnyStep,
    Arithmetic,
    Bins,
    Function,
    Gauss,
    Impute,
    Isotonic,
    Key,
    Linear,
    Link,
    Lookup,
    Missing,
    OneHot,
    Plan,
    Require,
    Trees,
)  # fmt: skip
from modelyard.serve.plan.slots import reads, width

MAX_BYTES = 512 * 2**20
MAX_SLOTS = 100_000
MAX_NODES = 5_000_000
MAX_NUMBERS = 10_000_000
"""Weights, categories and cells of one step."""
_decoder = msgspec.json.Decoder(Plan)


def read(data: bytes) -> Plan:
    """The plan. Raises BadInput where it does not hold."""
    if len(data) > MAX_BYTES:
        raise BadInput(f"the row plan has {len(data)} bytes; {MAX_BYTES} are allowed")
    try:
        plan = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadInput(f"the row plan does not hold: {exc}") from exc
    return checked(plan)


def checked(plan: Plan) -> Plan:
    """The plan itself. Raises BadInput where it does not hold."""
    names = [column.name for column in plan.inputs]
    if not names or len(set(names)) != len(names):
        raise BadInput("a row plan needs inputs, each of its own name")
    texts = [column.type == "str" for column in plan.inputs]
    for number, step in enumerate(plan.steps):
        try:
            _check_slots(step, texts)
            _check_step(step, texts)
            new = width(step)
            _holds(len(texts) + new <= MAX_SLOTS, f"more than {MAX_SLOTS} slots")
        except _Wrong as exc:
            raise BadInput(f"step {number} of the row plan ({type(step).__name__.lower()}) does not hold: {exc}") from None
        texts += [texts[step.slot] if isinstance(step, Impute) else False] * new
    answers = plan.answers if plan.decided is None else (*plan.answers, plan.decided)
    if not plan.answers or any(not 0 <= slot < len(texts) or texts[slot] for slot in answers):
        raise BadInput("the row plan's answers are no slots that hold numbers")
    return plan


class _Wrong(Exception):
    """What does not hold of a step."""


def _holds(good: bool, otherwise: str) -> None:
    if not good:
        raise _Wrong(otherwise)


def _check_slots(step: AnyStep, texts: list[bool]) -> None:
    """Slots are those of steps before; text goes only where text may go."""
    takes_text = isinstance(step, Impute | Missing | OneHot | Lookup) or (isinstance(step, Require) and step.what == "present")
    for slot in reads(step):
        _holds(0 <= slot < len(texts), f"there is no slot {slot} before it")
        _holds(takes_text or not texts[slot], f"slot {slot} is text")


def _check_step(step: AnyStep, texts: list[bool]) -> None:
    match step:
        case Arithmetic():
            _holds(all(by != 0 for what, by in step.ops if what == "div"), "it divides by 0")
        case Function():
            _holds((step.name in ("yeo_johnson", "box_cox")) == (step.parameter is not None), f"{step.name} and its parameter")
        case Impute() | Missing():
            keys = [step.missing] if step.missing is not None else []
            _check_keys([*keys, step.value] if isinstance(step, Impute) else keys, texts[step.slot])
        case Bins():
            _holds(_rising(step.edges), "the edges do not rise")
        case OneHot() | Lookup():
            _check_keys(step.keys, texts[step.slot])
            _check_table(step)
        case Linear():
            _holds(len(step.weights) == len(step.bias) >= 1, "a bias is missing")
            _check_rows(step.weights, len(step.slots))
        case Gauss():
            _holds(len(step.means) == len(step.variances) == len(step.priors) >= 1, "lengths differ")
            _check_rows((*step.means, *step.variances), len(step.slots))
            _holds(all(x > 0 for row in step.variances for x in row), "a variance is not above 0")
        case Isotonic():
            _holds(len(step.xs) == len(step.ys) >= 1 and _rising(step.xs), "the points do not rise")
        case Trees():
            _check_trees(step)
        case Link():
            _holds(len(step.slots) >= 1 and (step.kind != "complement" or len(step.slots) == 1), f"{step.kind} of {len(step.slots)} slots")
        case _:
            _holds(len(reads(step)) >= 1 or not hasattr(step, "slots"), "it reads no slot")


def _rising(numbers: Sequence[float]) -> bool:
    return all(a <= b for a, b in pairwise(numbers))


def _check_keys(keys: Iterable[Key], text: bool) -> None:
    _holds(all(isinstance(key, str) == text for key in keys), f"a key is not {'text' if text else 'a number'}, as its slot is")


def _check_rows(rows: Sequence[Sequence[Any]], length: int) -> None:
    _holds(len(rows) * length <= MAX_NUMBERS, f"more than {MAX_NUMBERS} numbers")
    _holds(length >= 1 and all(len(row) == length for row in rows), f"a row is not {length} long")


def _check_table(step: OneHot | Lookup) -> None:
    """Keys are unlike, and each has its place or row."""
    _holds(len(set(step.keys)) == len(step.keys), "a key stands there twice")
    if isinstance(step, Lookup):
        _holds(len(step.values) == len(step.keys), "keys and values differ in number")
        rows = [row for row in (*step.values, step.unknown, step.missing) if row is not None]
        _holds(len(rows) >= 1, "it has no values")
        _check_rows(rows, len(rows[0]))
        return
    _holds(len(step.places) == len(step.keys), "keys and places differ in number")
    _holds(1 <= step.width <= MAX_SLOTS, "its width")
    others = [place for place in (step.unknown, step.missing) if place is not None]
    _holds(all(-1 <= place < step.width for place in (*step.places, *others)), "a place lies outside its width")


def _check_trees(step: Trees) -> None:
    nodes = len(step.feature)
    _holds(len(step.slots) >= 1 and 1 <= step.width == len(step.init) <= MAX_SLOTS, "its width and init, or its slots")
    _holds(1 <= nodes <= MAX_NODES, f"it has {nodes} nodes; 1 to {MAX_NODES} are allowed")
    lists = (step.threshold, step.left, step.right, step.leaf, step.missing_left or step.feature)
    _holds(all(len(values) == nodes for values in lists), "its lists of nodes differ in length")
    _holds(len(step.roots) == len(step.targets), "roots and targets differ in number")
    _holds(all(-1 <= target < step.width for target in step.targets), "a target lies outside its width")
    _holds(step.divide != 0, "it divides by 0")
    _check_nodes(step, _owners(step))
    for name, chosen in step.sets.items():
        inner = name.isascii() and name.isdigit() and name == str(int(name)) and int(name) < nodes and step.feature[int(name)] >= 0
        _holds(inner and len(chosen) <= MAX_NUMBERS, f"the set of {name[:20]!r} belongs to no inner node")


def _owners(step: Trees) -> list[int]:
    """The tree of each node. Each node has one parent, which stands before it, or is a root."""
    nodes, features = len(step.feature), len(step.slots)
    owners = [-1] * nodes
    for tree, root in enumerate(step.roots):
        _holds(0 <= root < nodes and owners[root] < 0, f"the root of tree {tree}")
        owners[root] = tree
    for node, (feature, left, right) in enumerate(zip(step.feature, step.left, step.right, strict=True)):
        owner = owners[node]
        _holds(owner >= 0, f"node {node} belongs to no tree")
        _holds(-1 <= feature < features, f"the feature of node {node}")
        if feature >= 0:
            good = node < left < nodes and node < right < nodes and left != right and owners[left] < 0 and owners[right] < 0
            _holds(good, f"the children of node {node}")
            owners[left] = owners[right] = owner
    return owners


def _check_nodes(step: Trees, owners: list[int]) -> None:
    """Leaves are what their trees add: a number, or one for each slot."""
    wide = [target < 0 for target in step.targets]
    total = 0
    for node, (feature, leaf) in enumerate(zip(step.feature, step.leaf, strict=True)):
        if feature >= 0:
            continue
        if wide[owners[node]]:
            _holds(isinstance(leaf, tuple) and len(leaf) == step.width, f"the leaf at node {node} is not {step.width} numbers")
            total += step.width
        else:
            _holds(not isinstance(leaf, tuple), f"the leaf at node {node} is not one number")
    _holds(total <= MAX_NUMBERS and math.isfinite(step.divide), f"more than {MAX_NUMBERS} numbers in leaves")
