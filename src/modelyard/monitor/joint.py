"""Joint drift: columns that moved together, which no column shows alone, by the reconstruction error of principal components.

The components are fitted once, on the baseline's table: numbers standardised (missing ones at the median, all within `CLIP`
deviations), categories as indicators of their `LEVELS` most frequent values divided by the root of their share, which weighs
both kinds alike (factor analysis of mixed data: J. Pages, Revue de Statistique Appliquee 52(4), 2004). The components that
explain `KEPT` of the variance are what is usual; the others are relations between columns that always held, and a row's error is
the root mean square of its coordinates along these, each in its own standard deviation (the minor components of M.-L. Shyu,
S.-C. Chen, K. Sarinnapakorn, L. Chang, "A novel anomaly detection scheme based on principal component classifier", 2003). It is
at most about 1 for rows like the baseline's; two columns whose correlation breaks raise it, though each is distributed as ever.

    {"numbers": {COLUMN: [median, mean, deviation]}, "categories": {COLUMN: {VALUE: share}},
     "directions": [[float of each dimension, ...], ...], "offsets": [float, ...]}

with the dimensions in that order: the numbers, then each category's values. `directions` are divided by their own deviation, and
`offsets` are the mean's coordinates, so that a row's coordinates are `x @ directions.T - offsets`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.monitor.words import written
from modelyard.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FIT_ROWS = 50_000
"""Rows that the components are fitted on at the most, evenly spread over the table."""
KEPT, DIRECTIONS = 0.9, 32
"""Share of the variance that is usual; relations that are kept at the most, those that held best first."""
LEVELS, LEAST_SHARE = 8, 0.02
"""Values of a category that have a dimension of their own, and the least share of rows for that."""
CLIP, FLOOR = 4.0, 0.01
"""Bound of a standardised number, and of a coordinate, so that no few rows decide a mean; least variance of a direction, below which a
relation is exact and rounding would decide."""
THRESHOLD = 0.1
"""Relative change of the mean error from which the columns moved together."""
LEAST_ROWS, CHUNK = 50, 65_536
"""Rows that a fit takes; rows whose errors are computed at a time."""
ALONE = 2**18
"""Multiplications that OpenBLAS does in the thread that asks. For more it wakes one on each core, which afterwards waits busily for work:
60 ms of a core's time for a product that takes one."""


def fit(table: pl.DataFrame, signature: Signature) -> dict[str, Any] | None:
    """The relations between the columns of a baseline's table (its f.* columns; times, which only ever rise, are left out), JSON-ready.

    None where there is nothing to relate: fewer than two columns that vary, or fewer than `LEAST_ROWS` rows.
    """
    import numpy as np

    from modelyard.monitor.profile import reading

    table = table.gather_every(max(1, math.ceil(table.height / FIT_ROWS)))
    joint: dict[str, Any] = {"numbers": {}, "categories": {}}
    for column in signature.columns if table.height >= LEAST_ROWS else ():
        series = table[tables.feature(column.name)]
        if column.type in ("str", "bool"):
            joint["categories"] |= {column.name: levels} if (levels := _levels(series)) else {}
        elif column.type != "datetime":
            joint["numbers"] |= {column.name: scale} if (scale := _scale(reading.numbers(series))) else {}
    if len(joint["numbers"]) + len(joint["categories"]) < 2:
        return None
    matrix = _matrix(table, joint)
    variances, vectors = np.linalg.eigh(np.cov(matrix, rowvar=False))  # rising
    usual = np.cumsum(variances) > (1 - KEPT) * variances.sum() + 1e-9
    kept = min(max(1, int((~usual).sum())), DIRECTIONS)
    directions = (vectors[:, :kept] / np.sqrt(np.maximum(variances[:kept], FLOOR))).T
    joint["directions"] = [[float(f"{x:.6g}") for x in row] for row in directions.tolist()]
    joint["offsets"] = (np.array(joint["directions"]) @ matrix.mean(0)).tolist()
    return joint


def blamed(table: pl.DataFrame, joint: dict[str, Any], most: int = 3) -> list[str]:
    """The columns that the rows' errors come from, the most blamed first; empty without rows.

    What a direction's mean square exceeds the 1 of the baseline by is shared out over its columns by their squared weights.
    """
    import numpy as np

    if table.is_empty():
        return []
    table = table.gather_every(math.ceil(table.height / FIT_ROWS))
    coordinates = _coordinates(table, joint)
    excess = np.maximum((coordinates * coordinates).mean(0) - 1, 0)
    weights = np.array(joint["directions"]) ** 2
    shared = excess @ (weights / weights.sum(1, keepdims=True))
    owners = [*joint["numbers"], *(name for name, shares in joint["categories"].items() for _ in shares)]
    blame = dict.fromkeys(owners, 0.0)
    for name, share in zip(owners, shared.tolist(), strict=True):
        blame[name] += share
    return sorted((name for name, share in blame.items() if share > 0), key=lambda name: -blame[name])[:most]


def errors(table: pl.DataFrame, joint: dict[str, Any]) -> Floats:
    """The error of each row, 0 to `CLIP`, float64 of shape (rows,); a column that the table lacks is missing in every row."""
    import numpy as np

    found = np.empty(table.height)
    for start in range(0, table.height, CHUNK):
        coordinates = _coordinates(table.slice(start, CHUNK), joint)
        found[start : start + CHUNK] = np.sqrt((coordinates * coordinates).mean(1))
    return found


def _coordinates(table: pl.DataFrame, joint: dict[str, Any]) -> Floats:
    """The rows along the directions, within `CLIP`, of shape (rows, directions)."""
    import numpy as np

    matrix, directions = _matrix(table, joint), np.array(joint["directions"])
    found, step = np.empty((len(matrix), len(directions))), max(1, ALONE // directions.size)
    for start in range(0, len(matrix), step):
        np.matmul(matrix[start : start + step], directions.T, out=found[start : start + step])
    found -= np.array(joint["offsets"])
    return np.clip(found, -CLIP, CLIP, out=found)


def _matrix(table: pl.DataFrame, joint: dict[str, Any]) -> Floats:
    """The rows in the dimensions of `joint`, of shape (rows, dimensions)."""
    import numpy as np

    from modelyard.monitor.profile import reading

    width = len(joint["numbers"]) + sum(map(len, joint["categories"].values()))
    matrix, place = np.zeros((table.height, width), order="F"), 0
    for name, (median, mean, deviation) in joint["numbers"].items():
        if tables.feature(name) in table.columns:
            values = reading.numbers(table[tables.feature(name)])
            values = np.where(np.isfinite(values), values, median)
        else:
            values = np.full(table.height, median)
        matrix[:, place] = np.clip((values - mean) / deviation, -CLIP, CLIP)
        place += 1
    for name, shares in joint["categories"].items():
        if tables.feature(name) in table.columns:
            levels = _codes(table[tables.feature(name)], list(shares))
            for i, share in enumerate(shares.values()):
                matrix[:, place + i] = (levels == i) / math.sqrt(share)
        place += len(shares)
    return matrix


def _codes(series: pl.Series, levels: list[str]) -> NDArray[np.uint32]:
    """Which of the levels each value is; none of them where it is missing or another one."""
    import polars as pl

    known = written(series).cast(pl.Enum(levels), strict=False)
    return known.to_physical().cast(pl.UInt32).fill_null(len(levels)).to_numpy()


def _scale(values: Floats) -> list[float] | None:
    """Median, mean and deviation of a column as it is standardised; None where it does not vary."""
    import numpy as np

    known = values[np.isfinite(values)]
    if not known.size or known.min() == known.max():
        return None
    median = float(np.median(known))
    with np.errstate(over="ignore", invalid="ignore"):
        filled = np.where(np.isfinite(values), values, median)
        mean, deviation = float(filled.mean()), float(filled.std())
    return [median, mean, deviation] if 0 < deviation < math.inf else None


def _levels(series: pl.Series) -> dict[str, float]:
    """The frequent values of a category and their shares; without the last where the others tell it, and none where it does not vary."""
    seen = written(series).drop_nulls().alias("value").value_counts(name="n").sort("n", "value", descending=[True, False])
    shares = {str(value): n / len(series) for value, n in seen.head(LEVELS).iter_rows() if n >= LEAST_SHARE * len(series)}
    if sum(shares.values()) > 1 - LEAST_SHARE:
        shares.popitem()
    return shares
