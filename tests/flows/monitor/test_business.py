"""Functions of the user's own on a window's labelled rows: run in a job as in the build, once for the same rows, and never fatal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.flows import measuring
from modelyard.flows.monitor import business
from modelyard.targets.fake import FakeTarget
from modelyard.targets.local import _work

from .scored import Scored, rows, settings

BINARY = "binary_classification"


def own(*names: str) -> dict[str, Any]:
    return {"custom_metrics": [{"name": n, "entry_point": "metrics/mine.py", "function": n, "greater_is_better": True} for n in names]}


def world(home: Path, monkeypatch: pytest.MonkeyPatch, *names: str, **criterion: Any) -> Scored:
    """A day of 400 labelled rows, and a version that was built with these functions; jobs are real ones."""
    yard = Scored(home, monkeypatch, BINARY, settings(BINARY, evaluate=own(*names), criteria=[criterion] if criterion else []), 500)
    yard.shop.target = FakeTarget(work=_work)
    made = rows(BINARY, 400, 2)
    yard.tell(yard.answer(made), made)
    return yard


def count(yard: Scored, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    runs, again = [], measuring.again
    monkeypatch.setattr(measuring, "again", lambda *given: runs.append(1) or again(*given))
    return runs


def test_a_function_is_measured_and_judged(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, "profit", metric="profit", max_drop=0.6)
    verdict = yard.judge("performance")
    found = verdict.evidence
    assert verdict.status == "healthy" and found["metrics"]["profit"] == pytest.approx(2 * found["metrics"]["accuracy"] - 1)
    low, high = found["intervals"]["profit"]
    assert low < found["metrics"]["profit"] < high and found["criteria"][0]["holdout"] == 0.5
    assert not (yard.home.path / "measuring" / "demo").exists(), "nothing is left behind"


def test_nothing_runs_twice_on_the_same_rows_and_labels(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, "profit", metric="profit", threshold=0.0)
    runs = count(yard, monkeypatch)
    yard.time.advance_to(yard.time.now().replace(day=5))
    yard.look()
    (word,) = [w for w in yard.words("performance") if w.start.startswith("2026-03-01")]
    assert runs == [1] and word.status == "healthy"
    assert yard.judge("performance").evidence["metrics"] == word.evidence["metrics"] and runs == [1]
    made = rows(BINARY, 400, 99)
    yard.tell(yard.window().rows["inference_id"], made)  # corrected labels
    yard.judge("performance")
    assert runs == [1, 1]


def test_a_function_that_fails_leaves_its_metric_unknown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, "profit", "broken", metric="broken", threshold=0.0)
    verdict = yard.judge("performance")
    assert verdict.status == "unknown" and "broken failed: KeyError: 'no price'" in verdict.reason
    assert verdict.evidence["metrics"]["profit"] is not None and verdict.evidence["metrics"]["roc_auc"] is not None


def test_a_job_that_cannot_run_leaves_all_of_them_unknown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, "profit", metric="profit", threshold=0.0)
    monkeypatch.setattr(measuring, "WATCHED_TIMEOUT", 0.001)
    verdict = yard.judge("performance")
    assert verdict.status == "unknown" and "the functions did not run: " in verdict.reason


def test_a_version_that_was_built_without_it_says_so_and_runs_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch)
    runs = count(yard, monkeypatch)
    yard.enforce(settings(BINARY, evaluate=own("profit"), criteria=[{"metric": "profit", "threshold": 0.0}]), "config-2")
    verdict = yard.judge("performance")
    assert verdict.status == "unknown" and "profit is none of the metrics that version 1 was built with" in verdict.reason
    assert runs == [] and "custom" not in verdict.evidence


def test_too_many_rows_are_not_given_to_a_function(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = world(home, monkeypatch, "profit", metric="profit", threshold=0.0)
    monkeypatch.setattr(business, "MOST_ROWS", 399)
    verdict = yard.judge("performance")
    assert verdict.status == "unknown" and "400 labelled rows are more than a function is given (399)" in verdict.reason


@pytest.mark.parametrize(("measure", "textbook"), [(np.mean, 500**-0.5), (np.sum, 0.9 * 500**0.5)])
def test_the_jackknife_knows_how_a_number_scatters(measure: Any, textbook: float) -> None:
    """On average over many samples; of a sum a tenth too little, as nine tenths of the rows have nine tenths of it."""
    random, groups = np.random.default_rng(0), business.measuring.PARTS
    spreads = []
    for _ in range(300):
        x = random.normal(size=500)
        without = [float(measure(np.delete(x, np.arange(k, 500, groups)))) for k in range(groups)]
        found = business.spread(float(measure(x)), without, 0.99)
        assert found.high is not None
        spreads.append((found.high - found.value) / 3.24984)  # Student's quantile with 9 degrees of freedom
    assert np.sqrt(np.mean(np.square(spreads))) == pytest.approx(textbook, rel=0.05)
    assert business.spread(1.0, [1.0, None], 0.99).low is None
