"""A file piece by piece: tables of CSV and Parquet, blocks of JSON lines. Never more in memory than some pieces."""

from __future__ import annotations

import contextlib
import csv
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from modelyard.errors import BadInput
from modelyard.serve.batch import order as orders
from modelyard.signature import Signature

_FIRST_LINE = 1_000_000


@dataclass(frozen=True)
class Piece:
    """Rows of a file from number `first` on: a table, or lines of JSON.

    `named`: the columns have the names of the file's own header; `text`: the cells are as a CSV file has them.
    """

    first: int
    table: pa.Table | None = None
    lines: bytes = b""
    named: bool = True
    text: bool = False


def format_of(path: Path) -> str | None:
    """By the ending."""
    return orders.FORMATS.get(path.suffix.lower())


def pieces(path: Path, signature: Signature) -> Iterator[Piece]:
    """The file's rows in their order; at least one piece of a table, which may be empty. Raises BadInput where it cannot be read."""
    kind = format_of(path)
    made = {"csv": _csv, "parquet": _parquet, "jsonl": _lines}[str(kind)]
    try:
        yield from made(path, signature)
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as exc:
        if kind == "csv" and "straddl" in str(exc):
            said = f"{path.name}: a row has more than {orders.PIECE_BYTES:,} bytes, and one of a CSV file may not"
            raise BadInput(said, where=str(path), next="write the rows as .parquet or .jsonl") from exc
        raise BadInput(f"{path.name} cannot be read as {kind}: {str(exc).splitlines()[0][:200]}", where=str(path)) from exc


def _parquet(path: Path, _: Signature) -> Iterator[Piece]:
    first = 0
    with contextlib.closing(pa.parquet.ParquetFile(path, memory_map=True, pre_buffer=False)) as file:
        _see_that_no_name_is_twice(path, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=orders.PIECE_ROWS):
            yield Piece(first, pa.Table.from_batches([batch]))
            first += batch.num_rows
        if not first:
            yield Piece(0, file.schema_arrow.empty_table())


def _csv(path: Path, signature: Signature) -> Iterator[Piece]:
    head = _head(path)
    if not head:
        raise BadInput(f"{path.name} is empty", where=str(path))
    named = _names_columns(head, signature)
    names = head if named else [f"column_{i}" for i in range(len(head))]
    _see_that_no_name_is_twice(path, names)
    first = 0
    reader = pa.csv.open_csv(
        path,
        pa.csv.ReadOptions(block_size=orders.PIECE_BYTES, column_names=names, skip_rows=0, skip_rows_after_names=1 if named else 0),
        pa.csv.ParseOptions(newlines_in_values=True),
        pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, check_utf8=True),
    )
    with reader:
        for batch in reader:
            if batch.num_rows:
                yield Piece(first, pa.Table.from_batches([batch]), named=named, text=True)
                first += batch.num_rows
    if not first:
        yield Piece(0, pa.table({name: pa.array([], pa.string()) for name in names}), named=named, text=True)


def _see_that_no_name_is_twice(path: Path, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise BadInput(f"{path.name} has the column `{next(n for n in names if names.count(n) > 1)}` twice", where=str(path))


def _names_columns(head: list[str], signature: Signature) -> bool:
    """Whether a first line is a header: it has most of the model's columns, or consists of such names for the half. Data may hold a name
    once in a while."""
    known = {*signature.names, signature.id_col, signature.time_col}
    return 2 * len(set(head) & set(signature.names)) > len(signature.names) or 2 * len(set(head) & known) >= len(head)


def _head(path: Path) -> list[str]:
    """The cells of the first line, which goes on where a cell in quotes holds the end of a line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(iter(lambda: file.readline(_FIRST_LINE), "")), [])


def _lines(path: Path, _: Signature) -> Iterator[Piece]:
    first, rest = 0, b""
    with path.open("rb") as file:
        if file.read(len(BOM_UTF8)) != BOM_UTF8:  # as Windows begins a text with it
            file.seek(0)
        while block := file.read(orders.PIECE_BYTES):
            block = rest + block
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            if cut:
                piece = Piece(first, lines=block[:cut])
                first += count(piece.lines)
                yield piece
    if rest.strip() or not first:
        yield Piece(first, lines=rest)


def count(lines: bytes) -> int:
    """How many records lines of JSON hold: blank ones hold none."""
    return sum(1 for line in lines.split(b"\n") if line.strip())
