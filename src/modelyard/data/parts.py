"""A table in pieces, read a batch of rows at a time: what every other file of this room works on, so that no table is ever held whole.

A piece is a Parquet file or, where that is small, a frame in memory. PyArrow reads and writes the files, since its memory is bounded by
the batch whatever the number of cores and the size of a file's row groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.data.columns import nearest, type_of
from modelyard.errors import BadInput

if TYPE_CHECKING:
    import polars as pl

WHERE = "data.source"
MOST_ROWS = 131_072
BATCH = 16 * 1024 * 1024
"""Bytes that a batch is to hold, about, uncompressed."""
IN_MEMORY = 64 * 1024 * 1024
"""Bytes up to which rows that come from elsewhere than a file stay in memory."""


@dataclass(frozen=True)
class Parts:
    """A table: its pieces in the order of its rows, and the schema that all of them are read with.

    Raises BadInput for pieces that cannot be read.
    """

    pieces: tuple[Path | pl.DataFrame, ...]
    schema: pl.Schema
    above: tuple[str, Any] | None = None
    """A column and a value: row groups of files that say of themselves that they hold nothing above are not read."""

    @cached_property
    def heights(self) -> tuple[int, ...]:
        return tuple(opened(p).metadata.num_rows if isinstance(p, Path) else p.height for p in self.pieces)

    @property
    def rows(self) -> int:
        return sum(self.heights)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The rows in order, some at a time: at most 131,072 (524,288 without text), about 16 MB. `columns` alone are read."""
        wanted = list(self.schema) if columns is None else list(columns)
        casts = {name: self.schema[name] for name in wanted}
        for piece in self.pieces:
            for batch in _of_file(piece, wanted, self.above) if isinstance(piece, Path) else _of_frame(piece, wanted):
                # the strict cast of a piece to the table's type loses nothing: the type was chosen so
                yield batch if dict(batch.schema) == casts else batch.cast(casts)  # type: ignore[arg-type]  # names to types

    def held(self) -> Parts:
        """The same table, in memory where a batch holds it whole: it is then read once, and not once a column."""
        piece, *more = self.pieces
        if more or not isinstance(piece, Path) or self.above is not None:
            return self
        meta = opened(piece).metadata
        return of(self.frame()) if _rows_at_once(meta, set(self.schema)) >= meta.num_rows else self

    def column(self, name: str) -> Iterator[pl.Series]:
        return (batch[name] for batch in self.batches([name]))

    def frame(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """All rows at once: for a few columns, or a table known to be small."""
        import polars as pl

        wanted = list(self.schema) if columns is None else list(columns)
        empty = pl.DataFrame(schema={name: self.schema[name] for name in wanted})
        return pl.concat([empty, *self.batches(columns)])


def of(frame: pl.DataFrame) -> Parts:
    """A table in memory."""
    return Parts((frame,), frame.schema)


def opened(path: Path) -> Any:
    """The Parquet file, to be read a page at a time. Raises BadInput when it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # neither memory-mapped nor buffered ahead: a row group may be as large as the file
        return pq.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as exc:
        raise BadInput(f"{path.name} cannot be read as parquet: {first_line(exc)}", where=WHERE) from exc


def _of_file(path: Path, columns: list[str], above: tuple[str, Any] | None) -> Iterator[pl.DataFrame]:
    import polars as pl
    import pyarrow as pa

    file = opened(path)
    meta, rows = file.metadata, _rows_at_once(file.metadata, set(columns))
    try:
        groups = [i for i in range(meta.num_row_groups) if above is None or _may_hold(meta.row_group(i), *above)]
        if not meta.num_rows or not groups:
            yield pl.DataFrame(pl.from_arrow(file.schema_arrow.empty_table())).select(columns)
        for batch in file.iter_batches(batch_size=rows, columns=columns, row_groups=groups):
            yield pl.DataFrame(pl.from_arrow(batch)).select(columns)
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as exc:
        raise BadInput(f"{path.name} cannot be read as parquet: {first_line(exc)}", where=WHERE) from exc
    finally:
        file.close()


def _rows_at_once(meta: Any, columns: set[str]) -> int:
    """So many rows of some columns as are about one batch: by the sizes in the file, which for text may be a dictionary's."""
    size, text, rows = 0, False, int(meta.num_rows)
    for group in map(meta.row_group, range(meta.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema.partition(".")[0] in columns:
                size += int(column.total_uncompressed_size)
                text |= column.physical_type == "BYTE_ARRAY"
    return max(1, min(MOST_ROWS if text else 4 * MOST_ROWS, BATCH * max(rows, 1) // max(size, 1)))


def _may_hold(group: Any, column: str, value: Any) -> bool:
    """Whether a row group may have a row above `value`, by its statistics; true where these do not say."""
    found = next((group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == column), None)
    if found is None or not found.is_stats_set or not found.statistics.has_min_max:
        return True
    try:
        return bool(found.statistics.max > value)
    except TypeError:  # the column is of another kind now: reading it will say so
        return True


def _of_frame(frame: pl.DataFrame, columns: list[str]) -> Iterator[pl.DataFrame]:
    rows = max(1, min(MOST_ROWS, BATCH * max(frame.height, 1) // max(int(frame.estimated_size()), 1)))
    for start in range(0, max(frame.height, 1), rows):  # an empty one too: it has the columns
        yield frame[start : start + rows].select(columns)


def schema_of(path: Path) -> pl.Schema:
    """Names and types of a Parquet file's columns. Raises BadInput, for a name that comes twice too."""
    import polars as pl

    file = opened(path)
    arrow = file.schema_arrow
    file.close()
    twice = next((name for i, name in enumerate(arrow.names) if name in arrow.names[:i]), None)
    if twice is not None:
        raise BadInput(f"{path.name} has two columns named `{twice}`", where=WHERE, next="give each column a name of its own")
    try:
        dtypes = pl.DataFrame(pl.from_arrow(arrow.empty_table())).dtypes  # which gives a column without a name one of its own
        return pl.Schema(dict(zip(arrow.names, dtypes, strict=True)))
    except (pl.exceptions.PolarsError, ValueError, TypeError) as exc:
        raise BadInput(f"{path.name} has columns of a type that cannot be read: {first_line(exc)}", where=WHERE) from exc


def joined(pieces: Sequence[tuple[str, Path | pl.DataFrame]], typed: Iterable[str] = ()) -> Parts:
    """One table of several pieces, each with a name for a person. Whole numbers beside others become floats.

    Raises BadInput for a piece that lacks a column, has one more, or holds another kind of values in it; where the config types a
    column (`typed`), it may be of any kind.
    """
    import polars as pl

    named = [(name, piece, schema_of(piece) if isinstance(piece, Path) else piece.schema) for name, piece in pieces]
    first, _, wanted = named[0]
    for name, _, schema in named[1:]:
        _same_columns(first, wanted, name, schema, set(typed))
    # polars fits types only in columns of one order
    empty = [pl.DataFrame(schema={column: schema[column] for column in wanted}) for _, _, schema in named]
    return Parts(tuple(piece for _, piece in pieces), pl.concat(empty, how="vertical_relaxed").schema)


def _same_columns(first: str, wanted: pl.Schema, name: str, schema: pl.Schema, typed: set[str]) -> None:
    for column in wanted:
        if column not in schema:
            hint = nearest(column, schema)
            raise BadInput(f"the files do not hold the same columns: {name} has no `{column}`, as {first} has", where=WHERE, next=hint)
        kinds = type_of(wanted[column]), type_of(schema[column])
        numbers = set(kinds) <= {"int", "float"}
        if kinds[0] != kinds[1] and not numbers and column not in typed and not {wanted[column], schema[column]} & _nulls():
            said = f"column `{column}` is {kinds[0] or wanted[column]} in {first} and {kinds[1] or schema[column]} in {name}"
            raise BadInput(said, where=WHERE, next=f"say what it is to be with `data.schema.types: {{{column}: ...}}`")
        if not _fit(wanted[column], schema[column]):
            said = f"column `{column}` is {wanted[column]} in {first} and {schema[column]} in {name}"
            raise BadInput(said, where=WHERE, next="write it alike in all files")
    more = next((column for column in schema if column not in wanted), None)
    if more is not None:
        raise BadInput(f"the files do not hold the same columns: {name} has `{more}`, which {first} lacks", where=WHERE)


def _fit(one: pl.DataType, other: pl.DataType) -> bool:
    """Whether there is a type that holds the values of both: none does of times with a zone and without."""
    import polars as pl

    try:
        pl.concat([pl.DataFrame(schema={"": dtype}) for dtype in (one, other)], how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        return False
    return True


def _nulls() -> set[Any]:
    import polars as pl

    return {pl.Null()}


class Writer:
    """A Parquet file, written a batch at a time; the same schema each time. A context manager."""

    def __init__(self, path: Path, compression: str = "zstd") -> None:
        self.path, self.rows = path, 0
        self._compression = compression
        self._writer: Any = None

    def write(self, batch: pl.DataFrame) -> None:
        import polars as pl
        import pyarrow.parquet as pq

        table = batch.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            level = 1 if self._compression == "zstd" else None
            self._writer = pq.ParquetWriter(self.path, table.schema, compression=self._compression, compression_level=level)
        if table.num_rows:
            self._writer.write_table(table)
        self.rows += table.num_rows

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


def keep(frames: Iterable[pl.DataFrame], spool: Path) -> list[Path | pl.DataFrame]:
    """Frames that come one by one, as pieces: in memory as long as they are small, and after that in files in `spool`."""
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(f.estimated_size() for f in held) > IN_MEMORY:
            return [*_spooled(held, frames, spool)]
    return [*held]


def _spooled(held: list[pl.DataFrame], more: Iterable[pl.DataFrame], spool: Path) -> Iterator[Path]:
    """A file each time that the schema changes, as it may from chunk to chunk where a database has no types."""
    writer: Writer | None = None
    schema: pl.Schema | None = None

    def frames() -> Iterator[pl.DataFrame]:
        while held:
            yield held.pop(0)
        yield from more

    for frame in frames():
        if writer is None or frame.schema != schema:
            if writer is not None:
                writer.__exit__()
                yield writer.path
            spool.mkdir(parents=True, exist_ok=True)
            writer, schema = Writer(spool / f"spool-{len(list(spool.iterdir())):05}.parquet", "lz4"), frame.schema
        writer.write(frame)
    if writer is not None:
        writer.__exit__()
        yield writer.path


def first_line(exc: BaseException) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(exc).__name__
