"""The shifts: what is done to the rows of a window, by how much, and to which columns.

A column is chosen by chance once per stream of windows, so that figures are means over columns. Whole numbers stay whole: a shift that is
no whole number moves some rows by one more than others, and the mean by just as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from detection.sets import Real

WINDOWS = 10
"""Windows of a stream, all after the onset."""
Move = Callable[[pl.DataFrame, list[str], float, np.random.Generator], pl.DataFrame]
Choose = Callable[[Real, pl.DataFrame, float, np.random.Generator], list[str]]


@dataclass(frozen=True)
class Shift:
    """`size`: as the kind means it; `rising`: window k of a stream is shifted by k times `size`."""

    name: str
    kind: str
    size: float = 0.0
    rising: bool = False


SHIFTS = (
    Shift("stable", "none"),
    *(Shift(f"mean {s} sd, one column", "one mean", s) for s in (0.1, 0.2, 0.5, 1.0)),
    *(Shift(f"mean {s} sd, a third of the columns", "third mean", s) for s in (0.1, 0.2, 0.5, 1.0)),
    *(Shift(f"share +{s} points", "share", s / 100) for s in (5, 10, 20)),
    *(Shift(f"new category in {s}%", "new", s / 100) for s in (2, 5)),
    Shift("missing +5 points", "missing", 0.05),
    Shift("broken relation", "shuffle"),
    Shift("gradual, +0.1 sd a window, one column", "one mean", 0.1, rising=True),
)


def possible(shift: Shift, real: Real) -> bool:
    return bool(real.words) or shift.kind not in ("share", "new")


def choose(shift: Shift, real: Real, reference: pl.DataFrame, random: np.random.Generator) -> list[str]:
    """The columns that a stream's windows are shifted in."""
    return [] if shift.kind == "none" else _KINDS[shift.kind][0](real, reference, shift.size, random)


def apply(shift: Shift, window: pl.DataFrame, columns: list[str], k: int, random: np.random.Generator) -> pl.DataFrame:
    """The k-th window, from 1, of a stream."""
    return window if shift.kind == "none" else _KINDS[shift.kind][1](window, columns, shift.size * (k if shift.rising else 1), random)


def deviations(reference: pl.DataFrame, numbers: tuple[str, ...]) -> dict[str, float]:
    """Of the columns that vary, in the reference."""
    known = {n: reference[f"f.{n}"].std() for n in numbers}
    return {n: float(d) for n, d in known.items() if isinstance(d, float) and d > 0}


def _numbers(real: Real, reference: pl.DataFrame, count: int, random: np.random.Generator) -> list[str]:
    """Columns with their deviations, as `NAME=DEVIATION`: a shift is in deviations of the reference."""
    known = deviations(reference, real.numbers)
    return [f"{n}={known[n]!r}" for n in random.choice(sorted(known), min(count, len(known)), replace=False)]


def _moved(window: pl.DataFrame, columns: list[str], size: float, random: np.random.Generator) -> pl.DataFrame:
    for column in columns:
        name, _, deviation = column.partition("=")
        values, by = window[name], size * float(deviation)
        if (values.drop_nulls() % 1 == 0).all():
            more = random.random(window.height) < by - math.floor(by)
            window = window.with_columns(values + math.floor(by) + pl.Series(more).cast(pl.Float64))
        else:
            window = window.with_columns(values + by)
    return window


def _shared(real: Real, reference: pl.DataFrame, size: float, random: np.random.Generator) -> list[str]:
    """A column of words and a value of it: the most frequent one that the points can be added to."""
    found = []
    for name in real.words:
        often = reference[f"f.{name}"].drop_nulls().value_counts(name="n").sort("n", f"f.{name}", descending=[True, False])
        fitting = often.filter(pl.col("n") < (0.95 - size) * reference.height)
        found += [f"{name}={fitting[f'f.{name}'][0]}"] if fitting.height else []
    return [str(random.choice(found))]


def _added(window: pl.DataFrame, columns: list[str], size: float, random: np.random.Generator) -> pl.DataFrame:
    """Rows that have another value get this one, as many as the points are."""
    name, _, value = columns[0].partition("=")
    others = _unlike(window[name], value)
    return _set(window, name, random.choice(others, min(len(others), round(size * window.height)), replace=False), value)


def _unlike(values: pl.Series, value: str) -> np.ndarray:  # type: ignore[type-arg]
    return np.flatnonzero((values != value).fill_null(value=True).to_numpy())


def _word(real: Real, reference: pl.DataFrame, size: float, random: np.random.Generator) -> list[str]:
    return [str(random.choice(real.words))]


def _renewed(window: pl.DataFrame, columns: list[str], size: float, random: np.random.Generator) -> pl.DataFrame:
    chosen = random.choice(window.height, round(size * window.height), replace=False)
    return _set(window, columns[0], chosen, "never seen")


def _any(real: Real, reference: pl.DataFrame, size: float, random: np.random.Generator) -> list[str]:
    return [str(random.choice(real.names))]


def _emptied(window: pl.DataFrame, columns: list[str], size: float, random: np.random.Generator) -> pl.DataFrame:
    """Values go missing: of the rows that have one, as many as the points are."""
    known = np.flatnonzero(window[columns[0]].is_not_null().to_numpy())
    return _set(window, columns[0], random.choice(known, min(len(known), round(size * window.height)), replace=False), None)


def _tied(real: Real, reference: pl.DataFrame, size: float, random: np.random.Generator) -> list[str]:
    """One of the numbers whose rank correlation with another is 0.3 or more; of the two that are tied most where there is none."""
    known = sorted(deviations(reference, real.numbers))
    ranks = np.stack([reference[f"f.{n}"].fill_null(strategy="mean").rank().to_numpy() for n in known])
    ties = np.abs(np.corrcoef(ranks)) - np.eye(len(known))
    most = ties.max(0)
    return [str(random.choice([n for n, tie in zip(known, most, strict=True) if tie >= min(0.3, float(most.max()))]))]


def _shuffled(window: pl.DataFrame, columns: list[str], size: float, random: np.random.Generator) -> pl.DataFrame:
    return window.with_columns(window[columns[0]][random.permutation(window.height)])


def _set(window: pl.DataFrame, name: str, chosen: np.ndarray, value: str | None) -> pl.DataFrame:  # type: ignore[type-arg]
    there = np.zeros(window.height, bool)
    there[chosen] = True
    return window.with_columns(pl.when(pl.Series(there)).then(pl.lit(value)).otherwise(pl.col(name)).alias(name))


_KINDS: dict[str, tuple[Choose, Move]] = {
    "one mean": (lambda real, reference, size, random: _numbers(real, reference, 1, random), _moved),
    "third mean": (lambda real, reference, size, random: _numbers(real, reference, math.ceil(len(real.names) / 3), random), _moved),
    "share": (_shared, _added),
    "new": (_word, _renewed),
    "missing": (_any, _emptied),
    "shuffle": (_tied, _shuffled),
}
