"""The bias metrics of a table: a comparison, its metrics, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from modelyard.quality.bias import facets
from modelyard.quality.bias.catalogue import METRICS
from modelyard.quality.bias.flip import Feature, Flips, flips
from modelyard.quality.bias.kernels import KERNELS, Bools, Cells, Floats, Tally, tally, why_undefined

MAX_WORDS = 20
FLIP_TEST = "FT"


@dataclass(frozen=True)
class Interval:
    """How intervals are made: their level, the bootstrap's resamples (0: none), its seed."""

    level: float = 0.95
    resamples: int = 200
    seed: int = 42


@dataclass(frozen=True)
class People:
    """Labelled rows as arrays of length n: label and predicted are True where good, group holds codes 0..groups-1.

    predicted, group and weight are None where there is none; features are what the flip test compares, by name.
    """

    label: Bools
    predicted: Bools | None = None
    group: npt.NDArray[np.int64] | None = None
    groups: int = 1
    weight: Floats | None = None
    features: dict[str, Feature] | None = None

    def tally(self, disadvantaged: Bools, known: Bools) -> Tally:
        taken: list[Any] = [disadvantaged, self.label, self.predicted, self.group, self.weight]
        if not known.all():
            taken = [None if array is None else array[known] for array in taken]
        return tally(taken[0], taken[1], taken[2], taken[3], self.groups, taken[4])

    def cells(self, disadvantaged: Bools, known: Bools) -> list[Any]:
        """Rows by [is d, label is good, prediction is good], whatever they weigh: 2 x 2 x 2 whole numbers."""
        counted = replace(self, group=None, groups=1, weight=None).tally(disadvantaged, known)
        found: list[Any] = counted.whole[0, ..., 0].astype(int).tolist()
        return found


def measure(people: People, group: facets.Group, table: pl.DataFrame, metrics: Sequence[str], interval: Interval) -> list[dict[str, Any]]:
    """The metrics of one comparison, in the order asked for.

    table: the facet's columns, row by row as in `people`. Answers dicts of `metric`, `description`, `value`, `low`, `high`: floats,
    infinite ones included; value is None, with the reason as `error`, where the metric is undefined. low and high, the ends of
    the percentile bootstrap's interval (resamples on which the metric is undefined left out), are None without one.
    """
    inside, known = group.find(table)
    counted = people.tally(inside, known)
    cells = Cells(counted.whole, people.group is not None)
    names = [name for name in metrics if name != FLIP_TEST]
    drawn = _bootstrap(counted, cells.grouped, names, interval)
    found = {name: _row(name, float(KERNELS[name](cells)[0]), drawn[name], interval, why_undefined(name, cells)) for name in names}
    if FLIP_TEST in metrics:
        found[FLIP_TEST] = _flip_test(people, group, inside, known, interval)
    return [found[name] for name in metrics]


def _bootstrap(counted: Tally, grouped: bool, names: Sequence[str], interval: Interval) -> dict[str, Floats]:
    blocks = [Cells(counts, grouped) for counts in counted.resample(interval.resamples, interval.seed)]
    return {name: np.concatenate([KERNELS[name](block) for block in blocks]) if blocks else np.empty(0) for name in names}


def _row(name: str, value: float, drawn: Floats, interval: Interval, error: str) -> dict[str, Any]:
    row: dict[str, Any] = {"metric": name, "description": METRICS[name].title, "value": value, "low": None, "high": None}
    if math.isnan(value):
        return {**row, "value": None, "error": error}
    defined = drawn[~np.isnan(drawn)]
    if len(defined):
        ends = [(1 - interval.level) / 2, (1 + interval.level) / 2]
        # Without interpolation, since infinities may be among them.
        row["low"], row["high"] = map(float, np.quantile(defined, ends, method="inverted_cdf"))
    return row


def _flip_test(people: People, group: facets.Group, inside: Bools, known: Bools, interval: Interval) -> dict[str, Any]:
    assert people.predicted is not None and people.features is not None
    rows = np.flatnonzero(known)
    features = [Selected(feature, rows) for name, feature in people.features.items() if name not in group.columns]
    found = flips(features, inside[rows], people.predicted[rows], seed=interval.seed)
    row = _row(FLIP_TEST, found.value, found.resample(interval.resamples, interval.seed), interval, "a group is empty")
    return {**row, "note": _sampled(found)} if found.sampled else row


def _sampled(found: Flips) -> str:
    return f"of {found.rows:,} rows of group d and {found.reference:,} of group a, drawn from more"


@dataclass(frozen=True)
class Selected:
    """Some rows of a feature."""

    feature: Feature
    rows: npt.NDArray[Any]

    def __getitem__(self, index: npt.NDArray[Any]) -> Floats:
        return self.feature[self.rows[index]]


@dataclass(frozen=True)
class Words:
    """A categorical feature as numbers: two different values are 1 apart, like false and true. codes: (n,), beyond k - 1 nowhere."""

    codes: npt.NDArray[np.int64]
    size: int

    def __getitem__(self, index: npt.NDArray[Any]) -> Floats:
        return np.asarray(np.eye(self.size)[self.codes[index]] / math.sqrt(2))


def features(table: pl.DataFrame, names: Sequence[str]) -> tuple[dict[str, Feature], list[str]]:
    """The columns as the flip test compares them, and the names of those that it leaves out (times and nested values).

    Numbers and booleans are taken as they are, as Clarify does; a missing number becomes the column's median. Of a column of words
    the 20 most frequent values are told apart, missing counting as one more, all others as another.
    """
    found: dict[str, Feature] = {}
    left_out = []
    for name in names:
        series = table[name]
        if series.dtype.is_numeric() or series.dtype == pl.Boolean:
            found[name] = _numbers(series)[:, None]
        elif series.dtype in (pl.String, pl.Categorical, pl.Enum):
            found[name] = _words(series)
        else:
            left_out.append(name)
    return found, left_out


def _numbers(series: pl.Series) -> Floats:
    numbers = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    usable = np.isfinite(numbers)
    if usable.all():
        return numbers
    return np.where(usable, numbers, np.median(numbers[usable]) if usable.any() else 0.0)


def _words(series: pl.Series) -> Words:
    distinct = facets.values(series)[:MAX_WORDS]
    places = facets.codes(series, distinct)
    missing, other = len(distinct), len(distinct) + 1
    places = np.where(places >= 0, places, np.where(series.is_null().to_numpy(), missing, other))
    return Words(places, other + 1)


def subgroups(series: pl.Series) -> tuple[npt.NDArray[np.int64], int]:
    """Codes of the values of the column to condition on, and how many there are; rows without one are a subgroup of their own."""
    distinct = facets.values(series)
    places = facets.codes(series, distinct)
    return np.where(places >= 0, places, len(distinct)), len(distinct) + 1
