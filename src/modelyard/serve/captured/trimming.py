"""What a capture keeps: rows not older than asked, and not more bytes than asked; the oldest go first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelyard.serve.captured import folder as places
from modelyard.serve.captured.folder import Part
from modelyard.tables import RECEIVED_AT

SLACK = timedelta(hours=1)
"""A file that holds older rows beside newer ones is cut once the oldest is so much too old."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Trimmed:
    """What went: rows, and bytes of files. All that is left was received at `since` or later (None: nothing went), and is `over` bytes
    more than was asked for, since the rest is needed."""

    rows: int = 0
    bytes: int = 0
    since: datetime | None = None
    over: int = 0


def trim(folder: Path, *, before: datetime | None = None, max_bytes: int | None = None, keep_from: datetime | None = None) -> Trimmed:
    """Let go of rows received before `before`, and of the oldest files while all take more than `max_bytes`.

    Rows received from `keep_from` on stay whatever is asked. Segments count as bytes, and stay until they are compacted. Idempotent; safe
    to kill anywhere, and while fronts write and others read. Raises OSError.
    """
    if not folder.is_dir() or (before is None and max_bytes is None):
        return Trimmed()
    keep = None if keep_from is None else _micros(keep_from)
    with places.changing(folder):
        segments, parts = places.listing(folder)
        rows = size = cut = 0
        if before is not None:
            limit = _micros(before) if keep is None else min(_micros(before), keep)
            for part in [p for p in parts if p.last < limit or p.first < limit - SLACK // _MICROSECOND]:
                gone, freed = _cut(folder, part, limit)
                rows, size, cut = rows + gone, size + freed, max(cut, min(limit, part.last + 1))
            parts = places.listing(folder)[1]
        over = 0
        if max_bytes is not None:
            over = sum(_on_disk(path) for path in segments) + sum(_on_disk(p.path) for p in parts) - max_bytes
            for part in sorted(parts, key=lambda p: p.last):
                if over <= 0 or (keep is not None and part.last >= keep):
                    break
                gone, freed = _cut(folder, part, part.last + 1)
                rows, size, over, cut = rows + gone, size + freed, over - freed, max(cut, part.last + 1)
    return Trimmed(rows, size, _EPOCH + cut * _MICROSECOND if rows else None, max(0, over))


def _cut(folder: Path, part: Part, limit: int) -> tuple[int, int]:
    """Let go of the rows received before `limit` (microseconds): how many, and bytes freed."""
    import polars as pl

    size, table = _on_disk(part.path), pl.scan_parquet(part.path, glob=False)
    rows = int(table.select(pl.len()).collect().item())
    left = table.filter(pl.col(RECEIVED_AT) >= _EPOCH + limit * _MICROSECOND).collect() if part.last >= limit else None
    if left is None or not left.height:
        places.replace(folder, [part.path], [])
        return rows, size
    places.replace(folder, [part.path], [left])
    return rows - left.height, 0


def _on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
