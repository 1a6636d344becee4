"""What the governor is told: freezes and schedules in the config's own time zone, words on the champion, and what is written down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard.config.spec import Config
from modelyard.events import RetrainDecided
from modelyard.flows import history, monitor
from modelyard.flows.monitor import governing
from modelyard.monitor.book import Word
from modelyard.monitor.verdicts import Status
from tests.flows.watched import DAY, T0, Watched, settings


def asked(zone: str = "UTC", **retrain: Any) -> Config:
    return Config.model_validate({**settings(retrain=retrain), "timezone": zone})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-12-20T04:59", None),  # midnight in New York is 5:00 UTC in winter
        ("2026-12-20T05:00", "2027-01-05T05:00"),
        ("2027-01-05T04:59", "2027-01-05T05:00"),
        ("2027-01-05T05:00", None),
    ],
)
def test_a_freeze_without_an_offset_is_in_the_configs_time_zone(now: str, until: str | None) -> None:
    config = asked("America/New_York", on=["drift"], freeze=[{"start": "2026-12-20T00:00:00", "end": "2027-01-05T00:00:00", "reason": "x"}])
    found = governing.frozen(config, at(now))
    assert (found and found.until) == (until and at(until))
    assert found is None or found.reason == "x"


def test_a_freeze_with_an_offset_is_where_it_says() -> None:
    config = asked("America/New_York", on=["drift"], freeze=[{"start": "2026-12-20T00:00:00Z", "end": "2026-12-21T00:00:00+09:00"}])
    assert governing.frozen(config, at("2026-12-20T14:59")) is not None
    assert governing.frozen(config, at("2026-12-20T15:00")) is None and governing.frozen(config, at("2026-12-19T23:59")) is None


def test_a_freeze_comes_round_by_its_schedule_and_the_longest_of_several_holds() -> None:
    weekend = {"schedule_expression": "0 18 * * 5", "length": "60h"}
    once = {"start": "2026-06-05T00:00:00", "end": "2026-06-20T00:00:00"}
    config = asked(on=["drift"], freeze=[weekend, once])
    assert governing.frozen(config, at("2026-05-29T17:59")) is None
    for now in ("2026-05-29T18:00", "2026-05-31T00:00", "2026-06-01T05:59"):
        found = governing.frozen(config, at(now))
        assert found is not None and found.until == at("2026-06-01T06:00")
    assert governing.frozen(config, at("2026-06-01T06:00")) is None
    found = governing.frozen(config, at("2026-06-05T20:00"))
    assert found is not None and found.until == at("2026-06-20T00:00")


def test_a_schedule_counts_from_the_last_retraining() -> None:
    config = asked("Europe/Berlin", on=["schedule"], schedule_expression="0 6 * * 1")
    monday = at("2026-03-30T04:00")  # summer time began the day before
    assert governing.scheduled(config, monday - DAY, monday) == monday
    assert governing.scheduled(config, monday, monday + 6 * DAY) is None
    assert governing.scheduled(config, monday - 40 * DAY, monday + 6 * DAY) == monday, "of several that were missed the newest"
    assert governing.scheduled(config, None, monday) is None, "nothing is in production"


# -- with a model ---------------------------------------------------------------------------------------------------------------

RETRAIN = {"on": ["drift"], "min_new_labels": 1, "cooldown": "1d"}


def said(world: Watched, day: int, status: Status, version: str = "1") -> None:
    start = T0 + day * DAY
    word = Word("demo", "drift", start.isoformat(), (start + DAY).isoformat(), version, status, "", (start + DAY).isoformat())
    world.shop.book.put([word])


def world(home: Path, monkeypatch: pytest.MonkeyPatch, **retrain: Any) -> Watched:
    made = Watched(home, monkeypatch, settings(retrain={**RETRAIN, **retrain}))
    made.time.advance_to(T0 + 20 * DAY)
    monkeypatch.setattr(history, "labelled_since", lambda *_: 100)
    return made


def test_so_many_of_the_newest_known_windows_ask(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(home, monkeypatch, after={"num_windows": 3, "num_violation_windows": 2})
    for day, status in enumerate(("violated", "violated", "healthy", "unknown", "healthy")):
        said(made, day, status)  # type: ignore[arg-type]
    assert not monitor.govern(made.shop, "demo").retrain, "two of the last three known ones are healthy"
    said(made, 5, "violated")
    said(made, 6, "unknown")
    assert not monitor.govern(made.shop, "demo").retrain
    said(made, 7, "violated")
    assert "2 of the last 3 windows" in monitor.govern(made.shop, "demo").reason


def test_words_on_a_version_that_was_replaced_ask_for_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(home, monkeypatch)
    said(made, 3, "violated", version="0")
    assert not monitor.govern(made.shop, "demo").retrain
    said(made, 4, "violated", version="1")
    assert monitor.govern(made.shop, "demo").retrain


def test_a_cause_in_a_freeze_is_written_down_once_and_acts_when_it_ends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(home, monkeypatch, freeze=[{"start": "2026-03-20T00:00:00", "end": "2026-03-25T00:00:00", "reason": "a migration"}])
    said(made, 3, "violated")
    for _ in range(3):
        assert monitor.govern(made.shop, "demo").brake == "freeze"
    made.time.advance_to(datetime(2026, 3, 25, tzinfo=UTC))
    assert monitor.govern(made.shop, "demo").retrain
    assert [(told.brake, told.retrain) for told in made.events(RetrainDecided)] == [("freeze", False), ("", True)]
    assert "a migration" in made.events(RetrainDecided)[0].reason


def test_labels_are_counted_only_where_it_comes_to_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(home, monkeypatch)
    monkeypatch.setattr(history, "labelled_since", lambda *_: pytest.fail("they were counted"))
    monitor.govern(made.shop, "demo")
    said(made, 3, "violated")
    made.begin("up")
    assert monitor.govern(made.shop, "demo").brake == "building"


def test_a_restart_changes_no_decision(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(home, monkeypatch, cooldown="2d")
    said(made, 15, "violated")
    for number in range(3):
        record = made.shop.runs.start("demo", "retrain", {}, by="ada", id=f"retrain-{number}")
        made.shop.runs.end(record, "done")
    made.time.advance_to(T0 + 25 * DAY)
    said(made, 24, "violated")
    before = monitor.govern(made.shop, "demo")
    assert before.brake == "cooldown" and "grown from 2 d since the last 3 retrainings changed nothing" in before.reason
    made.open()
    assert monitor.govern(made.shop, "demo") == before
    made.time.advance_to(T0 + 20 * DAY + timedelta(days=16))
    assert monitor.govern(made.shop, "demo").retrain
