"""When what failed is tried again, when a death is a crash loop, and what is done about what endpoints captured."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard import upkeep
from modelyard.flows import history
from modelyard.upkeep import DEATHS, FIRST_PAUSE, LONGEST_PAUSE, RESEND, TIDY, WITHIN, CrashLoops, Pauses, Upkeep

from .flows.watched import DAY, T0, Watched, settings


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


def looked(world: Watched, monkeypatch: pytest.MonkeyPatch, *unkept: int) -> list[str]:
    """The alerts after looks at which production's front counted so many rows that were not kept."""
    keeper, real = Upkeep(world.shop, threading.Event()), world.shop.target.endpoint
    for lost in unkept:

        def state(name: str, lost: int = lost) -> object:
            found = real(name)
            return found and replace(found, unkept=lost, unkept_because="No space left on device")

        monkeypatch.setattr(world.shop.target, "endpoint", state)
        keeper._tidied.clear()
        keeper.tidy("demo")
        while keeper._tidied["demo-production"] > upkeep.time.monotonic():
            upkeep.time.sleep(0.01)
    keeper.close()
    return [line for line in (world.home.path / "alerts.log").read_text().splitlines() if " demo capture: " in line]


def test_rows_that_cannot_be_kept_are_told_of_until_it_is_well_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Watched(home, monkeypatch)
    (world.home.path / "alerts.log").touch()
    assert looked(world, monkeypatch, 0, 0) == []
    said = looked(world, monkeypatch, 3, 5, 5, 9)
    assert len(said) == 2, "once while it lasts, and again when it comes back"
    assert "demo: production cannot keep what it answers" in said[0] and "No space left on device" in said[0]


def test_a_capture_is_tidied_once_a_minute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Watched(home, monkeypatch, settings(deploy={"capture": {"retain": "5d"}}))
    world.capture(["old"], T0)
    world.capture(["new"], T0 + 20 * DAY)
    world.time.advance_to(T0 + 20 * DAY)
    keeper, asked = Upkeep(world.shop, threading.Event()), list[str]()
    monkeypatch.setattr(keeper, "_later", lambda work, *args: asked.append(args[1]) or work(*args))
    for _ in range(5):
        keeper.tidy("demo")
    assert asked == ["production"] and TIDY == 60, "nothing was ever deployed in staging"
    assert history.answers(world.shop, "demo")["inference_id"].to_list() == ["new"]
    keeper.close()


def test_alerts_that_were_not_delivered_are_looked_at_now_and_then(
    home: Path, monkeypatch: pytest.MonkeyPatch, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    world, looks = Watched(home, monkeypatch), list[float]()

    def resend(shop: object) -> int:
        looks.append(time.now)
        raise OSError("the log is full")

    monkeypatch.setattr(upkeep.alerting, "resend", resend)
    kept = Upkeep(world.shop, threading.Event())
    monkeypatch.setattr(kept, "_later", lambda work, *args: work(*args))
    for _ in range(130):
        time.now += 1
        kept.retry("demo")
    kept.close()
    assert looks == [1000 + RESEND * i for i in (1, 2, 3, 4)], "by the clock, not by the model, and whatever goes wrong"
    assert "could not be sent again" in caplog.text
