"""Expected metrics against brute force and against NannyML; what a band holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.flows.monitor import estimating
from modelyard.monitor.estimate import calibration, cbpe
from modelyard.monitor.estimate.calibration import Calibrator
from modelyard.quality import metrics as measures
from modelyard.quality.kernels import Rows
from modelyard.signature import Column, ProblemType, Signature

from . import worlds

NANNYML: dict[str, Any] = json.loads((Path(__file__).parent / "nannyml.json").read_text(encoding="utf-8"))
KINDS: dict[int, ProblemType] = {2: "binary_classification", 4: "multiclass_classification"}


def names(k: int) -> tuple[str, ...]:
    classes = tuple(range(k))
    return estimating.names(Signature(KINDS[k], (Column("x", "float"),), classes, 1 if k == 2 else None))


def rows(made: worlds.Classes, weights: worlds.Floats | None = None) -> Rows:
    k = made.scores.shape[1]
    return Rows(made.truth, made.answers, made.scores, k, tuple(map(str, range(k))), weights)


def real(of: Rows, wanted: tuple[str, ...]) -> dict[str, float]:
    return {name: float(v[0]) for name, v in measures.values(of, wanted, of.weighting()).items()}


@pytest.mark.parametrize(("k", "key"), [(2, "binary"), (4, "several")])
def test_estimates_are_nannymls_where_both_calibrate_by_isotonic_regression(k: int, key: str) -> None:
    """The numbers and how they were made: nannyml.json, make_nannyml.py. It rounds sums to five places."""
    reference, window = worlds.classes(4000, k, 1), worlds.classes(2000, k, 2, 0.5)
    calibrator = calibration.curves(calibration.isotonic, reference.scores, reference.truth, np.ones(4000))
    ours = {n if k == 2 or n in ("roc_auc", "accuracy") else f"macro_{n}": v for n, v in NANNYML[key].items()}
    found = estimating.expected(rows(window), calibrator, {}, tuple(ours))
    assert {name: found[name].value for name in ours} == pytest.approx(ours, abs=1e-7)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_expected_metrics_are_what_many_worlds_have_on_average(k: int, weighted: bool) -> None:
    """Brute force: truths drawn by their probability, and the metrics of what came out."""
    random, made = np.random.default_rng(7), worlds.classes(400, k, 3)
    weights = random.random(400) * 2 if weighted else None
    p, wanted = made.scores, names(k)
    found = estimating.expected(rows(made, weights), Calibrator(), {}, wanted)
    drawn: dict[str, list[float]] = {name: [] for name in wanted}
    for _ in range(400):
        truth = (random.random(400)[:, None] > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
        for name, value in real(rows(worlds.Classes(p, truth), weights), wanted).items():
            drawn[name].append(value)
    for name, values in drawn.items():
        spread = np.nanstd(values)
        assert found[name].value == pytest.approx(np.nanmean(values), abs=5 * spread / np.sqrt(400) + 0.1 * spread), name
        high = found[name].high
        assert high is not None
        assert (high - found[name].value) / cbpe.SPREADS == pytest.approx(spread, rel=0.25), name


def test_means_over_rows_are_exact() -> None:
    made = worlds.classes(300, 2, 3)
    p = made.scores[np.arange(300), made.answers]
    found = estimating.expected(rows(made), Calibrator(), {}, ("accuracy", "brier"))
    assert found["accuracy"].value == pytest.approx(p.mean(), abs=1e-12)
    s = made.scores[:, 1]
    assert found["brier"].value == pytest.approx((s * (1 - s)).mean(), abs=1e-12)


@pytest.mark.parametrize("k", [2, 4])
def test_a_shift_to_harder_rows_is_seen_without_a_label(k: int) -> None:
    made, hard = worlds.classes(20_000, k, 1), worlds.classes(20_000, k, 9, 0.7)
    calibrator, wanted = calibration.fit(made.scores, made.truth), ("roc_auc", "accuracy", "log_loss")
    found, before, now = estimating.expected(rows(hard), calibrator, {}, wanted), real(rows(made), wanted), real(rows(hard), wanted)
    for name in wanted:
        assert abs(found[name].value - now[name]) < 0.4 * abs(before[name] - now[name]), name


def test_the_hold_outs_own_doubt_is_in_the_band() -> None:
    made = worlds.classes(500, 2, 1)
    plain, doubting = (estimating.expected(rows(made), Calibrator(), d, ("accuracy",))["accuracy"] for d in ({}, {"accuracy": 0.02}))
    assert plain.high is not None and doubting.high is not None
    assert doubting.high - doubting.value == pytest.approx(np.hypot(plain.high - plain.value, 0.06))


def test_large_windows_are_sampled_and_their_bands_are_narrow() -> None:
    made = worlds.classes(150_000, 2, 1)
    found = estimating.expected(rows(made), Calibrator(), {}, ("accuracy",))["accuracy"]
    s = made.scores.max(axis=1)
    assert found.value == pytest.approx(s.mean(), abs=0.002)
    assert found.high is not None
    assert (found.high - found.value) / cbpe.SPREADS == pytest.approx(np.sqrt((s * (1 - s)).mean() / 150_000), rel=0.2)


@pytest.mark.parametrize(("size", "classes"), [(10, 2), (100_000, 2), (10**7, 2), (10**6, 100)])
def test_a_window_of_any_size_is_bounded_work(size: int, classes: int) -> None:
    expected, drawn, worlds_of = cbpe.sizes(size, classes)
    assert drawn <= expected <= size and worlds_of >= 50
    assert expected * classes <= 2 * cbpe.MOST_CELLS and drawn * classes * worlds_of <= 2 * cbpe.CELLS


def test_worlds_have_each_class_as_often_as_it_is_likely() -> None:
    p = np.array([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    drawn = np.concatenate(list(cbpe.worlds(p, 4000))).reshape(4000, 3, 2)
    assert (drawn.sum(axis=1) == 1).all()
    np.testing.assert_allclose(drawn.mean(axis=0).T, p, atol=0.03)
    np.testing.assert_array_equal(cbpe.expected(p), [[0.1, 1.0, 0.2, 0.0, 0.7, 0.0]])
