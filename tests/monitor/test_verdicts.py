from __future__ import annotations

import json

import pytest

from modelyard.config.spec import AlertAfter
from modelyard.monitor.verdicts import Status, Verdict, in_alarm

ONCE, THREE_OF_FOUR = AlertAfter(), AlertAfter(num_windows=4, num_violation_windows=3)
LETTERS: dict[str, Status] = {"h": "healthy", "w": "warning", "v": "violated", "?": "unknown"}


def history(text: str) -> list[Status]:
    return [LETTERS[c] for c in text]


@pytest.mark.parametrize(
    ("text", "after", "alarm"),
    [("v", ONCE, True), ("hv", ONCE, True), ("vh", ONCE, False), ("v?", ONCE, True), ("?", ONCE, False), ("w", ONCE, False),
     ("", ONCE, False),
     ("vv", THREE_OF_FOUR, False), ("vhvv", THREE_OF_FOUR, True), ("vvv", THREE_OF_FOUR, True), ("vhhvv", THREE_OF_FOUR, False),
     ("vv??v", THREE_OF_FOUR, True), ("vvvh", THREE_OF_FOUR, True), ("vvvhh", THREE_OF_FOUR, False)],
)  # fmt: skip
def test_enough_of_the_last_known_windows_make_an_alarm(text: str, after: AlertAfter, alarm: bool) -> None:
    assert in_alarm(history(text), after) is alarm


def test_a_verdict_survives_json() -> None:
    verdict = Verdict("drift", "violated", "drift: 1 of 2 features moved", {"rows": 3})
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
