"""How monitors put numbers and names into a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def percent(share: float) -> str:
    """A share as a person writes it: `0%`, `0.4%`, `30%`."""
    value = share * 100
    return f"{value:.0f}%" if value >= 10 or value == 0 else f"{value:.1f}%"


def count(number: int, what: str) -> str:
    """`1 window`, `3 windows`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def written(column: pl.Series) -> pl.Series:
    """A column of any type as text, null where missing, each value in one way of writing, as profiles count it: 1.0 is written 1, whatever
    else is in the column."""
    import polars as pl

    from modelyard.monitor.profile import reading

    told = reading.sayable(column)
    if told.dtype == pl.String:
        return told
    told = told.fill_nan(None) if told.dtype.is_float() else told
    return told.to_frame().select(reading.text(told.name, told.dtype)).to_series()


def listing(items: Sequence[str], most: int = 5) -> str:
    """The first `most` of `items`, and how many were left out."""
    left = len(items) - most
    return ", ".join(items[:most]) + (f" and {left} more" if left > 0 else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to do about an unknown name: the nearest known one, or else the list of them."""
    names = list(known)
    near = get_close_matches(name, names, n=1) or get_close_matches(name.lower(), names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"it has: {listing(names, 20)}"
