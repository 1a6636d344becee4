"""Words about columns that the rooms' files share: finding one by name, and the few types that a table may hold."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

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
