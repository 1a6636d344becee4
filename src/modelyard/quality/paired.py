"""Two models on the same rows: a paired bootstrap of the difference of a metric.

Efron & Tibshirani (1993), "An Introduction to the Bootstrap", ch. 13; paired as in Koehn (2004), "Statistical Significance Tests
for Machine Translation Evaluation": rows are drawn with replacement, both models are scored on the very same draw, and the
differences are kept. Rows that hang together are drawn together (see resample).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.quality.alike import measured_alike
from modelyard.quality.metrics import METRICS, compute, values
from modelyard.quality.resample import clusters, weightings
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Trial:
    """champion, challenger: `compute`'s values on the same `rows` rows. differences: challenger minus champion, one a resample.

    A difference is NaN where the metric is undefined on that resample.
    """

    metric: str
    rows: int
    champion: dict[str, float]
    challenger: dict[str, float]
    differences: tuple[float, ...]


def bootstrap(
    champion: pl.DataFrame,
    challenger: pl.DataFrame,
    signature: Signature,
    metric: str,
    *,
    challenger_signature: Signature | None = None,
    draws: int = 1000,
    max_rows: int = 20_000,
    seed: int = 0,
) -> Trial:
    """Score two predictions tables on the rows that both answered, and resample the difference.

    The tables are matched by `inference_id`; rows that only one has, or whose label is not known in both, are left out. Beyond
    `max_rows` a seeded sample stands for all. The same tables and seed give the same Trial, whatever their row order.
    `challenger_signature`: where it differs from the champion's.
    Raises BadInput for an unknown metric, repeated ids, or labels on which the tables disagree.
    """
    if metric not in METRICS or signature.problem_type not in METRICS[metric].problem_types:
        raise BadInput(f"there is no metric '{metric}' for {signature.problem_type}")
    ours = challenger_signature or signature
    signature = measured_alike(signature, ours)
    old, new = _same_rows(champion, challenger, signature, max_rows, seed)
    differences = _differences(old, new, signature, ours, metric, draws, seed) if len(old) else ()
    return Trial(metric, len(old), compute(old, signature), compute(new, ours), differences)


def _same_rows(
    champion: pl.DataFrame, challenger: pl.DataFrame, signature: Signature, max_rows: int, seed: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    import polars as pl

    from modelyard.quality.encode import same_labels, usable

    pair = [table.filter(usable(table, signature)) for table in (champion, challenger)]
    for table in pair:
        if tables.INFERENCE_ID not in table.columns or table[tables.INFERENCE_ID].n_unique() != len(table):
            raise BadInput("rows cannot be matched: `inference_id` is missing or repeated", where=tables.INFERENCE_ID)
    common = pair[0].join(pair[1], on=tables.INFERENCE_ID, how="semi").sort(tables.INFERENCE_ID)
    if len(common) > max_rows:
        joined = clusters(common, signature)
        whole = pl.Series("of", range(len(common)) if joined is None else joined)
        fewer = max(1, round(whole.n_unique() * max_rows / len(common)))
        common = common.filter(whole.is_in(whole.unique().sort().sample(fewer, seed=seed).implode()))
    common = common.select(tables.INFERENCE_ID)
    old, new = (common.join(table, on=tables.INFERENCE_ID, how="left", maintain_order="left") for table in pair)
    if not same_labels(old[tables.LABEL], new[tables.LABEL]):
        raise BadInput("champion and challenger were given different labels for the same rows", where=tables.LABEL)
    return old, new


def _differences(
    old: pl.DataFrame, new: pl.DataFrame, signature: Signature, ours: Signature, metric: str, draws: int, seed: int
) -> tuple[float, ...]:
    import numpy as np

    from modelyard.quality.encode import encode

    pair, found = (encode(old, signature), encode(new, ours)), []
    if any((rows.scores if METRICS[metric].needs == "score" else rows.predicted) is None for rows in pair):
        return (math.nan,) * draws
    for counts in weightings(len(pair[0]), clusters(old, signature), draws=draws, seed=seed):
        one, other = (values(rows, (metric,), rows.weighting(counts))[metric] for rows in pair)
        found.append(other - one)
    return tuple(np.concatenate(found).tolist()) if found else ()
