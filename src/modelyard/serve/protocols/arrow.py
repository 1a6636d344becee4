"""Arrow and Parquet bodies and answers. Imports pyarrow, and is imported itself only when such a body or answer is asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelyard import zones
from modelyard.errors import BadInput
from modelyard.serve.protocols import sizes
from modelyard.serve.protocols.columns import Given, Wanted
from modelyard.serve.refusals import TooLarge
from modelyard.tables import is_index

_FILE = b"ARROW1\0\0"
_HINT = "Send a stream in place of a file: Polars writes files that hold none."
_MOST_MESSAGES = 10_000
_MOST_ROW_GROUPS = 1_000
_BAD = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError, NotImplementedError, sizes.Unreadable)


def read(body: bytes, wanted: Wanted, max_decoded: int) -> Given:
    """Columns of an Arrow IPC stream or file. Raises BadInput, TooLarge."""
    stream = body[len(_FILE) :] if body.startswith(_FILE) else body  # a file is a stream between two marks, and an index for readers
    try:
        rows, size = 0, 0
        for number, message in enumerate(pa.ipc.MessageReader.open_stream(pa.py_buffer(stream))):
            found, unpacked = sizes.arrow_batch(message.metadata.to_pybytes(), memoryview(message.body or b""))
            rows, size = rows + found, size + unpacked
            wanted.few_rows(rows)
            _small(size, max_decoded)
            if number >= _MOST_MESSAGES or found < 0:
                raise sizes.Unreadable("too many messages" if found >= 0 else "a batch has no length")
        with pa.ipc.open_stream(pa.py_buffer(stream)) as opened:
            _check(opened.schema, wanted)
            table = opened.read_all()
        table.validate(full=True)
        return _columns(table, wanted, max_decoded)
    except _BAD as exc:
        raise _unreadable(exc, "Arrow", _HINT if stream is not body else "") from None


def read_parquet(body: bytes, wanted: Wanted, max_decoded: int) -> Given:
    """Columns of a Parquet file. Raises BadInput, TooLarge."""
    try:
        with pq.ParquetFile(pa.BufferReader(body)) as file:
            about, schema = file.metadata, file.schema_arrow
        wanted.few_rows(about.num_rows)
        _check(schema, wanted)
        if about.num_rows == 0:
            return {}, 0
        text = [field.name for field in schema if _is_text(field.type)]  # kept as dictionaries, however often a long text is named
        with pq.ParquetFile(pa.BufferReader(body), metadata=about, read_dictionary=text) as file:
            if about.num_row_groups > _MOST_ROW_GROUPS:
                raise sizes.Unreadable("too many row groups")
            _small_pages(body, max_decoded)
            table = file.read(use_threads=False)
        table.validate(full=True)
        wanted.few_rows(table.num_rows)
        return _columns(table, wanted, max_decoded)
    except _BAD as exc:
        raise _unreadable(exc, "Parquet") from None


def _unreadable(exc: Exception, what: str, hint: str = "") -> BadInput:
    first = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
    return BadInput(f"the body is not {what} that can be read: {first}", next=hint)


def _small(size: int, max_decoded: int) -> None:
    if size > max_decoded:
        raise TooLarge(f"the body unpacks to {size} bytes; the endpoint takes {max_decoded}", next="Send smaller bodies.")


def _small_pages(body: bytes, max_decoded: int) -> None:
    total = 0
    for start, length in sizes.parquet_chunks(body):
        total += sizes.parquet_pages(body, start, length)
        _small(total, max_decoded)


def _check(schema: pa.Schema, wanted: Wanted) -> None:
    """Raises BadInput for columns that are unknown, stand there twice, or are of a type that no column of a signature has."""
    wanted.check(_columns_of(schema.names, wanted))
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
        if not (plain or _is_text(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_decimal(kind)):
            raise BadInput(f"`{field.name}` is of the type {str(kind)[:80]}, which is not read here", where=f"column `{field.name}`")


def _columns_of(names: Sequence[str], wanted: Wanted) -> list[str]:
    """The names of columns that are data."""
    return [name for name in names if name in wanted.known or not is_index(name)]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _columns(table: pa.Table, wanted: Wanted, max_decoded: int) -> Given:
    total = 0
    given: dict[str, list[Any]] = {}
    table = table.select(_columns_of(table.column_names, wanted))
    for name, column in zip(table.column_names, table.columns, strict=True):
        total += _length(column)
        _small(total, max_decoded)
        given[name] = _values(column)
    if not given:
        return {}, 0
    return wanted.by_column(given)


def _length(column: pa.ChunkedArray) -> int:
    """Bytes of a column's values once each row has its own: a dictionary's text counts for every row that names it."""
    total = 8 * len(column)
    for chunk in column.chunks:
        values = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
        if not _is_text(values.type):
            continue
        lengths = _lengths(values)
        lengths = pc.take(lengths, chunk.indices) if values is not chunk else lengths
        total += pc.sum(lengths).as_py() or 0
    return total


def _lengths(texts: pa.Array) -> pa.Array:
    """Bytes of each text."""
    if not pa.types.is_string_view(texts.type):
        return pc.cast(pc.binary_length(texts), pa.int64())
    views = texts.buffers()[1]  # of 16 bytes each, of which the first four are the length
    every = np.frombuffer(b"" if views is None else views, np.int32)[::4]
    return pa.array(every[texts.offset : texts.offset + len(texts)], pa.int64(), mask=texts.is_null().to_numpy(zero_copy_only=False))


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The values as JSON has them: NaN is missing, times are ISO 8601, with an offset where the column has a zone."""
    if pa.types.is_dictionary(column.type):
        return [value for chunk in column.chunks for value in _looked_up(chunk)]
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return pc.cast(zones.arrow(column), pa.string()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        column = pc.cast(column, pa.float64())
        if column.null_count == 0:
            values: list[Any] = column.to_numpy().tolist()
            return [None if v != v else v for v in values]
        return [None if v is None or v != v else v for v in column.to_pylist()]
    return column.to_pylist()  # type: ignore[no-any-return]


def _looked_up(chunk: pa.DictionaryArray) -> list[Any]:
    """Each text is made once, and then only pointed at."""
    texts = _values(pa.chunked_array([chunk.dictionary]))
    return [None if i is None else texts[i] for i in chunk.indices.to_pylist()]


def write(ids: list[str], outputs: dict[str, list[Any]], *, parquet: bool) -> bytes:
    """The answers as an Arrow IPC stream or a Parquet file: `inference_id`, then the outputs by name."""
    columns: dict[str, Any] = {"inference_id": pa.array(ids, pa.string())}
    for name, values in outputs.items():
        columns[name] = _array(values) if name == "prediction" else pa.array(values, pa.float64())
    table, stream = pa.table(columns), io.BytesIO()
    if parquet:
        pq.write_table(table, stream)
    else:
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
    return stream.getvalue()


def _array(values: list[Any]) -> pa.Array:
    """Predictions: of one type where they are, else as text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if v is None else str(v) for v in values], pa.string())
