from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import AlertAfter
from modelyard.monitor.verdicts import Status, Verdict, in_alarm, recovered, should_alert

ONCE, THREE_OF_FOUR = AlertAfter(), AlertAfter(num_windows=4, num_violation_windows=3)
LETTERS: dict[str, Status] = {"h": "healthy", "w": "warning", "v": "violated", "?": "unknown"}


def history(text: str) -> list[Status]:
    return [LETTERS[c] for c in text]


@pytest.mark.parametrize(
    ("text", "after", "alerts"),
    [("v", ONCE, True), ("hv", ONCE, True), ("vv", ONCE, False), ("v?", ONCE, False), ("?", ONCE, False), ("w", ONCE, False),
     ("", ONCE, False),
     ("vv", THREE_OF_FOUR, False), ("vhvv", THREE_OF_FOUR, True), ("vvv", THREE_OF_FOUR, True), ("vvvv", THREE_OF_FOUR, False),
     ("vhhvv", THREE_OF_FOUR, False), ("vv??v", THREE_OF_FOUR, True)],
)  # fmt: skip
def test_an_alert_is_raised_once_when_enough_of_the_last_windows_are_violated(text: str, after: AlertAfter, alerts: bool) -> None:
    assert should_alert(history(text), after) is alerts


@pytest.mark.parametrize(
    ("text", "after", "over"),
    [("vh", ONCE, True), ("vw", ONCE, True), ("v?", ONCE, False), ("v?h", ONCE, True), ("hh", ONCE, False), ("", ONCE, False),
     ("vvvh", THREE_OF_FOUR, False), ("vvvhh", THREE_OF_FOUR, True)],
)  # fmt: skip
def test_an_alarm_ends_by_healthy_windows_and_never_by_unknown_ones(text: str, after: AlertAfter, over: bool) -> None:
    assert recovered(history(text), after) is over


@given(st.text("hwv?", max_size=30), st.integers(1, 5), st.integers(1, 5))
def test_alerts_and_recoveries_take_turns(text: str, windows: int, violations: int) -> None:
    after, said = AlertAfter(num_windows=max(windows, violations), num_violation_windows=violations), []
    for end in range(1, len(text) + 1):
        seen = history(text[:end])
        said += ["alert"] * should_alert(seen, after) + ["over"] * recovered(seen, after)
        assert in_alarm(seen, after) == (said[-1:] == ["alert"])
    assert said == (["alert", "over"] * len(said))[: len(said)]


def test_a_verdict_survives_json() -> None:
    verdict = Verdict("drift", "violated", "drift: 1 of 2 features moved", {"rows": 3})
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
