from __future__ import annotations

import json
import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.quality import comparison, comparison_page
from modelyard.signature import Column, Signature

NUMBER = Signature("regression", (Column("x", "float"), Column("city", "str")), target_col="y")
BINARY = Signature("binary_classification", (Column("x", "float"),), classes=("no", "yes"), positive_class="yes")
THREE = Signature("multiclass_classification", (Column("x", "float"),), classes=("a", "b", "c"))
LABELS = Signature("multilabel_classification", (Column("x", "float"),), classes=("a", "b"), label_separator="|")
STRANGE = Signature("anomaly_detection", (Column("x", "float"),), classes=(0, 1), positive_class=1)


def rows(count: int, **more: Any) -> pl.DataFrame:
    return pl.DataFrame({"inference_id": [f"r{i}" for i in range(count)], "f.x": [float(i) for i in range(count)], **more})


def outputs(predictions: list[Any], **scores: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"y.prediction": predictions, **{f"y.{name}": values for name, values in scores.items()}}, strict=False)


@given(of=st.integers(0, 10_000), data=st.data())
def test_wilsons_interval_holds_the_share(of: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, of))
    low, high = comparison.wilson(hits, of)
    assert 0 <= low <= high <= 1
    assert not of or low <= hits / of <= high


def test_wilsons_interval_is_the_textbooks() -> None:
    low, high = comparison.wilson(10, 100)
    assert (round(low, 4), round(high, 4)) == (0.0552, 0.1744)
    assert comparison.wilson(0, 100)[0] == 0 and round(comparison.wilson(0, 100)[1], 4) == 0.0370


def test_numbers_side_by_side() -> None:
    table = rows(4, **{"f.city": ["Ulm", "Ulm", "Bonn", None]})
    found = comparison.measure(
        table, outputs([1.0, 2.0, 3.0, 4.0]), outputs([1.0, 2.5, 9.0, 4.0]), [False, True, True, False], NUMBER, ["city", "unknown"]
    )
    assert (found["rows"], found["disagreed"], found["share"]) == (4, 2, 0.5)
    assert {(p["column"], p["value"], p["rows"], p["disagreed"]) for p in found["slices"]} == {
        ("city", "Ulm", 2, 1), ("city", "Bonn", 1, 1), ("city", "(missing)", 1, 0),
    }  # fmt: skip
    assert [(row["inference_id"], row["old"], row["new"], row["change"]) for row in found["largest"]] == [
        ("r2", 3.0, 9.0, 6.0), ("r1", 2.0, 2.5, 0.5),
    ]  # fmt: skip
    assert sum(found["changes"]["counts"]) == 4 and found["changes"]["mean"] == 6.5 / 4
    assert found["points"][2] == [3.0, 9.0, 1] and found["pairs"] == [] and found["score"] == "prediction"


def test_classes_side_by_side() -> None:
    old, new = outputs(["no", "yes", "no"], probability_yes=[0.1, 0.9, 0.4]), outputs(["no", "no", "yes"], probability_yes=[0.2, 0.3, 0.6])
    found = comparison.measure(rows(3), old, new, [False, True, True], BINARY, [])
    assert found["pairs"] == [{"old": "no", "new": "yes", "rows": 1}, {"old": "yes", "new": "no", "rows": 1}]
    assert [(p["value"], p["rows"], p["disagreed"]) for p in found["answers"]] == [("no", 2, 1), ("yes", 1, 1)]
    assert [row["inference_id"] for row in found["largest"]] == ["r1", "r2", "r0"], "those answered otherwise first"
    assert found["score"] == "probability_yes"


def test_of_several_classes_it_is_the_champions_answer_whose_probability_counts() -> None:
    old = outputs(["a", "c"], probability_a=[0.7, 0.1], probability_b=[0.2, 0.1], probability_c=[0.1, 0.8])
    new = outputs(["a", "b"], probability_a=[0.5, 0.1], probability_b=[0.3, 0.6], probability_c=[0.2, 0.3])
    found = comparison.measure(rows(2), old, new, [False, True], THREE, [])
    assert [[round(v, 3) for v in point] for point in found["points"]] == [[0.7, 0.5, 0], [0.8, 0.3, 1]]


def test_labels_have_no_single_score() -> None:
    found = comparison.measure(rows(2), outputs(["a", "a|b"]), outputs(["a", "b"]), [False, True], LABELS, [])
    assert found["points"] == [] and found["changes"] is None and found["pairs"] == [{"old": "a|b", "new": "b", "rows": 1}]
    assert [row["inference_id"] for row in found["largest"]] == ["r1"]


def test_strange_scores_break_nothing() -> None:
    old, new = outputs([0, 1, 1], score=[0.1, math.inf, math.nan]), outputs([0, 1, 0], score=[0.1, 1.0, 2.0])
    found = comparison.measure(rows(3), old, new, [False, False, True], STRANGE, [])
    json.dumps(found, allow_nan=False)
    assert found["points"] == [[0.1, 0.1, 0]]


def test_nothing_side_by_side() -> None:
    found = comparison.measure(rows(0), outputs([]), outputs([]), [], NUMBER, ["city"])
    assert (found["rows"], found["share"], found["answers"], found["largest"], found["changes"]) == (0, 0.0, [], [], None)


def document(**more: Any) -> dict[str, Any]:
    table = rows(3, **{"f.city": ["<script>alert(1)</script>", "Ulm", "Ulm"]})
    measured = comparison.measure(table, outputs([1.0, 2.0, 3.0]), outputs([1.0, 2.0, 9.0]), [False, False, True], NUMBER, ["city"])
    return {
        "model": "demo", "champion": "demo:1", "version": "demo:2", "made_at": "2026-03-01T00:00:00+00:00", "rows": 3, "notes": [],
        "about": "three rows", "measured": measured, "latency": {who: {"p50_ms": 1.0, "p99_ms": 2.0} for who in ("old", "new")},
        "metric": {"metric": "r2", "rows": 3, "old": 0.9, "new": 0.8, "gain": -0.1, "low": None, "high": None},
        "errors": {"old": 0, "new": 1, "new_alone": 1, "said": ["<b>boom</b>"]},
        "verdict": {"ok": True, "on_fail": "block", "sentence": "fine & well"}, **more,
    }  # fmt: skip


def test_a_page_holds_everything_and_runs_nothing() -> None:
    page = comparison_page.render(document())
    assert "fine &amp; well" in page and "33.33% (6.15% to 79.23%)" in page and "0.9000 → 0.8000" in page
    assert page.count("<svg") == 4
    for strange in ("<script", "<b>boom", "http://", "https://", "@import", "url("):
        assert strange not in page
    assert page == comparison_page.render(json.loads(json.dumps(document()))), "out of its JSON alone"


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        ({"ok": False, "on_fail": "warn"}, "warning"),
        ({"ok": False, "on_fail": "block"}, "failed"),
        ({"ok": None, "on_fail": "block"}, "none"),
    ],
)
def test_a_page_of_what_was_not_compared(verdict: dict[str, Any], state: str) -> None:
    found = document(verdict={**verdict, "sentence": "nothing was compared"}, measured=None, latency=None, metric=None, notes=["too few"])
    page = comparison_page.render(found)
    assert f'class="verdict {state}"' in page and "too few" in page and "<svg" not in page
