"""The game behind Shapley values: features that have joined have the explained row's value, the others a background row's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Ask = Callable[["pl.DataFrame"], Floats]
"""The explained output of each row of a table of features, (rows,)."""

BATCH = 20_000
"""Mixtures that are put to the model at a time."""


class Game:
    """`rows` to be explained against `background`, tables with the same columns of any types. `asked` counts rows put to the model.

    `progress` is told how many rows the model has answered so far.
    """

    def __init__(self, ask: Ask, rows: pl.DataFrame, background: pl.DataFrame, progress: Callable[[int], None] | None = None) -> None:
        import polars as pl

        self.features = tuple(rows.columns)
        self.rows, self.usual = rows.height, background.height
        self._table = pl.concat([rows, background.select(rows.columns)], how="vertical_relaxed")
        self._ask, self._progress, self.asked = ask, progress, 0
        self._codes = np.column_stack([_codes(self._table[name]) for name in self.features])
        answers = self._answers(self._table)
        self.outputs: Floats = answers[: self.rows]
        """The model's output for each explained row."""
        self.usuals: Floats = answers[self.rows :]
        """And for each background row."""
        self.base = float(self.usuals.mean())

    def differ(self, row: Ints, other: Ints) -> Bools:
        """(pairs, features): where an explained row and a background row have different values; elsewhere joining changes nothing."""
        return np.asarray(self._codes[row] != self._codes[self.rows + other])

    def values(self, row: Ints, other: Ints, joined: Bools) -> Floats:
        """The model's outputs for mixtures: of explained rows by number where `joined` (mixtures, features), else of background rows."""
        found = np.empty(len(row))
        for start in range(0, len(row), BATCH):
            part = slice(start, start + BATCH)
            found[part] = self._answers(self._mixtures(row[part], other[part], joined[part]))
        return found

    def _mixtures(self, row: Ints, other: Ints, joined: Bools) -> pl.DataFrame:
        import polars as pl

        behind = other + self.rows
        places = ((name, np.where(joined[:, j], row, behind)) for j, name in enumerate(self.features))
        return pl.DataFrame([self._table[name].gather(place) for name, place in places])

    def _answers(self, table: pl.DataFrame) -> Floats:
        answers = np.asarray(self._ask(table), dtype=np.float64)
        self.asked += table.height
        if self._progress is not None:
            self._progress(self.asked)
        return answers


def _codes(series: pl.Series) -> Ints:
    """The same number for the same value, -1 for a missing one."""
    plain: Any = series.fill_nan(None) if series.dtype.is_float() else series
    return plain.rank("dense").cast(int).fill_null(-1).to_numpy()  # type: ignore[no-any-return]
