"""nDCG as scikit-learn has it, what chance gives, and the verdict."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from modelyard.config.spec import AttributionDrift
from modelyard.monitor import attribution
from modelyard.monitor.verdicts import Verdict

WEIGHTS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25]) | st.floats(0, 10), st.sampled_from([0.0, 0.1, 0.25]) | st.floats(0, 10)),
    min_size=2,
    max_size=12,
)


@given(WEIGHTS)
def test_ndcg_is_scikit_learn_s(pairs: list[tuple[float, float]]) -> None:
    gains, weights = (list(side) for side in zip(*pairs, strict=True))
    if max(gains) < 1e-200:  # there the library divides what has no digits left
        assert attribution.ndcg([0.0] * len(gains), weights) == 1.0
    else:
        assert attribution.ndcg(gains, weights) == pytest.approx(ndcg_score([gains], [weights]), abs=1e-12)


def test_ndcg_by_hand() -> None:
    assert attribution.ndcg([4, 2, 1], [9, 5, 3]) == 1.0
    best, turned = 4 + 2 / math.log2(3) + 1 / 2, 1 + 2 / math.log2(3) + 4 / 2
    assert attribution.ndcg([4, 2, 1], [3, 5, 9]) == pytest.approx(turned / best)
    assert attribution.ndcg([4, 2], [1, 1]) == pytest.approx(3 * (1 + 1 / math.log2(3)) / (4 + 2 / math.log2(3))), "a tie shares its places"


def rows(count: int, scale: list[float], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, len(scale))) * scale


def judged(before: np.ndarray, now: np.ndarray, **asked: float) -> Verdict:
    names = [f"feature_{i}" for i in range(before.shape[1])]
    return attribution.judge(names, before, now, AttributionDrift(**asked), {"rows": 1000})


def test_features_that_weigh_in_another_order_are_named() -> None:
    before, now = rows(500, [1.0, 0.5, 0.2, 0.05, 0.01], 0), rows(200, [0.01, 0.05, 0.2, 0.5, 1.0], 1)
    verdict = judged(before, now)
    assert verdict.status == "violated" and verdict.evidence["ndcg"] < 0.9 < verdict.evidence["chance"]
    assert {m["name"] for m in verdict.evidence["moved"][:2]} == {"feature_0", "feature_4"}
    assert "(rank 1 -> 5)" in verdict.reason and "0.9 is needed" in verdict.reason
    assert judged(before, now, min_ndcg=0.3).status != "violated"


def test_less_than_that_is_a_warning_and_a_change_of_no_rank_is_healthy() -> None:
    before = rows(500, [1.0, 0.7, 0.3, 0.2], 0)
    warned = judged(before, rows(500, [0.7, 1.0, 0.3, 0.2], 1))
    assert warned.status == "warning" and 0.9 < warned.evidence["ndcg"] < 0.95 and "chance alone gives" in warned.reason
    assert judged(before, rows(500, [2.0, 0.4, 0.3, 0.2], 1)).status == "healthy"


def test_features_that_hardly_weigh_change_places_without_a_word() -> None:
    before, now = rows(500, [1.0, 1e-3, 2e-3, 3e-3], 0), rows(200, [1.0, 3e-3, 2e-3, 1e-3], 1)
    verdict = judged(before, now)
    assert verdict.status == "healthy" and verdict.evidence["moved"] == []


def test_a_model_that_uses_nothing_any_more_and_one_that_never_did() -> None:
    before = rows(500, [1.0, 0.5, 0.2, 0.01, 0.0], 0)
    assert judged(before, np.zeros((200, 5))).status == "violated", "all features share all places"
    assert judged(np.zeros((500, 5)), before).status == "unknown"


def test_what_chance_alone_gives_is_no_drift() -> None:
    """A few rows of heavy tails decide the order: nDCG below 0.9 is nothing there."""
    draw = np.random.default_rng(0)
    heavy = draw.pareto(1.1, size=(500, 6))
    low = attribution.chance(heavy, 50)
    assert low < 0.9
    windows = [heavy[draw.integers(0, 500, 50)] for _ in range(100)]
    found = [attribution.ndcg(heavy.mean(axis=0).tolist(), window.mean(axis=0).tolist()) for window in windows]
    assert sum(value < 0.9 for value in found) > 5, "the plain rule would cry"
    assert all(value >= low for value in found) and judged(heavy, windows[int(np.argmin(found))]).status == "healthy"


def test_stable_windows_raise_no_alarm() -> None:
    """At most one in a hundred, warnings counted too, for few and many features, of like and of unlike weight."""
    draw, moved, windows = np.random.default_rng(0), 0, 0
    for features in (2, 5, 20):
        for spread in (0.0, 1.0, 3.0):
            scale = draw.exponential(size=features) ** spread
            before = draw.standard_t(3, size=(300, features)) * scale
            for _ in range(12):
                verdict = judged(before, draw.standard_t(3, size=(int(draw.choice([50, 200])), features)) * scale)
                moved, windows = moved + (verdict.status != "healthy"), windows + 1
    assert moved <= windows / 100, (moved, windows)


def test_the_evidence_stays_small() -> None:
    names = [f"a_rather_long_name_of_a_feature_{i}" for i in range(400)]
    before, now = rows(100, list(np.linspace(1, 0.1, 400)), 0), rows(100, list(np.linspace(0.01, 1, 400) ** 3), 1)
    verdict = attribution.judge(names, before, now, AttributionDrift(), {"rows": 1000})
    assert len(json.dumps(verdict.evidence, allow_nan=False)) < 4096 and len(verdict.reason) < 600


def test_weights_that_overflow_when_summed_are_judged_as_any_others() -> None:
    before, now = rows(500, [1.0, 0.5, 0.2], 0), rows(200, [0.2, 0.5, 1.0], 1)
    wanted = judged(before, now)
    for found in (judged(before, now * 3e307), judged(before * 3e307, now), judged(before * 3e307, now * 3e307)):
        assert found == wanted
        json.dumps(found.evidence, allow_nan=False)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_weight_that_is_no_number_is_told_with_its_feature(value: float) -> None:
    before, now = rows(500, [1.0, 0.5, 0.2], 0), rows(200, [0.2, 0.5, 1.0], 1)
    broken = now.copy()
    broken[7, 1] = value
    for pair, whose in (((before, broken), "the window"), ((broken, now), "the hold-out")):
        verdict = judged(*pair)
        assert verdict.status == "unknown" and f"the weight of feature_1 in some row of {whose} is beyond all numbers" in verdict.reason
        json.dumps(verdict.evidence, allow_nan=False)
