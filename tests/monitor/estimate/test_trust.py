from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard.config.spec import Performance, PerformanceCriterion
from modelyard.monitor.estimate import trust
from modelyard.monitor.estimate.trust import Record
from modelyard.monitor.performance import Value
from modelyard.monitor.verdicts import Verdict

ESTIMATE = {
    "rows": 1000,
    "metrics": {"roc_auc": 0.7, "f1": 0.5, "log_loss": None},
    "intervals": {"roc_auc": [0.66, 0.74], "f1": [0.4, 0.6]},
}


def judge(value: float, record: dict[str, Record] | None = None, rows: int = 1000) -> Verdict:
    spec = Performance(criteria=(PerformanceCriterion(metric="roc_auc", max_drop=0.05),))
    values, before = {"roc_auc": Value(value, value - 0.02, value + 0.02)}, {"roc_auc": 0.7}
    facts: dict[str, Any] = {"rows": rows, "performance": spec, "greater_is_better": {"roc_auc": True}, "missing": {}}
    return trust.judge(values, holdout=before, record=record or {}, **facts)


def test_an_estimate_is_judged_as_performance_is_and_says_what_it_is() -> None:
    bad = judge(0.6)
    assert (bad.kind, bad.status) == ("estimate", "violated")
    assert bad.reason == (
        "estimate: estimated roc_auc 0.600 (0.580 to 0.620) does not hold: 0.100 worse than the hold-out's 0.700 (0.050 worse is allowed), "
        "by 1,000 rows without labels"
    )
    assert judge(0.64).status == "warning" and judge(0.66).status == "healthy"
    json.dumps(bad.to_dict(), allow_nan=False)


def test_too_few_rows_are_unknown() -> None:
    verdict = judge(0.6, rows=99)
    assert (verdict.status, verdict.reason) == ("unknown", "estimate: 99 predictions, 100 are needed")


def test_labels_say_how_far_off_an_estimate_was() -> None:
    found = trust.reconcile({"roc_auc": 0.72, "f1": 0.39}, 1000, ESTIMATE)
    assert found["estimate_error"] == pytest.approx({"roc_auc": 0.02, "f1": -0.11})
    assert found["estimated"] == {"roc_auc": [0.7, 0.66, 0.74], "f1": [0.5, 0.4, 0.6]}
    assert found["estimate_missed"] == ["f1"]


def test_few_labels_scatter_more_and_the_band_is_widened() -> None:
    found = trust.reconcile({"f1": 0.39}, 250, ESTIMATE)  # a quarter of the rows: twice as wide
    assert found["estimated"]["f1"] == pytest.approx([0.5, 0.3, 0.7]) and found["estimate_missed"] == []
    assert trust.reconcile({}, 1000, ESTIMATE) == {} and trust.reconcile({"roc_auc": 0.7}, 1000, {"rows": 1000}) == {}
    assert trust.reconcile({"roc_auc": float("nan")}, 1000, ESTIMATE) == {}


def test_a_band_without_width_is_not_missed_by_the_digits_that_evidence_keeps() -> None:
    sure = {"rows": 10, "metrics": {"mae": 1.23457}, "intervals": {"mae": [1.23457, 1.23457]}}
    assert trust.reconcile({"mae": 1.234567}, 10, sure)["estimate_missed"] == []
    assert trust.reconcile({"mae": 1.2347}, 10, sure)["estimate_missed"] == ["mae"]


def test_the_record_is_of_the_newest_windows() -> None:
    old = [{"estimate_error": {"roc_auc": 0.5}, "estimate_missed": ["roc_auc"]}] * 5
    new = [{"estimate_error": {"roc_auc": -0.01}, "estimate_missed": []}] * trust.WINDOWS
    assert trust.records([*old, {}, *new])["roc_auc"] == Record(trust.WINDOWS, pytest.approx(0.01), 0)
    assert trust.records([*new[:2], old[0]])["roc_auc"] == Record(3, pytest.approx(0.52 / 3), 1)
    assert trust.records([{"labels": 3}]) == {}


@pytest.mark.parametrize(("windows", "missed", "trusted"), [(1, 1, True), (2, 2, False), (20, 2, True), (20, 3, False), (20, 0, True)])
def test_one_miss_is_chance_and_many_are_not(windows: int, missed: int, trusted: bool) -> None:
    assert Record(windows, 0.1, missed).trusted is trusted


def test_an_estimator_that_often_missed_only_warns() -> None:
    wrong = judge(0.6, {"roc_auc": Record(10, 0.08, 4)})
    assert wrong.status == "warning"
    assert "[not to be relied on: its band missed the real value in 4 of the last 10 windows with labels]" in wrong.reason
    right = judge(0.6, {"roc_auc": Record(10, 0.0123, 1)})
    assert right.status == "violated" and "[off by 0.0123 in the last 10 windows with labels]" in right.reason
    assert right.evidence["record"] == {"roc_auc": {"windows": 10, "error": 0.0123, "missed": 1}}
