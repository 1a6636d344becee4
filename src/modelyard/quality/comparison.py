"""Two versions' answers to the same rows, side by side: how many differ, where they do, and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.quality.slices import parts
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

LEVEL_Z = 1.959964
"""95% of a normal distribution lie within so many standard deviations."""
LARGEST, POINTS, PAIRS, BINS = 20, 600, 30, 30
"""Rows that changed most, points of the picture, pairs of answers, bars of the histogram."""


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95% interval of a share (E. B. Wilson, JASA 22, 1927); (0, 1) where nothing was seen."""
    if not of:
        return 0.0, 1.0
    share, z2 = hits / of, LEVEL_Z**2
    middle, half = share + z2 / (2 * of), LEVEL_Z * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2))
    low, high = (middle - half) / (1 + z2 / of), (middle + half) / (1 + z2 / of)
    return (0.0 if not hits else low), (1.0 if hits == of else high)


def measure(
    rows: pl.DataFrame, old: pl.DataFrame, new: pl.DataFrame, differs: Sequence[bool], signature: Signature, columns: Iterable[str]
) -> dict[str, Any]:
    """What differs, JSON-ready.

    Args:
        rows: a predictions table (`inference_id`, f.*, x.*) of n rows.
        old, new: the y.* columns of the champion and of the new version, n rows each.
        differs: for each row, whether the two answers count as different.
        signature: the champion's.
        columns: features or companions to slice by.
    """
    import polars as pl

    apart = pl.Series("differs", differs, dtype=pl.Boolean)
    one, other = scores(old, old, signature), scores(new, old, signature)
    changes = None if one is None or other is None else (other - one).alias("change")
    return {
        **_share(apart),
        "answers": _by(old[tables.PREDICTION], apart),
        "pairs": _pairs(old, new, apart) if signature.answer != "number" else [],
        "slices": [
            {"column": name, **found}
            for name in columns
            if (place := tables.place(rows.columns, name)) is not None
            for found in _by(rows[place], apart)
        ],
        "largest": _largest(rows, old, new, changes, apart),
        "changes": _histogram(changes),
        "points": _points(one, other, apart),
        "score": _score_name(signature),
    }


def _share(apart: pl.Series) -> dict[str, Any]:
    hits, of = int(apart.sum()), len(apart)
    low, high = wilson(hits, of)
    return {"rows": of, "disagreed": hits, "share": hits / of if of else 0.0, "low": low, "high": high}


def _by(series: pl.Series, apart: pl.Series) -> list[dict[str, Any]]:
    """The share of each part of a column, most rows first."""
    import polars as pl

    if not len(series):
        return []
    names, codes = parts(series)
    found = [{"value": name, **_share(apart.filter(pl.Series(codes == k)))} for k, name in enumerate(names)]
    return sorted(found, key=lambda part: -part["rows"])


def _pairs(old: pl.DataFrame, new: pl.DataFrame, apart: pl.Series) -> list[dict[str, Any]]:
    """From which answer to which other one, and how often."""
    import polars as pl

    both = pl.DataFrame({"old": old[tables.PREDICTION].cast(pl.String), "new": new[tables.PREDICTION].cast(pl.String)}).filter(apart)
    counted = both.group_by("old", "new").len("rows").sort("rows", "old", "new", descending=[True, False, False], nulls_last=True)
    return counted.head(PAIRS).to_dicts()


def scores(outputs: pl.DataFrame, champion: pl.DataFrame, signature: Signature) -> pl.Series | None:
    """The one number of an answer that says most: the number itself, the score of the positive class or of the anomaly, of several classes
    the probability of that which the champion answers. None where there is none."""
    import polars as pl

    if signature.answer == "number":
        return outputs[tables.PREDICTION].cast(pl.Float64)
    if signature.problem_type in ("binary_classification", "anomaly_detection"):
        name = tables.output(signature.positive_output)
        return outputs[name].cast(pl.Float64) if name in outputs.columns else None
    if signature.answer != "class":
        return None
    answered, found = champion[tables.PREDICTION].alias("answered"), pl.lit(None, dtype=pl.Float64)
    for value in signature.classes:
        name = tables.output(f"probability_{value}")
        if name in outputs.columns:
            found = pl.when(pl.col("answered") == value).then(pl.col(name)).otherwise(found)
    return outputs.with_columns(answered).select(found.alias("score"))["score"]


def _score_name(signature: Signature) -> str:
    if signature.answer == "number":
        return "prediction"
    if signature.problem_type in ("binary_classification", "anomaly_detection"):
        return signature.positive_output
    return "probability of the champion's answer"


def _largest(rows: pl.DataFrame, old: pl.DataFrame, new: pl.DataFrame, changes: pl.Series | None, apart: pl.Series) -> list[dict[str, Any]]:
    """Rows that changed most: by their score where there is one, those answered otherwise first."""
    import polars as pl

    size = pl.Series("size", [0.0] * len(apart)) if changes is None else changes.abs().fill_nan(None).fill_null(0.0).alias("size")
    table = pl.DataFrame(
        {
            "inference_id": rows[tables.INFERENCE_ID],
            "old": old[tables.PREDICTION],
            "new": new[tables.PREDICTION],
            "change": pl.Series([None] * len(apart), dtype=pl.Float64) if changes is None else changes,
            "differs": apart,
            "size": size,
        },
        strict=False,
    )
    found = table.filter((pl.col("size") > 0) | pl.col("differs")).sort("differs", "size", "inference_id", descending=[True, True, False])
    return [{k: _plain(v) for k, v in row.items()} for row in found.drop("size").head(LARGEST).to_dicts()]


def _histogram(changes: pl.Series | None) -> dict[str, Any] | None:
    """How far scores moved: counts between edges, which leave out the outermost hundredth."""
    import numpy as np

    if changes is None or not len(found := changes.drop_nulls().drop_nans().to_numpy()):
        return None
    found = found[np.isfinite(found)]
    edge = float(np.quantile(np.abs(found), 0.99)) if len(found) else 0.0
    if not edge:
        return None
    counts, edges = np.histogram(np.clip(found, -edge, edge), bins=BINS, range=(-edge, edge))
    return {"edges": edges.tolist(), "counts": counts.tolist(), "mean": float(found.mean())}


def _points(one: pl.Series | None, other: pl.Series | None, apart: pl.Series) -> list[list[float]]:
    """Some rows as (champion's score, new one's, 1 where they differ), evenly out of all."""
    import polars as pl

    if one is None or other is None:
        return []
    table = pl.DataFrame({"one": one, "other": other, "differs": apart.cast(pl.Int64)})
    table = table.filter(pl.col("one").is_finite() & pl.col("other").is_finite())
    return [list(row) for row in table.gather_every(max(1, -(-table.height // POINTS))).rows()]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
