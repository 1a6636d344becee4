"""Where rows come from: csv and Parquet by path or fsspec URL, and SQL by a database URL (data/databases.py)."""

from __future__ import annotations

import glob
import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING

from modelyard.config.spec import Source
from modelyard.data import databases
from modelyard.errors import BadInput, NotFound

if TYPE_CHECKING:
    import polars as pl

WHERE = "data.source"
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
"""Cells of a csv that stand for a missing value, in text columns too (pandas reads them so)."""


def read(source: Source, *, folder: Path, secret: Callable[[str], str]) -> pl.DataFrame:
    """The source's rows, types as found.

    A location is a path relative to `folder` (a `*` pattern or a folder of files is read in name order), an fsspec URL, or, for
    sql, a database URL; `secret` is asked for the value where it is a reference, and no error ever shows that value. csv: a
    header is needed, types come from every row, ISO dates and times are recognised, and the cells in `MISSING` are missing.

    Raises NotFound for a missing file, BadInput for one that cannot be read, repeats a column or has no rows, and Unavailable for
    a database that does not answer.
    """
    import polars as pl

    hidden = not isinstance(source.location, str)
    location = source.location if isinstance(source.location, str) else secret(source.location.secret)
    if source.using == "sql":
        frame = databases.read(location, source.query or "", folder)
    else:
        reader = _csv if source.using == "csv" else _parquet
        shown = "the secret location" if hidden else location
        pieces = [_piece(reader, name, stream, source.using) for name, stream in _streams(location, shown, folder, source.using)]
        try:
            frame = pl.concat(pieces, how="vertical_relaxed")
        except pl.exceptions.PolarsError as exc:
            raise BadInput(f"the files at {shown} do not hold the same columns: {_first_line(exc)}", where=WHERE) from exc
    if frame.width == 0 or frame.height == 0:
        raise BadInput("the source has no rows", where=WHERE, next="look at the file or the query: the table is empty")
    return frame


Stream = AbstractContextManager[IO[bytes] | Path]


def _streams(location: str, shown: str, folder: Path, ending: str) -> list[tuple[str, Stream]]:
    if "://" in location:
        return [(shown, _remote(location, shown))]
    path = folder / Path(location).expanduser()
    paths = [path]
    if any(mark in location for mark in "*?["):
        paths = sorted(Path(p) for p in glob.glob(str(path), recursive=True))  # noqa: PTH207  (Path.glob takes no absolute pattern)
    elif path.is_dir():
        paths = sorted(path.rglob(f"*.{ending}"))
    if not paths or not all(p.is_file() for p in paths):
        raise NotFound(f"there is no file at {shown}", where=WHERE, next=_similar(path))
    return [(p.name if len(paths) > 1 else shown, nullcontext(p)) for p in paths]


def _similar(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either; paths are relative to config.yaml"
    close = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    return f"did you mean `{close[0]}`?" if close else "paths are relative to config.yaml"


def _remote(url: str, shown: str) -> Stream:
    import fsspec

    scheme = url.partition("://")[0]
    try:
        return nullcontext(io.BytesIO(fsspec.open(url, "rb").open().read()))
    except ImportError as exc:
        raise BadInput(f"reading {scheme}:// needs a package that is not installed", where=WHERE, next=str(exc)) from exc
    except ValueError as exc:
        raise BadInput(f"{scheme}:// is no kind of address that can be read", where=WHERE) from exc
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file at {shown}", where=WHERE) from exc
    except Exception as exc:  # each backend raises its own kinds, and their texts may hold the address
        raise BadInput(f"{shown} cannot be read: {type(exc).__name__}", where=WHERE) from exc


def _piece(reader: Callable[[IO[bytes] | Path], pl.DataFrame], name: str, stream: Stream, using: str) -> pl.DataFrame:
    import polars as pl

    try:
        with stream as opened:
            frame = reader(opened)
    except pl.exceptions.NoDataError as exc:
        raise BadInput(f"{name} is empty", where=WHERE) from exc
    except (pl.exceptions.PolarsError, OSError, ValueError) as exc:
        raise BadInput(f"{name} cannot be read as {using}: {_first_line(exc)}", where=WHERE) from exc
    for column in frame.columns:
        original, mark, count = column.rpartition("_duplicated_")
        if mark and count.isdigit() and original in frame.columns:
            raise BadInput(f"{name} has two columns named `{original}`", where=WHERE, next="give each column a name of its own")
    return frame


def _csv(opened: IO[bytes] | Path) -> pl.DataFrame:
    import polars as pl

    # polars' own try_parse_dates with types from all rows costs 20 s on 300,000 rows; ours 50 ms
    frame = pl.read_csv(opened, infer_schema_length=None, null_values=list(MISSING))
    return frame.with_columns([_times(frame[name]) for name, dtype in frame.schema.items() if dtype == pl.String])


_DATE = r"^\d{4}-\d{2}-\d{2}$"
_STAMP = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?$"
_ZONE = r"(Z|[+-]\d{2}:\d{2})$"


def _times(text: pl.Series) -> pl.Series:
    """Text whose every value is an ISO 8601 date, or a time with or without a zone throughout, as such; else as it is."""
    import polars as pl

    present = text.drop_nulls()
    for pattern in (_DATE, _STAMP):
        # most columns are told by their first value
        if not len(present) or not present[:1].str.contains(pattern).all() or not present.str.contains(pattern).all():
            continue
        zoned = present.str.contains(_ZONE) if pattern == _STAMP else present.is_null()
        if zoned.any() != zoned.all():
            return text
        try:
            zone = "UTC" if zoned.any() else None
            parsed = (
                text.str.to_date(strict=False) if pattern == _DATE else text.str.to_datetime(time_unit="us", time_zone=zone, strict=False)
            )
        except pl.exceptions.ComputeError:
            return text
        return parsed if parsed.null_count() == text.null_count() else text
    return text


def _parquet(opened: IO[bytes] | Path) -> pl.DataFrame:
    import polars as pl

    # not memory-mapped: the rows must not change under us when the file is rewritten
    return pl.read_parquet(opened, memory_map=False, hive_partitioning=False)


def _first_line(exc: BaseException) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(exc).__name__
