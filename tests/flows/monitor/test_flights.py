"""The flights of 2013: a model of January and February, and its AUC month by month, estimated before the labels and measured with them.

Every month lies in the estimate's band, which knows from the hold-out how one day differs from the next. The estimate hardly moves, since
the flights are alike: what changed in September and December is no matter of the features, and only labels tell.
"""

from __future__ import annotations

import math
import os
import runpy
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from modelyard.flows.monitor import estimating, performance
from modelyard.monitor.estimate import calibration, trust, unrest
from modelyard.monitor.performance import Value, deviations
from modelyard.quality.encode import encode
from modelyard.signature import Column, Signature
from tests.conftest import ROOT

WORDS = ("carrier", "origin", "dest")
NUMBERS = ("sched_dep_time", "sched_arr_time", "distance", "weekday", "dep_hour")
COLUMNS = (*(Column(name, "str") for name in WORDS), *(Column(name, "int") for name in NUMBERS))
SIGNATURE = Signature("binary_classification", COLUMNS, (0, 1), 1, 0.5, "late")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(January and February, the rest of the year), fetched where the example has not been run."""
    folder = ROOT / "examples" / "flights" / "data"
    if not (folder / "traffic.parquet").exists():
        folder = tmp_path_factory.mktemp("flights")
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["prepare.py", "--into", str(folder)])
                runpy.run_path(str(ROOT / "examples" / "flights" / "prepare.py"), run_name="__main__")
        except (SystemExit, OSError) as exc:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"the flights cannot be fetched: {exc}")
    first, rest = (pl.read_parquet(Path(folder) / f"{name}.parquet").drop_nulls("late") for name in ("flights", "traffic"))
    return first.sort("scheduled_at"), rest.sort("scheduled_at")


class Model:
    """A scikit-learn model of late arrivals, as the example's."""

    def __init__(self, train: pl.DataFrame) -> None:
        self.codes = {name: sorted(train[name].unique()) for name in WORDS}
        trees = HistGradientBoostingClassifier(random_state=0, early_stopping=False, categorical_features=[0, 1])
        self.fitted = trees.fit(self.features(train), train["late"].to_numpy())

    def features(self, table: pl.DataFrame) -> Any:
        coded = [
            table[name].replace_strict(known, range(len(known)), default=-1, return_dtype=pl.Float64).to_numpy()
            for name, known in self.codes.items()
        ]
        return np.column_stack([*coded, *(table[name].cast(pl.Float64).to_numpy() for name in NUMBERS)])

    def predictions(self, table: pl.DataFrame) -> pl.DataFrame:
        p = self.fitted.predict_proba(self.features(table))[:, 1]
        outputs = {"y.prediction": (p >= 0.5).astype(np.int64), "y.probability_0": 1 - p, "y.probability_1": p}
        return pl.DataFrame({"label": table["late"], **outputs})


@pytest.mark.slow
def test_the_auc_of_each_month_before_its_labels_come(tables: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    first, rest = tables
    model, holdout = Model(first[: int(0.7 * first.height)]), first[int(0.85 * first.height) :]
    scored = model.predictions(holdout)
    learned = encode(scored, SIGNATURE)
    assert learned.scores is not None
    calibrator = calibration.fit(learned.scores, learned.truth)
    before = performance.measured(scored, SIGNATURE, 0.99, ("roc_auc",))["roc_auc"]
    assert before.low is not None and before.high is not None
    of, seconds = estimating.stretches(holdout.select(event_time="scheduled_at"))
    moves = estimating.moves(learned, of, calibrator, SIGNATURE)["roc_auc"]
    assert moves > 0, "a day of February is not like the next"
    remaining = unrest.remaining(seconds, timedelta(days=30).total_seconds())
    spread = {"roc_auc": math.hypot((before.high - before.low) / 2 / deviations(0.99), moves * math.sqrt(remaining))}
    months = rest.with_columns(month=pl.col("scheduled_at").dt.convert_time_zone("America/New_York").dt.month())
    found: dict[int, tuple[Value, float]] = {}
    words = []
    for (month,), flights in months.partition_by("month", as_dict=True).items():
        window = model.predictions(flights)
        guess = estimating.expected(encode(window, SIGNATURE), calibrator, spread, ("roc_auc",))["roc_auc"]
        real = performance.measured(window, SIGNATURE, 0.99, ())["roc_auc"].value
        found[int(str(month))] = (guess, real)
        evidence = {"rows": flights.height, "metrics": {"roc_auc": guess.value}, "intervals": {"roc_auc": [guess.low, guess.high]}}
        words.append(trust.reconcile({"roc_auc": real}, flights.height, evidence))
    assert list(found) == list(range(3, 13))
    missed = [month for month, (guess, real) in found.items() if not (guess.low or 0) <= real <= (guess.high or 0)]
    assert not missed, found
    widths = [(guess.high or 0) - (guess.low or 0) for guess, _ in found.values()]
    assert max(widths) < 0.12, "a band that holds everything says nothing"
    record = trust.records(words)["roc_auc"]
    assert record.windows == 10 and record.error < 0.025 and record.trusted
    assert found[12][1] < found[12][0].value - 0.03, "in December something changed that no feature shows: the labels tell"
