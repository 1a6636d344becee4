"""Estimates of a window before its labels: what they say, of which problem types, and whether they are believed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelyard.config.spec import Config
from modelyard.flows.monitor import estimate, estimating
from modelyard.flows.monitor.monitors import MONITORS
from modelyard.monitor.windows import Span
from modelyard.quality.metrics import compute
from modelyard.signature import Signature
from tests.monitor.estimate import worlds

from ..watched import DAY, T0
from .scored import SIGNATURES, Scored, rows, settings

BINARY, NUMBERS = "binary_classification", "regression"


def world(home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, *criteria: dict[str, Any], **more: Any) -> Scored:
    return Scored(home, monkeypatch, kind, settings(kind, criteria=criteria, **more))


def test_harder_cases_are_seen_before_any_label(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, BINARY, {"metric": "accuracy", "max_drop": 0.05})
    made = rows(BINARY, 2000, 2).with_columns(pl.col("^y.prob.*$"))
    near = made.filter(pl.col("f.x").is_between(-0.8, 0.5))  # where the model knows least
    yard.answer(near)
    verdict = yard.judge("estimate")
    real = compute(near, SIGNATURES[BINARY])
    assert verdict.status == "violated" and verdict.reason.startswith("estimate: estimated accuracy 0.")
    for name, value in verdict.evidence["metrics"].items():
        low, high = verdict.evidence["intervals"][name]
        assert low <= real[name] <= high, name
        assert low <= value <= high
    assert {"roc_auc", "f1", "log_loss", "mcc"} <= set(verdict.evidence["metrics"]) and "ece" not in verdict.evidence["metrics"]


def test_rows_with_larger_errors_are_seen_before_any_label(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, NUMBERS, {"metric": "mae", "max_drop": 0.1})
    usual, shifted = rows(NUMBERS, 1000, 2), rows(NUMBERS, 1000, 3, mean=0.8)
    yard.answer(usual, 0)
    yard.answer(shifted, 1)
    assert yard.judge("estimate", 0).status == "healthy"
    verdict, real = yard.judge("estimate", 1), compute(shifted, SIGNATURES[NUMBERS])
    assert verdict.status == "violated"
    for name in ("mae", "rmse"):
        low, high = verdict.evidence["intervals"][name]
        assert low <= real[name] <= high, name


def test_an_estimator_is_learned_once_and_again_gives_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, NUMBERS, {"metric": "rmse", "max_drop": 1.0})
    learned, learn = [], estimating._learn_numbers
    monkeypatch.setattr(estimating, "_ESTIMATORS", estimating.Kept(4))
    monkeypatch.setattr(estimating, "_learn_numbers", lambda *given: learned.append(1) or learn(*given))
    yard.answer(rows(NUMBERS, 300, 2), 0)
    first, again = yard.judge("estimate"), yard.judge("estimate")
    assert first == again and learned == [1]


def test_the_last_ones_used_are_kept() -> None:
    made: list[int] = []
    kept = estimating.Kept(2)
    for key in (1, 2, 1, 3, 1, 2):
        assert kept.get(key, lambda key=key: made.append(key) or key) == key
    assert made == [1, 2, 3, 2]


def test_columns_that_the_capture_does_not_keep_teach_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = settings(NUMBERS, criteria=[{"metric": "mae", "max_drop": 0.1}])
    words["deploy"] = {**words["deploy"], "capture": {"redact": [{"column": "x", "how": "drop"}]}}
    yard = Scored(home, monkeypatch, NUMBERS, words)
    yard.answer(rows(NUMBERS, 1000, 3, mean=0.8).drop("f.x"))
    verdict = yard.judge("estimate")
    assert verdict.status == "violated", "the answer itself foretells the error"


def test_words_and_times_and_holes_become_numbers() -> None:
    signed = SIGNATURES[NUMBERS]
    table = pl.DataFrame({"f.x": ["1.5", "no number", None], "f.shop": ["a", "new", None], "y.prediction": [1.0, 2.0, 3.0]})
    words = ((None), ("b", "a"))
    found = estimating.matrix(table, signed, ("x", "shop"), words)
    np.testing.assert_array_equal(found, [[1.5, 1.0, 1.0], [np.nan, np.nan, 2.0], [np.nan, np.nan, 3.0]])
    assert estimating.vocabulary(pl.DataFrame({"f.shop": ["a", "b", "b", None]}), signed, ("shop",)) == (("b", "a"),)


def test_several_classes_and_one_that_the_model_never_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the hold-out such rows teach nothing; the others do. Without the build's intervals some are made."""
    made = worlds.classes(3000, 3, 1)
    signed = Signature("multiclass_classification", (), ("a", "b", "c"))
    scores = {f"y.probability_{c}": made.scores[:, k] for k, c in enumerate("abc")}
    table = pl.DataFrame({"y.prediction": np.array(list("abc"))[made.answers], **scores, "label": np.array(list("abc"))[made.truth]})
    strange = table.with_columns(pl.when(pl.int_range(pl.len()) < 30).then(pl.lit("d")).otherwise("label").alias("label"))
    monkeypatch.setattr(estimating.reference, "rows", lambda window: strange)
    monkeypatch.setattr(estimating.reference, "values", lambda window, level: ({}, 0))
    about = SimpleNamespace(digest="several classes")
    span = Span(T0, T0 + DAY)
    window: Any = SimpleNamespace(rows=table.drop("label"), signature=signed, bundle=about, span=span)
    found, real = estimating.estimate(window), compute(table, signed)
    assert set(found) == set(estimating.names(signed))
    for name, value in found.items():
        assert value.low is not None and value.high is not None and value.low <= real[name] <= value.high, name
    unknown: Any = SimpleNamespace(
        rows=window.rows.with_columns(pl.lit("e").alias("y.prediction")), signature=signed, bundle=about, span=span
    )
    assert estimating.estimate(unknown)["accuracy"].value == 0


def test_few_rows_are_unknown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, BINARY, {"metric": "roc_auc", "max_drop": 0.1})
    yard.answer(rows(BINARY, 99, 2))
    assert yard.judge("estimate").reason == "estimate: 99 predictions, 100 are needed"


def test_criteria_that_cannot_be_estimated_are_left_to_the_labels(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = {"metric": "mae", "max_drop": 0.5}, {"metric": "r2", "threshold": 0.1}
    yard = world(home, monkeypatch, NUMBERS, one, other)
    yard.answer(rows(NUMBERS, 300, 2))
    assert yard.judge("estimate").status == "healthy"
    yard.enforce(settings(NUMBERS, criteria=[other]), "config-2")
    verdict = yard.judge("estimate")
    assert (verdict.status, verdict.reason) == ("unknown", "estimate: what is judged cannot be estimated without labels: r2")


@pytest.mark.parametrize(
    ("kind", "performance", "on"),
    [
        (BINARY, {}, True),
        (NUMBERS, {}, True),
        (BINARY, {"estimate": False}, False),
        (BINARY, {"enabled": False}, False),
        ("ranking", {}, False),
    ],
)
def test_the_monitor_is_on_where_there_is_an_estimate(kind: str, performance: dict[str, Any], on: bool) -> None:
    words = settings(kind, **performance)
    words["data"] = {**words["data"], **({"schema": {"group_col": "shop"}} if kind == "ranking" else {})}
    assert MONITORS["estimate"].enabled(Config.model_validate(words)) is on


def test_a_problem_type_without_an_estimate_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = settings("ranking")
    words["data"] = {**words["data"], "schema": {"group_col": "shop"}}
    yard = Scored(home, monkeypatch, "ranking", words)
    yard.answer(rows("ranking", 200, 2))
    assert estimate.judge(yard.window()).reason == "estimate: there is no estimate for ranking"


def test_an_estimator_that_labels_prove_wrong_only_warns(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The relation breaks: estimates miss, window for window, and are believed no more."""
    yard = world(home, monkeypatch, BINARY, {"metric": "accuracy", "max_drop": 0.05}, label_delay="1h")
    for day in range(3):
        made = rows(BINARY, 600, 10 + day, flip={"a": 0.4, "b": 0.4, "c": 0.4})
        yard.tell(yard.answer(made, day), made)
        yard.time.advance_to(yard.time.now() + DAY / 12)
        yard.look()
    hard = rows(BINARY, 2000, 2).filter(pl.col("f.x").is_between(-0.8, 0.5))
    yard.answer(hard, 4)
    verdict = yard.judge("estimate", 4)
    assert (
        verdict.status == "warning" and "not to be relied on: its band missed the real value in 3 of the last 3 windows" in verdict.reason
    )
    assert verdict.evidence["record"]["accuracy"]["error"] > 0.1
