"""A data plane in the test's own process: a version with a row plan, no runner, no sockets."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from modelyard.serve import routes, stats
from modelyard.serve.capture import Unwritten
from modelyard.serve.live import Router
from modelyard.serve.plan import schema
from modelyard.serve.plane import Plane
from modelyard.signature import Column, Signature

COLUMNS = (
    Column("x", "float"),
    Column("k", "int"),
    Column("t", "str"),
    Column("b", "bool", nullable=True),
    Column("at", "datetime", nullable=True),
    Column("y", "float", nullable=True),
)
SIGNED = Signature(
    "binary_classification",
    COLUMNS,
    classes=("No", "Yes"),
    positive_class="Yes",
    decision_threshold=0.5,
    id_col="id",
    time_col="when",
    entity_cols=("who",),
)

PLAIN = Signature(
    "binary_classification",
    (*COLUMNS[:4], Column("at", "str", nullable=True), COLUMNS[5]),
    classes=("No", "Yes"),
    positive_class="Yes",
    decision_threshold=0.5,
)
"""A record of it has nothing but features, which are taken as they come."""


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(*args: Any, **more: Any) -> None:
        asyncio.run(test(*args, **more))

    return run


def plan(signature: Signature = SIGNED, weight: float = 0.1) -> schema.Plan:
    """sigmoid(weight * x + 0.01 * k + 1 where t is "a" + 0.5 y), 0 for a missing y. It refuses a `t` that is neither a nor b."""
    width = len(signature.columns)
    steps: tuple[Any, ...] = (
        schema.Impute(5, 0.0),
        schema.Lookup(2, ("a", "b"), ((1.0,), (0.0,))),
        schema.Linear((0, 1, width, width + 1), ((weight, 0.01, 0.5, 1.0),), (-0.25,)),
        schema.Link((width + 2,), "sigmoid"),
        schema.Link((width + 3,), "complement"),
    )
    inputs = tuple(schema.Input(c.name, c.type, c.nullable) for c in signature.columns)
    return schema.Plan(inputs, steps, (width + 4, width + 5))


def variant(folder: Path, version: str = "7", weight: float = 100, *, slope: float = 0.1, signed: Signature = SIGNED, **more: Any) -> Any:
    """A variant of a routing table, with its plan in a file."""
    path = folder / f"plan-{version}.json"
    path.write_bytes(msgspec.json.encode(plan(signed, slope)))
    return routes.Variant(version, weight, (), signed.to_dict(), plan=str(path), **more)


async def plane(folder: Path, *variants: routes.Variant, unwritten: Unwritten | None = None, **more: Any) -> Plane:
    """The data plane of these variants (by default one, with a capture)."""
    fields = {"capture": routes.Capture(str(folder / "capture")), **more}
    table = routes.RoutingTable("demo-production", "demo", "production", variants or (variant(folder),), **fields)
    routes.write(folder / "routes.json", table)
    router = Router(folder / "routes.json", stats.Stats(pid=0, started_at=0.0), unwritten)
    await router.look()
    assert router.live is not None and all(v.plan is not None for v in router.live.variants)
    return Plane(router)
