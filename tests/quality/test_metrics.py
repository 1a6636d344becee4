"""Metrics against scikit-learn, the oracle, to 1e-9: real data, ties, one class, constant scores, nothing at all."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.quality.catalogue import ends
from modelyard.quality.encode import encode
from modelyard.quality.kernels import KERNELS
from modelyard.quality.metrics import BINARY, METRICS, MULTI, REGRESSION, compute, names_for
from modelyard.signature import Column, Signature

BIN = Signature(BINARY, (Column("a", "float"),), classes=(0, 1), positive_class=1, decision_threshold=0.5)
TRI = Signature(MULTI, (Column("a", "float"),), classes=("ant", "bee", "cow"))
REG = Signature(REGRESSION, (Column("a", "float"),))
NAN = float("nan")
F = np.ndarray


def close(ours: float, theirs: float) -> bool:
    return (math.isnan(ours) and math.isnan(theirs)) or abs(ours - theirs) <= 1e-9 * max(1.0, abs(theirs))


def binary(y: F, score: F, predicted: F | None = None) -> pl.DataFrame:
    predicted = (score >= 0.5).astype(int) if predicted is None else predicted
    return pl.DataFrame({"label": y, "y.prediction": predicted, "y.probability_0": 1 - score, "y.probability_1": score})


def multi(y: F, scores: F) -> pl.DataFrame:
    names = np.array(TRI.classes)
    columns = {f"y.probability_{c}": scores[:, k] for k, c in enumerate(TRI.classes)}
    return pl.DataFrame({"label": names[y], "y.prediction": names[scores.argmax(axis=1)], **columns})


def naive_ece(score: F, hit: F, w: F) -> float:
    """Row by row, from the definition: 15 bins (a, b], gap of observed rate and mean score, weighed by the bin's weight."""
    bins: dict[int, list[tuple[float, float, float]]] = {}
    for s, h, x in zip(score, hit, w, strict=True):
        bins.setdefault(max(0, min(14, math.ceil(s * 15 - 1e-15) - 1)), []).append((s, h, x))
    total = sum(w)
    gaps = [abs(sum(x * h for _, h, x in b) - sum(x * s for s, _, x in b)) for b in bins.values()]
    return sum(gaps) / total if total else NAN


def naive_gain(y: F, s: F, w: F) -> float:
    """Share of the positives in the best-scored tenth by weight: rows one by one, a run of equal scores taken in equal parts."""
    left, found = 0.1 * w.sum(), 0.0
    for score in sorted(set(s), reverse=True):
        run = s == score
        part = min(1.0, left / w[run].sum()) if w[run].sum() else 0.0
        found += part * w[run & (y == 1)].sum()
        left -= part * w[run].sum()
    return float(found / w[y == 1].sum())


def ks(y: F, s: F, w: F) -> float:
    fpr, tpr, _ = sk.roc_curve(y, s, sample_weight=w, drop_intermediate=False)
    return float(np.abs(tpr - fpr).max())


def varies(of: F, w: F) -> bool:
    return len(set(of[w > 0])) > 1


def defined(needed: bool, value: Callable[[], float]) -> float:
    return float(value()) if needed else NAN


def oracle_binary(y: F, s: F, p: F, w: F) -> dict[str, float]:
    kw: dict[str, Any] = {"sample_weight": w}
    some, both = w.sum() > 0, (w[y == 1].sum() > 0) and (w[y == 0].sum() > 0)
    positives = w[y == 1].sum() > 0
    ratio = {**kw, "zero_division": np.nan}
    return {
        "roc_auc": defined(both, lambda: sk.roc_auc_score(y, s, **kw)),
        "average_precision": defined(positives, lambda: sk.average_precision_score(y, s, **kw)),
        "log_loss": defined(some, lambda: sk.log_loss(y, s, labels=[0, 1], **kw)),
        "brier": defined(some, lambda: sk.brier_score_loss(y, s, labels=[0, 1], pos_label=1, **kw)),
        "ece": naive_ece(s, y, w),
        "accuracy": defined(some, lambda: sk.accuracy_score(y, p, **kw)),
        "balanced_accuracy": defined(some, lambda: sk.balanced_accuracy_score(y[w > 0], p[w > 0], sample_weight=w[w > 0])),
        "precision": defined(w[p == 1].sum() > 0, lambda: sk.precision_score(y, p, **ratio)),
        "recall": defined(positives, lambda: sk.recall_score(y, p, **ratio)),
        "specificity": defined(w[y == 0].sum() > 0, lambda: sk.recall_score(y, p, pos_label=0, **ratio)),
        "f1": defined(w[p == 1].sum() + w[y == 1].sum() > 0, lambda: sk.f1_score(y, p, **ratio)),
        "ks_statistic": defined(both, lambda: ks(y, s, w)),
        "gain_top_decile": defined(positives, lambda: naive_gain(y, s, w)),
        "lift_top_decile": defined(positives, lambda: 10 * naive_gain(y, s, w)),
        "mcc": defined(varies(y, w) and varies(p, w), lambda: sk.matthews_corrcoef(y, p, **kw)),
        "cohen_kappa": defined(
            some and (varies(y, w) or varies(np.append(p[w > 0], y[w > 0]), np.ones(9999)[: 2 * (w > 0).sum()])),
            lambda: sk.cohen_kappa_score(y, p, **kw),
        ),
    }


def oracle_multi(y: F, scores: F) -> dict[str, float]:
    p, present = scores.argmax(axis=1), [k for k in range(3) if 0 < (y == k).sum() < len(y)]
    aucs = [float(sk.roc_auc_score(y == k, scores[:, k])) for k in present]
    return {
        "roc_auc": float(np.mean(aucs)) if aucs else NAN,
        "log_loss": float(sk.log_loss(y, scores, labels=[0, 1, 2])),
        "brier": float(sk.brier_score_loss(y, scores, labels=[0, 1, 2])),
        "ece": naive_ece(scores.max(axis=1), (p == y).astype(float), np.ones(len(y))),
        "accuracy": float(sk.accuracy_score(y, p)),
        "balanced_accuracy": float(sk.balanced_accuracy_score(y, p)),
        "macro_f1": float(sk.f1_score(y, p, average="macro")),
        "weighted_f1": float(sk.f1_score(y, p, average="weighted")),
        "macro_precision": float(sk.precision_score(y, p, average="macro", zero_division=np.nan)),
        "macro_recall": float(sk.recall_score(y, p, average="macro", zero_division=np.nan)),
        "mcc": defined(len(set(y)) > 1 and len(set(p)) > 1, lambda: sk.matthews_corrcoef(y, p)),
        "cohen_kappa": defined(len({*y, *p}) > 1, lambda: sk.cohen_kappa_score(y, p)),
        "top_3_accuracy": 1.0,
    }


def oracle_regression(y: F, p: F, w: F | None = None) -> dict[str, float]:
    kw: dict[str, Any] = {"sample_weight": w}
    return {
        "mae": float(sk.mean_absolute_error(y, p, **kw)),
        "rmse": float(sk.root_mean_squared_error(y, p, **kw)),
        "mape": float(sk.mean_absolute_percentage_error(y, p, **kw)),
        "median_ae": float(sk.median_absolute_error(y, p, **kw)),
        "max_error": float(sk.max_error(y, p)) if w is None else float(sk.max_error(y[w > 0], p[w > 0])),
        "r2": defined(len(set(y if w is None else y[w > 0])) > 1, lambda: sk.r2_score(y, p, **kw)),
        "explained_variance": defined(len(set(y if w is None else y[w > 0])) > 1, lambda: sk.explained_variance_score(y, p, **kw)),
        "wape": float(np.average(np.abs(y - p), weights=w) / np.average(np.abs(y), weights=w)),
        "rmsle": defined(y.min() > -1 and p.min() > -1, lambda: sk.root_mean_squared_log_error(y, p, **kw)),
        "poisson_deviance": defined(y.min() >= 0 and p.min() > 0, lambda: sk.mean_poisson_deviance(y, p, **kw)),
        "gamma_deviance": defined(y.min() > 0 and p.min() > 0, lambda: sk.mean_gamma_deviance(y, p, **kw)),
    }


def same(ours: dict[str, float], theirs: dict[str, float]) -> None:
    wrong = {name: (ours[name], value) for name, value in theirs.items() if not close(ours[name], value)}
    assert not wrong, wrong


# A coarse grid makes ties common; 0 and 1 reach the ends of the log loss; fine floats make every row distinct.
SCORES = st.one_of(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1, allow_subnormal=False))
ROWS = st.lists(st.tuples(st.integers(0, 1), SCORES, st.integers(0, 1), st.integers(0, 4)), min_size=1, max_size=40)


@settings(max_examples=300, deadline=None)
@given(ROWS, st.sampled_from(["as drawn", "one class", "constant score"]), st.booleans())
def test_binary_equals_sklearn(rows: list[tuple[int, float, int, int]], kind: str, weighted: bool) -> None:
    y, s, p, w = (np.array(c) for c in zip(*rows, strict=True))
    y = np.full_like(y, y[0]) if kind == "one class" else y
    s = np.full_like(s, s[0]) if kind == "constant score" else s
    w = w.astype(float) if weighted else np.ones(len(y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = oracle_binary(y, s, p, w)
    table = binary(y, s, p)
    encoded = encode(table, BIN)
    # Beside it stands another weighting: the rows of a batch must not mix.
    batch = np.stack([np.ones(len(y)), w])
    same({name: float(KERNELS[name](encoded, batch)[1]) for name in theirs}, theirs)
    if not weighted:
        same(compute(table, BIN), theirs)
    assert set(theirs) == set(names_for(BINARY))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), *[st.sampled_from([0.1, 0.2, 0.5, 1.0, 3.0])] * 3), min_size=1, max_size=40))
def test_multiclass_equals_sklearn(rows: list[tuple[int, float, float, float]]) -> None:
    y, scores = np.array([r[0] for r in rows]), np.array([r[1:] for r in rows])
    scores = scores / scores.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = oracle_multi(y, scores)
    same(compute(multi(y, scores), TRI), theirs)
    assert set(theirs) == set(names_for(MULTI))


NUMBERS = st.one_of(st.sampled_from([-2.0, -0.5, 0.5, 1.0, 3.0]), st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 1e-3))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.integers(0, 3)), min_size=2, max_size=40), st.booleans(), st.booleans())
def test_regression_equals_sklearn(rows: list[tuple[float, float, int]], weighted: bool, positive: bool) -> None:
    y, p, w = (np.array(c, dtype=float) for c in zip(*rows, strict=True))
    y, p = (np.abs(y), np.abs(p)) if positive else (y, p)
    spread = np.ptp(y[w > 0] if weighted else y) if (w > 0).any() else 0
    if weighted and (w > 0).sum() < 2:
        w = np.ones(len(y))
    encoded = encode(pl.DataFrame({"label": y, "y.prediction": p}), REG)
    theirs = oracle_regression(y, p, w if weighted else None)
    if 0 < spread < 1e-6:  # the two mean labels differ in their last digit, and so does a ratio of such squares
        del theirs["r2"], theirs["explained_variance"]
    batch = np.stack([np.ones(len(y)), w if weighted else np.ones(len(y))])
    same({name: float(KERNELS[name](encoded, batch)[1]) for name in theirs}, theirs)
    assert set(oracle_regression(y, p)) == set(names_for(REGRESSION))


def test_real_data_of_each_problem_type() -> None:
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True)
    s = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:300], y[:300]).predict_proba(x[300:])[:, 1]
    p = (s >= 0.5).astype(int)
    same(compute(binary(y[300:], s), BIN), oracle_binary(y[300:], s, p, np.ones(len(p))))
    x, y = load_wine(return_X_y=True)
    scores = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[::2], y[::2]).predict_proba(x[1::2])
    same(compute(multi(y[1::2], scores), TRI), oracle_multi(y[1::2], scores))
    assert close(compute(multi(y[1::2], scores), TRI)["roc_auc"], sk.roc_auc_score(y[1::2], scores, multi_class="ovr"))
    x, y = load_diabetes(return_X_y=True)
    fitted = LinearRegression().fit(x[:300], y[:300]).predict(x[300:])
    same(compute(pl.DataFrame({"label": y[300:], "y.prediction": fitted}), REG), oracle_regression(y[300:], fitted))


@pytest.mark.parametrize("signature", [BIN, TRI, REG], ids=lambda s: s.problem_type)
def test_no_rows_is_undefined_not_perfect(signature: Signature) -> None:
    columns = {"label": pl.Series([None], dtype=pl.Float64), "y.prediction": [1.0]}
    table = pl.DataFrame(columns | {c: [0.5] for c in signature.outputs[1:] for c in [f"y.{c}"]})
    values = compute(table, signature)
    assert values.pop("rows") == 0
    assert values and all(math.isnan(v) for v in values.values())


def test_unlabelled_rows_are_left_out() -> None:
    y, s = np.array([0, 1, 1, 0]), np.array([0.2, 0.9, 0.4, 0.6])
    full = compute(binary(y, s), BIN)
    more = binary(np.array([0, 1, 1, 0, 0, 1]), np.append(s, [0.99, 0.0]))
    late = more.with_columns(label=pl.Series([0.0, 1.0, 1.0, 0.0, None, NAN]))
    assert compute(late, BIN) == full and full["rows"] == 4 and full["positive_rate"] == 0.5


@pytest.mark.parametrize("bad", [None, NAN, float("inf")])
def test_a_score_that_is_missing_makes_its_metrics_undefined(bad: float | None) -> None:
    table = binary(np.array([0, 1, 1]), np.array([0.2, 0.9, 0.4])).with_columns(pl.Series("y.probability_1", [0.2, bad, 0.4]))
    values = compute(table, BIN)
    assert {n for n in names_for(BINARY) if math.isnan(values[n])} == {n for n in names_for(BINARY) if METRICS[n].needs == "score"}
    assert close(values["accuracy"], 2 / 3)


def test_an_answer_that_is_missing_makes_its_metrics_undefined() -> None:
    table = binary(np.array([0, 1]), np.array([0.2, 0.9])).with_columns(pl.Series("y.prediction", [0, None]))
    values = compute(table, BIN)
    assert math.isnan(values["accuracy"]) and values["roc_auc"] == 1.0
    broken = pl.DataFrame({"label": [1.0, 2.0], "y.prediction": [1.0, NAN]})
    assert all(math.isnan(compute(broken, REG)[n]) for n in names_for(REGRESSION))


@pytest.mark.parametrize(
    "labels", [["0", "1", "1"], [0.0, 1.0, 1.0], [False, True, True], pl.Series(["0", "1", "1"], dtype=pl.Categorical)]
)
def test_a_class_is_itself_in_any_writing(labels: Any) -> None:
    table = binary(np.array([0, 1, 1]), np.array([0.2, 0.9, 0.7])).with_columns(pl.Series("label", labels))
    assert compute(table, BIN)["accuracy"] == 1.0


def test_boolean_classes_read_from_text() -> None:
    signature = Signature(BINARY, (), classes=(True, False), positive_class=True)
    table = pl.DataFrame({"label": ["true", "False"], "y.prediction": [True, False], "y.probability_True": [0.9, 0.2]})
    assert compute(table, signature)["f1"] == 1.0 and compute(table, signature)["roc_auc"] == 1.0


def test_the_positive_class_may_come_first() -> None:
    signature = Signature(BINARY, (), classes=("yes", "no"), positive_class="yes")
    table = pl.DataFrame({"label": ["yes", "no", "no"], "y.prediction": ["yes", "no", "yes"], "y.probability_yes": [0.9, 0.1, 0.6]})
    values = compute(table, signature)
    assert values["recall"] == 1.0 and values["precision"] == 0.5 and close(values["brier"], (0.01 + 0.01 + 0.36) / 3)


def test_bad_tables_are_refused_by_name() -> None:
    good = binary(np.array([0, 1]), np.array([0.2, 0.9]))
    with pytest.raises(BadInput, match="label"):
        compute(good.drop("label"), BIN)
    with pytest.raises(BadInput, match=r"y\.prediction"):
        compute(good.drop("y.prediction"), BIN)
    with pytest.raises(BadInput, match=r"1 labels are none of the model's classes, such as 7"):
        compute(good.with_columns(label=pl.Series([0, 7])), BIN)
    with pytest.raises(BadInput, match="numbers"):
        compute(pl.DataFrame({"label": ["x"], "y.prediction": [1.0]}), REG)


def test_labels_that_do_not_vary_leave_r2_undefined() -> None:
    """Their mean is off by a rounding, so that a spread of 1e-34 would pass for one and R squared for -1e30."""
    label = [0.1] * 7
    assert np.mean(label) != 0.1 or np.var(label) != 0
    assert math.isnan(compute(pl.DataFrame({"label": label, "y.prediction": [1.0] * 7}), REG)["r2"])


def test_a_class_that_the_model_never_learned_is_always_wrong() -> None:
    y, scores = np.array([0, 1, 2, 0]), np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    table = multi(y, scores)
    late = table.with_columns(label=pl.Series(["ant", "bee", "cow", "dog"]))
    assert compute(table, TRI)["accuracy"] == 1.0
    values = compute(late, TRI)
    extended = np.column_stack([scores, np.zeros(4)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert close(values["log_loss"], sk.log_loss([0, 1, 2, 3], extended, labels=[0, 1, 2, 3]))
        assert close(values["brier"], sk.brier_score_loss([0, 1, 2, 3], extended, labels=[0, 1, 2, 3]))
        assert close(values["macro_f1"], sk.f1_score(late["label"], late["y.prediction"], average="macro"))
    assert values["accuracy"] == 0.75 and values["rows"] == 4


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_no_metric_is_beyond_its_ends(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    y, scores = rng.integers(3, size=count), rng.dirichlet([0.3] * 3, size=count)
    tables = (
        (binary((y > 0).astype(int), scores[:, 1], rng.integers(2, size=count)), BIN),
        (multi(y, scores), TRI),
        (pl.DataFrame({"label": rng.normal(size=count), "y.prediction": rng.normal(size=count)}), REG),
    )
    for table, signature in tables:
        values = compute(table, signature)
        for name in names_for(signature.problem_type):
            least, greatest = ends(name)
            assert math.isnan(values[name]) or least - 1e-12 <= values[name] <= greatest + 1e-12, (name, values[name])
    assert ends("recall") == ends("ndcg_at_5") == (0.0, 1.0) and ends("cost_of_ones_own") == (-math.inf, math.inf)


def test_a_metric_prints_as_a_sentence() -> None:
    assert METRICS["roc_auc"].sentence(0.7123456).startswith("ROC AUC is 0.7123 (higher is better)")
    assert METRICS["mae"].sentence(NAN) == "Mean absolute error is undefined on these rows."


def test_names_load_nothing_heavy_and_values_no_plots() -> None:
    code = (
        "import sys, modelyard.quality.metrics as m; heavy = {'numpy', 'polars', 'matplotlib', 'jinja2'} & set(sys.modules); "
        "assert not heavy, heavy; import polars as pl; from modelyard.signature import Signature; "
        "m.compute(pl.DataFrame({'label': [1.0], 'y.prediction': [1.0]}), Signature('regression', ())); "
        "assert 'numpy' in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
