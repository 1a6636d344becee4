"""A row plan as one Python function of one row, written out and compiled: microseconds a row.

Only numbers and names of our own stand in the source; texts, tables and messages are objects in its namespace, which has no builtins.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from modelyard.serve.plan import floats, interpret
from modelyard.serve.plan.answers import NOT_FINITE, OUTSIDE, SLACK, Finish
from modelyard.serve.plan.refused import Refused, missing
from modelyard.serve.plan.scalar_steps import write_step
from modelyard.serve.plan.scalar_walks import walk, walk_carefully
from modelyard.serve.plan.schema import Input, Plan
from modelyard.serve.plan.source import Code
from modelyard.signature import Scalar

Row = Callable[[Sequence[Any]], tuple[Scalar, ...]]


def row_function(plan: Plan, how: Finish) -> Row:
    """A function of one row in the inputs' order, values as `serve.coerce` gives them (None: missing), to (prediction, *scores).

    It raises Refused where the native model raises, and for a missing number in a column that is not nullable.
    """
    code = Code(namespace=_namespace())
    _open(code, plan)
    for step in plan.steps:
        write_step(code, step)
    _close(code, plan, how)
    code.function("row(v)", ["try:", *(f" {line}" for line in code.lines), f"except wrong as e:missing({code.keep(plan.inputs)},v,e)"])
    made: Row = code.namespace.pop("row")  # else the function and its namespace would hold each other
    return made


def _namespace() -> dict[str, Any]:
    return {
        "__builtins__": {}, "wrong": (TypeError, struct.error), "missing": _missing,
        "nan": floats.NAN, "inf": floats.INF, "exp": math.exp, "f4": floats.f4, "pack": floats.SINGLE.pack,
        "unpack": floats.SINGLE.unpack, "max": max, "bisect_left": bisect_left, "bisect_right": bisect_right,
        "interpolate": floats.interpolate, "refuse": _refuse, "unseen": _unseen, "bounded": _bounded,
        "together": interpret.together, "normalized": interpret.normalized,
        "add": _add, "add_f4": _add_f4, "walk": walk, "walk_carefully": walk_carefully,
    }  # fmt: skip


def _refuse(message: str) -> NoReturn:
    raise Refused(message)


def _missing(columns: Sequence[Input], values: Sequence[Any], error: Exception) -> NoReturn:
    """What is raised where a row cannot be computed with: values are looked at only then."""
    for column, value in zip(columns, values, strict=True):
        if value is None and not column.nullable:
            raise Refused(missing(column.name)) from None
    raise error


def _unseen(value: Any) -> NoReturn:
    raise interpret.unseen(value)


def _bounded(score: float) -> float:
    """A score outside 0..1, where float32 soft-maxes may overshoot by a little."""
    if not math.isfinite(score):
        raise Refused(NOT_FINITE)
    if not -SLACK <= score <= 1 + SLACK:
        raise Refused(OUTSIDE)
    return min(max(score, 0.0), 1.0)


def _add(sums: list[float], leaf: Sequence[float]) -> None:
    for place, x in enumerate(leaf):
        sums[place] += x


def _add_f4(sums: list[float], leaf: Sequence[float]) -> None:
    for place, x in enumerate(leaf):
        sums[place] = floats.f4(sums[place] + x)


def _open(code: Code, plan: Plan) -> None:
    """Columns as slots: floats, or NaN for a missing one; text as it comes."""
    names = [code.name("s") for _ in plan.inputs]
    code.lines.append(f"{','.join(names)},=v")
    for name, column in zip(names, plan.inputs, strict=True):
        code.add(name, text=column.type == "str")
        number = name if column.type == "float" else f"{name}*1.0"  # ints compare exactly, and floats are what the model compares
        if column.type == "str":
            continue
        if column.nullable:
            code.lines.append(f"{name}=nan if {name} is None else {number}")
        elif number != name:
            code.lines.append(f"{name}={number}")


def _close(code: Code, plan: Plan, how: Finish) -> None:
    """As `answers.finish`."""
    scores = [code.variable(slot) for slot in plan.answers]
    if how.kind in ("number", "anomaly"):
        code.lines.append(f"if not {-floats.LARGEST!r}<={scores[0]}<={floats.LARGEST!r}:refuse({code.keep(NOT_FINITE)})")
        if how.kind == "number":
            code.lines.append(f"return ({scores[0]},)")
            return
        test = f"{scores[0]}>={how.threshold!r}"
        if how.threshold is None and plan.decided is not None:
            test = f"{code.value(plan.decided)}<0"
        code.lines.append(f"return ({_either(code, how, test)},{scores[0]})")
        return
    bounded = [code.name("a") for _ in scores]
    for name, score in zip(bounded, scores, strict=True):
        code.lines.append(f"{name}={score} if 0.0<={score}<=1.0 else bounded({score})")
    listed = ",".join(bounded) + ","
    if how.kind == "binary":
        prediction = _either(code, how, f"{bounded[how.positive]}>={how.threshold!r}")
    elif how.kind == "class":
        prediction = f"{code.keep(how.classes)}[({listed}).index(max({listed}))]"
    else:
        prediction = f"{code.keep(_labels(how))}(({listed}))"
    code.lines.append(f"return ({prediction},{listed})")


def _either(code: Code, how: Finish, test: str) -> str:
    """The positive class where the test holds, else the other."""
    return f"{code.keep(how.classes[how.positive])} if {test} else {code.keep(how.classes[1 - how.positive])}"


def _labels(how: Finish) -> Callable[[Sequence[float]], str]:
    named, threshold = [str(c) for c in how.classes], how.threshold or 0.0
    return lambda scores: how.separator.join(name for name, score in zip(named, scores, strict=True) if score >= threshold)
