"""The source of each step of a row plan, for one row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from modelyard.serve.plan import floats
from modelyard.serve.plan.scalar_trees import write_trees
from modelyard.serve.plan.schema import (
    AnyStep,
    Arithmetic,
    Binarize,
    Bins,
    Function,
    Gauss,
    Impute,
    Isotonic,
    Linear,
    Link,
    Lookup,
    Missing,
    Normalize,
    OneHot,
    Products,
    Require,
    Trees,
)  # fmt: skip
from modelyard.serve.plan.slots import width
from modelyard.serve.plan.source import Code, Hot, joined

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def write_step(code: Code, step: AnyStep) -> None:
    """Append a step's lines, and its new slots."""
    match step:
        case Require():
            _write_require(code, step)
        case OneHot() | Lookup():
            _write_keyed(code, step)
        case Products():
            for term in step.terms:
                _assign(code, "*".join(code.value(slot) for slot in term) or "1.0")
        case Normalize():
            listed = "".join(code.value(slot) + "," for slot in step.slots)
            _unpack(code, f"normalized({code.keep(step)},({listed}))", len(step.slots))
        case Linear():
            for place in range(len(step.weights)):
                _write_row(code, step, place)
        case Gauss():
            _write_gauss(code, step)
        case Trees():
            write_trees(code, step)
        case Link():
            _write_link(code, step)
        case _:
            _write_single(code, step)


def _assign(code: Code, expression: str, *, text: bool = False) -> str:
    """A new slot."""
    name = code.name("s")
    code.lines.append(f"{name}={expression}")
    code.add(name, text=text)
    return name


def _unpack(code: Code, expression: str, count: int) -> None:
    """New slots of an expression that gives several."""
    names = [code.name("s") for _ in range(count)]
    code.lines.append(f"{','.join(names)},={expression}")
    for name in names:
        code.add(name)


def _write_single(code: Code, step: Arithmetic | Function | Impute | Missing | Bins | Binarize | Isotonic) -> None:
    x = code.variable(step.slot)
    match step:
        case Arithmetic():
            name = _assign(code, x)
            for what, by in step.ops:
                if what in _SIGNS:
                    code.lines.append(f"{name}={name}{_SIGNS[what]}{by!r}")
                else:
                    code.lines.append(f"if {name}{'<' if what == 'at_least' else '>'}{by!r}:{name}={by!r}")
        case Function():
            if step.parameter is None:
                _assign(code, f"{code.keep(floats.NAMED[step.name])}({x})")
            else:
                _assign(code, f"{code.keep(floats.WITH_PARAMETER[step.name])}({x},{step.parameter!r})")
        case Impute():
            text = code.texts[step.slot]
            value = code.keep(step.value) if text else repr(float(step.value))
            _assign(code, f"{value} if {_missing(code, step, x)} else {x}", text=text)
        case Missing():
            _assign(code, f"1.0 if {_missing(code, step, x)} else 0.0")
        case Bins():
            _assign(code, f"bisect_right({code.keep(step.edges)},{x})+0.0")
        case Binarize():
            _assign(code, f"1.0 if {x}>{step.threshold!r} else 0.0")
        case Isotonic():
            xs = code.keep(step.xs)
            _assign(code, f"interpolate({x},{xs},{code.keep(step.ys)},bisect_right({xs},{x}))")


def _missing(code: Code, step: Impute | Missing, x: str) -> str:
    """A test: whether the value of `x` counts as missing."""
    text = code.texts[step.slot]
    tests = [f"{x} is None" if text else f"{x}!={x}"] if step.nan else []
    if step.missing is not None:
        tests.append(f"{x}=={code.keep(step.missing) if text else repr(float(step.missing))}")
    return " or ".join(tests) or "0"


def _write_require(code: Code, step: Require) -> None:
    message = code.keep(step.message)
    for slot in step.slots:
        x = code.variable(slot)
        match step.what:
            case "present":
                test = f"{x} is None" if code.texts[slot] else f"{x}!={x}"
            case "finite":
                test = f"not {-floats.LARGEST!r}<={x}<={floats.LARGEST!r}"
            case "bounded":
                test = f"{x}>{floats.LARGEST!r} or {x}<{-floats.LARGEST!r}"
            case "float32":
                test = f"{x}>{floats.FLOAT32_ENDS[1]!r} or {x}<{floats.FLOAT32_ENDS[0]!r}"
            case "positive":
                test = f"{x}<=0"
            case "between":
                test = f"{x}>{step.high!r} or {x}<{step.low!r}"
        code.lines.append(f"if {test}:refuse({message})")


def _write_keyed(code: Code, step: OneHot | Lookup) -> None:
    """One look-up in a dict gives the place, or the row."""
    made: dict[Any, Any] = dict(zip(step.keys, step.places if isinstance(step, OneHot) else map(_cells, step.values), strict=True))
    unknown, missing = step.unknown, step.missing
    if isinstance(step, Lookup):
        unknown, missing = (None if row is None else _cells(row) for row in (step.unknown, step.missing))
    x, found, table = code.variable(step.slot), code.name("p"), code.keep(made)
    expression = f"{table}.get({x},{code.keep(unknown)})"
    if code.texts[step.slot]:
        made[None] = missing
    else:
        expression = f"{code.keep(missing)} if {x}!={x} else {expression}"
    code.lines.append(f"{found}={expression}")
    if unknown is None or missing is None:
        code.lines.append(f"if {found} is None:unseen({x})")
    if isinstance(step, OneHot):
        code.widths[found] = step.width
        for place in range(step.width):
            code.add(Hot(found, place))
    else:
        _unpack(code, found, width(step))


def _cells(row: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(floats.NAN if cell is None else cell for cell in row)


def _write_row(code: Code, step: Linear, place: int) -> None:
    """A weighted sum, term by term. Slots side by side of one encoding are one term: its weight looked up, 0 where none of them is 1."""
    terms: list[str] = []
    tables: dict[str, list[float]] = {}
    last = ""
    for slot, weight in zip(step.slots, step.weights[place], strict=True):
        found = code.slots[slot]
        if not isinstance(found, Hot):
            terms.append(f"{found}*{weight!r}")
            last = ""
            continue
        if found.place != last or tables[found.place][found.index] != 0.0:
            last, tables[found.place] = found.place, [0.0] * (code.widths[found.place] + 1)
            terms.append(f"{code.keep(tables[last])}[{last}]")
        tables[last][found.index] = weight
    name = code.name("s")
    code.lines += [*joined(name, "+", terms), f"{name}+={step.bias[place]!r}"]
    code.add(name)


def _write_gauss(code: Code, step: Gauss) -> None:
    values = [code.variable(slot) for slot in step.slots]
    for means, variances, prior in zip(step.means, step.variances, step.priors, strict=True):
        spread = 0.0
        for variance in variances:
            spread += math.log(2.0 * math.pi * variance)
        name = _assign(code, "0.0")
        for x, mean, variance in zip(values, means, variances, strict=True):
            code.lines.append(f"d={x}-{mean!r};{name}+=d*d/{variance!r}")
        code.lines.append(f"{name}={prior!r}+({-0.5 * spread!r}-0.5*{name})")


def _write_link(code: Code, step: Link) -> None:
    values = [code.variable(slot) for slot in step.slots]
    if step.kind == "complement":
        _assign(code, f"f4(1.0-{values[0]})" if step.float32 else f"1.0-{values[0]}")
        code.add(values[0])
    elif step.kind in ("softmax", "normalize", "shares"):
        _unpack(code, f"together({code.keep(step)},({','.join(values)},))", len(values))
    else:
        for x in values:
            _assign(code, _linked(code, step, x))


def _linked(code: Code, step: Link, x: str) -> str:
    """The links that look at a slot by itself."""
    if step.kind == "clip":
        return f"0.0 if {x}<0.0 else 1.0 if {x}>1.0 else {x}"
    if step.kind == "exp":
        raised = f"inf if {x}>{floats.EXP_OVERFLOWS!r} else exp({x})"
        return f"f4({raised})" if step.float32 else raised
    if step.float32:
        return f"{code.keep(floats.sigmoid_f4)}({x})"
    return f"1.0/(1.0+(inf if {x}<{-floats.EXP_OVERFLOWS!r} else exp(-{x})))"
