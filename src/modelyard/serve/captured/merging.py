"""Closed segments to Parquet, and small Parquet files of a day to larger ones.

A day's files are merged as they come to be: eight of about one size become one of the next, so a row is written again a few times and not
each minute. When the day is over, what is still small becomes as few files as the largest size allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.serve.captured import folder as places
from modelyard.serve.captured import tables
from modelyard.serve.captured.folder import Part
from modelyard.tables import EVENT_TIME

if TYPE_CHECKING:
    import polars as pl

FANOUT = 8
"""So many files of about one size become one."""
LARGE = 64 * 2**20
"""Bytes from which a Parquet file is left as it is; and about how much of segments is turned at once."""
_SMALLEST = 32 * 1024

Export = Callable[[str, "list[pl.DataFrame]"], None]
"""Told the rows of each segment, a table a version, and its name, before they become Parquet; after a crash perhaps again."""


def compact(folder: Path, export: Export | None = None, *, today: str | None = None) -> int:
    """Turn closed segments, and those whose writer is dead, into Parquet, and merge what is small; how many segments were turned.

    Idempotent and safe to kill anywhere. Of two calls at once for a folder, in one process or two, the second waits for the first.
    Raises OSError (a full disk leaves what is there as it is). `today` (UTC, as in 20260131) is the day that is not over.
    """
    if not folder.is_dir():
        return 0
    with places.changing(folder):
        closed = [path for path in places.listing(folder)[0] if not places.is_open(path)]
        for paths in _chunks(closed):
            found = {path: tables.by_version(path.read_bytes()) for path in paths}
            if export is not None:
                for path, frames in found.items():
                    export(path.stem, frames)
            _replace(folder, paths, [frame for frames in found.values() for frame in frames])
        for parts in _to_merge(places.listing(folder)[1], today or datetime.now(UTC).strftime("%Y%m%d")):
            import polars as pl

            _replace(folder, [p.path for p in parts], [pl.read_parquet(p.path, glob=False) for p in parts])
        return len(closed)


def add(folder: Path, frame: pl.DataFrame) -> None:
    """Add rows that no front of ours captured: a predictions table with its five fixed columns. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    if frame.height:
        with places.changing(folder):
            places.replace(folder, [], [frame.sort(EVENT_TIME, maintain_order=True)])


def _replace(folder: Path, old: list[Path], frames: list[pl.DataFrame]) -> None:
    """In the order of their time, so that a window's rows lie together. Versions whose columns have other types go into another file:
    no row's types change because another version's did."""
    alike: list[tuple[dict[str, pl.DataType], list[pl.DataFrame]]] = []
    for frame in frames:
        for types, group in alike:
            if all(types.get(name, dtype) == dtype for name, dtype in frame.schema.items()):
                types.update(frame.schema)
                group.append(frame)
                break
        else:
            alike.append((dict(frame.schema), [frame]))
    places.replace(folder, old, [tables.join(group).sort(EVENT_TIME, maintain_order=True) for _, group in alike])


def _chunks(paths: list[Path]) -> Iterator[list[Path]]:
    """Segments of one day, so many that they fit into memory."""
    for _, group in groupby(paths, key=_day):
        chunk, size = list[Path](), 0
        for path in group:
            if chunk and size + path.stat().st_size > LARGE:
                yield chunk
                chunk, size = [], 0
            chunk.append(path)
            size += path.stat().st_size
        yield chunk


def _day(segment: Path) -> str:
    return datetime.fromtimestamp(places.opened(segment) / 1e6, UTC).strftime("%Y%m%d")


def _to_merge(parts: list[Part], today: str) -> Iterator[list[Part]]:
    """Which files are to become one."""
    for day, group in groupby(parts, key=lambda part: part.day):
        small = [part for part in group if part.size < LARGE]
        if day < today:
            yield from _filled(small)
            continue
        tiers: dict[int, list[Part]] = {}
        for part in small:
            tiers.setdefault(_tier(part.size), []).append(part)
        yield from (tier for tier in tiers.values() if len(tier) >= FANOUT)


def _filled(small: list[Part]) -> Iterator[list[Part]]:
    """Groups of at least two that together are not too large."""
    group, size = list[Part](), 0
    for part in small:
        if size + part.size > LARGE:
            if len(group) > 1:
                yield group
            group, size = [], 0
        group.append(part)
        size += part.size
    if len(group) > 1:
        yield group


def _tier(size: int) -> int:
    return int(math.log(max(size, _SMALLEST) / _SMALLEST, FANOUT))
