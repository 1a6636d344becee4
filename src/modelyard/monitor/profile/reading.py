"""Columns of a Polars frame or an Arrow table, as what is counted: numbers as float64, categories as values with how often each came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from modelyard import tables
from modelyard.monitor.profile.scan import Scan

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Frame: TypeAlias = "pl.DataFrame | pa.Table | pa.RecordBatch | Scan"

Kind = Literal["numeric", "categorical"]


def parts(frame: Frame, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The values of columns that the frame has, by name, in order: Polars series or Arrow arrays."""
    import polars as pl

    if isinstance(frame, Scan):
        yield from frame.parts(names)
    else:
        for name in names:
            yield name, frame[name] if isinstance(frame, pl.DataFrame) else frame.column(name)


def names(frame: Frame) -> list[str]:
    import polars as pl

    return frame.columns if isinstance(frame, pl.DataFrame) else list(frame.schema.names)


def height(frame: Frame) -> int:
    import polars as pl

    return frame.height if isinstance(frame, pl.DataFrame) else int(frame.num_rows)


def extras(frame: Frame, features: set[str]) -> dict[str, int]:
    """Columns f.* and x.* that are none of `features` (columns of the table), and how many rows have a value there."""
    found = [n for n in names(frame) if n.startswith((tables.FEATURE, tables.EXTRA)) and n not in features]
    known = dict.fromkeys(found, 0)
    for name, part in parts(frame, found):
        known[name] += _known(part)
    return known


def _known(column: Any) -> int:
    import polars as pl

    return len(column) - int(column.null_count() if isinstance(column, pl.Series) else column.null_count)


def every(column: Any, step: int, first: int) -> pl.Series:
    """Every `step`-th value of a Polars series or an Arrow array, from the one at `first` on; what the array has as codes as text."""
    import numpy as np
    import polars as pl

    if isinstance(column, pl.Series):
        return column.gather_every(step, first)
    import pyarrow as pa

    if isinstance(column, pa.DoubleArray) and not column.null_count:
        return pl.Series(column.to_numpy()[first::step])
    taken = _series(column.take(np.arange(first, len(column), step)))
    return taken.cast(pl.String) if taken.dtype == pl.Categorical else taken


def numbers(column: Any) -> Floats:
    """A Polars series or an Arrow array as float64, NaN where missing or no number; times in microseconds; no copy where none is needed."""
    import numpy as np
    import polars as pl

    if not isinstance(column, pl.Series):
        import pyarrow as pa

        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            values: Floats = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
            return values.astype(np.float64, copy=False)
        column = _series(column)
    if _is_no_value(column) or column.dtype == pl.Binary:
        return np.full(len(column), np.nan)
    if column.dtype in (pl.Date, pl.Datetime):
        column = column.dt.timestamp("us")
    elif column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    return column.cast(pl.Float64, strict=False).to_numpy()  # type: ignore[no-any-return]


def words(column: Any) -> tuple[pl.DataFrame, int]:
    """Different values as text and how often each came (columns v and n), and the rows without one.

    A whole float is written like the integer, since classes travel as either; NaN is missing, and so are lists and records.
    """
    import polars as pl

    if not isinstance(column, pl.Series):
        import pyarrow as pa

        if pa.types.is_dictionary(column.type):
            return _coded(column)
        column = _series(column)
    column = sayable(column)
    seen = column.alias("v").value_counts(name="n")
    if column.dtype.is_float():
        seen = seen.with_columns(pl.col("v").fill_nan(None)).with_columns(text("v", column.dtype)).group_by("v").agg(pl.col("n").sum())
    else:
        seen = seen.with_columns(text("v", column.dtype))
    seen = seen.drop_nulls("v")
    return seen, len(column) - int(seen["n"].sum())


def text(name: str, dtype: pl.DataType) -> pl.Expr:
    """As strings; a whole float like the integer, since a column of integers with gaps reads as floats."""
    import polars as pl

    column = pl.col(name)
    if not dtype.is_float():
        return column.cast(pl.String)
    whole = column.cast(pl.Int64, strict=False)
    return pl.when(column == whole).then(whole.cast(pl.String)).otherwise(column.cast(pl.String)).alias(name)


def sayable(column: pl.Series) -> pl.Series:
    """A column that can be cast to text: durations as integers; null where lists, records and objects are."""
    import polars as pl

    if _is_no_value(column):
        return pl.Series(column.name, [None] * len(column), pl.String)
    if column.dtype == pl.Binary:
        return pl.Series(column.name, [None if v is None else v.decode(errors="replace") for v in column], pl.String)
    return column.cast(pl.Int64) if column.dtype == pl.Duration else column


def _is_no_value(column: pl.Series) -> bool:
    import polars as pl

    return column.dtype.is_nested() or column.dtype == pl.Object


def few(column: Any, most: int) -> tuple[list[tuple[str, int]], int] | None:
    """What `words` gives, of an Arrow column whose text is coded by a dictionary of at most `most` words, and without a query; a word
    that the dictionary has twice comes twice."""
    import polars as pl

    if isinstance(column, pl.Series):
        return None
    import pyarrow as pa

    if not isinstance(column, pa.DictionaryArray) or len(column.dictionary) > most or not pa.types.is_string(column.type.value_type):
        return None
    counts = _of_codes(column).tolist()
    seen = [(word, n) for word, n in zip(column.dictionary.to_pylist(), counts, strict=True) if n and word is not None]
    return seen, len(column) - sum(n for _, n in seen)


def _coded(column: Any) -> tuple[pl.DataFrame, int]:
    """Of a dictionary-encoded Arrow column: its codes are counted, and no text is looked at more than once."""
    import polars as pl
    import pyarrow as pa

    found, rows = [], len(column)
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        found.append(pl.DataFrame({"v": _series(chunk.dictionary), "n": _of_codes(chunk)}).filter(pl.col("n") > 0))
    seen = pl.concat(found) if found else pl.DataFrame(schema={"v": pl.String, "n": pl.Int64})
    if len(found) > 1:
        seen = seen.group_by("v").agg(pl.col("n").sum())
    seen = seen.with_columns(pl.col("v").cast(pl.String)).drop_nulls("v")
    return seen, rows - int(seen["n"].sum())


def _of_codes(column: pa.DictionaryArray) -> NDArray[np.int64]:
    """How often each word of the dictionary comes."""
    import numpy as np

    codes = column.indices.drop_null() if column.indices.null_count else column.indices
    return np.bincount(codes.to_numpy(zero_copy_only=False), minlength=len(column.dictionary))


def _series(column: Any) -> pl.Series:
    import polars as pl

    made = pl.from_arrow(column)
    assert isinstance(made, pl.Series)
    return made
