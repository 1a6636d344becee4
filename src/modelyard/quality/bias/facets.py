"""From columns to groups: whom a facet compares with whom.

A `Group` is settled on the training data and then found in any table of the same columns: it says which rows are of group d, all
others whose value is known being group a. Rows without a value of the facet belong to neither and are left out.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from modelyard.config.spec import Facet
from modelyard.errors import BadInput
from modelyard.quality.bias.kernels import Bools
from modelyard.signature import Scalar

MAX_VALUES = 50
MAX_NUMBERS = 20
"""More distinct numbers than these are a scale, not categories."""


@dataclass(frozen=True)
class Condition:
    """What a column must hold: one of `keys` (or none of them), or more than `above` (or at most that)."""

    column: str
    keys: tuple[str, ...] = ()
    above: float | None = None
    negated: bool = False
    texts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        if self.above is not None:
            return f"{self.column}{'<=' if self.negated else '>'}{self.above:g}"
        return f"{self.column}{'!=' if self.negated else '='}{'|'.join(self.texts)}"


@dataclass(frozen=True)
class Group:
    """Group d: the rows for which all conditions hold. value: what it holds, as Clarify writes it: values, or an interval."""

    conditions: tuple[Condition, ...]
    value: str

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(c.column for c in self.conditions)

    @property
    def name(self) -> str:
        """Such as `carrier=UA`, `age>40`, or `sex=F, race=B`."""
        return ", ".join(c.name for c in self.conditions)

    @property
    def threshold(self) -> float | None:
        return self.conditions[0].above if len(self.conditions) == 1 else None

    def find(self, table: pl.DataFrame) -> tuple[Bools, Bools]:
        """Two boolean arrays of a table's rows: of group d, and of either group (their value is known)."""
        inside, known = np.ones(len(table), dtype=bool), np.ones(len(table), dtype=bool)
        for condition in self.conditions:
            held, given = _held(table[condition.column], condition)
            inside &= held
            known &= given
        return inside & known, known


def key(value: Any) -> str:
    """What two writings of one value share: 1, 1.0, True and '1' are the same."""
    if isinstance(value, bool):
        return str(int(value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else key(value)


def known_rows(series: pl.Series) -> pl.Series:
    """Boolean, a row: neither null nor NaN."""
    return series.is_not_null() & series.is_not_nan().fill_null(True) if series.dtype.is_float() else series.is_not_null()


def weights(series: pl.Series) -> npt.NDArray[np.float64]:
    """How much each row counts, float64 (n,): 1 where that is missing, as in all other metrics."""
    return series.cast(pl.Float64).fill_nan(None).fill_null(1.0).to_numpy()


def keys_of(series: pl.Series, wanted: Iterable[Scalar]) -> tuple[str, ...]:
    """The keys of values named in a config; true and false may be words."""
    words = {"true": "1", "false": "0"} if series.dtype == pl.Boolean else {}
    return tuple(words.get(str(value).lower(), key(value)) for value in wanted)


def values(series: pl.Series) -> list[Any]:
    """The distinct known values, the most frequent first."""
    plain = series.cast(pl.String) if series.dtype in (pl.Categorical, pl.Enum) else series
    if plain.dtype.is_nested():
        raise BadInput(f"the column '{series.name}' holds lists: it cannot be a facet", where="bias")
    counted = plain.filter(known_rows(plain)).rename("value").value_counts(name="rows")
    return [v for v, _ in sorted(counted.iter_rows(), key=lambda row: (-row[1], text(row[0])))]


def codes(series: pl.Series, distinct: Sequence[Any]) -> npt.NDArray[np.int64]:
    """Place of each row's value in `distinct`, -1 where it is not there; int64 (n,)."""
    plain = series.cast(pl.String) if series.dtype in (pl.Categorical, pl.Enum) else series
    if not distinct:
        return np.full(len(series), -1, dtype=np.int64)
    known = pl.Series(distinct, dtype=plain.dtype)
    return plain.replace_strict(known, pl.Series(range(len(distinct)), dtype=pl.Int64), default=-1, return_dtype=pl.Int64).to_numpy()


def among(series: pl.Series, keys: tuple[str, ...]) -> Bools:
    """Whether each row's value has one of the keys; boolean (n,)."""
    distinct = values(series)
    taken = [value for value in distinct if key(value) in set(keys)]
    return codes(series, taken) >= 0


def above(series: pl.Series, threshold: float, where: str) -> Bools:
    """Whether each row's number is greater; boolean (n,), False where unknown. Raises BadInput where it holds no numbers."""
    _numbers(series, where)
    numbers = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    with np.errstate(invalid="ignore"):
        return np.asarray(numbers > threshold)


def _numbers(series: pl.Series, where: str) -> None:
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise BadInput(f"the column '{series.name}' does not hold numbers, so that it has no threshold", where=where)


def _held(series: pl.Series, condition: Condition) -> tuple[Bools, Bools]:
    level = condition.above
    held = among(series, condition.keys) if level is None else above(series, level, "bias.facets")
    return (~held if condition.negated else held), known_rows(series).to_numpy()


def settle(table: pl.DataFrame, facets: Sequence[Facet], intersections: Sequence[tuple[str, ...]]) -> tuple[list[Group], list[str]]:
    """All comparisons that the config asks for, on a table with the facets' columns; and what has to be said about them.

    Raises BadInput: a column that is not there (with the nearest one), a value that does not occur, a group without rows, a
    scale of numbers without a threshold.
    """
    found: list[Group] = []
    notes: list[str] = []
    for place, facet in enumerate(facets):
        where = f"bias.facets[{place}]"
        series = column(table, facet.column, where)
        groups = [Group((c,), _value(series, c)) for c in _conditions(series, facet, where, notes)]
        for group in groups if not _one_by_one(facet) else []:
            _both_sides(group, table, where)
        found += groups
    for place, names in enumerate(intersections):
        found += _crossed(table, names, {f.column: f for f in facets}, f"bias.intersections[{place}]", notes)
    unknown = {c: int((~known_rows(table[c])).sum()) for c in dict.fromkeys(itertools.chain(*(g.columns for g in found)))}
    notes += [f"{count:,} rows of the training data have no '{name}' and are left out" for name, count in unknown.items() if count]
    return found, notes


def column(table: pl.DataFrame, name: str, where: str) -> pl.Series:
    if name not in table.columns:
        near = difflib.get_close_matches(name, table.columns, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"the columns are {', '.join(table.columns[:20])}"
        raise BadInput(f"there is no column '{name}' in the data", where=where, next=hint)
    return table[name]


def _one_by_one(facet: Facet) -> bool:
    return facet.privileged is None and facet.disadvantaged is None and facet.above is None


def _conditions(series: pl.Series, facet: Facet, where: str, notes: list[str]) -> list[Condition]:
    """The conditions under which a row is of group d, one a comparison."""
    name = facet.column
    if facet.above is not None:
        _numbers(series, where)
        return [Condition(name, above=facet.above)]
    named = facet.privileged if facet.privileged is not None else facet.disadvantaged
    if named is not None:
        wanted = keys_of(series, named)
        _occur(series, wanted, where)
        return [Condition(name, wanted, negated=facet.privileged is not None, texts=tuple(map(text, named)))]
    return [Condition(name, (key(v),), texts=(text(v),)) for v in _few(series, where, notes)]


def _few(series: pl.Series, where: str, notes: list[str]) -> list[Any]:
    """The values to compare one by one."""
    distinct = values(series)
    if series.dtype.is_numeric() and len(distinct) > MAX_NUMBERS:
        raise BadInput(
            f"the column '{series.name}' holds {len(distinct):,} different numbers: say where to cut it",
            where=where,
            next="write `above: NUMBER` (rows above it are the group that may be wronged), or name the values of a group",
        )
    if len(distinct) < 2:
        raise BadInput(f"the column '{series.name}' holds one value only: there is nobody to compare with", where=where)
    if len(distinct) > MAX_VALUES:
        notes.append(f"'{series.name}' has {len(distinct):,} values: the {MAX_VALUES} most frequent are compared, each with all others")
    return distinct[:MAX_VALUES]


def _occur(series: pl.Series, wanted: tuple[str, ...], where: str) -> None:
    there = {key(v): text(v) for v in values(series)}
    for lacking in (w for w in wanted if w not in there):
        near = difflib.get_close_matches(lacking, there, 1)
        hint = f"did you mean '{there[near[0]]}'?" if near else f"it holds {', '.join(list(there.values())[:20])}"
        raise BadInput(f"the value '{lacking}' does not occur in the column '{series.name}'", where=where, next=hint)


def _both_sides(group: Group, table: pl.DataFrame, where: str) -> None:
    inside, known = group.find(table)
    rows, others = int(inside.sum()), int((known & ~inside).sum())
    if rows and others:
        return
    gone = f"no row has {group.name}" if not rows else f"every row has {group.name}"
    raise BadInput(f"{gone}: there is nobody to compare", where=where, next="name other values, or another threshold")


def _crossed(table: pl.DataFrame, names: tuple[str, ...], facets: dict[str, Facet], where: str, notes: list[str]) -> list[Group]:
    """Every combination of values that occurs, each compared with all other rows; the most frequent first."""
    if len(set(names)) < 2:
        raise BadInput("an intersection crosses two columns or more", where=where, next="write for instance [sex, race]")
    options = [_options(column(table, name, where), facets.get(name), where) for name in names]
    crossed = [Group(pair, ",".join(_value(table[c.column], c) for c in pair)) for pair in itertools.product(*options)]
    counted = [(int(group.find(table)[0].sum()), group) for group in crossed]
    there = sorted((c for c in counted if c[0]), key=lambda c: (-c[0], c[1].name))
    if len(there) > MAX_VALUES:
        notes.append(f"{' x '.join(names)} has {len(there):,} combinations: the {MAX_VALUES} most frequent are compared")
    return [group for _, group in there[:MAX_VALUES]]


def _options(series: pl.Series, facet: Facet | None, where: str) -> list[Condition]:
    """The values of a crossed column: its two sides where its facet has a threshold, else each value."""
    if facet is not None and facet.above is not None:
        _numbers(series, where)
        return [Condition(series.name, above=facet.above), Condition(series.name, above=facet.above, negated=True)]
    distinct = _few(series, where, [])
    return [Condition(series.name, (key(v),), texts=(text(v),)) for v in distinct]


def _value(series: pl.Series, condition: Condition) -> str:
    """As Clarify writes it: the values of group d, or the interval of its numbers."""
    if condition.above is not None:
        return interval(series, condition.above) if not condition.negated else f"(-inf, {condition.above:g}]"
    if condition.negated:
        return ",".join(text(v) for v in values(series) if key(v) not in condition.keys)
    return ",".join(condition.texts)


def interval(series: pl.Series, threshold: float) -> str:
    """`(threshold, greatest value]`, in whole numbers where both are."""
    top: Any = series.filter(known_rows(series)).max()
    whole = series.dtype.is_integer() and float(threshold).is_integer()
    return f"({int(threshold)}, {top}]" if whole else f"({float(threshold)}, {float(top)}]"
