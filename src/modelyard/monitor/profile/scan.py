"""Parquet files as they are counted: column by column, and a part of a column at a time.

A part is read, without the interpreter's lock, while the one before is counted, and is still in the processor's cache when its turn comes.
One thread counts: two would hand each other the lock thousands of times, and be slower than one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow.parquet as pq

PART = 262_144
"""Rows of a part at the most: two megabytes of numbers."""
AHEAD = 2
"""Parts that are read and not counted yet, at the most."""


class Scan:
    """A Parquet file of which nothing but its footer has been read."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._path, self._footer = path, pq.read_metadata(path)
        self.num_rows, self.schema = int(self._footer.num_rows), self._footer.schema.to_arrow_schema()

    def parts(self, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Columns that the file has, one after the other, each in parts; text as the codes that the file has it in, quick to count."""
        with ThreadPoolExecutor(1, thread_name_prefix="reading") as reader:
            reading, end = self._read(list(names)), ("", None)
            coming = deque(reader.submit(next, reading, end) for _ in range(AHEAD))
            while (part := coming.popleft().result()) is not end:
                coming.append(reader.submit(next, reading, end))
                yield part
                del part

    def _read(self, names: list[str]) -> Iterator[tuple[str, Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text = [f.name for f in self.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        with pq.ParquetFile(self._path, metadata=self._footer, read_dictionary=text, pre_buffer=False) as file:
            for name in names:
                for groups in self._groups:
                    for part in _parts(file, groups, name):
                        yield name, part

    @cached_property
    def _groups(self) -> list[list[int]]:
        """Row groups that make a part together, and those by themselves that are too large for one."""
        found, rows = list[list[int]](), 0
        for group in range(self._footer.num_row_groups):
            more = self._footer.row_group(group).num_rows
            if found and rows + more <= PART:
                found[-1].append(group)
                rows += more
            else:
                found.append([group])
                rows = more
        return found


def _parts(file: pq.ParquetFile, groups: list[int], name: str) -> Iterator[Any]:
    """A column is taken by its name: PyArrow reads "f.a.b" along with "f.a"."""
    if sum(file.metadata.row_group(group).num_rows for group in groups) <= PART:
        yield from file.read_row_groups(groups, columns=[name], use_threads=False).column(name).chunks
    else:
        for batch in file.iter_batches(PART, row_groups=groups, columns=[name], use_threads=False):
            yield batch.column(name)


def parquet(paths: Iterable[Path]) -> Iterator[Scan]:
    """Parquet files, to be counted one after the other."""
    return map(Scan, paths)
