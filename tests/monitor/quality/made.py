"""Tables of a small model with a column of every type, drawn by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from modelyard.monitor import profile, quality
from modelyard.monitor.quality import Violation
from modelyard.signature import Column, Signature

SIGNED = Signature(
    "binary_classification",
    (Column("stops", "int"), Column("wind", "float", True), Column("load", "float"), Column("carrier", "str"), Column("late", "bool")),
    classes=(0, 1),
    positive_class=1,
    target_col="target",
    entity_cols=("plane",),
)
CARRIERS = [f"c{i}" for i in range(12)]


def table(rows: int, seed: int, **columns: Any) -> pl.DataFrame:
    """A predictions table. wind lacks a tenth of its values, carriers are as uneven as Zipf has them; `columns` replace f.* ones."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(CARRIERS) + 1)
    frame = pl.DataFrame(
        {
            "f.stops": rng.poisson(5, rows),
            "f.wind": rng.normal(10, 2, rows),
            "f.load": rng.lognormal(0, 1, rows),
            "f.carrier": rng.choice(CARRIERS, rows, p=weights / weights.sum()),
            "f.late": rng.random(rows) < 0.3,
            "y.prediction": (rng.random(rows) < 0.5).astype(int),
            "y.probability_1": rng.random(rows),
        }
    ).with_columns(pl.Series("gap", rng.random(rows) < 0.1))
    frame = frame.with_columns(pl.when(pl.col("gap")).then(None).otherwise(pl.col("f.wind")).alias("f.wind")).drop("gap")
    return frame.with_columns(**{f"f.{name}": value for name, value in columns.items()})


def found(window: pl.DataFrame, baseline: dict[str, Any], held: dict[str, Any], tolerance: float = 0.01) -> list[Violation]:
    counts = quality.of_window(window, profile.profile(window, baseline), baseline, held)
    return quality.check(counts, held, tolerance)


def names(violations: list[Violation]) -> list[tuple[str, str]]:
    return [(v.feature_name, v.constraint_check_type) for v in violations]
