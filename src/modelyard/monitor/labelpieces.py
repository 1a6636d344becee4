"""Reads a file of labels a piece at a time: of its rows no more is held than a piece has, and of these the columns that are asked for.

Whether a column of text holds numbers, truths or words is known once all of it was seen: until then it stays as it is written, and `typed`
makes of a piece what the whole column turned out to be. A .json, one list of objects, is read whole.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from modelyard import csvs
from modelyard.errors import BadInput
from modelyard.monitor import labelfiles
from modelyard.monitor.labelfiles import LINE, Names

if TYPE_CHECKING:
    import polars as pl

BLOCK, ROWS = 4 * 2**20, 100_000
"""Bytes of text in a piece, about, and rows of Parquet."""
_BOM = b"\xef\xbb\xbf"
_TYPES = {"Int64": "int", "Float64": "float", "Boolean": "bool"}
_KINDS = {bool: "bool", int: "int", float: "float", str: "str"}
_LEAST, _MOST = -(2**63), 2**63 - 1


class Pieces:
    """Gone through once, it gives the rows as they are written, with `LINE`; then `typed` knows what they are. `tables` does both.

    Raises BadInput, which names the file and the line, for what cannot be read, and for a file that has no rows or lacks a column.
    """

    def __init__(self, file: BinaryIO, kind: str, names: Names, where: str) -> None:
        """file: opened at its beginning. kind: csv, parquet, json or jsonl. where: what errors call it."""
        self._file, self._kind, self._names, self._where = file, kind, names, where
        self._columns: dict[str, None] = {}
        self._kinds: dict[str, set[str]] = {}
        self._fractions: set[str | None] = set()  # columns of ids that are not all whole numbers

    def __iter__(self) -> Iterator[pl.DataFrame]:
        rows = 0
        for piece in {"csv": self._csv, "parquet": self._parquet, "json": self._json, "jsonl": self._jsonl}[self._kind]():
            if self._kind != "jsonl":  # of which a later line may have it
                labelfiles.lacking(list(self._columns), self._names, self._where)
            rows += piece.height
            yield piece
        if not rows:
            raise BadInput("the file has no rows", where=self._where)
        labelfiles.lacking(list(self._columns), self._names, self._where)

    def tables(self, spool: Path) -> Iterator[pl.DataFrame]:
        """Go through it, and then give each piece as `typed`: all but the last one lie in a folder meanwhile."""
        from modelyard.monitor.labels import segments

        paths: list[Path] = []
        last: pl.DataFrame | None = None
        for piece in self:
            if last is not None:
                paths.append(segments.lay(last, spool / f"piece-{len(paths)}"))
            last = piece
        for path in paths:
            yield self.typed(segments.laid(path))
            path.unlink()
        if last is not None:
            yield self.typed(last)

    def place(self, line: int | None) -> str:
        """Where a row stands, by its `LINE`; None where quotes in the middle of words leave it unknown."""
        if line is None:
            return self._where
        return f"{self._where}:{line}" if self._kind in ("csv", "jsonl") else f"{self._where}, row {line}"

    def typed(self, piece: pl.DataFrame) -> pl.DataFrame:
        """A piece as `labelfiles.table` gives it, with `LINE`."""
        import polars as pl

        wanted = [name for name in self._names.columns if name in self._columns]
        columns = [piece[name] if name in piece.columns else pl.Series(name, [None] * piece.height, pl.String) for name in wanted]
        if self._kind != "parquet":
            columns = [self._as(column) for column in columns]
        return labelfiles.table(pl.DataFrame([*columns, piece[LINE]]), self._names, self._where, self.place)

    def _as(self, text: pl.Series) -> pl.Series:
        import polars as pl

        if text.name in self._names.ids:
            return text if self._kind != "csv" or text.name in self._fractions else text.str.strip_suffix(".0")  # as `as_ids`
        kinds = self._kinds.get(text.name, set())
        if "bool" in kinds and self._kind != "csv" and kinds & {"int", "float"} and "str" not in kinds:
            text, kinds = text.replace({"true": "1", "false": "0"}), kinds - {"bool"}
        if kinds <= {"int", "float"}:
            return text.cast(pl.Float64 if "float" in kinds else pl.Int64)
        return text.str.to_lowercase() == "true" if kinds == {"bool"} else text

    # -- csv ----------------------------------------------------------------------------------------------------------------------

    def _csv(self) -> Iterator[pl.DataFrame]:
        import polars as pl

        for header, records, line in blocks(self._file):
            text = self._read_csv(header, records, line)
            self._columns |= dict.fromkeys(text.columns)
            text = text.select(name for name in self._names.columns if name in text.columns)
            for column in text:
                if column.name in self._names.ids:
                    self._fractions |= set() if labelfiles.whole(column) else {column.name}
                elif column.null_count() < len(column):
                    self._kinds.setdefault(column.name, set()).add(_TYPES.get(str(labelfiles.typed(column).dtype), "str"))
            yield text.with_columns(pl.Series(LINE, _lines(records, line, text.height), pl.Int64))

    def _read_csv(self, header: bytes, records: bytes, line: int) -> pl.DataFrame:
        import polars as pl

        try:
            return csvs.frame(header + records, infer_schema=False)
        except pl.exceptions.NoDataError as exc:
            raise BadInput("the file is empty", where=self._where) from exc
        except pl.exceptions.PolarsError as exc:
            at = _culprit(header, records, line)
            where = self._where if at is None else self.place(at)
            raise BadInput(f"not a readable csv file: {str(exc).splitlines()[0]}", where=where) from exc

    # -- objects ------------------------------------------------------------------------------------------------------------------

    def _jsonl(self) -> Iterator[pl.DataFrame]:
        rows: list[dict[str, Any]] = []
        lines: list[int] = []
        size = 0
        for number, line in enumerate(self._file, 1):
            line = line.removeprefix(_BOM) if number == 1 else line
            if line.strip():
                rows.append(self._object(line, number))
                lines.append(number)
                size += len(line)
            if size >= BLOCK:
                yield self._of(rows, lines)
                rows, lines, size = [], [], 0
        yield self._of(rows, lines)

    def _object(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line.decode())
        except ValueError as exc:
            raise BadInput(f"not JSON: {exc}", where=self.place(number)) from exc
        return self._known(row, number)

    def _known(self, row: Any, number: int) -> dict[str, Any]:
        """What an object says of the columns that are asked for."""
        if not isinstance(row, dict):
            raise BadInput('not an object, such as {"inference_id": "a1", "label": 1}', where=self.place(number))
        self._columns |= dict.fromkeys(row)
        return {name: row[name] for name in self._names.columns if name in row}

    def _json(self) -> Iterator[pl.DataFrame]:
        try:
            found = json.loads(self._file.read().decode("utf-8-sig"))
        except ValueError as exc:
            raise BadInput(f"not JSON: {exc}", where=self._where) from exc
        rows = [found] if isinstance(found, dict) else found
        if not isinstance(rows, list):
            raise BadInput("not a list of objects", where=self._where, next='write [{"inference_id": "a1", "label": 1}]')
        yield self._of([self._known(row, number) for number, row in enumerate(rows, 1)], list(range(1, len(rows) + 1)))

    def _of(self, rows: Sequence[dict[str, Any]], lines: Sequence[int]) -> pl.DataFrame:
        """As text, a column each that one of the rows has."""
        import polars as pl

        columns = []
        for name in (name for name in self._names.columns if name in self._columns):
            kinds = self._kinds.setdefault(name, set())
            words = []
            for row, line in zip(rows, lines, strict=True):
                value = row.get(name)
                if value is not None:
                    kinds.add(self._kind_of(value, name, line))
                words.append(None if value is None else _written(value))
            columns.append(pl.Series(name, words, pl.String))
        return pl.DataFrame([*columns, pl.Series(LINE, lines, pl.Int64)])

    def _kind_of(self, value: Any, name: str, line: int) -> str:
        if type(value) not in _KINDS:
            raise BadInput(f"`{name}` is {json.dumps(value)[:60]}, and no single value", where=self.place(line))
        return "float" if type(value) is int and not _LEAST <= value <= _MOST else _KINDS[type(value)]

    # -- parquet ------------------------------------------------------------------------------------------------------------------

    def _parquet(self) -> Iterator[pl.DataFrame]:
        import polars as pl
        import pyarrow as pa
        import pyarrow.parquet as pq

        line = 1
        try:
            with pq.ParquetFile(self._file, pre_buffer=False) as file:
                self._columns |= dict.fromkeys(file.schema_arrow.names)
                wanted = [name for name in self._names.columns if name in self._columns]
                for batch in file.iter_batches(ROWS, columns=wanted):
                    rows = pl.DataFrame(pl.from_arrow(batch)) if wanted else pl.DataFrame()
                    yield rows.with_columns(pl.Series(LINE, range(line, line + batch.num_rows), pl.Int64))
                    line += batch.num_rows
        except (pa.ArrowException, OSError) as exc:
            raise BadInput(f"not a readable parquet file: {str(exc).splitlines()[0]}", where=self._where) from exc


def _written(value: Any) -> str:
    """A value of JSON as text: a whole float like the integer, as whatever reads and writes JSON may have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


# -- the text of a csv --------------------------------------------------------------------------------------------------------------


def blocks(file: BinaryIO) -> Iterator[tuple[bytes, bytes, int]]:
    """The header; some whole records; and the line that the first of these is in."""
    header, line = _header(file)
    rest, size, begun, over = b"", BLOCK, False, False
    while not over:
        rest += (more := file.read(size))
        over = len(more) < size
        cut = len(rest) if over else _records(rest)
        if cut or (over and not begun):
            yield header, rest[:cut], line
            line += rest.count(b"\n", 0, cut)
            rest, size, begun = rest[cut:], BLOCK, True
        else:  # a record that is longer than a block, or a quote that nothing closes
            size *= 2


def _header(file: BinaryIO) -> tuple[bytes, int]:
    """The first record that is not blank, and the line behind it."""
    header, line, first = b"", 1, True
    for text in file:
        header += text.removeprefix(_BOM) if first else text
        first, line = False, line + 1
        if not header.strip():
            header = b""
        elif header.count(b'"') % 2 == 0:
            break
    return header, line


def _records(data: bytes) -> int:
    """Where the last whole record ends: behind the last line feed that is in no quotes; 0 where there is none."""
    quotes, end = data.count(b'"'), len(data)
    while True:
        quote = data.rfind(b'"', 0, end)
        feed = data.rfind(b"\n", quote + 1, end) if quotes % 2 == 0 else -1
        if feed >= 0 or quote < 0:
            return feed + 1
        quotes, end = quotes - 1, quote


def _lines(records: bytes, first: int, count: int) -> list[int | None]:
    """The line in which each of `count` records begins, the first one in `first`."""
    import numpy as np

    if b'"' not in records:
        return list(range(first, first + count))
    data = np.frombuffer(records, np.uint8)
    feeds = data == ord("\n")
    outside = np.cumsum(data == ord('"')) % 2 == 0
    behind = np.cumsum(feeds)[feeds & outside]
    found: list[int | None] = (first + np.concatenate([[0], behind])[:count]).tolist()
    return found + [None] * (count - len(found))


def _culprit(header: bytes, records: bytes, line: int) -> int | None:
    """The line of the first record that cannot be read, as far as can be told."""
    for number, text in enumerate(records.split(b"\n"), line):
        try:
            text.decode()
        except UnicodeDecodeError:
            return number
    before, width = 0, len(next(csv.reader(StringIO(header.decode("utf-8", "replace"))), []))
    rows = csv.reader(StringIO(records.decode()))
    try:
        for row in rows:
            if len(row) > width:
                return line + before
            before = rows.line_num
    except csv.Error:
        return line + before
    return None
