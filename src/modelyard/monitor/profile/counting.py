"""Counting rows into the bins of a baseline: a table at once, or batch by batch in constant memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.monitor import joint
from modelyard.monitor.profile import reading
from modelyard.monitor.profile.tallies import PLAIN, Categories, Numbers

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from modelyard.monitor.profile.reading import Frame

JOINT_ROWS = 10_000
"""Rows of a pass whose joint error is computed, at the most, and half as many at the least: the mean of so many is known to 1%."""


def profile(table: Frame, baseline: dict[str, Any]) -> dict[str, Any]:
    """A window counted into a baseline's bins; a column that the window lacks is missing in every row."""
    return profile_batches([table], baseline)


def profile_batches(batches: Iterable[Frame], baseline: dict[str, Any]) -> dict[str, Any]:
    """The profile of all rows of Polars frames, Arrow tables or Parquet files (`scan`) that follow each other; no more than one is held."""
    counted = Pass(baseline)
    for batch in batches:
        counted.add(batch)
    return counted.done()


class Pass:
    """Rows going by. Not for two threads at once. Raises BadInput for a baseline of another format."""

    def __init__(self, baseline: dict[str, Any]) -> None:
        if baseline.get("format") != 2:
            raise BadInput("the baseline of this version is an older Modelyard's", next="build the version again")
        self._baseline, self.rows = baseline, 0
        score = baseline["score"]["column"]
        shapes = {**{tables.feature(n): c for n, c in baseline["columns"].items()}, score: baseline["score"]}
        self._tallies = {n: Numbers(s) if s["kind"] == "numeric" else Categories(s) for n, s in shapes.items()}
        self._extra: dict[str, int] = {}
        self._sample = Sample() if baseline.get("joint") is not None else None

    def add(self, batch: Frame) -> None:
        rows, there = reading.height(batch), set(reading.names(batch))
        self.rows += rows
        if self._sample is not None:
            self._sample.begin(rows)
        for name in self._tallies.keys() - there:
            self._tallies[name].lack(rows)
        for name, part in reading.parts(batch, [n for n in self._tallies if n in there]):
            _count(self._tallies[name], part)
            if self._sample is not None and name.startswith(tables.FEATURE):
                self._sample.take(name, part)
        for name, n in reading.extras(batch, set(self._tallies)).items():
            self._extra[name] = self._extra.get(name, 0) + n
        if self._sample is not None:
            self._sample.end()

    def done(self) -> dict[str, Any]:
        score = self._baseline["score"]["column"]
        return {
            "format": 2,
            "rows": self.rows,
            "columns": {n: self._tallies[tables.feature(n)].done() for n in self._baseline["columns"]},
            "score": {"column": score, "rows": self.rows, **self._tallies[score].done()},
            "extra": dict(sorted(self._extra.items())),
            "joint": None if self._sample is None else errors(self._sample.rows, self._baseline["joint"]),
        }


class Sample:
    """Every row of a pass, then every second one, every fourth, ...: the features of up to `JOINT_ROWS` rows, evenly spread."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []
        self._step, self._seen, self._rows = 1, 0, 0
        self._taken: dict[str, list[pl.Series]] = {}
        self._passed: dict[str, int] = {}

    @property
    def rows(self) -> pl.DataFrame:
        import polars as pl

        return pl.concat(self._frames, how="diagonal_relaxed") if self._frames else pl.DataFrame()

    def begin(self, rows: int) -> None:
        """So many rows are coming."""
        while (self._seen + rows - 1) // self._step + 1 > JOINT_ROWS:
            if self._frames:
                self._frames = [self.rows.gather_every(2)]
            self._step *= 2
        self._rows = rows

    def take(self, name: str, part: Any) -> None:
        """What is wanted of the next part of a column of these rows."""
        passed = self._passed.get(name, 0)
        self._taken.setdefault(name, []).append(reading.every(part, self._step, -(self._seen + passed) % self._step))
        self._passed[name] = passed + len(part)

    def end(self) -> None:
        import polars as pl

        self._frames.append(pl.DataFrame({name: pl.concat(parts) for name, parts in self._taken.items()}))
        self._seen += self._rows
        self._taken, self._passed = {}, {}


def errors(table: pl.DataFrame, fitted: dict[str, Any]) -> dict[str, Any]:
    """How many rows there are, the sum of their joint errors, and that of the squares."""
    import numpy as np

    found = joint.errors(table, fitted)
    return {"rows": len(found), "sum": float(found.sum()), "squares": float(np.einsum("i,i", found, found))}  # no BLAS


def count_numbers(values: NDArray[np.float64], shape: dict[str, Any]) -> dict[str, Any]:
    """A column of numbers in the bins of `shape`; NaN is missing."""
    tally = Numbers(shape)
    tally.add(values)
    return tally.done()


def count_words(seen: pl.DataFrame, missing: int, shape: dict[str, Any]) -> dict[str, Any]:
    """A column of categories, as `reading.words` gives it, in the bins of `shape`."""
    tally = Categories(shape)
    tally.lack(missing)
    tally.add(seen)
    return tally.done()


def _count(tally: Numbers | Categories, column: Any) -> None:
    if isinstance(tally, Numbers):
        tally.add(reading.numbers(column))
        return
    coded = reading.few(column, PLAIN)
    seen, missing = reading.words(column) if coded is None else coded
    tally.lack(missing)
    if isinstance(seen, list):
        tally.add_few(seen)
    else:
        tally.add(seen)
