"""How much of a window is labelled, and up to when labels can be taken for complete. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.monitor.labels.values import GIVEN_AT

if TYPE_CHECKING:
    import polars as pl

COMPLETE = 0.9
"""Share of the usual coverage from which labels count as complete: some always stay away."""


def coverage(rows: pl.DataFrame, usual: float = 1.0) -> dict[str, Any]:
    """What is known of a window's labels, as JSON values.

    Args:
        rows: a labelled predictions table: event_time, label and, where it is known, `GIVEN_AT`.
        usual: the coverage that this model's windows reach in the end, in [0, 1].

    Returns: `rows`; `labels`, how many of them have one; `coverage`, the share (None without rows); `first_label` and `last_label`, when
    the first and the last of the labels that hold were received (ISO, UTC; None where none were); `watermark`: the newest event_time
    such that of all rows up to it at least `COMPLETE` times `usual` have their label (ISO, UTC; None where there is no such row).
    """
    import polars as pl

    known = rows.select(tables.EVENT_TIME, pl.col(tables.LABEL).is_not_null().alias("known")).sort(tables.EVENT_TIME)
    count = int(known["known"].sum())
    share = pl.col("known").cum_sum() / pl.int_range(1, pl.len() + 1)
    # rows of one instant stand or fall together: the share is that after the last of them
    last_of_instant = pl.col(tables.EVENT_TIME) != pl.col(tables.EVENT_TIME).shift(-1)
    whole = known.filter(last_of_instant.fill_null(value=True) & (share >= COMPLETE * usual) & (pl.col("known").cum_sum() > 0))
    given = rows.filter(pl.col(tables.LABEL).is_not_null())[GIVEN_AT] if GIVEN_AT in rows.columns else None
    return {
        "rows": rows.height,
        "labels": count,
        "coverage": count / rows.height if rows.height else None,
        "first_label": None if given is None else _iso(given.min()),
        "last_label": None if given is None else _iso(given.max()),
        "watermark": _iso(whole[tables.EVENT_TIME].max()),
    }


def usual(windows: Iterable[dict[str, Any]]) -> float:
    """The coverage that a model's windows reach: the median over those that had their time (`coverage`'s, with rows); 1 without any."""
    shares = [window["coverage"] for window in windows if window["coverage"] is not None]
    return float(statistics.median(shares)) if shares else 1.0


def watermark(windows: Sequence[dict[str, Any]], usual: float) -> str | None:
    """Up to when a model's labels can be taken for complete: the end of the newest window of which at least `COMPLETE` times the `usual`
    share is labelled. `windows`: `coverage`'s, each with its `end` (ISO, UTC). None where there is no such window."""
    whole = [w["end"] for w in windows if w["labels"] and w["coverage"] >= COMPLETE * usual]
    return max(whole, default=None)


def _iso(at: Any) -> str | None:
    return at.isoformat() if isinstance(at, datetime) else None
