"""Random row plans and rows for them, by Hypothesis; and how answers are compared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from modelyard.serve.plan import floats
from modelyard.serve.plan.refused import Refused
from modelyard.serve.plan.schema import (
    Arithmetic,
    Binarize,
    Bins,
    Function,
    Gauss,
    Impute,
    Input,
    Isotonic,
    Linear,
    Link,
    Lookup,
    Missing,
    Normalize,
    OneHot,
    Plan,
    Products,
    Require,
    Trees,
)  # fmt: skip
from modelyard.serve.plan.slots import width
from modelyard.signature import Column, Signature

WORDS = ("", "a", "b", "c", '");import os;("', "ä\n'")
NUMBERS = (0.0, -0.0, 1.0, 2.0, 3.0, -1.0, 0.1, 1 / 3, 1e300, -1e300, 1e38, 3.5e38, 2.0**53 + 2, 5e-324)
finite = st.one_of(st.sampled_from(NUMBERS), st.floats(-10, 10), st.floats(allow_nan=False, allow_infinity=False))
small = st.one_of(st.sampled_from((0.0, 0.5, 1.0, 2.0, -1.5)), st.floats(-4, 4))


@st.composite
def inputs(draw: st.DrawFn) -> tuple[Input, ...]:
    kinds = draw(st.lists(st.sampled_from(("float", "int", "str", "bool", "datetime")), min_size=1, max_size=4))
    return tuple(Input(f"c{i}", kind, draw(st.booleans())) for i, kind in enumerate(kinds))


def rows(plan: Plan, count: int) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Rows that the front lets through."""
    steps = [step for step in plan.steps if isinstance(step, Trees)]
    thresholds = [t for step in steps for t, feature in zip(step.threshold, step.feature, strict=True) if feature >= 0 and abs(t) < 1e300]
    near = st.sampled_from(thresholds or [0.0]).flatmap(lambda t: st.sampled_from((t, math.nextafter(t, 9e307), math.nextafter(t, -9e307))))
    ints = st.one_of(st.integers(-3, 4), st.sampled_from((2**53 + 1, 2**63 - 1, -(2**63))))
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "float": st.one_of(near, near, finite), "int": ints, "datetime": ints, "str": st.sampled_from((*WORDS, "unseen")),
        "bool": st.booleans(),
    }  # fmt: skip
    cells = [st.one_of(st.none(), kinds[c.type]) if c.nullable else kinds[c.type] for c in plan.inputs]
    return st.lists(st.tuples(*cells), min_size=count, max_size=count)


@st.composite
def trees(draw: st.DrawFn, slots: tuple[int, ...], largest: int = 12) -> Trees:
    """An ensemble of trees of up to `largest` inner nodes each."""
    wide = draw(st.sampled_from((1, 1, 2, 3, 17)))
    missing, use_sets = draw(st.booleans()), draw(st.booleans())
    lists: dict[str, list[Any]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "leaf", "missing_left", "roots", "targets")
    }
    sets: dict[str, tuple[int, ...]] = {}
    for _ in range(draw(st.integers(0, 4))):
        target = draw(st.integers(-1, wide - 1))
        waiting, room = [len(lists["feature"])], draw(st.integers(0, largest))
        lists["roots"].append(waiting[0])
        lists["targets"].append(target)
        count = waiting[0] + 1
        while waiting:
            node = waiting.pop(0)
            assert node == len(lists["feature"])
            inner = room > 0 and (not waiting or draw(st.booleans()))
            room -= inner
            lists["feature"].append(draw(st.integers(0, len(slots) - 1)) if inner else -1)
            lists["threshold"].append(draw(st.one_of(small, finite)) if inner else 0.0)
            lists["left"].append(count if inner else 0)
            lists["right"].append(count + 1 if inner else 0)
            lists["missing_left"].append(draw(st.booleans()))
            lists["leaf"].append(0.0 if inner else draw(small) if target >= 0 else tuple(draw(small) for _ in range(wide)))
            if inner:
                waiting += [count, count + 1]
                count += 2
                if use_sets and draw(st.booleans()):
                    sets[str(node)] = tuple(draw(st.lists(st.integers(0, 5), max_size=4, unique=True)))
    if not missing:
        lists["missing_left"] = []
    if not lists["roots"]:
        lists = {**lists, "feature": [-1], "threshold": [0.0], "left": [0], "right": [0], "leaf": [1.5], "roots": [0], "targets": [0]}
        lists["missing_left"] = []
    more = {name: tuple(values) for name, values in lists.items()}
    return Trees(
        slots, **more, width=wide, init=tuple(draw(small) for _ in range(wide)), sets=sets,
        compare=draw(st.sampled_from(("le", "lt"))), cast=draw(st.sampled_from(("f4", "f8"))),
        sums=draw(st.sampled_from(("f8", "f8", "f4"))),
        scale=draw(st.sampled_from((None, None, 0.1))), divide=draw(st.sampled_from((1.0, 3.0))),
    )  # fmt: skip


def _some(draw: st.DrawFn, slots: list[int]) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.sampled_from(slots), min_size=1, max_size=5)))


@st.composite
def keyed(draw: st.DrawFn, slot: int, text: bool) -> OneHot | Lookup:
    words: st.SearchStrategy[Any] = st.sampled_from(WORDS) if text else st.sampled_from((0.0, 1.0, 2.0, -1.0, True))
    keys = tuple(dict.fromkeys(draw(st.lists(words, min_size=1, max_size=4))))
    if draw(st.booleans()):
        wide = draw(st.integers(1, 4))
        place = st.integers(-1, wide - 1)
        maybe = st.one_of(st.none(), place)
        return OneHot(slot, keys, tuple(draw(place) for _ in keys), wide, draw(maybe), draw(maybe))
    row = st.tuples(*[st.one_of(st.none(), small)] * draw(st.integers(1, 3)))
    return Lookup(slot, keys, tuple(draw(row) for _ in keys), draw(st.one_of(st.none(), row)), draw(st.one_of(st.none(), row)))


OF_ONE = ("arithmetic", "arithmetic", "function", "bins", "binarize", "isotonic")
OF_SEVERAL = ("require", "products", "normalize", "linear", "gauss", "trees", "trees", "link")


@st.composite
def step(draw: st.DrawFn, texts: list[bool]) -> Any:
    """One step over the slots so far."""
    numbers = [i for i, text in enumerate(texts) if not text]
    slot = draw(st.integers(0, len(texts) - 1))
    kind = draw(st.sampled_from(("present", "impute", "missing", "keyed", *((*OF_ONE, *OF_SEVERAL) if numbers else ()))))
    if kind in OF_ONE:
        return draw(of_one(kind, draw(st.sampled_from(numbers))))
    if kind in OF_SEVERAL:
        every = kind == "linear" and draw(st.booleans())
        return draw(of_several(kind, tuple(numbers) if every else _some(draw, numbers)))
    if kind == "keyed":
        return draw(keyed(slot, texts[slot]))
    if kind == "present":
        return Require(_some(draw, list(range(len(texts)))), "present", "it is missing")
    words = st.sampled_from(WORDS) if texts[slot] else small
    missing, nan = draw(st.one_of(st.none(), words)), draw(st.booleans())
    return Impute(slot, draw(words), nan, missing) if kind == "impute" else Missing(slot, nan, missing)


@st.composite
def of_one(draw: st.DrawFn, kind: str, slot: int) -> Any:
    """A step over one slot of numbers."""
    rising = st.lists(small, min_size=1, max_size=5).map(lambda xs: tuple(sorted(xs)))
    if kind == "arithmetic":
        any_op = st.tuples(st.sampled_from(("add", "sub", "at_least", "at_most", "mul")), small)
        op = st.one_of(any_op, st.tuples(st.sampled_from(("mul", "div")), small.map(lambda x: x or 0.25)))
        return Arithmetic(slot, tuple(draw(st.lists(op, min_size=1, max_size=3))))
    if kind == "function":
        name = draw(st.sampled_from((*floats.NAMED, *floats.WITH_PARAMETER)))
        return Function(slot, name, draw(st.sampled_from((0.0, 2.0, 0.5, -1.3))) if name in floats.WITH_PARAMETER else None)
    if kind == "bins":
        return Bins(slot, draw(rising))
    if kind == "binarize":
        return Binarize(slot, draw(small))
    xs = draw(rising)
    return Isotonic(slot, xs, tuple(draw(small) for _ in xs))


@st.composite
def of_several(draw: st.DrawFn, kind: str, slots: tuple[int, ...]) -> Any:
    """A step over some slots of numbers."""
    made = draw(st.integers(1, 3))
    row = st.tuples(*[small] * len(slots))
    if kind == "require":
        what = draw(st.sampled_from(("finite", "bounded", "float32", "positive", "between")))
        return Require(slots, what, "no", -2.0, 1e9) if what == "between" else Require(slots, what, "no")
    if kind == "products":
        return Products(tuple(tuple(draw(st.lists(st.sampled_from(slots), max_size=3))) for _ in range(made)))
    if kind == "normalize":
        return Normalize(slots, draw(st.sampled_from(("l1", "l2", "max"))))
    if kind == "linear":
        return Linear(slots, tuple(draw(row) for _ in range(made)), tuple(draw(small) for _ in range(made)))
    if kind == "gauss":
        spread = st.tuples(*[st.floats(0.01, 5)] * len(slots))
        return Gauss(slots, *(tuple(draw(s) for _ in range(made)) for s in (row, spread, small)))
    if kind == "trees":
        return draw(trees(slots, draw(st.sampled_from((3, 12, 40)))))
    name = draw(st.sampled_from(("sigmoid", "softmax", "exp", "clip", "complement", "normalize", "shares")))
    single = draw(st.booleans()) and name in ("sigmoid", "softmax", "exp", "complement")
    return Link(slots[:1] if name == "complement" else slots, name, single)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan of all kinds of steps; its answer is a number that says something of every slot, where it is finite."""
    columns = draw(inputs())
    texts = [c.type == "str" for c in columns]
    steps: list[Any] = []
    for _ in range(draw(st.integers(1, 6))):
        made = draw(step(texts))
        steps.append(made)
        texts += [texts[made.slot] if isinstance(made, Impute) else False] * width(made)
    numbers = [i for i, text in enumerate(texts) if not text]
    if not numbers:
        steps.append(Missing(0))
        numbers = [len(texts)]
    return Plan(columns, tuple(steps), (draw(st.sampled_from(numbers[-6:])),))


def signature_of(plan: Plan) -> Signature:
    """A regression of the plan's inputs."""
    return Signature("regression", tuple(Column(c.name, c.type, c.nullable) for c in plan.inputs))


def outcome(work: Callable[..., Any], *given: Any) -> Any:
    """What a function gives, or the words by which it refuses."""
    try:
        return work(*given)
    except Refused as exc:
        return exc.what


def same(a: Any, b: Any, relative: float = 0.0) -> bool:
    """Whether two outcomes are the same, floats to `relative`."""
    if isinstance(a, str) or isinstance(b, str):
        return bool(a == b)
    return len(a) == len(b) and all(
        x == y or (isinstance(x, float) and isinstance(y, float) and math.isclose(x, y, rel_tol=relative))
        for x, y in zip(a, b, strict=True)
    )
