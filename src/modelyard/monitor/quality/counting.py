"""How often a window breaks constraints, column by column: read off its profile, and counted in its rows where a profile cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.config.spec import ColumnConstraint
from modelyard.monitor.profile import reading

if TYPE_CHECKING:
    import polars as pl

FRESH = 5


@dataclass(frozen=True)
class Counts:
    """Values of one column. `absent`: there is no such column. `reference`: rows of the baseline that `distance` is from."""

    rows: int
    present: int = 0
    mistyped: int = 0
    outside: int = 0
    negative: int = 0
    new: int = 0
    fresh: dict[str, int] = field(default_factory=dict)
    least: float | None = None
    greatest: float | None = None
    distance: float = 0.0
    reference: int = 0
    absent: bool = False


def of_window(
    table: pl.DataFrame, profile: Mapping[str, Any], baseline: Mapping[str, Any], constraints: Mapping[str, ColumnConstraint]
) -> dict[str, Counts]:
    """Counts by column of the constraints. A name that is neither a feature nor a companion of the table's rows is absent."""
    return {name: _of_column(name, held, table, profile, baseline) for name, held in constraints.items()}


def _of_column(name: str, held: ColumnConstraint, table: pl.DataFrame, profile: Mapping[str, Any], baseline: Mapping[str, Any]) -> Counts:
    place = tables.place(table.columns, name)
    if place is None:
        return Counts(table.height, absent=True)
    counted, before = profile["columns"].get(name), baseline["columns"].get(name)
    told = counted is not None and before is not None
    if told and _tells(table.schema[place], held, before):
        counts = _of_profile(counted, held, profile["rows"])
    else:
        counts = _of_values(table[place], held)
    if not told or held.distance is None:
        return counts
    reference = baseline["rows"] - before["missing"]
    return replace(counts, distance=distance(counted, before), reference=reference)


def _tells(dtype: pl.DataType, held: ColumnConstraint, before: Mapping[str, Any]) -> bool:
    """Whether a profile has what the constraint asks: values of its type, and the baseline's own range and domain."""
    if before["kind"] == "categorical":
        own = held.categories is None or (not before["other"] and {written(c) for c in held.categories} == set(before["counts"]))
        return own and held.min is None and held.max is None and str(dtype) == ("Boolean" if held.type == "bool" else "String")
    bounds = (held.min in (None, before["low"])) and (held.max in (None, before["edges"][-1] if before["edges"] else None))
    paired = (held.min is None) == (held.max is None)
    return bounds and paired and held.categories is None and held.type in (None, "any", "int", "float") and dtype.is_numeric()


def _of_profile(counted: Mapping[str, Any], held: ColumnConstraint, rows: int) -> Counts:
    present = rows - counted["missing"]
    if counted["kind"] == "categorical":
        new = counted["new"] if held.categories is not None else 0
        return Counts(rows, present, new=new, fresh=dict(list(counted["fresh"].items())[:FRESH]) if new else {})
    return Counts(
        rows,
        present,
        mistyped=present - counted["whole"] if held.type == "int" else 0,
        outside=counted["counts"][0] + counted["counts"][-1] if held.min is not None else 0,
        negative=counted["negatives"] if held.non_negative else 0,
        least=counted["min"],
        greatest=counted["max"],
    )


def _of_values(values: pl.Series, held: ColumnConstraint) -> Counts:
    """Counted value by value, by what the constraint asks for."""
    import polars as pl

    if values.dtype.is_float():
        values = values.fill_nan(None)
    known = values.drop_nulls()
    if known.dtype.is_temporal():
        return Counts(len(values), len(known), mistyped=len(known) if held.type not in (None, "any") else 0)
    numbers = _numbers(known)
    low, high = held.min, held.max
    outside = (numbers < low) if low is not None else pl.Series([], dtype=pl.Boolean)
    above = (numbers > high) if high is not None else pl.Series([], dtype=pl.Boolean)
    new = pl.Series([], dtype=pl.String)
    if held.categories is not None:
        text = known.to_frame("v").select(reading.text("v", known.dtype))["v"]
        new = text.filter(~text.is_in([written(c) for c in held.categories]))
    counted = new.value_counts(name="n").sort("n", new.name, descending=[True, False]).head(FRESH) if len(new) else None
    return Counts(
        len(values),
        len(known),
        mistyped=_mistyped(known, numbers, held.type),
        outside=int(outside.sum() or 0) + int(above.sum() or 0),
        negative=int((numbers < 0).sum() or 0) if held.non_negative else 0,
        new=len(new),
        fresh=dict(counted.iter_rows()) if counted is not None else {},
        least=_float(numbers.min()),
        greatest=_float(numbers.max()),
    )


def _numbers(known: pl.Series) -> pl.Series:
    """As float64, null where a value is no number."""
    import polars as pl

    return known.cast(pl.Float64, strict=False) if known.dtype != pl.Null else pl.Series(known.name, [], pl.Float64)


def _mistyped(known: pl.Series, numbers: pl.Series, wanted: str | None) -> int:
    """How many values are not of the type: a number that is written as text still is one, for a table may have had to make it text."""
    import polars as pl

    if wanted in (None, "any") or not len(known):
        return 0
    if wanted == "str":
        return 0 if known.dtype == pl.String else len(known)
    if wanted == "bool":
        if known.dtype == pl.Boolean:
            return 0
        text = known.to_frame("v").select(reading.text("v", known.dtype))["v"].str.to_lowercase()
        return int((~text.is_in(["true", "false"])).sum())
    if known.dtype == pl.Boolean:
        return len(known)
    good = (
        numbers.is_not_null() if wanted == "float" else (numbers == numbers.round()).fill_null(False) & numbers.is_finite().fill_null(False)
    )
    return len(known) - int(good.sum())


def distance(counted: Mapping[str, Any], before: Mapping[str, Any]) -> float:
    """The L-infinity distance of a column's values from the baseline's: of the shares of the categories, or of the distribution functions
    at the bins' edges (Kolmogorov and Smirnov's distance, which the bins can only underestimate)."""
    from itertools import accumulate

    if counted["kind"] == "categorical":
        one = [*counted["counts"].values(), counted["other"], counted["new"]]
        other = [*(before["counts"][c] for c in counted["counts"]), before["other"], 0]
    else:
        one, other = list(accumulate(counted["counts"])), list(accumulate(before["counts"]))
    n, m = (sum(one), sum(other)) if counted["kind"] == "categorical" else (one[-1], other[-1])
    return max(abs(a / n - b / m) for a, b in zip(one, other, strict=True)) if n and m else 0.0


def written(value: Any) -> str:
    """A category of the config as profiles write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
