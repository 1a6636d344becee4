"""Reading a capture: segments and Parquet files as one predictions table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modelyard.serve.captured import tables
from modelyard.serve.captured.folder import is_open, listing, locked, opened
from modelyard.tables import EVENT_TIME, INFERENCE_ID, RECEIVED_AT, VERSION

if TYPE_CHECKING:
    import polars as pl


def read(folder: Path, start: datetime | None = None, end: datetime | None = None, only: Sequence[str] | None = None) -> pl.DataFrame:
    """The predictions table of all that was captured, open segments included; rows with start <= event_time < end.

    Columns and dtypes as in modelyard.tables; `only` names those to read, of the five fixed ones. An empty table, with the five fixed
    columns, where nothing was captured.
    """
    return tables.join(list(_rows(folder, _happened(start, end), only, start, end)))


def pieces(folder: Path, start: datetime, end: datetime, only: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """As `read`, a file at a time: no more of the rows is held than one file has. Nobody changes the folder meanwhile."""
    return _rows(folder, _happened(start, end), only, start, end)


def _happened(start: datetime | None, end: datetime | None) -> pl.Expr:
    """start <= event_time < end."""
    import polars as pl

    chosen = pl.lit(value=True) if start is None else pl.col(EVENT_TIME) >= start
    return chosen if end is None else chosen & (pl.col(EVENT_TIME) < end)


def _rows(
    folder: Path, chosen: pl.Expr, only: Sequence[str] | None = None, start: datetime | None = None, end: datetime | None = None
) -> Iterator[pl.DataFrame]:
    """The chosen rows of each file that has some."""
    import polars as pl

    if not folder.is_dir():
        return
    columns = [pl.all()] if only is None else [pl.col(name) for name in only]
    with locked(folder):
        for table in _all(folder, start, end):
            rows = table.filter(chosen).select(columns).collect()
            if rows.height:
                yield rows


def _all(folder: Path, start: datetime | None = None, end: datetime | None = None) -> Iterator[pl.LazyFrame]:
    """What the files hold, a table each, but for Parquet files that lie outside of start <= event_time < end. Under the lock."""
    import polars as pl

    segments, parts = listing(folder)
    yield from (pl.scan_parquet(part.path, glob=False) for part in parts if _reaches(part.path, start, end))
    yield from (tables.segment(path.read_bytes()).lazy() for path in segments)


def _reaches(path: Path, start: datetime | None, end: datetime | None) -> bool:
    """Whether a Parquet file may have a row with start <= event_time < end: a window's rows lie in one file of many."""
    if start is None and end is None:
        return True
    facts = _facts(path)
    return facts.first is not None and (start is None or facts.last >= start) and (end is None or facts.first < end)


class _Facts(NamedTuple):
    """The first and the last event_time in a file."""

    first: Any
    last: Any


@lru_cache(maxsize=100_000)
def _facts(path: Path) -> _Facts:
    """Of a Parquet file, which is never changed, nor its name used again."""
    import polars as pl

    time = pl.col(EVENT_TIME)
    asked = [time.min().alias("first"), time.max().alias("last")]
    return _Facts(*pl.scan_parquet(path, glob=False).select(asked).collect().row(0))


def newest(
    folder: Path, last: int, *, since: datetime | None = None, version: str | None = None, chosen: pl.Expr | None = None
) -> pl.DataFrame:
    """At least the newest `last` rows by when they came (all, where there are fewer), of a version where one is named, none that came
    before `since`, and `chosen` ones only. Files are opened from the newest on, and no more of them than it takes."""
    import polars as pl

    chosen = pl.lit(value=True) if chosen is None else chosen
    chosen = chosen if since is None else chosen & (pl.col(RECEIVED_AT) >= since)
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
            if part.last < _oldest(found, last) or (since is not None and part.last < since.timestamp() * 1e6):
                break
            found.append(pl.scan_parquet(part.path, glob=False).filter(chosen).collect())
    return tables.join([frame for frame in found if frame.height])


def _oldest(found: Sequence[pl.DataFrame], last: int) -> float:
    """When the oldest of the newest `last` rows came, in microseconds; before all time where there are fewer. Files may overlap: one whose
    last row came before holds none of them."""
    import polars as pl

    if sum(frame.height for frame in found) < last:
        return -math.inf
    times = pl.concat([frame[RECEIVED_AT] for frame in found]).dt.epoch("us")
    return float(times.top_k(last).sort()[0])


def received(folder: Path, since: datetime) -> pl.DataFrame:
    """event_time and received_at of the rows that came at `since` or later; files that had all their rows before are not opened."""
    import polars as pl

    chosen, columns = pl.col(RECEIVED_AT) >= since, [EVENT_TIME, RECEIVED_AT]
    found = [tables.join([]).select(columns)]
    if folder.is_dir():
        with locked(folder):
            segments, parts = listing(folder)
            some = [tables.segment(path.read_bytes()).lazy() for path in segments]
            some += [pl.scan_parquet(part.path, glob=False) for part in parts if part.last >= since.timestamp() * 1e6]
            found += [table.filter(chosen).select(columns).collect() for table in some]
    return pl.concat(found)


def among(folder: Path, ids: pl.Series, start: datetime | None = None, end: datetime | None = None, *, once: bool = False) -> pl.DataFrame:
    """inference_id and event_time of the rows with one of these ids and start <= event_time < end; nothing else of a file is held.

    The newest files are read first, and with `once` no more of them than it takes to find each id.
    """
    import polars as pl

    columns, wanted = [INFERENCE_ID, EVENT_TIME], ids.alias(INFERENCE_ID).unique().to_frame()
    chosen, found = _happened(start, end), [tables.join([]).select(columns)]
    if folder.is_dir() and wanted.height:
        with locked(folder):
            for table in _newest_first(folder, start, end):
                rows = table.filter(chosen).select(columns).join(wanted.lazy(), on=INFERENCE_ID, how="semi").collect()
                found.append(rows)
                if once and (wanted := wanted.join(rows, on=INFERENCE_ID, how="anti")).is_empty():
                    break
    return pl.concat(found)


def _newest_first(folder: Path, start: datetime | None, end: datetime | None) -> Iterator[pl.LazyFrame]:
    """As `_all`, each when it is asked for. Under the lock."""
    import polars as pl

    segments, parts = listing(folder)
    yield from (tables.segment(path.read_bytes()).lazy() for path in reversed(segments))
    near = [part for part in parts if _reaches(part.path, start, end)]
    yield from (pl.scan_parquet(part.path, glob=False) for part in sorted(near, key=lambda part: -part.last))


def find(folder: Path, inference_id: str) -> dict[str, Any] | None:
    """The row of one prediction, by its columns' names; the newest where an id was used twice; None where there is none."""
    import polars as pl

    frame = tables.join(list(_rows(folder, pl.col(INFERENCE_ID) == inference_id)))
    return frame.sort(RECEIVED_AT).row(-1, named=True) if frame.height else None


def earliest(folder: Path) -> datetime | None:
    """The first event_time of all that was captured; None where nothing was. Of Parquet files only the column is read, and that once."""
    if not folder.is_dir():
        return None
    with locked(folder):
        segments, parts = listing(folder)
        found = [_facts(part.path).first for part in parts] + [tables.segment(path.read_bytes())[EVENT_TIME].min() for path in segments]
    return min((at for at in found if isinstance(at, datetime)), default=None)


def begun(folder: Path) -> datetime | None:
    """When the first row came that is kept (at the latest then: the files' names say so); None where there is no file."""
    if not folder.is_dir():
        return None
    with locked(folder):
        segments, parts = listing(folder)
    first = min([*(opened(path) for path in segments), *(part.first for part in parts)], default=None)
    return None if first is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=first)
