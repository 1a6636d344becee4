"""A version that is asked apart from any endpoint: by its row plan in this process, or by a runner of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.build.bundle import Bundle
from modelyard.errors import BadInput
from modelyard.flows import plans
from modelyard.flows.compiling import timed
from modelyard.flows.scoring import bundled
from modelyard.runners import running
from modelyard.serve import runner
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.refusals import ModelFailed
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

FIRST_ROWS, CHUNK_ROWS = 8, 2000
"""Rows of the first chunk that a version is asked, and of the largest; a quick one is soon asked the largest."""
WARM_UP, TIMED = 10, 200
"""Single rows asked before the clock runs, and while it does."""


@dataclass(frozen=True)
class Asked:
    """`ask` answers a table (f.* columns) with its y.* columns, and raises ModelFailed or BadInput for a row that it cannot answer,
    Unavailable where it does not answer within `patience` seconds.

    `time` says how long single rows of it take, which it must be able to answer: {"p50_ms", "p99_ms"}.
    """

    ask: Callable[[pl.DataFrame], pl.DataFrame]
    time: Callable[[pl.DataFrame], dict[str, float]]
    patience: float = math.inf


@contextmanager
def asking(shop: Workshop, bundle: Bundle, *, by_plan: bool, log: Path, timeout: float) -> Iterator[Asked]:
    """For as long as the block lasts. `timeout`: seconds that an answer to one row may take. Raises StepFailed where the model cannot be
    loaded."""
    signature = bundle.signature
    if by_plan and (path := plans.plan_of(bundle.path)) is not None:
        plan = RowPlan.load(path, signature)
        yield Asked(lambda table: _by_plan(plan, table, bundle), lambda table: _timed(plan, table, bundle))
        return
    patience = FIRST_ROWS * timeout
    with running(bundled(shop, bundle), log) as socket:
        yield Asked(
            lambda table: runner.predict(socket, table, signature, timeout=patience),
            lambda table: _quantiles(runner.time_rows(socket, table, signature, WARM_UP, TIMED)),
            patience,
        )


def _by_plan(plan: RowPlan, table: pl.DataFrame, bundle: Bundle) -> pl.DataFrame:
    columns = {name: series.to_list() for name, series in runner.features(table, bundle.signature).items()}
    return runner.as_outputs(plan.predict(columns, table.height), bundle.signature)


def _timed(plan: RowPlan, table: pl.DataFrame, bundle: Bundle) -> dict[str, float]:
    columns = [series.to_list() for series in runner.features(table, bundle.signature).values()]
    found = timed(plan, [list(row) for row in zip(*columns, strict=True)])
    return {name: found[name] for name in ("p50_ms", "p99_ms")}


def _quantiles(seconds: list[float]) -> dict[str, float]:
    import numpy as np

    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000
    return {"p50_ms": round(float(p50), 4), "p99_ms": round(float(p99), 4)}


def answers(asked: Asked, table: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Every row's y.* columns, null where it failed, and why it failed, empty where it did not. A chunk at a time; where one fails, it is
    halved until the rows are found that do. Raises Unavailable where a version does not answer."""
    import polars as pl

    found, failed, at, rows = [], list[str](), 0, min(FIRST_ROWS, CHUNK_ROWS)
    while at < table.height:
        began = time.monotonic()
        for outputs, reasons in _answered(asked, table.slice(at, rows)):
            found.append(outputs)
            failed += reasons
        at, took = at + rows, time.monotonic() - began
        if took < asked.patience / 8:  # twice as many are then far from being waited for in vain
            rows = min(2 * rows, CHUNK_ROWS)
        elif took > asked.patience / 2:
            rows = max(rows // 2, 1)
    return pl.concat(found, how="diagonal_relaxed") if found else pl.DataFrame(), failed


def _answered(asked: Asked, table: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    import polars as pl

    try:
        answer = asked.ask(table)
    except (ModelFailed, BadInput) as exc:
        if table.height == 1:
            yield pl.DataFrame({tables.PREDICTION: [None]}), [exc.what]
            return
        half = table.height // 2
        yield from _answered(asked, table[:half])
        yield from _answered(asked, table[half:])
        return
    yield answer, [""] * table.height
