"""Measured performance of a window: all metrics with intervals, by version and by part, and what becomes of the estimate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.flows.monitor import performance
from modelyard.quality.metrics import names_of

from ..watched import DAY
from .scored import SIGNATURES, Scored, rows, settings

BINARY, NUMBERS = "binary_classification", "regression"
AUC = {"metric": "roc_auc", "max_drop": 0.05}


def world(home: Path, monkeypatch: pytest.MonkeyPatch, kind: str = BINARY, **more: Any) -> Scored:
    asked = {"criteria": [AUC if kind == BINARY else {"metric": "mae", "max_drop": 0.1}], "label_delay": "24h", **more}
    return Scored(home, monkeypatch, kind, settings(kind, **asked))


@pytest.mark.parametrize("kind", [BINARY, NUMBERS])
def test_every_metric_of_the_build_is_measured_with_its_interval(kind: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard, made = world(home, monkeypatch, kind), rows(kind, 1000, 2)
    yard.tell(yard.answer(made), made)
    verdict = yard.judge("performance")
    found = verdict.evidence
    assert verdict.status == "healthy" and found["labels"] == found["rows"] == 1000 and found["coverage"] == 1
    assert set(names_of(SIGNATURES[kind])) <= set(found["metrics"])
    for name, (low, high) in found["intervals"].items():
        assert low <= found["metrics"][name] <= high, name
    missing = {n for n in names_of(SIGNATURES[kind]) if found["metrics"][n] is not None and n not in found["intervals"]}
    assert not missing
    assert len(json.dumps(found)) < 4096
    assert performance.judge(yard.window()) == verdict, "the same rows and labels, the same word"


def test_a_broken_relation_is_violated_and_a_hint_of_one_warned(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch)
    broken, doubtful = rows(BINARY, 1000, 2, flip={"a": 0.4, "b": 0.4, "c": 0.4}), rows(BINARY, 120, 5, flip={"a": 0.2, "b": 0.2})
    for day, made in enumerate((broken, doubtful)):
        yard.tell(yard.answer(made, day), made)
    assert yard.judge("performance", 0).status == "violated"
    verdict = yard.judge("performance", 1)
    assert verdict.status == "warning" and "may not hold" in verdict.reason


def test_too_few_labels_are_unknown_and_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard, made = world(home, monkeypatch), rows(BINARY, 500, 2)
    yard.tell(yard.answer(made)[:60], made[:60])
    verdict = yard.judge("performance")
    assert (verdict.status, verdict.evidence["labels"], verdict.evidence["metrics"]) == ("unknown", 60, {})
    assert "60 of 500 predictions have labels" in verdict.reason


def test_a_segment_that_lost_is_named_though_the_whole_holds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, criteria=[{"metric": "accuracy", "max_drop": 0.2}], segments=["shop"])
    made = rows(BINARY, 3000, 2, flip={"b": 0.45})
    yard.tell(yard.answer(made), made)
    verdict = yard.judge("performance")
    assert verdict.evidence["criteria"][0]["status"] == "healthy"
    assert verdict.status == "violated" and "where shop=b" in verdict.reason
    assert verdict.evidence["worst"]["value"] == "b" and verdict.evidence["worst"]["loss"] > 0.2
    assert [p["value"] for p in verdict.evidence["parts"]] == ["b"] and verdict.evidence["looked_at"] == 3


def test_a_slice_of_the_build_is_looked_at_and_judges_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, criteria=[{"metric": "accuracy", "max_drop": 0.2}], evaluate={"slices": ["shop", "x", "nowhere"]})
    made = rows(BINARY, 3000, 2, flip={"b": 0.45})
    yard.tell(yard.answer(made), made)
    verdict = yard.judge("performance")
    assert verdict.status == "healthy" and verdict.evidence["looked_at"] == 3 + 4
    assert (verdict.evidence["worst"]["column"], verdict.evidence["worst"]["value"]) == ("shop", "b")


def test_parts_of_stable_windows_raise_no_alarm(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strict bound, six numbers a window; parts are compared with themselves, and some are harder than others."""
    yard = world(home, monkeypatch, criteria=[{"metric": "accuracy", "max_drop": 0.001}], segments=["shop", "x"], confidence=0.9)
    found = []
    for day in range(12):
        made = rows(BINARY, 800, 100 + day)
        yard.tell(yard.answer(made, day), made)
        found.append({p["status"] for p in yard.judge("performance", day).evidence.get("parts", ())})
    assert sum("violated" in statuses for statuses in found) <= 1


def test_every_version_with_enough_labels_is_measured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch)
    yard.register("2", "3")
    made, other, few = rows(BINARY, 600, 2), rows(BINARY, 300, 3, flip={"a": 0.5}), rows(BINARY, 50, 4)
    for version, some in (("1", made), ("2", other), ("3", few)):
        yard.tell(yard.answer(some, 0, version), some)
    verdict = yard.judge("performance")
    assert verdict.evidence["labels"] == 600
    assert list(verdict.evidence["versions"]) == ["2"]
    second = verdict.evidence["versions"]["2"]
    assert (
        second["labels"] == 300
        and second["roc_auc"][1] <= second["roc_auc"][0] <= second["roc_auc"][2] < verdict.evidence["metrics"]["roc_auc"]
    )


def test_what_was_estimated_is_held_against_what_came_true(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, segments=["shop"])
    made, broken = rows(BINARY, 800, 2), rows(BINARY, 800, 3, flip={"a": 0.45, "b": 0.45, "c": 0.45})
    ids = [yard.answer(some, day) for day, some in enumerate((made, broken))]
    yard.look()
    assert [w.status for w in yard.words("estimate")] == ["healthy", "healthy"], "it cannot see that the relation broke"
    for some, told in zip((made, broken), ids, strict=True):
        yard.tell(told, some)
    yard.time.advance_to(yard.time.now() + 2 * DAY)
    yard.look()
    good, bad = yard.words("performance")[:2]
    assert good.evidence["estimate_missed"] == [] and abs(good.evidence["estimate_error"]["roc_auc"]) < 0.05
    assert "roc_auc" in bad.evidence["estimate_missed"] and bad.evidence["estimate_error"]["roc_auc"] < -0.1
    assert bad.status == "violated" and "the estimate had been roc_auc" in bad.reason
    assert all(len(json.dumps(w.evidence)) < 4096 for w in (*yard.words("estimate"), good, bad)), "the book keeps all of it"
    assert good.evidence["estimated"]["roc_auc"][0] == yard.words("estimate")[0].evidence["metrics"]["roc_auc"]


def test_a_version_without_an_evaluation_is_judged_by_what_the_journal_has(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = Scored._staging

    def bare(self: Scored, version: str) -> Path:
        folder = staged(self, version)
        for name in ("evaluation.json", "config.json"):
            (folder / name).unlink()
        pl.read_parquet(folder / "holdout.parquet").drop("label").write_parquet(folder / "holdout.parquet")
        return folder

    monkeypatch.setattr(Scored, "_staging", bare)
    yard, made = world(home, monkeypatch, segments=["shop"]), rows(BINARY, 500, 2)
    yard.tell(yard.answer(made), made)
    verdict = yard.judge("performance")
    assert verdict.status == "healthy" and verdict.evidence["criteria"][0]["holdout"] is not None
    assert verdict.evidence["worst"]["loss"] is None
    assert yard.judge("estimate").reason.startswith("estimate: the hold-out or the answers have nothing to estimate by")


def test_what_callers_sent_beside_their_rows_may_be_anything(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard, made = world(home, monkeypatch), rows(BINARY, 300, 2)
    yard.tell(yard.answer(made.with_columns(pl.lit(7).alias("y.prediction"))), made)
    verdict = yard.judge("estimate")
    assert verdict.status == "unknown" and "none of the model's classes" in verdict.reason
