"""The real sets, cut by chance: rows that a model learns from, rows that are the reference, and rows that windows are drawn from.

Since the cut is by chance, windows are like the reference but for what a shift does to them, and every alarm of a window that was not
shifted is a false one. The score of all three is a model's, so that a feature that moves also moves the score, as it does in production.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from modelyard.signature import Column, ProblemType, Signature

EXAMPLES = Path(__file__).parent.parent.parent.parent / "examples"
LEARN, REFERENCE, MOST = 0.2, 0.4, 10_000
"""Shares of a set's rows that the model learns from and that are the reference, and the most rows of either."""
SCORE = {"binary_classification": "y.probability_1", "multiclass_classification": "y.prediction", "regression": "y.prediction"}


@dataclass(frozen=True)
class Real:
    """A set: its rows, numbers as float64 and words as strings, null where missing, and `target`."""

    name: str
    problem: ProblemType
    rows: pl.DataFrame
    numbers: tuple[str, ...]
    words: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.numbers + self.words

    @property
    def score(self) -> str:
        return SCORE[self.problem]

    @property
    def signature(self) -> Signature:
        columns = (*(Column(n, "float", nullable=True) for n in self.numbers), *(Column(n, "str", nullable=True) for n in self.words))
        binary = self.problem == "binary_classification"
        return Signature(self.problem, columns, classes=(0, 1) if binary else (), positive_class=1 if binary else None)


@dataclass(frozen=True)
class Cut:
    """`reference` is a predictions table (f.* and the score), `pool` the rows of windows without scores, which `scored` adds."""

    real: Real
    reference: pl.DataFrame
    pool: pl.DataFrame
    scored: Callable[[pl.DataFrame], pl.DataFrame]


def load(name: str) -> Real:
    """Raises KeyError for a name that is not in `SETS`, FileNotFoundError where an example's data is not there (its prepare.py)."""
    real = SETS[name]()
    kinds: dict[str, Any] = {**dict.fromkeys(real.numbers, pl.Float64), **dict.fromkeys(real.words, pl.String)}
    return replace(real, rows=real.rows.select(*real.names, "target").cast(kinds))


def cut(real: Real, seed: int) -> Cut:
    rows = real.rows.sample(fraction=1, shuffle=True, seed=seed)
    learn, reference = min(MOST, round(LEARN * rows.height)), min(MOST, round(REFERENCE * rows.height))
    answer = _model(real, rows.head(learn))

    def scored(table: pl.DataFrame) -> pl.DataFrame:
        return table.select(pl.col(n).alias(f"f.{n}") for n in real.names).with_columns(answer(table).alias(real.score))

    others = rows.slice(learn).drop("target")
    return Cut(real, scored(others.head(reference)), others.slice(reference), scored)


def _model(real: Real, learned: pl.DataFrame) -> Callable[[pl.DataFrame], pl.Series]:
    """Gradient-boosted trees; words by the codes that they have among the learned rows, which unknown ones lack."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    learned = learned.drop_nulls("target")
    codes = {n: {v: i for i, v in enumerate(learned[n].drop_nulls().unique().sort())} for n in real.words}

    def matrix(table: pl.DataFrame) -> np.ndarray[Any, Any]:
        coded = [pl.col(n).replace_strict(codes[n], default=None, return_dtype=pl.Float64) for n in real.words]
        return table.select(*real.numbers, *coded).to_numpy().astype(np.float64)

    kind = HistGradientBoostingRegressor if real.problem == "regression" else HistGradientBoostingClassifier
    trees = 20 if real.problem == "multiclass_classification" else 60  # as many a class
    model = kind(max_iter=trees, max_leaf_nodes=8, early_stopping=False, random_state=0).fit(matrix(learned), learned["target"].to_numpy())

    def answer(table: pl.DataFrame) -> pl.Series:
        if real.problem == "binary_classification":
            return pl.Series(model.predict_proba(matrix(table))[:, 1])
        said = model.predict(matrix(table))
        return pl.Series(said) if real.problem == "regression" else pl.Series([str(v) for v in said])

    return answer


def _flights() -> Real:
    numbers = ("sched_dep_time", "sched_arr_time", "distance", "weekday", "dep_hour")
    rows = _both("flights/data", "flights").rename({"late": "target"})
    return Real("flights", "binary_classification", rows, numbers, ("carrier", "origin", "dest"))


def _hotel() -> Real:
    words = "meal country market_segment distribution_channel reserved_room_type assigned_room_type customer_type"
    numbers = "lead_time stays_in_weekend_nights stays_in_week_nights adults children is_repeated_guest previous_cancellations"
    numbers += " booking_changes required_car_parking_spaces total_of_special_requests"
    rows = _both("hotel-rates", "rates").rename({"price": "target"})
    return Real("hotel-rates", "regression", rows, tuple(numbers.split()), tuple(words.split()))


def _rodents() -> Real:
    rows = _both("rodents", "rodents").rename({"species": "target"})
    return Real("rodents", "multiclass_classification", rows, ("month", "hindfoot_length", "weight"), ("plot_type", "sex"))


def _both(folder: str, first: str) -> pl.DataFrame:
    """What the first version learns from and the traffic after it."""
    return pl.concat([pl.read_parquet(EXAMPLES / folder / f"{part}.parquet") for part in (first, "traffic")], how="diagonal")


def _digits() -> Real:
    from sklearn.datasets import load_digits

    return _of_numbers("digits", "multiclass_classification", load_digits())


def _breast_cancer() -> Real:
    from sklearn.datasets import load_breast_cancer

    return _of_numbers("breast-cancer", "binary_classification", load_breast_cancer())


def _of_numbers(name: str, problem: ProblemType, bunch: Any) -> Real:
    names = [str(n).replace(" ", "_") for n in bunch.feature_names]
    rows = pl.DataFrame(bunch.data, schema=names).with_columns(pl.Series("target", bunch.target))
    return Real(name, problem, rows, tuple(names))


SETS: dict[str, Callable[[], Real]] = {
    "flights": _flights,
    "hotel-rates": _hotel,
    "rodents": _rodents,
    "digits": _digits,
    "breast-cancer": _breast_cancer,
}
