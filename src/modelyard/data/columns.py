"""Words about columns that the rooms' files share: finding one by name, and the few types that a table may hold."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.signature import ColumnType

if TYPE_CHECKING:
    import polars as pl


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the known column most like `name`, else the first few there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"the columns are: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"


def need(name: str, known: Iterable[str], where: str) -> None:
    """Raises BadInput, with the nearest known name, when `name` is no column."""
    names = list(known)
    if name not in names:
        raise BadInput(f"there is no column `{name}` in the data", where=where, next=nearest(name, names))


def named(known: Iterable[str], where: str) -> None:
    """Raises BadInput for a column without a name."""
    if (wrong := tables.nameless(list(known))) is not None:
        raise BadInput(wrong[0], where=where, next=wrong[1])


def type_of(dtype: pl.DataType) -> ColumnType | None:
    """The signature's word for a Polars type; None for what a table may not hold (lists, structs, bytes)."""
    import polars as pl

    if dtype.is_integer():
        return "int"
    if dtype.is_float() or dtype.is_decimal():
        return "float"
    if dtype == pl.Boolean:
        return "bool"
    if dtype in (pl.Date, pl.Datetime):
        return "datetime"
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null, pl.Time):
        return "str"
    return None


def types_of(schema: Mapping[str, pl.DataType]) -> dict[str, ColumnType]:
    """The signature's words for the columns of a table; those it may not hold are left out."""
    return {name: kind for name, dtype in schema.items() if (kind := type_of(dtype)) is not None}


def repeats(chunks: Callable[[], Iterator[pl.Series]]) -> pl.Series | None:
    """The present values that come more than once, each as often as it comes; None where none does.

    `chunks` gives the column, a part at a time and as often as asked. Held are 8 bytes a row: hashes first, and only values whose hash
    comes twice are then looked at as what they are, so that no answer hangs on a collision.
    """
    import numpy as np
    import polars as pl

    ordered = np.concatenate([series.drop_nulls().hash().to_numpy() for series in chunks()])
    ordered.sort()
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return None
    suspects = pl.concat([series.filter(series.hash().is_in(pl.Series(twice).implode())).drop_nulls() for series in chunks()])
    found = suspects.filter(suspects.is_duplicated())
    return found if len(found) else None
