"""Metrics of a predictions table: their values. Their names and directions: quality/catalogue; by parts: quality/slices.

Importing this module loads neither NumPy nor Polars nor Matplotlib.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from modelyard.quality.catalogue import (
    BINARY,
    GREATER_IS_BETTER,
    METRICS,
    MULTI,
    REGRESSION,
    Metric,
    measured_in_build,
    names_for,
)
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

    from modelyard.quality.kernels import Floats, Rows

__all__ = [
    "BINARY",
    "GREATER_IS_BETTER",
    "METRICS",
    "MULTI",
    "REGRESSION",
    "Metric",
    "compute",
    "measured_in_build",
    "names_for",
    "names_of",
    "values",
]


def names_of(signature: Signature) -> tuple[str, ...]:
    """Names of the metrics that a version is measured by, the headline one first."""
    return names_for(signature.problem_type, at=signature.at)


def compute(table: pl.DataFrame, signature: Signature) -> dict[str, float]:
    """Every metric of the problem type, in the catalogue's order, then `rows` and (binary) `positive_rate`.

    table: a predictions table with `label`, `y.prediction` and the signature's other outputs; of a ranking `x.<group_col>`. Rows whose
    label is null or NaN are left out; `rows` counts the others. Rows weigh `x.<weight_col>` where the signature names one. A metric is
    NaN where it is undefined: no rows, one class for `roc_auc`, an answer or a score that is missing or not finite, no score column.
    Of several classes, one that the signature does not know is always answered wrongly, so that a new class shows as a loss.
    Raises BadInput when `label` or `y.prediction` is missing, or a label does not fit (see `encode`).
    """
    from modelyard.quality.encode import encode

    rows = encode(table, signature)
    found = {name: float(v[0]) for name, v in values(rows, names_of(signature), rows.weighting()).items()}
    found["rows"] = float(len(rows))
    if signature.problem_type == BINARY:
        found["positive_rate"] = float((rows.weighting() @ (rows.truth == 1))[0] / len(rows)) if len(rows) else math.nan
    return found


def values(rows: Rows, names: tuple[str, ...], w: Floats) -> dict[str, Floats]:
    """Each named metric under each weighting of `w` (b, n): float64 (b,), NaN where undefined."""
    import numpy as np

    from modelyard.quality.kernels import find

    found = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for name in names:
            given = rows.scores if METRICS[name].needs == "score" else rows.predicted
            found[name] = np.full(len(w), math.nan) if given is None or not len(rows) else find(name)(rows, w)
    return found
