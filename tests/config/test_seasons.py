"""What `monitor.drift` and `monitor.segments` may say of windows and columns."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from modelyard.config import unheeded
from modelyard.config.check import check
from modelyard.config.load import load
from modelyard.config.spec import Monitor

from .texts import SMALL


@pytest.mark.parametrize("window, period", [("1d", "7d"), ("15m", "1d"), ("1mo", "28d"), ("1w", "7d"), ("6h", "6h")])
def test_a_season_is_at_least_a_window_long(window: str, period: str) -> None:
    assert Monitor.model_validate({"window": window, "drift": {"season": {"period": period}}}).drift.season is not None


@pytest.mark.parametrize("window, period", [("1mo", "7d"), ("1w", "6d"), ("1d", "12h"), ("1h", "15m")])
def test_a_window_is_never_held_against_itself(window: str, period: str) -> None:
    with pytest.raises(ValidationError, match="cannot be shorter than `window`"):
        Monitor.model_validate({"window": window, "drift": {"season": {"period": period}}})


def test_the_columns_of_overrides_and_segments_are_looked_up(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print()\n")
    (tmp_path / "data.csv").write_text("x,y\n1,2\n")
    text = SMALL + "monitor: {segments: [x, xs], drift: {overrides: {x: {measure: ks}, xd: {measure: ks}}}}\n"
    (tmp_path / "config.yaml").write_text(text)
    problems = check(load(tmp_path / "config.yaml"), metrics={"r2": True}, greater_is_better={"r2": True})
    assert sorted(p.message for p in problems) == [f"data.csv has no column `{n}`; did you mean `x`?" for n in ("xd", "xs")]


@pytest.mark.parametrize(
    ("drift", "said"),
    [
        ("columns: [a], multivariate: {threshold: 0.2}", "`multivariate` judges nothing: `monitor.drift.columns` leaves out `b`, `c`"),
        ("columns: [a], multivariate: {enabled: false}", ""),
        ("enabled: false, columns: [a], multivariate: {threshold: 0.2}", ""),
        ("columns: [a]", ""),
        ("multivariate: {threshold: 0.2}", ""),
        ("columns: [a, b, c], multivariate: {threshold: 0.2}", ""),
    ],
)
def test_columns_that_switch_off_what_they_show_together_are_told(tmp_path: Path, drift: str, said: str) -> None:
    (tmp_path / "train.py").write_text("print()\n")
    (tmp_path / "data.csv").write_text("a,b,c,when,key,out,y\n1,2,3,2026-01-01,k,4,5\n")
    schema = "{sensitive_not_served: [key], exclude: [out], types: {when: datetime}}"
    text = SMALL.replace("target_col: y", f"target_col: y\n  schema: {schema}") + f"monitor: {{drift: {{{drift}}}}}\n"
    (tmp_path / "config.yaml").write_text(text)
    found = [p.message for p in check(load(tmp_path / "config.yaml"), metrics={"r2": True}, greater_is_better={"r2": True})]
    assert [said in message for message in found] == ([True] if said else []), found


@pytest.mark.parametrize(
    ("monitor", "said"),
    [
        (
            "drift: {columns: [x1], overrides: {x2: {measure: ks}}}",
            "`x2` has a measure of its own, and `monitor.drift.columns` does not watch",
        ),
        ("drift: {columns: [x2], overrides: {x2: {measure: ks}}}", ""),
        ("drift: {enabled: false, columns: [x1], overrides: {x2: {measure: ks}}}", ""),
        ("attribution: {min_ndcg: 0.8}", "`monitor.attribution` judges nothing: the build explains nothing"),
        ("attribution: {enabled: false, min_ndcg: 0.8}", ""),
        ("bias: {tolerance: 0.1}", "`monitor.bias` judges nothing: no comparison is asked for"),
        ("bias: {enabled: true}", ""),
    ],
)
def test_what_nothing_would_heed_is_refused(tmp_path: Path, monitor: str, said: str) -> None:
    (tmp_path / "config.yaml").write_text(SMALL + f"monitor: {{{monitor}}}\n")
    found = [f"{message}" for _, message, _ in unheeded.findings(load(tmp_path / "config.yaml"))]
    assert [said in message for message in found] == ([True] if said else []), found
