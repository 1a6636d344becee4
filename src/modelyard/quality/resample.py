"""The bootstrap: rows drawn again and again with replacement, to say how far a metric would move on other rows of the same kind.

Intervals are percentile intervals, Efron & Tibshirani (1993), "An Introduction to the Bootstrap", ch. 13. (BCa of ch. 14 is a little
nearer to its level, but needs a jackknife, which is one more metric a row.) Rows that hang together are drawn together: the rows of a
group; of forecasts whole series, or, of few series, blocks of neighbouring rows (Carlstein 1986). Beyond 100,000 rows, as many of
them stand for all, and the interval is narrowed by the root of their share: the m out of n bootstrap, Politis & Romano (1994). So
memory is bounded, and time too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.quality.metrics import names_of, values
from modelyard.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from modelyard.quality.kernels import Floats, Ints, Rows

CELLS = 400_000
"""Rows x resamples worked on at once: 3 MB an array, which a processor's cache holds."""
MOST_ROWS, MOST_CELLS, FEWEST = 100_000, 200_000, 5_000
"""Rows that are drawn from at the most; with many classes fewer, down to a few thousand."""
MANY_SERIES = 30
"""From so many series on, whole series are drawn; else blocks of them."""
DEFINED = 0.9
"""Least share of resamples in which a metric must be defined to have an interval."""


def intervals(
    table: pl.DataFrame,
    signature: Signature,
    *,
    level: float,
    resamples: int,
    seed: int,
    names: tuple[str, ...] | None = None,
    most_rows: int = MOST_ROWS,
) -> dict[str, tuple[float, float]]:
    """The `level` interval (low, high) of each metric of a predictions table; of `names`, by default of all.

    most_rows: how many rows are drawn from at the most (see the module).
    A metric that is undefined in more than a tenth of the resamples has none. The same table and seed give the same intervals.
    Raises BadInput as `compute` does.
    """
    import numpy as np

    from modelyard.quality.encode import encode, usable

    known = table.filter(usable(table, signature))
    if not resamples or not known.height:
        return {}
    wanted = names_of(signature) if names is None else names
    most = min(most_rows, max(FEWEST, MOST_CELLS // max(2, len(signature.classes))))
    rows, joined, scale = encode(known, signature), clusters(known, signature), 1.0
    full = plain = values(rows, wanted, rows.weighting())
    if (some := some_of(len(rows), joined, most, seed)) is not None:
        rows, joined, scale = rows.take(some), of_some(joined, some), math.sqrt(len(some) / len(rows))
        plain = values(rows, wanted, rows.weighting())
    found = {}
    for name, drawn in replicates(rows, joined, wanted, draws=resamples, seed=seed).items():
        finite = drawn[np.isfinite(drawn)]
        if len(finite) < DEFINED * resamples or not np.isfinite(full[name][0]):
            continue
        low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
        centre = float(full[name][0]) - scale * float(plain[name][0])
        found[name] = (centre + scale * float(low), centre + scale * float(high))
    return found


def replicates(rows: Rows, joined: Ints | None, names: tuple[str, ...], *, draws: int, seed: int) -> dict[str, Floats]:
    """Each metric on each of `draws` resamples; float64 (draws,), NaN where it is undefined there."""
    import numpy as np

    found: dict[str, list[Floats]] = {name: [] for name in names}
    for counts in weightings(len(rows), joined, draws=draws, seed=seed):
        for name, drawn in values(rows, names, rows.weighting(counts)).items():
            found[name].append(drawn)
    return {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in found.items()}


def weightings(size: int, joined: Ints | None, *, draws: int, seed: int) -> Iterator[Floats]:
    """How often each of `size` rows is drawn in each resample, some resamples at a time: float64 (some, size)."""
    import numpy as np

    random, step = np.random.default_rng(seed), max(1, CELLS // max(1, size))
    groups = None if joined is None else int(joined.max(initial=-1)) + 1
    for start in range(0, draws, step):
        count = min(step, draws - start)
        yield draw(random, count, size) if joined is None or groups is None else draw(random, count, groups)[:, joined]


def draw(random: np.random.Generator, count: int, size: int) -> Floats:
    """How often each of `size` things is drawn in each of `count` resamples; float64 (count, size), each row sums to `size`."""
    import numpy as np

    picks = random.integers(0, size, (count, size)) + np.arange(count)[:, None] * size
    return np.bincount(picks.ravel(), minlength=count * size).reshape(count, size).astype(np.float64)


def clusters(known: pl.DataFrame, signature: Signature) -> Ints | None:
    """Which rows are drawn together, an index from 0 a row; None where each row stands for itself.

    known: the rows that can be judged (`encode.usable`).
    """
    from modelyard.quality.encode import index

    group = tables.extra(signature.group_col or "")
    if signature.group_col is not None and group in known.columns and known[group].null_count() < known.height:
        return index(known.select(group))
    return _blocks(known, signature) if signature.problem_type == "forecasting" else None


def _blocks(known: pl.DataFrame, signature: Signature) -> Ints:
    import polars as pl

    from modelyard.quality.encode import index

    series = known.select(pl.Series("series", series_of(known, signature)))["series"]
    if series.n_unique() >= MANY_SERIES:
        return series.to_numpy()
    time = known[tables.EVENT_TIME] if tables.EVENT_TIME in known.columns else pl.Series([0] * known.height)
    numbered = pl.DataFrame({"series": series, "time": time}).with_row_index("row").sort("series", "time", maintain_order=True)
    length = pl.max_horizontal(pl.lit(signature.season), pl.len().over("series").cast(pl.Float64).cbrt().round().cast(pl.Int64))
    block = (pl.int_range(pl.len()).over("series") // length).alias("block")
    return index(numbered.with_columns(block).sort("row").select("series", "block"))


def series_of(table: pl.DataFrame, signature: Signature) -> Ints:
    """Which series a row belongs to, by the entity columns: an index from 0 a row; all 0 where there are none."""
    import numpy as np

    from modelyard.quality.encode import index

    places = [tables.place(table.columns, n) or (n if n in table.columns else None) for n in signature.entity_cols]
    columns = [place for place in places if place is not None]
    return index(table.select(columns)) if columns else np.zeros(table.height, dtype=np.int64)


def some_of(size: int, joined: Ints | None, most: int, seed: int) -> Ints | None:
    """At most `most` of `size` rows, drawn without replacement, those that hang together as one: an index; None where all may stay."""
    import numpy as np

    if size <= most:
        return None
    random = np.random.default_rng(seed)
    if joined is None:
        return np.sort(random.choice(size, most, replace=False))
    order = random.permutation(int(joined.max()) + 1)
    sizes = np.cumsum(np.bincount(joined)[order])
    kept = np.zeros(len(order), dtype=bool)
    kept[order[: max(1, int(np.searchsorted(sizes, most, side="right")))]] = True
    return np.flatnonzero(kept[joined])


def of_some(joined: Ints | None, rows: Ints) -> Ints | None:
    """What hangs together among some rows."""
    import numpy as np

    return None if joined is None else np.unique(joined[rows], return_inverse=True)[1].astype(np.int64)
