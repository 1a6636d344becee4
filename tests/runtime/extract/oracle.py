"""Holds row plans against the fitted models that they were made from: on rows like those of training, and on nasty ones."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.serve.plan.answers import finish_for
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.plan.interpret import interpret
from modelyard.serve.plan.reading import read
from modelyard.serve.plan.refused import Refused
from modelyard.serve.plan.schema import Bins, Plan, Products, Trees
from modelyard.serve.plan.slots import width
from modelyard.signature import Signature
from tests.conftest import ROOT
from tests.runtime.extract import fitted

TOLERANCE = 1e-9
_FLOATS = (0.0, -0.0, 1.0, -1.0, 5e-324, 1e-310, 1e39, -3.5e38, 3.4028235677973366e38, 1e160, 1e300, -1e300, 1.7976931348623157e308)
_VALUES: dict[str, tuple[Any, ...]] = {
    "float": (*_FLOATS, None),
    "int": (0, 1, -1, 7, 10**9, -(10**15), 2**53, None),
    "str": ("", "red", "zzz", "5", "nan", "None", " north", None),
    "bool": (True, False),
    "datetime": (0, None),
}


class Fitted:
    """A process in a model's environment that fits, extracts and predicts."""

    def __init__(self, python: str | Path) -> None:
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
        }
        command = [str(python), str(Path(fitted.__file__))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)

    def ask(self, **message: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process that fits ended"
        return json.loads(line)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def thresholds(plan: Plan) -> dict[int, list[float]]:
    """For each input, the numbers that the plan compares it with, and their neighbours in float64 and float32."""
    found: dict[int, set[float]] = {}
    number, of = len(plan.inputs), {i: i for i in range(len(plan.inputs))}
    for step in plan.steps:
        if isinstance(step, Products):  # of a sparse table, a column times a flag
            of.update({number + i: of[term[0]] for i, term in enumerate(step.terms) if term and term[0] in of})
        number += width(step)
        if isinstance(step, Trees):
            pairs = [(step.slots[f], t) for f, t in zip(step.feature, step.threshold, strict=True) if f >= 0]
        else:
            pairs = [(step.slot, edge) for edge in step.edges] if isinstance(step, Bins) else []
        for slot, value in [(of.get(slot, slot), value) for slot, value in pairs]:
            if slot < len(plan.inputs) and plan.inputs[slot].type == "float" and abs(value) < 1e300:
                gap = abs(value) * 2.0**-24
                near = (value, math.nextafter(value, math.inf), math.nextafter(value, -math.inf), value + gap, value - gap)
                found.setdefault(slot, set()).update(near)
    return {slot: sorted(values) for slot, values in found.items()}


def rows(plan: Plan, seed: int = 0, *, plain: int = 15, nasty: int = 45) -> list[list[Any]]:
    """Rows like those of training, and rows of which a value or two are nasty."""
    drawn = random.Random(seed)
    table = fitted.table(plain, 1000 + seed)
    names = [column.name for column in plan.inputs]
    made = [[table[name][i] for name in names] for i in range(plain)]
    near = thresholds(plan)
    for _ in range(nasty):
        row = list(drawn.choice(made[:plain]))
        for place in drawn.sample(range(len(names)), k=min(len(names), drawn.choice([1, 1, 2]))):
            column = plan.inputs[place]
            values = near[place] if place in near and drawn.random() < 0.6 else _VALUES[column.type]
            row[place] = drawn.choice([None, *values] if column.nullable else values)
        made.append(row)
    return made


def agree(own: Sequence[Any], native: Sequence[Any], tolerance: float) -> bool:
    """Whether labels are equal and numbers within `tolerance`, relative to the number where it is above 1."""
    for a, b in zip(own, native, strict=True):
        same = abs(a - b) <= tolerance * max(1.0, abs(b)) if isinstance(a, float) and isinstance(b, float) else a == b
        if not same:
            return False
    return True


def held(process: Fitted, *, draw: int = 0, tolerance: float = TOLERANCE, **message: Any) -> Plan:
    """The plan of a model that is fitted and can be written out; it has answered as the model did, and refused what the model refused."""
    reply = process.ask(**message)
    assert "unfit" not in reply, reply["unfit"]
    assert "plan" in reply, reply["declined"]
    plan = read(json.dumps(reply["plan"], allow_nan=False).encode())
    signature = Signature.from_dict(reply["signature"])
    how, compiled = finish_for(plan, signature), RowPlan(plan, signature)
    given = rows(plan, draw)
    natives = process.ask(rows=given)
    answered = []
    for row, native in zip(given, natives, strict=True):
        promised = all(value is not None or column.nullable for value, column in zip(row, plan.inputs, strict=True))
        for way in (lambda row: interpret(plan, how, row), *([compiled.row] if promised else [])):
            try:
                own: Any = way(row)
            except Refused as exc:
                assert isinstance(native, dict), f"{row}: the plan refuses ({exc}), and the model answers {native}"
                continue
            assert not isinstance(native, dict), f"{row}: the plan answers {own}, and the model raises {native}"
            assert agree(own, native, tolerance), f"{row}: {own} against {native}"
        if promised and not isinstance(native, dict):
            answered.append((row, native))
    assert len(answered) >= 10
    columns = dict(zip(signature.names, map(list, zip(*(row for row, _ in answered), strict=True)), strict=True))
    many = compiled.many(columns, len(answered))
    for (row, native), *own in zip(answered, *(many[name] for name in signature.outputs), strict=True):
        assert agree(own, native, tolerance), f"{row}: {own}, of many, against {native}"
    return plan


def declined(process: Fitted, **message: Any) -> str:
    """Why a model that can be fitted has no row plan."""
    reply = process.ask(**message)
    assert "unfit" not in reply, reply["unfit"]
    assert "plan" not in reply
    return str(reply["declined"])
