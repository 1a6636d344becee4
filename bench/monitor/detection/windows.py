"""The windows of one cut of a set: streams of shifted rows, each with its scores, and real weeks against the weeks around them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import polars as pl

from detection import sets, shifts
from detection.shifts import SHIFTS, WINDOWS, Shift

SIZES, SHIFTED = (200, 500, 1000, 5000), 1000
"""Rows of windows, and of those that peers are shown shifted."""
SHIFTED_SETS = ("flights", "hotel-rates", "rodents")
"""Those with rows enough for every size; of the others only stable windows are judged."""
STABLE_STREAMS, AROUND = 3, 4
"""Streams without a shift for each with one; weeks before and after a real week that are its reference."""


@dataclass(frozen=True)
class Drawn:
    """A window: what was done to it, which one of its stream it is, and its rows as a predictions table."""

    shift: str
    size: int
    stream: int
    k: int
    rows: pl.DataFrame = field(repr=False)
    part: int = 0


def drawn(cut: sets.Cut, seed: int, sizes: tuple[int, ...], names: tuple[str, ...] | None = None) -> Iterator[Drawn]:
    """All windows of a cut; a set with too few rows for a size has none of that size."""
    for size in (s for s in sizes if s <= cut.pool.height):
        for shift in SHIFTS:
            if shifts.possible(shift, cut.real) and (names is None or shift.name in names):
                for stream in range(STABLE_STREAMS if shift.kind == "none" else 1):
                    yield from _stream(cut, shift, size, stream, seed)


def _stream(cut: sets.Cut, shift: Shift, size: int, stream: int, seed: int) -> Iterator[Drawn]:
    """The columns are the same for all sizes of a kind of shift, and of windows, so that these can be held against each other."""
    random = _random(seed, cut.real.name, shift.name, size, stream)
    columns = shifts.choose(shift, cut.real, cut.reference, _random(seed, cut.real.name, shift.kind, stream))
    rows = [cut.pool[random.choice(cut.pool.height, size, replace=False)] for _ in range(WINDOWS)]
    moved = [shifts.apply(shift, window, columns, k, random) for k, window in enumerate(rows, 1)]
    scored = cut.scored(pl.concat(moved))
    for k in range(1, WINDOWS + 1):
        yield Drawn(shift.name, size, stream, k, scored.slice((k - 1) * size, size))


def _random(seed: int, *words: object) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32("/".join(map(str, words)).encode())])


def weeks(real: sets.Real, at: pl.Series, seed: int) -> Iterator[tuple[pl.DataFrame, Drawn]]:
    """Each week with the weeks around it as its reference. Nobody moved anything here; whether the world did, nobody knows."""
    shuffled = sets.cut(real, seed)  # for its model, which learned from a fifth of the rows
    rows = shuffled.scored(real.rows.drop("target")).with_columns(at.alias("at"))
    first = at.min()
    week = ((pl.col("at") - first) / timedelta(days=7)).floor().cast(pl.Int64)
    rows = rows.with_columns(week.alias("week")).drop("at")
    for number in range(AROUND, int(rows["week"].max()) - AROUND):  # type: ignore[arg-type]
        around = rows.filter(((pl.col("week") - number).abs() <= AROUND) & (pl.col("week") != number)).drop("week")
        window = rows.filter(pl.col("week") == number).drop("week")
        if window.height >= SIZES[0]:
            yield around.sample(min(around.height, sets.MOST), seed=seed), Drawn("real week", 0, 0, number, window, part=number)
