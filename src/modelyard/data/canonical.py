"""A table brought to one form, whatever it was read from, and the digest of its content in that form.

Types are five: int (Int64), float (Float64), str, bool, datetime (microseconds, UTC), and a missing value is null: a NaN is a
missing value. Naive times are in the config's time zone.

The digest is SHA-256 over the number of rows and, for each column in the table's order, its name, its type, which rows are
missing, and its values: little-endian 64-bit numbers (-0.0 as 0.0, missing as 0), one byte a truth value, and for text the length
of each value in bytes and then all bytes. A column without any value has the type `null`, as a csv cannot say what it would be.
No file encoding, chunking, compression or library version enters it.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from modelyard import zones
from modelyard.data.columns import type_of
from modelyard.errors import BadInput
from modelyard.signature import ColumnType
from modelyard.zones import DAY, FIRST, LAST

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from modelyard.data.parts import Parts

FORMAT = b"modelyard table 1"


def canonical(frame: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """`frame` with the five types only. Raises BadInput for a column of lists, structs or bytes, or of numbers beyond 64 bits."""
    return frame.with_columns([_column(series, timezone) for series in frame]) if frame.width else frame


def _column(series: pl.Series, timezone: str) -> pl.Series:
    import polars as pl

    kind = type_of(series.dtype)
    if kind is None:
        if isinstance(series.dtype, pl.Duration):
            return series.dt.total_microseconds() / 1e6
        hint = f"leave it out with `data.schema.exclude: [{series.name}]`, or make a plain column of it"
        raise BadInput(f"column `{series.name}` holds {series.dtype}, which is no plain value", where="data", next=hint)
    try:
        if kind == "datetime":
            return to_utc(series, timezone)
        if kind == "float":
            return series.cast(pl.Float64).fill_nan(None)
        return series.cast({"int": pl.Int64, "bool": pl.Boolean, "str": pl.String}[kind])
    except pl.exceptions.PolarsError as exc:
        raise BadInput(f"column `{series.name}` holds numbers that do not fit into 64 bits", where="data") from exc


def to_utc(series: pl.Series, timezone: str) -> pl.Series:
    """Dates and times as datetime[us, UTC]; naive ones are in `timezone`.

    `zones` says what becomes of a local time that the clock shows twice, or skips. The end of the year 9999, which often stands for no
    end, is another year in UTC: such times become the last instant of the calendar, and those before the year 1 its first. Raises BadInput
    for times that are farther away.
    """
    import polars as pl

    if series.dtype == pl.Date:
        _refuse_beyond(series, DAY)  # Polars panics at most of these
    stamps = series.cast(pl.Datetime("us")) if series.dtype == pl.Date else series.dt.cast_time_unit("us")
    if getattr(stamps.dtype, "time_zone", None) is not None:
        return _in_calendar(stamps.dt.convert_time_zone("UTC"))
    return _in_calendar(zones.utc(stamps, timezone))


def _in_calendar(times: pl.Series) -> pl.Series:
    inside = _refuse_beyond(times, 1)
    return times if inside else times.to_physical().clip(FIRST, LAST).cast(times.dtype)


def _refuse_beyond(times: pl.Series, unit: int) -> bool:
    """Whether times of so many microseconds are in the calendar. Raises BadInput where they are more than a day beyond it."""
    physical = times.to_physical()
    ends: tuple[Any, Any] = (physical.min(), physical.max())
    least, most = (FIRST, LAST) if ends[0] is None else (int(end) * unit for end in ends)
    if least < FIRST - DAY or most > LAST + DAY:
        hint = "are they in another unit than the file says? Leave the column out, or make a plain one of it"
        raise BadInput(f"column `{times.name}` holds times beyond the years 1 to 9999", where="data", next=hint)
    return least >= FIRST and most <= LAST


def digest(table: Parts) -> str:
    """The digest (64 hex digits) of a table in canonical form. Its columns are read one to three times over, and never held; a table of
    a batch is read once."""
    table = table.held()
    # hashing gives the interpreter lock back, so columns are hashed side by side
    with ThreadPoolExecutor(max_workers=4) as pool:
        columns = list(pool.map(lambda name: _hash(name, table), table.schema))
    whole = hashlib.sha256(FORMAT + table.rows.to_bytes(8, "little"))
    for column in columns:
        whole.update(column)
    return whole.hexdigest()


def _hash(name: str, table: Parts) -> bytes:
    """Which rows are missing comes before the values, and the lengths of texts before their bytes: hence the several readings."""
    kind, missing = type_of(table.schema[name]), _Bits()
    seen = _head(name, kind)
    seen.update(b"\0")
    for series in table.column(name):
        missing.add(series.is_null().to_numpy())
        if not missing.count:
            _values(seen, series, kind)
    empty = missing.count == missing.rows
    if missing.count or empty:
        seen = _head(name, "null" if empty else kind)
        seen.update(b"\1" + missing.packed() if missing.count else b"\0")
        for series in () if empty else table.column(name):
            _values(seen, series, kind)
    if kind == "str" and not empty:
        for series in table.column(name):
            seen.update(_bytes(series.fill_null("").cast(_text())))
    return seen.digest()


def _head(name: str, kind: str | None) -> hashlib._Hash:
    text = name.encode()
    return hashlib.sha256(len(text).to_bytes(4, "little") + text + f"\0{kind}\0".encode())


def _values(seen: hashlib._Hash, series: pl.Series, kind: ColumnType | None) -> None:
    """Numbers, times and truth values; of texts, the lengths."""
    import numpy as np

    series = series.rechunk()
    if kind == "str":
        lengths = series.fill_null("").cast(_text()).str.len_bytes()
        seen.update(np.ascontiguousarray(lengths.to_numpy(), dtype="<u8").data)
    elif kind == "float":
        seen.update(np.ascontiguousarray(series.fill_null(0.0).to_numpy() + 0.0, dtype="<f8").data)
    elif kind == "bool":
        seen.update(np.ascontiguousarray(series.fill_null(False).to_numpy(), dtype="u1").data)
    else:
        seen.update(np.ascontiguousarray(series.to_physical().fill_null(0).to_numpy(), dtype="<i8").data)


def _text() -> pl.DataType:
    import polars as pl

    return pl.String()


class _Bits:
    """Truth values packed eight to a byte, however they come."""

    def __init__(self) -> None:
        import numpy as np

        self.rows = self.count = 0
        self._bytes: list[bytes] = []
        self._rest = np.zeros(0, dtype=bool)

    def add(self, values: NDArray[np.bool_]) -> None:
        import numpy as np

        self.rows += len(values)
        self.count += int(values.sum())
        joined = np.concatenate([self._rest, values])
        whole = len(joined) // 8 * 8
        self._bytes.append(np.packbits(joined[:whole]).tobytes())
        self._rest = joined[whole:]

    def packed(self) -> bytes:
        import numpy as np

        return b"".join([*self._bytes, np.packbits(self._rest).tobytes()])


def _bytes(text: pl.Series) -> memoryview | bytes:
    import pyarrow as pa

    array = text.rechunk().to_arrow()
    array = array if pa.types.is_large_string(array.type) else array.cast(pa.large_string())
    _, offsets, values = array.buffers()
    if values is None:
        return b""
    ends = memoryview(offsets).cast("q")
    return memoryview(values)[ends[array.offset] : ends[array.offset + len(array)]]
