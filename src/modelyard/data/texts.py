"""csv and JSON lines as tables in pieces: a block of whole records at a time, every column's type from all of them.

A file is read in blocks of 64 MB that end where a record does. What a column holds is told by every block, so a large file is read
twice: for the types, then for the values. csv: a header is needed, and the cells in `csvs.MISSING` are missing. Both: a column of text
whose every value is an ISO 8601 date, or a time with or without a zone throughout, becomes that.
"""

from __future__ import annotations

import codecs
import functools
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import csvs
from modelyard.data import parts
from modelyard.data.parts import WHERE, first_line
from modelyard.errors import BadInput

if TYPE_CHECKING:
    import polars as pl

BLOCK = 64 * 1024 * 1024
MOST_DEEP = 16
"""Blocks that a record may reach over, in a csv where a quote is opened and not closed, before the file is taken as broken."""

_BLANK = codecs.BOM_UTF8 + b"\r\n"
"""What a csv may begin with before its header."""

Parse = Callable[[bytes, "Mapping[str, pl.DataType] | None"], "pl.DataFrame"]


def read(files: list[tuple[str, Path]], using: str, spool: Path, unused: tuple[str, ...] = (), texts: tuple[str, ...] = ()) -> parts.Parts:
    """The rows of csv or jsonl files, in order. Columns in `unused` need not be plain values, and may come out empty; those in `texts` are
    text as it stands in a csv: 01234 is no number there, nor 1.10, and a date no date.

    Raises BadInput: a file is empty or no UTF-8, columns come twice or differ between files, lines do not parse.
    """
    parse = functools.partial(_csv, texts=texts) if using == "csv" else _lines
    kinds: dict[str, _Kind] = {}
    headers: dict[str, list[str]] = {}
    seen: list[pl.DataFrame] = []
    for name, path in files:
        columns = headers.setdefault(name, [])
        for block in _blocks(path, using, name):
            seen = [*seen[:1], _parsed(parse, block, None, name, using)]
            columns += [column for column in seen[-1].columns if column not in columns]
            for column in seen[-1].columns:
                kinds.setdefault(column, _Kind(column in texts)).see(seen[-1][column])
    if using == "csv":
        _same_headers(headers)
    types = {column: kind.type(column, column in unused) for column, kind in kinds.items()}
    times = {column: kind.time for column, kind in kinds.items() if kind.time}

    def frames() -> Iterator[pl.DataFrame]:
        if len(seen) == 1:  # a small file need not be read again
            yield _with_times(seen[0], times)
            return
        for name, path in files:
            for block in _blocks(path, using, name):
                yield _with_times(_parsed(parse, block, types, name, using).select(list(types)), times)

    pieces = parts.keep(frames(), spool)
    schema = pieces[0].schema if not isinstance(pieces[0], Path) else parts.schema_of(pieces[0])
    return parts.Parts(tuple(pieces), schema)


def _same_headers(headers: dict[str, list[str]]) -> None:
    (first, known), *others = headers.items()
    for name, columns in others:
        odd = next((column for column in (*columns, *known) if (column in columns) != (column in known)), None)
        if odd is not None:
            said = f"the files do not hold the same columns: `{odd}` is not in both {first} and {name}"
            raise BadInput(said, where=WHERE, next="give every file the same header")


def _blocks(path: Path, using: str, name: str) -> Iterator[bytes]:
    """Blocks that end with a record; those of a csv begin with its header."""
    quote = b'"' if using == "csv" else b""
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise BadInput(f"{name} is empty", where=WHERE)
        head, rest, deep = b"", b"", 0
        while more := file.read(BLOCK):
            rest += more
            end = len(rest) if len(more) < BLOCK else _end(rest, quote)
            deep = 0 if end else deep + 1
            if deep > MOST_DEEP:
                raise BadInput(f"{name} has a record of over {MOST_DEEP * BLOCK >> 20} MB: is a quote not closed?", where=WHERE)
            if end and (head or not quote or rest[:end].lstrip(_BLANK)):
                yield head + rest[:end]
                if quote and not head:
                    head = rest[: _first_end(rest)]
                rest = rest[end:]
        if rest:
            yield head + rest


def _end(data: bytes, quote: bytes) -> int:
    """Where the last whole record ends: behind a line break with an even number of quotes before it; 0 where there is none."""
    end = data.rfind(b"\n") + 1
    before = data.count(quote, 0, end) if quote else 0
    while end and before % 2:
        earlier = data.rfind(b"\n", 0, end - 1) + 1
        before -= data.count(quote, earlier, end)
        end = earlier
    return end


def _first_end(data: bytes) -> int:
    """Where the first record ends that is not blank."""
    end = data.find(b"\n", len(data) - len(data.lstrip(_BLANK))) + 1
    while end and data.count(b'"', 0, end) % 2:
        end = data.find(b"\n", end) + 1
    return end


def _parsed(parse: Parse, block: bytes, types: Mapping[str, pl.DataType] | None, name: str, using: str) -> pl.DataFrame:
    import polars as pl

    try:
        frame = parse(block, types)
    except pl.exceptions.NoDataError as exc:
        raise BadInput(f"{name} is empty", where=WHERE) from exc
    except (pl.exceptions.PolarsError, OSError, ValueError) as exc:
        try:
            block.decode()
        except UnicodeDecodeError as text:
            line = block.count(b"\n", 0, text.start) + 1
            hint = "save it as UTF-8 (iconv -f latin1 -t utf-8)"
            raise BadInput(f"{name} is no UTF-8 text: the byte {block[text.start]:#x} in line {line}", where=WHERE, next=hint) from exc
        if using == "jsonl" and (word := _NO_JSON.search(block)):
            said = f"{name} holds {word[1].decode()}, for which JSON has no word"
            raise BadInput(said, where=WHERE, next="write null where there is no number") from exc
        raise BadInput(f"{name} cannot be read as {using}: {first_line(exc)}", where=WHERE) from exc
    for column in frame.columns:
        original, mark, count = column.rpartition("_duplicated_")
        if mark and count.isdigit() and original in frame.columns:
            raise BadInput(f"{name} has two columns named `{original}`", where=WHERE, next="give each column a name of its own")
    return frame


def _csv(block: bytes, types: Mapping[str, pl.DataType] | None, texts: tuple[str, ...]) -> pl.DataFrame:
    import polars as pl

    known = dict.fromkeys(texts, pl.String()) if types is None else types
    # polars' own try_parse_dates with types from all rows costs 20 s on 300,000 rows; ours 50 ms
    return csvs.frame(block, known, infer_schema_length=None, null_values=list(csvs.MISSING))


def _lines(block: bytes, types: Mapping[str, pl.DataType] | None) -> pl.DataFrame:
    import polars as pl

    if types is None:
        try:
            return pl.read_ndjson(io.BytesIO(block), infer_schema_length=None)
        except pl.exceptions.PolarsError:
            return _with_nested(block)
    plain = {name: dtype for name, dtype in types.items() if dtype != pl.Null}
    frame = pl.read_ndjson(io.BytesIO(block), schema=plain)
    return frame.select(pl.col(name) if name in plain else pl.lit(None).alias(name) for name in types)


def _with_nested(block: bytes) -> pl.DataFrame:
    """Lines whose nested values have no type in common: such columns come out as lists, for what follows to see that they are nested.

    Raises ValueError for what is no JSON object."""
    import polars as pl

    rows = [json.loads(line) for line in block.splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no JSON object")
    nested = dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, dict | list))
    plain = "\n".join(json.dumps({name: value for name, value in row.items() if name not in nested}) for row in rows)
    frame = pl.read_ndjson(io.BytesIO(plain.encode()), infer_schema_length=None)
    return frame.with_columns(pl.Series(name, [[0]] * len(rows)) for name in nested)


_NO_JSON = re.compile(rb"[:\s](NaN|-?Infinity)\s*[,}]")
"""What Python's json writes all the same."""
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_STAMP = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?$"
_ZONE = r"(Z|[+-]\d{2}:\d{2})$"


@dataclass
class _Kind:
    """What the blocks so far say of one column: its types, and whether its text is dates, naive times or times with a zone. `plain`: it is
    text that is to stay what it is."""

    plain: bool = False
    types: list[pl.DataType] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)

    def see(self, series: pl.Series) -> None:
        import polars as pl

        if series.null_count() == len(series):
            return
        if series.dtype not in self.types:
            self.types.append(series.dtype)
        if series.dtype == pl.String and self.texts != {""} and not self.plain:
            self.texts.add(_text_kind(series))

    @property
    def time(self) -> str:
        """`date`, `naive` or `zoned`; empty for what is no time throughout."""
        return next(iter(self.texts)) if len(self.types) == len(self.texts) == 1 else ""

    def type(self, column: str, unused: bool) -> pl.DataType:
        import polars as pl

        if not self.types:
            return pl.String()
        if any(dtype.is_nested() for dtype in self.types):
            if unused:
                return pl.Null()
            hint = f"leave it out with `data.schema.exclude: [{column}]`, or write plain columns of it"
            raise BadInput(f"column `{column}` holds nested values", where=WHERE, next=hint)
        return pl.concat([pl.DataFrame(schema={"": dtype}) for dtype in self.types], how="vertical_relaxed").schema[""]


def _text_kind(text: pl.Series) -> str:
    present = text.drop_nulls()
    for pattern, kind in ((_DATE, "date"), (_STAMP, "naive")):
        # most columns are told by their first value
        if not present[:1].str.contains(pattern).all() or not present.str.contains(pattern).all():
            continue
        zoned = present.str.contains(_ZONE) if kind == "naive" else present.is_null()
        if zoned.any() != zoned.all():
            return ""
        kind = "zoned" if zoned.any() else kind
        parsed = _parsed_times(present, kind)
        return kind if parsed is not None and not parsed.null_count() else ""
    return ""


def _parsed_times(text: pl.Series, kind: str) -> pl.Series | None:
    import polars as pl

    try:
        if kind == "date":
            return text.str.to_date(strict=False)
        return text.str.to_datetime(time_unit="us", time_zone="UTC" if kind == "zoned" else None, strict=False)
    except pl.exceptions.ComputeError:
        return None


def _with_times(frame: pl.DataFrame, times: Mapping[str, str]) -> pl.DataFrame:
    import polars as pl

    blank = {"date": pl.Date(), "naive": pl.Datetime("us"), "zoned": pl.Datetime("us", "UTC")}
    columns = []
    for name, kind in times.items():
        text = frame[name]
        parsed = None if text.null_count() == len(text) else _parsed_times(text, kind)
        columns.append(pl.lit(None, blank[kind]).alias(name) if parsed is None else parsed)
    return frame.with_columns(columns)
