"""When what failed is tried again, and when a death is a crash loop."""

from __future__ import annotations

import pytest

from modelyard import upkeep
from modelyard.upkeep import DEATHS, FIRST_PAUSE, LONGEST_PAUSE, WITHIN, CrashLoops, Pauses


class Time:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(upkeep.time, "monotonic", lambda: self.now)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def test_pauses_grow_from_half_a_minute_to_ten(time: Time) -> None:
    pauses, found = Pauses(), []
    assert pauses.over("run")
    for _ in range(8):
        pauses.failed("run")
        began = time.now
        while not pauses.over("run"):
            time.now += 1
        found.append(time.now - began)
    assert found == [30, 60, 120, 240, 480, 600, 600, 600] and (FIRST_PAUSE, LONGEST_PAUSE) == (30, 600)
    assert pauses.over("another")
    pauses.failed("run")
    pauses.forget("run")
    assert pauses.over("run")


def test_three_deaths_in_five_minutes_are_told_once(time: Time) -> None:
    loops, said = CrashLoops(), []
    for _ in range(12):
        time.now += 30
        said.append(loops.died("m:1"))
    assert said == [False, False, True] + [False] * 9 and DEATHS == 3
    assert not loops.died("m:2"), "another runner"
    time.now += WITHIN + 1
    assert [loops.died("m:1") for _ in range(DEATHS)] == [False, False, True], "after a quiet time it is news again"


def test_deaths_far_apart_are_no_loop(time: Time) -> None:
    loops = CrashLoops()
    for _ in range(20):
        time.now += WITHIN / 2 + 1
        assert not loops.died("m:1")
