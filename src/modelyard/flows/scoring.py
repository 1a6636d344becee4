"""Scoring: a table through a version's own runner, the very process that serves, and out as a predictions table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import envs
from modelyard.build.bundle import Bundle
from modelyard.runners import Loadable, running
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
        code=bundle.path / "code",
        entry_point=bundle.manifest["entry_point"],
        signature=bundle.path / "signature.json",
        framework=bundle.manifest["framework"],
        python=envs.ensure(lock, shop.home.path).python,
        home=shop.home.path,
    )


def score(what: Loadable, table: pl.DataFrame, signature: Signature, log: Path) -> pl.DataFrame:
    """`table` (columns as in the data) with a y.* column an output beside it."""
    import polars as pl

    with running(what, log) as socket:
        return pl.concat([table, runner.predict(socket, table, signature)], how="horizontal")


def as_predictions(scored: pl.DataFrame, signature: Signature, version: str, extras: tuple[str, ...]) -> pl.DataFrame:
    """A scored table of the data as a predictions table: features as f.*, `extras` as x.*, the target as label."""
    import polars as pl

    outputs = [c for c in scored.columns if c.startswith(tables.OUTPUT)]
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
