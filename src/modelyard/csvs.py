"""A csv as a table whose columns are called what their header says.

Polars leaves the quotes of a name doubled: it reads `"a ""b"" c"` as `a ""b"" c`, where every other reader, an endpoint's front among
them, has `a "b" c`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
"""Cells of data that stand for a missing value, in text columns too (pandas reads them so)."""
MOST = 1_000_000
"""Bytes of a file in which its header is."""


def frame(file: Path | bytes, types: Mapping[str, Any] | None = None, **options: Any) -> pl.DataFrame:
    """Polars' `read_csv` with its `options`, of a file or of what is in one; `types` are its `schema_overrides`, by the header's names.

    Raises what that raises."""
    import polars as pl

    doubled = _doubled(file)
    known = {doubled.get(name, name): dtype for name, dtype in (types or {}).items()}
    found = pl.read_csv(io.BytesIO(file) if isinstance(file, bytes) else file, schema_overrides=known, **options)
    if not doubled:
        return found
    # a name that comes twice keeps what Polars puts behind it, for who reads to see
    behind = {f"{theirs}{more}": f"{name}{more}" for name, theirs in doubled.items() for more in ("", "_duplicated_0")}
    return found.rename({theirs: name for theirs, name in behind.items() if theirs in found.columns})


def _doubled(file: Path | bytes) -> dict[str, str]:
    """What Polars calls the columns whose names have quotes in them, by name."""
    if isinstance(file, bytes):
        start = file[:MOST]
    else:
        with file.open("rb") as opened:
            start = opened.read(MOST)
    head = _header(start)
    if b'""' not in head:
        return {}
    text = head.decode("utf-8-sig", "replace")
    try:
        names = next(csv.reader(io.StringIO(text, newline="")), [])
    except csv.Error:
        return {}
    pairs = {name: name.replace('"', '""') for name in names if '"' in name}
    return {name: theirs for name, theirs in pairs.items() if f'"{theirs}"' in text}  # without quotes around it, it is as it stands


def _header(start: bytes) -> bytes:
    """The first record that is not blank."""
    start = start.lstrip(b"\r\n")
    end = start.find(b"\n") + 1
    while end and start.count(b'"', 0, end) % 2:
        end = start.find(b"\n", end) + 1
    return start[:end] if end else start
