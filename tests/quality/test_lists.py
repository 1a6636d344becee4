"""Metrics of rankings, forecasts and anomalies: against scikit-learn where it has them, else row by row from the definition."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.quality.metrics import compute, names_for, names_of
from modelyard.signature import Column, Signature

RANKED = Signature("ranking", (Column("a", "float"),), group_col="q", weight_col="w", at=(1, 3))
SERIES = Signature("forecasting", (Column("a", "float"),), naive_error=2.0)
STRANGE = Signature("anomaly_detection", (Column("a", "float"),), classes=("ok", "odd"), positive_class="odd", at=(2, 50))
F = np.ndarray


def naive(y: F, p: F, k: int) -> dict[str, float]:
    """One group, place by place; of equal answers the less relevant row first."""
    order = sorted(range(len(y)), key=lambda i: (-p[i], y[i]))
    hits = [y[i] > 0 for i in order]
    relevant = sum(hits)
    precisions = [sum(hits[: i + 1]) / (i + 1) for i in range(min(k, len(y))) if hits[i]]
    first = next((i for i in range(min(k, len(y))) if hits[i]), None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        padded = len(y) == 1  # scikit-learn takes no list of one
        ndcg = float(y[0] > 0) if padded else sk.ndcg_score([y], [p], k=k)
    return {
        f"ndcg_at_{k}": float(ndcg),
        f"map_at_{k}": sum(precisions) / min(k, relevant) if relevant else 0.0,
        f"mrr_at_{k}": 0.0 if first is None else 1 / (first + 1),
        f"precision_at_{k}": sum(hits[:k]) / k,
        f"recall_at_{k}": sum(hits[:k]) / relevant if relevant else 0.0,
        f"hit_rate_at_{k}": float(any(hits[:k])),
    }


ROW = st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0, 2.0]))


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=30), st.booleans())
def test_a_ranking_equals_sklearn_and_the_definitions(rows: list[tuple[int, int, float]], weighted: bool) -> None:
    q, y, p = (np.array(c) for c in zip(*rows, strict=True))
    w = (q + 1).astype(float) if weighted else np.ones(len(q))  # a group's weight
    table = pl.DataFrame({"label": y, "y.prediction": p, "x.q": [f"query {i}" for i in q], "x.w": w})
    ours = compute(table, RANKED)
    groups = sorted(set(q))
    weights = [w[q == g][0] for g in groups]
    for k in RANKED.at:
        each = [naive(y[q == g], p[q == g], k) for g in groups]
        for name in each[0]:
            assert ours[name] == pytest.approx(np.average([e[name] for e in each], weights=weights), abs=1e-9), name
    assert set(ours) - {"rows"} == set(names_of(RANKED)) and len(names_of(RANKED)) == 12


def test_rows_of_no_known_group_are_left_out_of_a_ranking() -> None:
    table = pl.DataFrame({"label": [1, 0, 1], "y.prediction": [0.9, 0.1, 0.5], "x.q": ["a", "a", None], "x.w": [1.0, 1.0, None]})
    assert compute(table, RANKED)["rows"] == 2 and compute(table, RANKED)["ndcg_at_1"] == 1.0
    nowhere = compute(table.drop("x.q"), RANKED)
    assert nowhere.pop("rows") == 0 and all(map(math.isnan, nowhere.values()))
    with pytest.raises(BadInput, match="relevant"):
        compute(table.with_columns(label=pl.Series([1, -1, 1])), RANKED)
    with pytest.raises(BadInput, match="weights"):
        compute(table.with_columns(pl.Series("x.w", [1.0, -1.0, 1.0])), RANKED)


NUMBER = st.floats(-100, 100).filter(lambda x: abs(x) > 1e-3)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=30))
def test_forecasts_by_their_definitions(rows: list[tuple[float, float]]) -> None:
    y, p = (np.array(c) for c in zip(*rows, strict=True))
    ours = compute(pl.DataFrame({"label": y, "y.prediction": p}), SERIES)
    e = np.abs(y - p)
    theirs = {
        "mae": sk.mean_absolute_error(y, p),
        "rmse": sk.root_mean_squared_error(y, p),
        "mape": sk.mean_absolute_percentage_error(y, p),
        "mase": e.mean() / 2.0,
        "smape": np.mean([0.0 if a == b else abs(a - b) / ((abs(a) + abs(b)) / 2) for a, b in zip(y, p, strict=True)]),
        "wape": e.sum() / np.abs(y).sum(),
        "total_error": abs(y.sum() - p.sum()) / np.abs(y).sum(),
    }
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), rel=1e-9, abs=1e-9), name
    assert set(theirs) == set(names_for("forecasting"))
    assert math.isnan(compute(pl.DataFrame({"label": y, "y.prediction": p}), replace(SERIES, naive_error=None))["mase"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(-50, 50), st.booleans()), min_size=1, max_size=30))
def test_anomalies_equal_sklearn(rows: list[tuple[bool, float, bool]]) -> None:
    y, s, p = (np.array(c) for c in zip(*rows, strict=True))
    words = np.array(["ok", "odd"])
    ours = compute(pl.DataFrame({"label": words[y * 1], "y.prediction": words[p * 1], "y.score": s}), STRANGE)
    theirs: dict[str, Any] = {"share_flagged": p.mean()}
    if 0 < y.sum() < len(y):
        theirs |= {"roc_auc": sk.roc_auc_score(y, s), "average_precision": sk.average_precision_score(y, s)}
        theirs |= {"recall": sk.recall_score(y, p), "specificity": sk.recall_score(~y, ~p)}
        theirs["recall_at_50"] = 1.0
    if len(set(s)) == len(s):
        theirs["precision_at_2"] = y[np.argsort(-s)[:2]].mean()
    if p.any():
        theirs |= {"precision": sk.precision_score(y, p), "f1": sk.f1_score(y, p)}
    theirs["precision_at_50"] = y.mean()  # more places than rows: all of them
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), abs=1e-9), name
    assert set(ours) - {"rows"} == set(names_of(STRANGE))


def test_places_beyond_those_asked_for_are_metrics_too() -> None:
    from modelyard.quality.metrics import GREATER_IS_BETTER, METRICS

    assert METRICS["ndcg_at_7"].title == "NDCG of the first 7" and GREATER_IS_BETTER["recall_at_3"]
    assert "ndcg_at_0" not in METRICS and "ndcg_at_1001" not in METRICS and "mae_at_5" not in METRICS
    assert "ndcg_at_7" not in names_for("ranking") and "ndcg_at_7" in names_for("ranking", at=(7,))
