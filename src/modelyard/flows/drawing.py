"""Drawing: of more captured rows than can be held some, by chance and the same ones each time, as they are read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.flows import history
from modelyard.serve.captured.tables import join
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl


def at_most(shop: Workshop, model: str, start: datetime, end: datetime, most: int, *, settled: bool = False) -> tuple[pl.DataFrame, float]:
    """The rows that `answers` gives, and 1; of more than `most` of them a share, and what share that is: half of them, a quarter, ... drawn
    by chance and the same ones each time. No more of the others is held than one file has."""
    kept: list[pl.DataFrame] = []
    count = halved = 0
    for rows in history.pieces(shop, model, start, end, settled=settled):
        kept.append(_thinned(rows, halved))
        count += kept[-1].height
        while count > most and halved < 64:
            halved += 1
            kept = [_thinned(part, halved) for part in kept]
            count = sum(part.height for part in kept)
    return join(kept), 0.5**halved


def _thinned(rows: pl.DataFrame, halved: int) -> pl.DataFrame:
    """The half of the half ... of the rows."""
    import polars as pl

    return rows.filter(_luck(0) < pl.lit(2 ** (64 - halved), pl.UInt64)) if halved else rows


def sample(frames: Iterable[pl.DataFrame], count: int, seed: int) -> pl.DataFrame:
    """`count` rows (all, where there are fewer), drawn by chance and the same ones each time, however the rows are spread over `frames`."""
    import polars as pl

    kept: list[pl.DataFrame] = []
    for rows in filter(pl.DataFrame.__len__, frames):
        drawn = rows.with_columns(_luck(seed).alias("luck"))
        drawn = drawn.filter(pl.col("luck") <= drawn["luck"].bottom_k(count).max())
        kept = [join([*kept, drawn]).sort("luck", maintain_order=True).head(count)]
    return join(kept).drop("luck", strict=False)


def _luck(seed: int) -> pl.Expr:
    """A number by chance for each row, uint64. By what the row is, and not by its place: files are merged as time goes by."""
    import polars as pl

    return pl.struct(tables.INFERENCE_ID, tables.EVENT_TIME, tables.RECEIVED_AT).hash(seed=seed)
