"""Two models on rows of their own, as an A/B test deals them out: a bootstrap of the difference of a metric.

Efron & Tibshirani (1993), "An Introduction to the Bootstrap", ch. 8 and 16: each arm is resampled by itself, since no row has both
answers, and the differences of the two replicates are kept. Rows that hang together are drawn together (see resample).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.errors import BadInput
from modelyard.quality.alike import measured_alike
from modelyard.quality.metrics import METRICS, compute
from modelyard.quality.paired import Trial
from modelyard.quality.resample import clusters, of_some, replicates, some_of
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

    from modelyard.quality.kernels import Floats


def bootstrap(
    champion: tuple[pl.DataFrame, Signature],
    challenger: tuple[pl.DataFrame, Signature],
    metric: str,
    *,
    draws: int = 1000,
    max_rows: int = 20_000,
    seed: int = 0,
) -> Trial:
    """Score two predictions tables, each with its model's signature, and resample the difference; `rows` are those of the smaller arm.

    Rows whose label is not known are left out. Beyond `max_rows` a seeded sample stands for an arm. The same tables and seed give the same
    Trial. Raises BadInput for an unknown metric.
    """
    from modelyard.quality.encode import usable

    pairs = ((champion[0], measured_alike(champion[1], challenger[1])), challenger)
    arms = [(table.filter(usable(table, signature)), signature) for table, signature in pairs]
    for _, signature in arms:
        if metric not in METRICS or signature.problem_type not in METRICS[metric].problem_types:
            raise BadInput(f"there is no metric '{metric}' for {signature.problem_type}")
    rows = min(len(table) for table, _ in arms)
    one, other = (_replicates(*arm, metric, draws, max_rows, seed + i) if rows else None for i, arm in enumerate(arms))
    differences = () if one is None or other is None else tuple((other - one).tolist())
    return Trial(metric, rows, compute(*arms[0]), compute(*arms[1]), differences)


def _replicates(known: pl.DataFrame, signature: Signature, metric: str, draws: int, most: int, seed: int) -> Floats:
    from modelyard.quality.encode import encode

    rows, joined = encode(known, signature), clusters(known, signature)
    if (some := some_of(len(rows), joined, most, seed)) is not None:
        rows, joined = rows.take(some), of_some(joined, some)
    return replicates(rows, joined, (metric,), draws=draws, seed=seed)[metric]
