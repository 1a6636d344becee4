"""Reading a capture: segments and Parquet files as one predictions table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.serve.captured import tables
from modelyard.serve.captured.folder import is_open, listing, locked
from modelyard.tables import EVENT_TIME, INFERENCE_ID, RECEIVED_AT, VERSION

if TYPE_CHECKING:
    import polars as pl


def read(folder: Path, start: datetime | None = None, end: datetime | None = None, only: Sequence[str] | None = None) -> pl.DataFrame:
    """The predictions table of all that was captured, open segments included; rows with start <= event_time < end.

    Columns and dtypes as in modelyard.tables; `only` names those to read, of the five fixed ones. An empty table, with the five fixed
    columns, where nothing was captured.
    """
    import polars as pl

    chosen = pl.lit(value=True)
    if start is not None:
        chosen = chosen & (pl.col(EVENT_TIME) >= start)
    if end is not None:
        chosen = chosen & (pl.col(EVENT_TIME) < end)
    return tables.join(_each(folder, chosen, only))


def _each(folder: Path, chosen: pl.Expr, only: Sequence[str] | None = None) -> list[pl.DataFrame]:
    import polars as pl

    if not folder.is_dir():
        return []
    columns = [pl.all()] if only is None else [pl.col(name) for name in only]
    with locked(folder):
        found = [table.filter(chosen).select(columns).collect() for table in _all(folder)]
    return [frame for frame in found if frame.height]


def _all(folder: Path) -> list[pl.LazyFrame]:
    """What the files hold, a table each. Under the lock."""
    import polars as pl

    segments, parts = listing(folder)
    found = [pl.scan_parquet(part.path, glob=False) for part in parts]
    return found + [tables.segment(path.read_bytes()).lazy() for path in segments]


def newest(folder: Path, last: int, *, since: datetime | None = None, version: str | None = None) -> pl.DataFrame:
    """At least the newest `last` rows by when they came (all, where there are fewer), of a version where one is named, and none that came
    before `since`. Files are opened from the newest on, and no more of them than it takes."""
    import polars as pl

    chosen = pl.lit(value=True) if since is None else pl.col(RECEIVED_AT) >= since
    chosen = chosen if version is None else chosen & (pl.col(VERSION) == version)
    if not folder.is_dir():
        return tables.join([])
    with locked(folder):
        segments, parts = listing(folder)
        found: list[pl.DataFrame] = []
        for path in reversed(segments):  # of several fronts each has one open
            if sum(frame.height for frame in found) < last or is_open(path):
                found.append(tables.segment(path.read_bytes()).filter(chosen))
        for part in sorted(parts, key=lambda part: -part.last):
            enough = sum(frame.height for frame in found) >= last
            if enough or (since is not None and part.last < since.timestamp() * 1e6):
                break
            found.append(pl.scan_parquet(part.path, glob=False).filter(chosen).collect())
    return tables.join([frame for frame in found if frame.height])


def find(folder: Path, inference_id: str) -> dict[str, Any] | None:
    """The row of one prediction, by its columns' names; the newest where an id was used twice; None where there is none."""
    import polars as pl

    frame = tables.join(_each(folder, pl.col(INFERENCE_ID) == inference_id))
    return frame.sort(RECEIVED_AT).row(-1, named=True) if frame.height else None


def earliest(folder: Path) -> datetime | None:
    """The first event_time of all that was captured; None where nothing was. Of Parquet files only the column is read."""
    import polars as pl

    if not folder.is_dir():
        return None
    with locked(folder):
        found = [table.select(pl.col(EVENT_TIME).min()).collect().item() for table in _all(folder)]
    return min((at for at in found if at is not None), default=None)
