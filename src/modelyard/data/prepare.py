"""From the rows of a source to those of a snapshot: columns dropped, types set, times in UTC, rows without a target left out.

A batch is prepared by itself. What only the whole table can tell (how a column writes its times, whether a target is whole) is looked up
first, in a survey that reads no column but those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelyard.config.spec import Data
from modelyard.data import columns, incremental, sample
from modelyard.data.canonical import canonical, to_utc
from modelyard.data.columns import need, repeats
from modelyard.data.parts import WHERE, Parts
from modelyard.errors import BadInput
from modelyard.signature import ColumnType, Scalar

if TYPE_CHECKING:
    import polars as pl

TYPES = "data.schema.types"


class Prepared:
    """The snapshot's rows in canonical form, a batch at a time, and, once these are read, a sentence for each kind of row left out.

    In order: the columns that the config names must exist; `exclude` drops; a sample is drawn; `types` overrides (text is parsed; a
    value that does not fit is an error that shows it); times become datetime[us, UTC] (`time_col` may be text or an epoch number too);
    rows without a target, then rows without a time, are dropped. Where a row has several labels (`label_separator` is set) none is a target
    too: an empty text. A float target that holds whole numbers, with a whole `positive_class`, becomes an int: a reader makes floats
    of integers with gaps. With `above`, only rows with more are new.

    Raises BadInput, at once or from `batches`.
    """

    def __init__(self, table: Parts, data: Data, timezone: str, above: incremental.Highest | None = None) -> None:
        _check_names(table, data)
        self.table, self.data, self.timezone, self.above = table, data, timezone, above
        self._missing = dict.fromkeys(name for name in (data.target_col, data.time_col) if name)
        self._left: dict[str, int] = dict.fromkeys(self._missing, 0)
        self._survey = _Survey(table, data)
        self.dropped: tuple[str, ...] = ()

    def batches(self) -> Iterator[pl.DataFrame]:
        import polars as pl

        data, lost, row = self.data, Lost(), 0
        kept = [name for name in self.table.schema if name not in data.schema_.exclude]
        for batch in self.table.batches(kept + self._marker(kept)):
            first, row = row, row + batch.height
            batch = self._chosen(batch, first).select(kept)
            batch = batch.with_columns([self._typed(batch[n], kind, lost, first) for n, kind in data.schema_.types.items()])
            if data.time_col is not None and data.time_col not in data.schema_.types:
                batch = batch.with_columns(self._typed(batch[data.time_col], "datetime", lost, first))
            batch = canonical(batch, self.timezone)
            if data.label_separator is not None:
                batch = batch.with_columns(pl.col(data.target_col).cast(pl.String).fill_null(""))  # no label holds: a fact like any other
            for name in self._missing:
                present = batch[name].is_not_null()
                self._left[name] += batch.height - int(present.sum())
                batch = batch.filter(present)
            if self._survey.whole_target:
                batch = batch.with_columns(_whole(batch[data.target_col]))
            yield batch
        lost.refuse()
        self.dropped = tuple(self._sentences())

    def _marker(self, kept: list[str]) -> list[str]:
        """The incremental column, where it is needed and not kept."""
        column = self.data.source.incremental
        return [column] if self.above is not None and column is not None and column not in kept else []

    def _chosen(self, batch: pl.DataFrame, first: int) -> pl.DataFrame:
        if self.above is not None and self.data.source.incremental is not None:
            batch = batch.filter(incremental.above(batch, self.data.source.incremental, self.above))
        return sample.chosen(batch, first, self._survey.sample)

    def _typed(self, series: pl.Series, kind: ColumnType, lost: Lost, first: int) -> pl.Series:
        if kind == "datetime":
            return _as_times(series, self.timezone, self._survey.forms.get(series.name), lost, first)
        return _typed(series, kind, lost, first)

    def _sentences(self) -> Iterator[str]:
        for name, count in self._left.items():
            count = self._survey.missing[name] if self._survey.sample is not None else count
            if count:
                yield f"{count} row{'s' if count != 1 else ''} without {name} dropped"
        if self._survey.sample is not None:
            asked = self.data.sample
            assert asked is not None
            yield f"a sample of {asked.rows:,} of {self.table.rows:,} rows, seed {asked.seed}"


def _check_names(table: Parts, data: Data) -> None:
    schema = data.schema_
    columns.named(table.schema, WHERE)
    named: list[tuple[str, str | None]] = [(f"data.{key}", getattr(data, key)) for key in ("target_col", "time_col", "id_col")]
    named += [("data.entity_cols", name) for name in data.entity_cols]
    named += [("data.schema.sensitive_not_served", name) for name in schema.sensitive_not_served]
    named += [("data.schema.weight_col", schema.weight_col), ("data.schema.group_col", schema.group_col)]
    named += [(TYPES, name) for name in schema.types]
    named += [("data.split.column", data.split.column)]
    for where, name in named:
        if name is not None:
            need(name, table.schema, where)
            if name in schema.exclude:
                raise BadInput(f"column `{name}` is needed here and dropped by `data.schema.exclude`", where=where)
    for name in schema.exclude:
        need(name, table.schema, "data.schema.exclude")
    if data.source.incremental is not None:
        need(data.source.incremental, table.schema, "data.source.incremental")


@dataclass(frozen=True)
class Form:
    """How a column writes its times: text with a zone or without, its first value as a pattern for the rest; or numbers, which are an
    epoch's, or days such as 20240131 throughout."""

    first: str | None = None
    zoned: bool = False
    greatest: float = 0.0
    days: bool = True


class _Survey:
    """What must be known of whole columns before the first row is kept."""

    def __init__(self, table: Parts, data: Data) -> None:
        self.forms: dict[str, Form] = {}
        self._multilabel = data.label_separator is not None
        self.missing = dict.fromkeys((data.target_col, *([data.time_col] if data.time_col else [])), 0)
        self.sample: Any = None
        times = [name for name, kind in data.schema_.types.items() if kind == "datetime"] + ([data.time_col] if data.time_col else [])
        unclear = [n for n in dict.fromkeys(times) if table.schema[n].is_numeric() or str(table.schema[n]) == "String"]
        whole_class = isinstance(data.positive_class, int) and not isinstance(data.positive_class, bool)
        typed = data.schema_.types.get(data.target_col)
        maybe_whole = whole_class and (typed == "float" or (typed is None and _fraction(table.schema[data.target_col])))
        self.whole_target = maybe_whole
        draw = sample.Draw(data.sample) if data.sample is not None and data.sample.rows < table.rows else None
        wanted = [*unclear, *([data.target_col] if maybe_whole else []), *(self.missing if draw else ())]
        for batch in table.batches(list(dict.fromkeys(wanted))) if wanted else ():
            for name in unclear:
                self.forms[name] = _form(batch[name], self.forms.get(name, Form()))
            if maybe_whole and self.whole_target:
                self.whole_target = _is_whole(batch[data.target_col])
            if draw is not None:
                draw.see(self._present(batch))
        self.sample = draw.rows() if draw is not None else None

    def _present(self, batch: pl.DataFrame) -> pl.Series:
        """Rows that have a target and a time; counts the others."""
        import polars as pl

        if self._multilabel:
            batch = batch.with_columns(pl.col(next(iter(self.missing))).cast(pl.String).fill_null(""))
        present = batch[next(iter(self.missing))].is_not_null()
        for i, name in enumerate(self.missing):
            here = batch[name].is_not_null() & (batch[name].is_not_nan() if batch.schema[name].is_float() else True)
            self.missing[name] += int((~here if i == 0 else present & ~here).sum())
            present = here if i == 0 else present & here
        return present


def _fraction(dtype: pl.DataType) -> bool:
    return dtype.is_float() or dtype.is_decimal()


def _is_whole(target: pl.Series) -> bool:
    import polars as pl

    numbers = target.cast(pl.Float64, strict=False).drop_nulls().drop_nans()
    return bool((numbers == numbers.round()).all())


def _whole(target: pl.Series) -> pl.Series:
    import polars as pl

    return target.cast(pl.Int64) if target.dtype.is_float() else target


def _form(series: pl.Series, known: Form) -> Form:
    import polars as pl

    present = series.drop_nulls()
    if series.dtype != pl.String:
        greatest = float(series.cast(pl.Float64).abs().drop_nans().max() or 0)  # type: ignore[arg-type]  # a float or None
        there = present.drop_nans() if present.dtype.is_float() else present
        return Form(greatest=max(known.greatest, greatest), days=known.days and bool(_days(there).is_not_null().all()))
    first = known.first if known.first is not None or not len(present) else str(present[0])
    zoned = bool(present.str.contains(r"(?:[Zz]|[+-]\d\d:?\d\d)\s*$").any())
    return Form(first=first, zoned=known.zoned or zoned)


def _days(numbers: pl.Series) -> pl.Series:
    """Numbers such as 20240131 as days of the years 1900 to 2199; null for any other."""
    import polars as pl

    whole = numbers.cast(pl.Int64, strict=False)
    written = pl.select(pl.when((whole == numbers) & whole.is_between(19_000_101, 21_991_231)).then(whole)).to_series().cast(pl.String)
    return written.str.to_date("%Y%m%d", strict=False).rename(numbers.name)


@dataclass
class Lost:
    """Values that could not be read as what they should be: how many of a column, and the first."""

    found: dict[str, tuple[str, int, Any, int]] = field(default_factory=dict)

    def add(self, before: pl.Series, after: pl.Series, kind: str, first: int) -> pl.Series:
        """Note what `after` lost of `before`, whose first row is the table's row `first`; gives `after`."""
        lost = before.is_not_null() & after.is_null()
        if before.dtype.is_float():
            lost &= before.is_not_nan()
        rows = lost.arg_true()
        if len(rows):
            _, count, value, row = self.found.get(before.name, (kind, 0, before[int(rows[0])], first + int(rows[0]) + 1))
            self.found[before.name] = (kind, count + len(rows), value, row)
        return after

    def refuse(self) -> None:
        """Raises BadInput where anything was lost."""
        for name, (kind, count, value, row) in self.found.items():
            said = f"{count} value{'s' if count != 1 else ''} of column `{name}` cannot be read as {kind}, first {value!r} in row {row}"
            raise BadInput(said, where=f"{TYPES}.{name}")


def _typed(series: pl.Series, kind: ColumnType, lost: Lost, first: int) -> pl.Series:
    import polars as pl

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
    return lost.add(series, cast, kind, first)


def as_times(series: pl.Series, timezone: str) -> pl.Series:
    """Times, dates, text or epoch numbers as datetime[us, UTC]. Raises BadInput."""
    lost = Lost()
    times = _as_times(series, timezone, None, lost, 0)
    lost.refuse()
    return times


def _as_times(series: pl.Series, timezone: str, form: Form | None, lost: Lost, first: int) -> pl.Series:
    """`form`: how the whole column writes its times, of which `series` is a part."""
    import polars as pl

    if series.dtype in (pl.Date, pl.Datetime):
        return to_utc(series, timezone)
    if series.dtype == pl.Null:
        return series.cast(pl.Datetime("us", "UTC"))
    if series.dtype.is_numeric():
        form = form or _form(series, Form())
        if form.days and form.greatest:
            return to_utc(_days(series), timezone)
        # an epoch in seconds, milliseconds, microseconds or nanoseconds: told apart by size, for any time from 1973 to 5138
        scale = next((s for limit, s in ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1)) if form.greatest < limit), 0.001)
        scaled = (series * scale).fill_nan(None) if series.dtype.is_float() else series * scale
        return scaled.cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").rename(series.name)
    if series.dtype != pl.String:
        raise BadInput(f"column `{series.name}` holds {series.dtype}, which is no time", where="data")
    form = form or _form(series, Form())
    # polars guesses the pattern from the first value: that of the whole column, so that every batch is read alike
    text = pl.concat([pl.Series(series.name, [form.first], dtype=pl.String), series])
    try:
        parsed = text.str.to_datetime(time_unit="us", time_zone="UTC" if form.zoned else None, strict=False)[1:]
    except pl.exceptions.ComputeError as exc:
        raise BadInput(f"column `{series.name}` cannot be read as times, first {form.first!r}", where="data") from exc
    return to_utc(lost.add(series, parsed, "datetime", first), timezone)


def positive(wanted: Scalar, classes: Iterable[Any]) -> Scalar:
    """The class that `wanted` means, as it stands in the data. Raises BadInput when there is none."""
    known = list(classes)
    if wanted in known:
        return known[known.index(wanted)]  # type: ignore[no-any-return]  # true where the config says 1
    hint = f"the classes are {', '.join(repr(c) for c in known[:8])}"
    raise BadInput(f"the positive class {wanted!r} is not in the target", where="data.positive_class", next=hint)


def check(table: Parts, data: Data) -> None:
    """What must hold of a prepared table as a whole. Raises BadInput for a target of one class, an absent positive class, ids that
    repeat or are missing."""
    import polars as pl

    values = pl.Series(data.target_col, [], dtype=table.schema[data.target_col])
    for series in table.column(data.target_col):
        if data.positive_class is not None or len(values) < 2:
            values = pl.concat([values, series.unique()]).unique()
    if len(values) == 1:
        hint = "a model needs at least two to tell apart: is the query or the file cut short?"
        raise BadInput(f"the target `{data.target_col}` has one class only: {values[0]!r}", where="data.target_col", next=hint)
    if data.positive_class is not None and data.label_separator is None:
        positive(data.positive_class, values.sort().to_list())
    if data.id_col is not None:
        _check_ids(table, data.id_col)


def _check_ids(table: Parts, name: str) -> None:
    if missing := sum(series.null_count() for series in table.column(name)):
        hint = "an id is needed in every row: labels join by it"
        raise BadInput(f"{missing} rows have no `{name}`", where="data.id_col", next=hint)
    again = repeats(lambda: table.column(name))
    if again is not None:
        hint = "name a column that is unique, or leave `id_col` out"
        said = f"{len(again) - again.n_unique()} values of `{name}` repeat, such as {again[0]!r}"
        raise BadInput(said, where="data.id_col", next=hint)
