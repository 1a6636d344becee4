"""Partial dependence: the mean output when one feature is set to a value in every row, and how far single rows part from it.

Friedman, "Greedy function approximation", Annals of Statistics 2001; the lines of single rows are Goldstein et al., "Peeking inside the
black box", JCGS 2015, of which the 10th and 90th percentiles are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.quality.explain.game import Ask

if TYPE_CHECKING:
    import polars as pl

POINTS = 20
ROWS = 200


def partial_dependence(ask: Ask, rows: pl.DataFrame, features: Sequence[str], *, seed: int = 0) -> list[dict[str, Any]]:
    """For each feature `{"feature", "grid", "mean", "low", "high"}`, lists of up to 20 points, in the unit of the model's own output.

    rows: a table of features, of which at most 200 are drawn. The grid of numbers and instants (ISO 8601) runs through their quantiles,
    that of other values through the most frequent. A feature with a single value is left out.
    """
    import polars as pl

    drawn = rows.sample(min(ROWS, rows.height), seed=seed)
    found = []
    for name in features:
        grid = _grid(rows[name])
        if len(grid) < 2:
            continue
        spread = pl.concat([drawn] * len(grid)).with_columns(grid.gather(np.repeat(np.arange(len(grid)), drawn.height)).alias(name))
        lines = np.asarray(ask(spread), dtype=np.float64).reshape(len(grid), drawn.height)
        low, high = np.quantile(lines, [0.1, 0.9], axis=1)
        values = grid.cast(pl.String).to_list() if grid.dtype.is_temporal() else grid.to_list()
        found.append({"feature": name, "grid": values, "mean": lines.mean(axis=1).tolist(), "low": low.tolist(), "high": high.tolist()})
    return found


def _grid(series: pl.Series) -> pl.Series:
    """At most 20 different values, rising; of text and truth values the most frequent first."""

    present = series.drop_nulls()
    if present.dtype.is_float():
        present = present.filter(present.is_finite())
    if not (present.dtype.is_numeric() or present.dtype.is_temporal()):
        counts = present.alias("value").value_counts(name="rows")
        return counts.sort(["rows", "value"], descending=[True, False])["value"].head(POINTS).alias(series.name)
    if present.n_unique() <= POINTS:
        return present.unique().sort()
    ordered = present.sort()
    places = np.unique(np.round(np.linspace(0.02, 0.98, POINTS) * (len(ordered) - 1)).astype(int))
    return ordered.gather(places).unique().sort()
