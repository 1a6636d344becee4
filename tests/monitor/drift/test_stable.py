"""The defaults on real data: at most one false alarm in a hundred stable windows, and shifts of known size found.

The population is a real table's rows, drawn from with replacement: what moves is known, and what does not does not. The study in docs/
does the same on more tables, against the defaults of others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from modelyard.config.spec import Drift
from modelyard.monitor.drift import DriftResult, judge
from modelyard.monitor.profile import baseline, profile
from modelyard.signature import Column, Signature

from .tables import FORTY, forty

LOADERS: dict[str, Callable[[], Any]] = {
    "breast cancer": load_breast_cancer, "diabetes": load_diabetes, "digits": load_digits, "wine": load_wine
}  # fmt: skip
SIZES = (200, 500, 2000, 10_000)


class Population(NamedTuple):
    rows: pl.DataFrame
    signature: Signature

    def draw(self, rng: np.random.Generator, rows: int) -> pl.DataFrame:
        return self.rows[rng.integers(0, self.rows.height, rows)]


def population(name: str) -> Population:
    """Numbers, the first three columns as categories of five values, some missing, and the least squares fit of the target as the score."""
    loaded = LOADERS[name]()
    matrix, target = loaded.data.astype(float), loaded.target.astype(float)
    design = np.column_stack([matrix, np.ones(len(matrix))])
    score = design @ np.linalg.lstsq(design, target, rcond=None)[0]
    columns: dict[str, Any] = {f"f.c{i}": matrix[:, i] for i in range(matrix.shape[1])}
    for i in range(3):
        columns[f"f.c{i}"] = np.digitize(matrix[:, i], np.unique(np.quantile(matrix[:, i], [0.3, 0.6, 0.9, 0.98]))).astype(str)
    columns["f.c4"] = np.where(np.arange(len(matrix)) % 20 == 0, np.nan, matrix[:, 4])
    kinds = tuple(Column(f"c{i}", "str" if i < 3 else "float") for i in range(matrix.shape[1]))
    return Population(pl.DataFrame({**columns, "y.prediction": score}), Signature("regression", kinds))


def verdicts(real: Population, rng: np.random.Generator, windows: int, sizes: tuple[int, ...], before: int) -> list[DriftResult]:
    """Of stable windows; every 25 of them against a baseline of their own."""
    found = []
    for number in range(windows):
        if number % 25 == 0:
            made = baseline(real.draw(rng, before), real.signature, real.draw(rng, before // 4))
        window = profile(real.draw(rng, sizes[number % len(sizes)]), made)
        found.append(judge(window, made, Drift(), real.signature))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("before", [800, 10_000])
def test_of_a_few_hundred_stable_windows_of_real_data_at_most_one_in_a_hundred_alarms(before: int) -> None:
    rng, found = np.random.default_rng(before), []
    for name in LOADERS:
        found += verdicts(population(name), rng, 100, SIZES, before)
    assert len(found) == 400
    alarms = [r.verdict.reason for r in found if r.verdict.status == "violated"]
    assert len(alarms) <= 4, alarms
    warnings = [r.verdict.reason for r in found if r.verdict.status == "warning"]
    assert len(warnings) <= 4, warnings


def test_of_real_data_a_shift_is_found_in_the_columns_that_have_it() -> None:
    real, rng = population("digits"), np.random.default_rng(1)
    made = baseline(real.draw(rng, 5000), real.signature, real.draw(rng, 2000))
    lively = [c for c in real.rows.columns[3:-1] if (real.rows[c].n_unique() > 10) and c != "f.c4"][:20]
    for rows in (500, 2000):
        shifted = real.draw(rng, rows).with_columns(pl.col(c) + 0.6 * float(real.rows[c].std()) for c in lively)  # type: ignore[arg-type]
        result = judge(profile(shifted, made), made, Drift(), real.signature)
        moved = {f"f.{c}" for c in result.verdict.evidence["moved"]}
        assert moved <= set(lively) and len(moved) >= 19, "all of them, and nothing else is blamed"


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.0, 0.9])
@pytest.mark.parametrize("before", [1000, 20_000])
def test_of_stable_windows_of_the_least_size_at_most_one_in_a_hundred_is_not_healthy(before: int, alike: float) -> None:
    rng, windows, found = np.random.default_rng(11), 300, 0
    for number in range(windows):
        if number % 30 == 0:
            made = baseline(forty(rng, before, alike), FORTY)
        found += judge(profile(forty(rng, 200, alike), made), made, Drift(), FORTY).verdict.status != "healthy"
    assert found <= windows // 100


@pytest.mark.slow
def test_half_a_deviation_in_a_third_of_the_columns_is_found() -> None:
    rng, windows, found, by_features = np.random.default_rng(12), 60, 0, 0
    made = baseline(forty(rng, 20_000, 0.0), FORTY)
    for _ in range(windows):
        found += judge(profile(forty(rng, 200, 0.0, 13), made), made, Drift(), FORTY).verdict.status == "violated"
        large = judge(profile(forty(rng, 1000, 0.0, 13), made), made, Drift(), FORTY)
        by_features += len(large.verdict.evidence["moved"]) >= 12
        assert set(large.verdict.evidence["moved"]) <= {f"x{i}" for i in range(13)}, "and nothing else is blamed"
    assert found == windows, "200 rows, with the score, which moves along"
    assert by_features >= 0.9 * windows, "1,000 rows, by the features alone"
