"""From the rows of a source to those of a snapshot: columns dropped, types set, times in UTC, rows without a target left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from modelyard.config.spec import Data
from modelyard.data.canonical import canonical, to_utc
from modelyard.data.columns import need
from modelyard.errors import BadInput
from modelyard.signature import ColumnType, Scalar

if TYPE_CHECKING:
    import polars as pl

TYPES = "data.schema.types"


def prepare(frame: pl.DataFrame, data: Data, timezone: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The snapshot's table in canonical form, and a sentence for each kind of row left out.

    In order: the columns that the config names must exist; `exclude` drops; `types` overrides (text is parsed; a value that does
    not fit is an error that shows it); times become datetime[us, UTC] (`time_col` may be text or an epoch number too); rows
    without a target, then rows without a time, are dropped. A float target that holds whole numbers, with a whole
    `positive_class`, becomes an int: a reader makes floats of integers with gaps.

    Raises BadInput for an empty table, a target of one class, an absent positive class, ids that repeat or are missing.
    """
    _check_names(frame, data)
    table = frame.drop(data.schema_.exclude)
    table = table.with_columns([_typed(table[name], kind, timezone) for name, kind in data.schema_.types.items()])
    if data.time_col is not None:
        table = table.with_columns(as_times(table[data.time_col], timezone))
    table = canonical(table, timezone)
    dropped: list[str] = []
    for name in (data.target_col, data.time_col):
        if name is not None and (missing := table[name].null_count()):
            table = table.filter(table[name].is_not_null())
            dropped.append(f"{missing} row{'s' if missing != 1 else ''} without {name} dropped")
    if table.is_empty():
        said = f"no row is left: {'; '.join(dropped)}" if dropped else "the data has no rows"
        raise BadInput(said, where="data.source", next="look at the source: is the target filled in?")
    table = table.with_columns(_whole(table[data.target_col], data.positive_class))
    _check_target(table[data.target_col], data)
    if data.id_col is not None:
        _check_ids(table[data.id_col])
    return table.rechunk(), tuple(dropped)


def _check_names(frame: pl.DataFrame, data: Data) -> None:
    schema = data.schema_
    named: list[tuple[str, str | None]] = [(f"data.{key}", getattr(data, key)) for key in ("target_col", "time_col", "id_col")]
    named += [("data.entity_cols", name) for name in data.entity_cols]
    named += [("data.schema.sensitive_not_served", name) for name in schema.sensitive_not_served]
    named += [(TYPES, name) for name in schema.types]
    named += [("data.split.column", data.split.column)]
    for where, name in named:
        if name is not None:
            need(name, frame.columns, where)
            if name in schema.exclude:
                raise BadInput(f"column `{name}` is needed here and dropped by `data.schema.exclude`", where=where)
    for name in schema.exclude:
        need(name, frame.columns, "data.schema.exclude")


def _typed(series: pl.Series, kind: ColumnType, timezone: str) -> pl.Series:
    import polars as pl

    if kind == "datetime":
        return as_times(series, timezone)
    if kind == "bool" and series.dtype == pl.String:
        words = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False, "t": True, "f": False}
        cast = series.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)
    elif kind == "str":
        cast = series.cast(pl.String)
    else:
        number = series.str.strip_chars() if series.dtype == pl.String else series
        cast = number.cast({"int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean}[kind], strict=False)
        if kind == "int" and series.dtype.is_float():
            series = series.fill_nan(None)
            cast = pl.select(pl.when(series == cast).then(cast)).to_series().rename(series.name)  # 1.5 is no integer
        if kind == "bool" and series.dtype.is_numeric():
            cast = pl.select(pl.when(series.is_in([0, 1])).then(cast)).to_series().rename(series.name)
    return _all_cast(series, cast, kind)


def _all_cast(before: pl.Series, after: pl.Series, kind: str) -> pl.Series:
    """`after`, unless a value was lost on the way."""
    lost = before.is_not_null() & after.is_null()
    if before.dtype.is_float():
        lost &= before.is_not_nan()
    rows = lost.arg_true()
    if len(rows):
        said = f"{len(rows)} value{'s' if len(rows) != 1 else ''} of column `{before.name}` cannot be read as {kind}"
        raise BadInput(f"{said}, first {before[int(rows[0])]!r} in row {int(rows[0]) + 1}", where=f"{TYPES}.{before.name}")
    return after


def as_times(series: pl.Series, timezone: str) -> pl.Series:
    """Times, dates, text or epoch numbers as datetime[us, UTC]. Raises BadInput."""
    import polars as pl

    if series.dtype in (pl.Date, pl.Datetime):
        return to_utc(series, timezone)
    if series.dtype == pl.Null:
        return series.cast(pl.Datetime("us", "UTC"))
    if series.dtype.is_numeric():
        # an epoch in seconds, milliseconds, microseconds or nanoseconds: told apart by size, for any time from 1973 to 5138
        greatest = float(series.cast(pl.Float64).abs().max() or 0)  # type: ignore[arg-type]  # a float or None
        scale = next((s for limit, s in ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1)) if greatest < limit), 0.001)
        return (series * scale).cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").rename(series.name)
    if series.dtype != pl.String:
        raise BadInput(f"column `{series.name}` holds {series.dtype}, which is no time", where="data")
    zoned = series.drop_nulls().str.contains(r"(?:[Zz]|[+-]\d\d:?\d\d)\s*$").any()
    try:
        parsed = series.str.to_datetime(time_unit="us", time_zone="UTC" if zoned else None, strict=False)
    except pl.exceptions.ComputeError as exc:
        first = series.drop_nulls()[0]
        raise BadInput(f"column `{series.name}` cannot be read as times, first {first!r}", where="data") from exc
    return to_utc(_all_cast(series, parsed, "datetime"), timezone)


def _whole(target: pl.Series, positive_class: Scalar) -> pl.Series:
    import polars as pl

    whole_class = isinstance(positive_class, int) and not isinstance(positive_class, bool)
    if whole_class and target.dtype.is_float() and bool((target == target.round()).all()):
        return target.cast(pl.Int64)
    return target


def positive(wanted: Scalar, classes: Iterable[Any]) -> Scalar:
    """The class that `wanted` means, as it stands in the data. Raises BadInput when there is none."""
    known = list(classes)
    if wanted in known:
        return known[known.index(wanted)]  # type: ignore[no-any-return]  # true where the config says 1
    hint = f"the classes are {', '.join(repr(c) for c in known[:8])}"
    raise BadInput(f"the positive class {wanted!r} is not in the target", where="data.positive_class", next=hint)


def _check_target(target: pl.Series, data: Data) -> None:
    values = target.unique()
    if len(values) == 1:
        hint = "a model needs at least two to tell apart: is the query or the file cut short?"
        raise BadInput(f"the target `{target.name}` has one class only: {values[0]!r}", where="data.target_col", next=hint)
    if data.positive_class is not None:
        positive(data.positive_class, values.sort().to_list())


def _check_ids(ids: pl.Series) -> None:
    if missing := ids.null_count():
        hint = "an id is needed in every row: labels join by it"
        raise BadInput(f"{missing} rows have no `{ids.name}`", where="data.id_col", next=hint)
    if repeated := len(ids) - ids.n_unique():
        first = ids.filter(ids.is_duplicated())[0]
        hint = "name a column that is unique, or leave `id_col` out"
        raise BadInput(f"{repeated} values of `{ids.name}` repeat, such as {first!r}", where="data.id_col", next=hint)
