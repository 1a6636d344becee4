"""What the model card says of how a version answers."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.quality.card.answering import answering

COMPILED: dict[str, Any] = {
    "status": "compiled",
    "reason": "",
    "source": "Pipeline(StandardScaler, XGBClassifier)",
    "rows_proven": 7032,
    "one_by_one": 7032,
    "edge_rows": 20000,
    "refused_alike": 12,
    "largest_difference": 3e-8,
    "where": "probability_1, row 3 of the hold-out",
    "tolerance": 1e-6,
    "tolerance_reason": "XGBoost computes in float32",
    "bytes": 17816,
    "microseconds": 29.9,
}


def test_a_report_of_before_there_were_plans_has_no_such_chapter() -> None:
    assert answering({}) is None and answering({"compile": None}) is None


def test_a_plan_is_described_with_what_was_proven_and_why_it_may_differ() -> None:
    found = answering({"compile": COMPILED})
    assert found is not None
    assert "Pipeline(StandardScaler, XGBClassifier)" in found["lead"] and "7,032 rows of the hold-out and 20,000 rows" in found["lead"]
    assert dict(found["tiles"])["Rows proven equal"] == "27,032" and dict(found["tiles"])["Largest difference"] == "3.000e-08"
    assert found["apart"] == "Scores may lie 1e-06 apart: XGBoost computes in float32."


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("off", "switched off"),
        ("declined", "There is no row plan: KNeighborsClassifier has none."),
        ("unequal", "is refused: KNeighborsClassifier has none."),
    ],
)
def test_a_runner_is_described_with_the_reason(status: str, said: str) -> None:
    found = answering({"compile": {"status": status, "reason": "KNeighborsClassifier has none"}})
    assert found is not None and found["lead"].startswith("A runner, which holds the model, answers") and said in found["lead"]
    assert not found["tiles"]
