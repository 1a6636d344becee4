"""Weighing: the rows of a weighted window count less the older they are, where a model learns from them and nowhere else.

A row of the training split weighs its own weight (`data.schema.weight_col`; 1 where it has none) times 0.5 ** (age / half_life). Its age
is counted back from the split's newest row: counted from now, every weight would be smaller by one and the same factor, which changes
nothing for a model and makes other bytes of the same rows each day.

Validation and hold-out keep their own weights. What is measured of a version, what its gates compare, and what it is challenged on is
the same whatever it learned by; a metric that favours new rows would flatter the model that does.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.config.spec import Data
from modelyard.flows.site import SPLITS, Order, Site
from modelyard.registry.state import Version
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl


def half_life(site: Site) -> timedelta | None:
    """The half-life by which this build learns: of a retraining the config's, of a reproduction the one of its version's own build."""
    if site.order.version is not None:
        return of_version(site.shop, site.shop.version(site.run.model, site.order.version), site.run.model)
    return site.config.retrain.window.half_life if site.order.learn_until is not None else None


def of_version(shop: Workshop, version: Version, model: str) -> timedelta | None:
    """The half-life by which a version learned; None where all its rows counted alike."""
    record = shop.runs.get(version.run)
    if record is None or record.model != model or not record.args.get("learn_until"):
        return None
    return Order(**record.args).config.retrain.window.half_life


def weigh(site: Site) -> timedelta | None:
    """Weigh the training split, where this build's window is weighted. Returns the half-life then."""
    span = half_life(site)
    if span is not None:
        for name in SPLITS:
            rewrite(site.raw(name), site.config.data, span if name == SPLITS[0] else None)
    return span


def rewrite(path: Path, data: Data, half_life: timedelta | None) -> None:
    """A split's weights as floats, decayed by age where a half-life is given. Rows stay in their order; the file is replaced as a whole."""
    import polars as pl

    assert data.schema_.weight_col is not None and data.time_col is not None  # by the config's own rule
    rows, work = pl.scan_parquet(path, glob=False), path.with_name(f".{path.name}.weighed")
    weight = pl.col(data.schema_.weight_col).cast(pl.Float64)
    if half_life is not None:
        newest = rows.select(pl.col(data.time_col).max()).collect(engine="streaming").item()
        weight = weight.fill_null(1.0) * decay(pl.lit(newest) - pl.col(data.time_col), half_life)
    rows.with_columns(weight.alias(data.schema_.weight_col)).sink_parquet(work)
    work.replace(path)


def decay(age: pl.Expr, half_life: timedelta) -> pl.Expr:
    """0.5 ** (age / half_life) of an expression of durations."""
    import polars as pl

    return pl.lit(0.5) ** (age.dt.total_microseconds() / (half_life / timedelta(microseconds=1)))
