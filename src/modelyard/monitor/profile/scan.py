"""Parquet files as they are counted: column by column, and a part of a column at a time.

A thread that reads a column counts it while it is in its core's cache, and waits for no other. Batches of all columns would be read by one
thread while the others have nothing to count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH = 131_072
"""Rows of a part, where the file's own parts are too large."""
WHOLE = 2 * BATCH
"""Rows of a row group up to which a column of it is read at once."""


class Scan:
    """A Parquet file of which nothing but its footer has been read. Its columns may be read by several threads at once."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._path = path
        self._footer = pq.read_metadata(path)

    @property
    def num_rows(self) -> int:
        return int(self._footer.num_rows)

    @cached_property
    def schema(self) -> pa.Schema:
        return self._footer.schema.to_arrow_schema()

    def pieces(self, name: str) -> Iterator[pa.Array]:
        """The values of a column in parts; text comes as the codes that the file has it in, which are quick to count."""
        import pyarrow as pa

        kind = self.schema.field(name).type
        coded = [name] if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None
        with self._open(coded) as file:
            for group in range(self._footer.num_row_groups):
                yield from _parts(file, group, name, self._footer.row_group(group).num_rows)

    def _open(self, coded: list[str] | None) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self._path, metadata=self._footer, read_dictionary=coded, pre_buffer=False)


def _parts(file: pq.ParquetFile, group: int, name: str, rows: int) -> Iterator[Any]:
    """A column is taken by its name: PyArrow reads "f.a.b" along with "f.a"."""
    if rows <= WHOLE:
        yield from file.read_row_group(group, columns=[name], use_threads=False).column(name).chunks
    else:
        for batch in file.iter_batches(BATCH, row_groups=[group], columns=[name], use_threads=False):
            yield batch.column(name)


def parquet(paths: Iterable[Path]) -> Iterator[Scan]:
    """Parquet files, to be counted one after the other."""
    return map(Scan, paths)
