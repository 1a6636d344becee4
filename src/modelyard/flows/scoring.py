"""Scoring: a table through a version's own runner, the very process that serves, and out as a predictions table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import envs
from modelyard.build.bundle import Bundle
from modelyard.build.warm import Warm
from modelyard.flows import inference
from modelyard.flows.session import running
from modelyard.runners import Loadable
from modelyard.serve import runner
from modelyard.signature import Signature
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl


def bundled(shop: Workshop, bundle: Bundle) -> Loadable:
    """What a runner needs to hold a bundle's model, in the environment of its lock."""
    lock = (bundle.path / "env" / "requirements.lock").read_text(encoding="utf-8")
    return Loadable(
        model=bundle.path / "model",
        code=inference.code_of(bundle.path),
        entry_point=bundle.manifest["entry_point"],
        signature=bundle.path / "signature.json",
        framework=bundle.manifest["framework"],
        python=envs.ensure(lock, shop.home.path).python,
        home=shop.home.path,
        **bundle.manifest.get("inference", {}),
    )


def score(what: Loadable, table: pl.DataFrame, signature: Signature, log: Path) -> pl.DataFrame:
    """`table` (columns as in the data) with a y.* column an output beside it."""
    import polars as pl

    with running(what, log) as socket:
        return pl.concat([table, runner.predict(socket, table, signature)], how="horizontal")


WARM_UP, REQUESTS = 10, 50
"""Single rows asked before the clock runs, and while it does."""


def score_and_time(
    what: Loadable, table: pl.DataFrame, signature: Signature, log: Path, warm: Warm | None = None, *, quiet: Callable[[], object]
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """`score`, and how long the same runner takes for single rows: {"p50_ms", "p99_ms", "requests"}; with a `note` where the runner has
    to say something of the model. `quiet` comes back when nothing is at work beside it: only then does the clock run."""
    import numpy as np
    import polars as pl

    with running(what, log, warm) as socket:
        answered = pl.concat([table, runner.predict(socket, table, signature)], how="horizontal")
        note = runner.wait_ready(socket, 60.0).get("note")
        quiet()
        seconds = runner.time_rows(socket, table.head(WARM_UP + REQUESTS), signature, WARM_UP, REQUESTS)
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000
    found = {"p50_ms": round(float(p50), 4), "p99_ms": round(float(p99), 4), "requests": REQUESTS}
    return answered, {**found, "note": note} if note else found


def as_predictions(scored: pl.DataFrame, signature: Signature, version: str, extras: tuple[str, ...]) -> pl.DataFrame:
    """A scored table of the data as a predictions table: features as f.*, companions and `extras` as x.*, the target as label."""
    import polars as pl

    extras = tuple(dict.fromkeys((*signature.companions, *extras)))

    outputs = [c for c in map(tables.output, signature.outputs) if c in scored.columns]
    ids = pl.col(signature.id_col).cast(pl.String) if signature.id_col else pl.int_range(pl.len()).cast(pl.String)
    time: Any = pl.col(signature.time_col) if signature.time_col else pl.lit(None, dtype=pl.Datetime("us", "UTC"))
    return scored.select(
        ids.alias(tables.INFERENCE_ID),
        time.alias(tables.EVENT_TIME),
        pl.lit(version).alias(tables.VERSION),
        *(pl.col(name).alias(tables.feature(name)) for name in signature.names),
        *(pl.col(name).alias(tables.extra(name)) for name in extras if name in scored.columns and name not in signature.names),
        *outputs,
        pl.col(signature.target_col).alias(tables.LABEL),
    )
