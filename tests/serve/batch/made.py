"""A model that is a row plan of three columns, and jobs of it: y = 2 a + n + 10 (x: 1, y: 2) + 0.5; another text is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard.serve.batch.job import Job
from modelyard.serve.batch.order import Answering, Order, Shape
from modelyard.serve.plan.schema import Impute, Input, Linear, Lookup, Plan
from modelyard.signature import Column, Signature

SIGNED = Signature(
    "regression",
    (Column("a", "float", nullable=True), Column("n", "int"), Column("s", "str")),
    target_col="y",
    id_col="id",
)
WORTH = {"x": 1.0, "y": 2.0}
PLAN = Plan(
    format=1,
    inputs=tuple(Input(c.name, c.type, c.nullable) for c in SIGNED.columns),
    steps=(
        Impute(0, 0.0),
        Lookup(2, tuple(WORTH), tuple((value,) for value in WORTH.values()), unknown=None, missing=(0.0,)),
        Linear((3, 1, 4), ((2.0, 1.0, 10.0),), (0.5,)),
    ),
    answers=(5,),
    source="by hand",
)


def right(row: Mapping[str, Any]) -> float:
    return 2.0 * (row["a"] or 0.0) + row["n"] + 10.0 * WORTH[row["s"]] + 0.5


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    numbers = range(first, first + count)
    return [{"id": f"r{i}", "a": None if i % 7 == 3 else i / 4, "n": i % 50, "s": "xy"[i % 2]} for i in numbers]


def order(folder: Path, source: Path, target: Path, *, version: str = "v1", **more: Any) -> Order:
    plan = folder / "plan.json"
    plan.write_bytes(msgspec.json.encode(PLAN))
    shape = Shape(**{key: more.pop(key) for key in ("input_filter", "output_filter", "join", "format") if key in more})
    return Order(str(source), str(target), version, Answering(SIGNED.to_dict(), plan=str(plan)), shape, **more)


def job(folder: Path, source: Path, target: Path, **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the job said at its end, and of each file."""
    said: list[dict[str, Any]] = []
    return Job(order(folder, source, target, **more)).run(said.append), said


def written(given: Sequence[Mapping[str, Any]]) -> list[float]:
    return [right(row) for row in given]
