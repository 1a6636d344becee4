"""The monitors over captured rows: what is judged, by which labels, when the governor is asked, and what it says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.events import ApprovalRequested, RetrainDecided, WindowJudged
from modelyard.flows import history, monitor
from modelyard.monitor import labels
from modelyard.registry import state

from .watched import DAY, T0, Watched, settings

RETRAIN = {"on": ["performance"], "min_new_labels": 2, "cooldown": "2d"}


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(home, monkeypatch)


def governed(home: Path, monkeypatch: pytest.MonkeyPatch, **retrain: Any) -> Watched:
    """A world in which the first day's performance is violated and asks for a retraining, two days after T0."""
    world = Watched(home, monkeypatch, settings(retrain={**RETRAIN, **retrain}))
    world.capture(["a", "b", "c"], T0)
    world.time.advance_to(T0 + DAY)
    world.label({"a": 9.0, "b": 9.0, "c": 9.0})
    world.time.advance_to(T0 + 2 * DAY)
    return world


def verdicts(world: Watched, kind: str) -> list[tuple[str, str, str]]:
    return [(v.start[:16], v.end[:16], v.status) for v in world.events(WindowJudged) if v.monitor == kind]


# -- labels ---------------------------------------------------------------------------------------------------------------------


def test_drift_is_judged_whatever_the_labels_are(world: Watched) -> None:
    """A ledger that cannot be joined, of an older release say, keeps performance from being judged, and nothing else."""
    world.capture([f"r{i}" for i in range(200)], T0, [i / 20 for i in range(200)])
    labels.add(pl.DataFrame({"inference_id": ["r1"], "label": ["cat"]}), world.home.labels("demo"), T0)
    world.time.advance_to(T0 + DAY)
    world.look()
    assert verdicts(world, "drift") == [("2026-03-01T00:00", "2026-03-02T00:00", "healthy")]


def test_drift_reads_no_labels(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    world.capture(["a"], T0)
    world.time.advance_to(T0 + DAY)
    monkeypatch.setattr(labels, "latest", lambda *_: pytest.fail("labels were read"))
    world.look()
    assert [v[2] for v in verdicts(world, "drift")] == ["unknown"]


def test_a_window_is_judged_again_when_more_labels_come(world: Watched) -> None:
    world.capture(["a", "b", "c"], T0)
    world.label({"a": 2.0, "b": 2.0})
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    world.look()
    assert [v[2] for v in verdicts(world, "performance")] == ["healthy"], "no news, no new word"
    world.label({"c": 90.0, "unknown": 1.0})
    world.look()
    assert [v[2] for v in verdicts(world, "performance")] == ["healthy", "violated"]


# -- windows of another kind ------------------------------------------------------------------------------------------------------


def test_windows_of_two_lengths_that_begin_at_once_are_two(world: Watched) -> None:
    """From days to weeks on a Monday: the week that begins where a day began is judged all the same."""
    monday = T0 + DAY
    world.capture(["a"], monday)
    world.time.advance_to(monday + DAY)
    world.look()
    world.enforce(settings(monitor={**settings()["monitor"], "window": "1w"}), "config-2")
    world.time.advance_to(monday + 7 * DAY)
    world.look()
    assert [v[:2] for v in verdicts(world, "drift")] == [("2026-03-02T00:00", "2026-03-03T00:00"), ("2026-03-02T00:00", "2026-03-09T00:00")]


@pytest.mark.parametrize("change", [{"monitor": {**settings()["monitor"], "window": "12h"}}, {"timezone": "Europe/Berlin"}])
def test_after_a_change_only_windows_that_end_later_are_judged(world: Watched, change: dict[str, Any]) -> None:
    for day in range(6):
        world.capture([f"r{day}"], T0 + day * DAY)
    world.time.advance_to(T0 + 3 * DAY + timedelta(hours=13))
    world.look()
    before = len(world.events(WindowJudged))
    world.enforce(settings(**change), "config-2")
    world.look()
    world.enforce(settings(**change, alerts={"on": []}), "config-3")  # the windows stay: nothing begins anew
    world.time.advance_to(T0 + 5 * DAY)
    world.look()
    fresh = world.events(WindowJudged)[before:]
    changed = (T0 + 3 * DAY + timedelta(hours=13)).isoformat()
    assert fresh and all(v.end > changed for v in fresh), [(v.start, v.end) for v in fresh]
    assert world.shop.model("demo").watched_since == changed


def test_a_verdict_that_the_state_forgot_is_not_given_again(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "KEPT_VERDICTS", 3)
    world.capture(["a"], T0)
    world.time.advance_to(T0 + 10 * DAY)
    world.look()
    count = len(world.events(WindowJudged))
    assert count == 19 and len(world.shop.model("demo").verdicts) == 3, "kept are 3, and never more than a quarter above"
    assert monitor.due(world.shop, "demo") == []
    world.look()
    assert len(world.events(WindowJudged)) == count


# -- the governor -----------------------------------------------------------------------------------------------------------------


def test_labels_of_nobodys_prediction_do_not_count(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = governed(home, monkeypatch, min_new_labels=4)
    world.label({f"foreign{i}": 1.0 for i in range(50)})
    assert not world.look()
    assert "3 new labels came and 4 are needed" in world.events(RetrainDecided)[-1].reason
    assert history.labelled_since(world.shop, "demo", None) == 3
    assert history.labelled_since(world.shop, "demo", T0 + DAY) == 0, "they came at that very instant"


def test_a_retraining_that_a_person_asked_for_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = governed(home, monkeypatch)
    assert monitor._facts(world.shop.model("demo"), world.shop.config("demo"), world.time.now()).last_retrain is None
    for id in ("r1", "r2"):
        world.shop.runs.end(world.shop.runs.start("demo", "retrain", {}, by="ada", id=id), "done")
    facts = monitor._facts(world.shop.model("demo"), world.shop.config("demo"), world.time.now())
    assert facts.last_retrain == T0 + 2 * DAY and facts.retrains_this_month == 2
    assert not world.look(), "the window ended before it"


def test_the_governors_own_retraining_counts_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = governed(home, monkeypatch)
    assert world.look()
    world.begin("retrain")
    assert len(world.shop.model("demo").retrains) == 1


@pytest.mark.parametrize("flow", ["up", "build", "retrain", "deploy", "rollback"])
def test_a_change_under_way_holds_it_back(home: Path, monkeypatch: pytest.MonkeyPatch, flow: str) -> None:
    world = governed(home, monkeypatch)
    world.begin(flow)
    facts = monitor._facts(world.shop.model("demo"), world.shop.config("demo"), world.time.now())
    assert facts.building


def test_a_version_that_waits_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = governed(home, monkeypatch)
    world.begin("deploy")
    end = (T0 + 90 * DAY).isoformat()
    world.shop.record([ApprovalRequested("demo", "run-1", "7", "production", "d", "c", "ada", end, False)])
    assert not world.look()
    assert "version 7 waits for approval" in world.events(RetrainDecided)[-1].reason


def test_a_brake_that_holds_is_told_of_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = governed(home, monkeypatch, min_new_labels=5)
    for hours in range(3):
        world.time.advance_to(T0 + 2 * DAY + timedelta(hours=hours))
        assert not world.look()
    assert [e.brake for e in world.events(RetrainDecided)] == ["labels"]
    world.begin("build")
    world.look()
    world.look()
    assert [e.brake for e in world.events(RetrainDecided)] == ["labels", "building"], "another brake is news"
