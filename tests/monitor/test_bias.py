"""The verdict on bias by window: SageMaker's rule, and that chance is no drift."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from modelyard.config.spec import BiasCriterion, BiasDrift
from modelyard.monitor import bias
from modelyard.monitor.bias import Measured
from modelyard.monitor.verdicts import Verdict

NEUTRAL = {"DPPL": 0.0, "DI": 1.0, "RD": 0.0}


def one(value: float | None, half: float = 0.01, metric: str = "DPPL", facet: str = "sex!=M", rows: int = 500) -> Measured:
    ends = (None, None) if value is None else (value - half, value + half)
    return Measured(facet, facet.partition("!")[0], metric, value, *ends, rows, rows)


def judged(now: list[Measured], before: list[Measured], tolerance: float = 0.0, waits: str = "", *criteria: BiasCriterion) -> Verdict:
    asked = BiasDrift(tolerance=tolerance)
    return bias.judge(now, before, asked, criteria=criteria, neutral=NEUTRAL, facts={"rows": 1000, "labels": 0}, waits=waits)


@pytest.mark.parametrize(
    ("metric", "was", "now", "tolerance", "status"),
    [
        ("DPPL", 0.2, 0.1, 0.0, "healthy"),  # SageMaker's own example: nearer to 0
        ("DPPL", 0.2, -0.3, 0.0, "violated"),  # and its other one: farther, on the other side
        ("DPPL", 0.2, 0.3, 0.0, "violated"),
        ("DPPL", 0.2, 0.3, 0.09, "healthy"),
        ("DPPL", 0.2, 0.21, 0.0, "healthy"),  # chance
        ("DI", 0.8, 0.5, 0.0, "violated"),
        ("DI", 0.8, 1.15, 0.0, "healthy"),
        ("DI", 0.8, 1.6, 0.0, "violated"),
        ("DI", 0.8, 0.95, 0.0, "healthy"),
    ],
)
def test_farther_from_neutral_than_chance_explains_is_worse(metric: str, was: float, now: float, tolerance: float, status: str) -> None:
    verdict = judged([one(now, metric=metric)], [one(was, metric=metric)], tolerance)
    assert verdict.status == status
    if status == "violated":
        assert f"{metric} of sex!=M is {now:.3g}" in verdict.reason and f"{was:.3g} when it was built" in verdict.reason
        [moved] = verdict.evidence["moved"]
        assert (moved["name"], moved["value"], moved["was"]) == (f"{metric} of sex!=M", now, was)


def test_a_hold_out_that_was_not_sure_itself_excuses_more() -> None:
    assert judged([one(0.3)], [one(0.2)]).status == "violated"
    assert judged([one(0.3)], [one(0.2, half=0.1)]).status == "healthy"
    assert judged([one(0.3, half=0.1)], [one(0.2)]).status == "healthy"


def test_many_comparisons_ask_for_more_each() -> None:
    """An excess that one comparison could not have by chance is expected among two thousand."""
    now, before = one(0.225), one(0.2, half=0.005)
    others = [one(0.0, facet=f"race!={i}") for i in range(2000)]
    assert judged([now], [before]).status == "violated"
    assert judged([now, *others], [before, *others]).status == "healthy"


def test_a_gate_of_the_build_is_a_bound_of_its_own() -> None:
    gate = BiasCriterion(metric="DPPL", within=0.15)
    now, before = one(0.25), one(0.3)
    verdict = judged([now], [before], 0.0, "", gate)
    assert verdict.status == "violated" and "allowed within 0.15 of neutral" in verdict.reason
    assert judged([now], [before], 0.0, "", BiasCriterion(metric="DPPL", within=0.15, on_fail="warn")).status == "warning"
    assert judged([now], [before], 0.0, "", BiasCriterion(metric="DPPL", within=0.15, facet="race")).status == "healthy"
    assert judged([now], [], 0.0, "", gate).status == "violated", "whatever the hold-out said"


def test_no_data_is_never_healthy() -> None:
    assert judged([], []).status == "unknown"
    assert judged([one(None)], [one(0.2)]).status == "unknown"
    few = judged([one(0.9, rows=29)], [one(0.2)])
    assert few.status == "unknown" and "fewer than 30 rows on a side of sex!=M" in few.reason
    assert judged([one(0.9)], [one(0.2, rows=29)]).status == "unknown"
    waiting = judged([], [one(0.2)], 0.0, "not judged: RD (labels are not due yet)")
    assert waiting.status == "unknown" and waiting.reason == "bias: not judged: RD (labels are not due yet)"
    healthy = judged([one(0.2)], [one(0.2)], 0.0, "not judged: RD (labels are not due yet)")
    assert healthy.status == "healthy" and "RD (labels are not due yet)" in healthy.reason


def test_what_is_not_sure_at_all_is_no_drift() -> None:
    endless = Measured("sex!=M", "sex", "DI", math.inf, math.inf, math.inf, 500, 500)
    assert judged([endless], [one(0.8, metric="DI")]).status == "healthy"
    unsure = Measured("sex!=M", "sex", "DPPL", 0.9, -math.inf, math.inf, 500, 500)
    assert judged([unsure], [one(0.2)]).status == "healthy"


def test_the_evidence_stays_small() -> None:
    now = [one(0.9, metric=m, facet=f"a_rather_long_column_name!=value-{i}") for i in range(50) for m in NEUTRAL]
    before = [one(0.1 if m != "DI" else 1.0, metric=m, facet=f"a_rather_long_column_name!=value-{i}") for i in range(50) for m in NEUTRAL]
    verdict = judged(now, before)
    assert verdict.status == "violated" and len(json.dumps(verdict.evidence, allow_nan=False)) < 4096 and len(verdict.reason) < 400


def test_stable_windows_raise_no_alarm() -> None:
    """At most one in a hundred: estimates about one and the same bias, twelve comparisons a window, intervals that are guessed too."""
    draw, false, windows = np.random.default_rng(0), 0, 2000

    def side(rows: int) -> list[Measured]:
        found = []
        for place in range(12):
            width = 1.0 / math.sqrt(rows)
            value, guess = draw.normal(0.02 * place, width), 1.96 * width * draw.uniform(0.9, 1.1)
            found.append(one(float(value), float(guess), facet=f"race!={place}", rows=rows))
        return found

    for _ in range(windows // 20):
        before = side(int(draw.choice([200, 1000, 5000])))
        false += sum(judged(side(int(draw.choice([200, 1000, 20000]))), before).status == "violated" for _ in range(20))
    assert false <= windows / 100, false


def test_the_flip_test_is_not_monitored() -> None:
    with pytest.raises(ValueError, match="FT"):
        BiasDrift(metrics=("FT",))  # type: ignore[arg-type]
