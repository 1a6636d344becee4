from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from modelyard.monitor.estimate import calibration
from modelyard.monitor.estimate.calibration import Calibrator, Isotonic, Sigmoid

from . import worlds


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 300), st.booleans())
def test_isotonic_is_scikit_learns(seed: int, rows: int, tied: bool) -> None:
    random = np.random.default_rng(seed)
    x = random.integers(0, 20, rows) / 20 if tied else random.random(rows)
    y, w = (random.random(rows) < x).astype(np.float64), random.integers(1, 4, rows).astype(np.float64)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(x, y, w)
    places = np.linspace(-0.5, 1.5, 200)
    np.testing.assert_allclose(calibration.isotonic(x, y, w).apply(places), oracle.predict(places), atol=1e-12)


def test_sigmoid_is_logistic_regression_on_the_log_odds() -> None:
    """Of many rows, where Platt's prior counts for nothing."""
    made = worlds.classes(20_000, 2, 3)
    x, y = made.scores[:, 1], (made.truth == 1).astype(np.float64)
    oracle = LogisticRegression(C=1e9, tol=1e-10).fit(np.log(x / (1 - x))[:, None], y)
    found = calibration.sigmoid(x, y, np.ones(len(x)))
    assert (found.slope, found.shift) == pytest.approx((oracle.coef_[0, 0], oracle.intercept_[0]), abs=2e-3)
    assert found.slope == pytest.approx(1 / 1.8, abs=0.03)  # what the world made too sure


def test_classes_that_a_score_parts_wholly_end_in_finite_numbers() -> None:
    x = np.concatenate([np.full(40, 0.1), np.full(40, 0.9)])
    found = calibration.sigmoid(x, (x > 0.5).astype(np.float64), np.ones(80))
    assert np.isfinite([found.slope, found.shift]).all()
    np.testing.assert_allclose(found.apply(np.array([0.1, 0.9])), [1 / 42, 41 / 42], atol=1e-6)  # Platt's targets
    assert np.isfinite(calibration.sigmoid(np.full(80, 0.3), np.zeros(80), np.ones(80)).apply(x)).all()


@pytest.mark.parametrize("k", [2, 4])
def test_a_model_too_sure_of_itself_is_mended(k: int) -> None:
    made, fresh = worlds.classes(4000, k, 1), worlds.classes(20_000, k, 5)
    found = calibration.fit(made.scores, made.truth)
    p = found.apply(fresh.scores)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    truth = np.eye(k)[fresh.truth]
    assert ((p - truth) ** 2).sum() < ((fresh.scores - truth) ** 2).sum()
    np.testing.assert_array_equal(calibration.fit(made.scores, made.truth).apply(fresh.scores), p)


def test_the_way_that_fits_is_taken() -> None:
    random = np.random.default_rng(0)
    s = random.random(20_000)

    def fitted(p: worlds.Floats) -> Calibrator:
        truth = (random.random(len(s)) < p).astype(np.int64)
        return calibration.fit(np.column_stack([1 - s, s]), truth)

    assert isinstance(fitted(np.where(s < 0.5, 0.2, np.where(s < 0.8, 0.3, 0.9))).curves[0], Isotonic)  # steps are no sigmoid
    assert isinstance(fitted(1 / (1 + ((1 - s) / s) ** 0.5)).curves[0], Sigmoid)


def test_few_rows_teach_nothing() -> None:
    made = worlds.classes(calibration.FEWEST - 1, 2, 1)
    assert calibration.fit(made.scores, made.truth) == Calibrator()
    np.testing.assert_allclose(Calibrator().apply(made.scores), made.scores)


def test_several_classes_without_any_score_are_all_alike() -> None:
    assert Calibrator().apply(np.zeros((1, 4))).tolist() == [[0.25] * 4]
    assert Calibrator((Sigmoid(1, 0),) * 3).apply(np.array([[0.5, 0.5, 0.5, 0.0]])).tolist() == pytest.approx(
        np.array([[1 / 3, 1 / 3, 1 / 3, 0]])
    )
