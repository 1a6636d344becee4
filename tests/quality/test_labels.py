"""Metrics of several labels a row against scikit-learn: ties, rows and labels with nothing, weights, labels never learned."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import polars as pl
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.quality.metrics import compute, names_for
from modelyard.signature import Column, Signature

SIGNED = Signature(
    "multilabel_classification",
    (Column("a", "float"),),
    classes=("ant", "bee", "cow"),
    decision_threshold=0.5,
    weight_col="w",
    label_separator="|",
)
NAN = float("nan")
F = np.ndarray


def joined(sets: F) -> list[str]:
    return ["|".join(str(c) for c, holds in zip(SIGNED.classes, row, strict=True) if holds) for row in sets]


def table(y: F, p: F, scores: F, w: F) -> pl.DataFrame:
    columns = {f"y.probability_{c}": scores[:, k] for k, c in enumerate(SIGNED.classes)}
    return pl.DataFrame({"label": joined(y), "y.prediction": joined(p), "x.w": w, **columns})


def oracle(y: F, p: F, s: F, w: F) -> dict[str, float]:
    kw: dict[str, Any] = {"sample_weight": w}
    ratio: dict[str, Any] = {**kw, "zero_division": np.nan}
    mixed = [k for k in range(3) if 0 < w[y[:, k]].sum() < w.sum()]
    found = [k for k in range(3) if w[y[:, k]].sum() > 0]
    flat_w = np.repeat(w, 3)
    both = 0 < flat_w[y.ravel()].sum() < flat_w.sum()
    values = {
        "subset_accuracy": sk.accuracy_score(y, p, **kw),
        "hamming_loss": sk.hamming_loss(y, p, **kw),
        "macro_roc_auc": np.mean([sk.roc_auc_score(y[:, k], s[:, k], **kw) for k in mixed]) if mixed else NAN,
        "micro_roc_auc": sk.roc_auc_score(y, s, average="micro", **kw) if both else NAN,
        "macro_average_precision": np.mean([sk.average_precision_score(y[:, k], s[:, k], **kw) for k in found]) if found else NAN,
        "lrap": sk.label_ranking_average_precision_score(y, s, **kw),
        "coverage_error": sk.coverage_error(y, s, **kw),
        "ranking_loss": sk.label_ranking_loss(y, s, **kw),
        "weighted_f1": sk.f1_score(y, p, average="weighted", **{**kw, "zero_division": 0}) if found else NAN,
    }
    for name, score in (("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score)):
        for average in ("micro", "macro", "samples"):
            values[f"{average}_{name}"] = score(y, p, average=average, **ratio)
    return {name: float(value) for name, value in values.items()}


ROW = st.tuples(*[st.booleans()] * 6, *[st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.9])] * 3, st.integers(1, 4))


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=20), st.booleans())
def test_labels_equal_sklearn(rows: list[tuple[Any, ...]], weighted: bool) -> None:
    y, p = np.array([r[:3] for r in rows]), np.array([r[3:6] for r in rows])
    s, w = np.array([r[6:9] for r in rows]), np.array([r[9] for r in rows], dtype=float)
    w = w if weighted else np.ones(len(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = oracle(y, p, s, w)
    ours = compute(table(y, p, s, w), SIGNED)
    wrong = {n: (ours[n], v) for n, v in theirs.items() if not ((math.isnan(ours[n]) and math.isnan(v)) or abs(ours[n] - v) < 1e-9)}
    assert not wrong, wrong
    assert set(theirs) == set(names_for("multilabel_classification"))


def test_a_label_that_the_model_never_learned_is_never_found() -> None:
    y, s = np.array([[1, 0, 0], [0, 1, 1]], dtype=bool), np.array([[0.9, 0.1, 0.1], [0.1, 0.9, 0.9]])
    good = table(y, y, s, np.ones(2))
    assert compute(good, SIGNED)["micro_f1"] == 1.0
    late = compute(good.with_columns(label=pl.Series(["ant|dog", "cow | bee"])), SIGNED)
    assert late["subset_accuracy"] == 0.5 and late["micro_recall"] == 0.75 and late["micro_precision"] == 1.0


def test_no_label_is_an_answer_and_a_missing_one_is_not() -> None:
    y, s = np.zeros((2, 3), dtype=bool), np.full((2, 3), 0.1)
    full = table(y, y, s, np.ones(2))
    assert compute(full, SIGNED)["subset_accuracy"] == 1.0 and compute(full, SIGNED)["rows"] == 2
    assert compute(full.with_columns(label=pl.Series(["", None])), SIGNED)["rows"] == 1
    assert math.isnan(compute(full.with_columns(pl.Series("y.prediction", ["", None])), SIGNED)["subset_accuracy"])
