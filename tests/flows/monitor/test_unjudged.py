"""Windows with rows are judged in whatever order these came, and years without any are passed over."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard.durable import Stopped
from modelyard.flows import history, importing, labelling, monitor
from modelyard.flows.holdout import SMOKE
from modelyard.flows.monitor import looking
from modelyard.monitor import windows
from modelyard.serve import captured

from ..test_importing import sagemaker
from ..watched import DAY, T0, Watched, settings

QUARTER = timedelta(minutes=15)


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(home, monkeypatch)


def watching(**parts: Any) -> dict[str, Any]:
    return settings(monitor={**settings()["monitor"], **parts})


def days(world: Watched, kind: str = "drift") -> list[tuple[str, int]]:
    return [(w.start[5:10], w.evidence["rows"]) for w in world.words(kind)]


def shifted(root: Path, by: timedelta) -> Path:
    """The capture files with all their times so much earlier."""
    for file in root.rglob("*.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            at = datetime.fromisoformat(line["eventMetadata"]["inferenceTime"]) - by
            line["eventMetadata"]["inferenceTime"] = at.isoformat()
        file.write_text("\n".join(map(json.dumps, lines)))
    return root


def test_what_is_taken_in_after_what_came_later_is_judged(world: Watched, tmp_path: Path) -> None:
    """docs/how-to/from-sagemaker-model-monitor.md: the order does not matter."""
    world.time.advance_to(T0 + 30 * DAY)
    later = shifted(sagemaker(tmp_path / "later", days=2, rows=30, x=1.0, ids="b"), -20 * DAY)
    importing.take(world.shop, "demo", later)
    world.look()
    assert days(world)[:2] == [("03-21", 30), ("03-22", 30)]
    importing.take(world.shop, "demo", sagemaker(tmp_path / "earlier", days=3, rows=30, x=1.0, ids="a"))
    world.look()
    for kind in ("data_quality", "drift", "performance"):
        assert days(world, kind)[:4] == [("03-01", 30), ("03-02", 30), ("03-03", 30), ("03-21", 30)], kind
    assert monitor.due(world.shop, "demo") == [] and {w.revision for w in world.words("drift")} == {1}


def test_events_from_before_a_model_was_first_asked_are_judged(world: Watched) -> None:
    world.time.advance_to(T0 + 25 * DAY)
    world.capture([f"z{i}" for i in range(60)], T0 + 24 * DAY)
    world.look()
    assert days(world) == [("03-25", 60)]
    world.time.advance_to(T0 + 25 * DAY + timedelta(hours=1))
    world.capture([f"a{i}" for i in range(60)], T0 + DAY, late=24 * DAY)
    world.capture([SMOKE], T0 + 5 * DAY, late=20 * DAY)
    world.look()
    for kind in ("data_quality", "drift", "performance"):
        assert days(world, kind)[0] == ("03-02", 60), kind
    assert days(world) == [("03-02", 60), ("03-25", 60)], "days that nobody asked about get no word"
    assert monitor.due(world.shop, "demo") == []


def test_an_old_time_at_a_models_start_keeps_no_window_waiting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Watched(home, monkeypatch, watching(window="15m"))
    world.time.advance_to(T0 + timedelta(hours=2))
    old = datetime.fromisoformat("2018-01-01T00:00:00+00:00")
    world.capture(["old"], old, late=T0 + timedelta(hours=1) - old)
    for quarter in range(4):
        world.capture([f"{quarter}-{i}" for i in range(20)], T0 + timedelta(hours=1) + quarter * QUARTER)
    count = monitor.look(world.shop, "demo")
    starts = [w.start[:16] for w in world.words("drift")]
    assert starts == ["2018-01-01T00:00", "2026-03-01T01:00", "2026-03-01T01:15", "2026-03-01T01:30", "2026-03-01T01:45"]
    assert count <= 20 and monitor.due(world.shop, "demo") == []


def test_performance_judges_what_was_before_the_first_request_once_labels_are_due(world: Watched) -> None:
    world.time.advance_to(T0 + 3 * DAY + timedelta(hours=1))
    world.capture([f"a{i}" for i in range(60)], T0 + 2 * DAY + timedelta(hours=5), late=timedelta(hours=20))
    world.look()
    assert days(world) == [("03-03", 60)] and world.words("performance") == []
    world.time.advance_to(T0 + 4 * DAY)
    world.look()
    assert days(world, "performance") == [("03-03", 60)]


def test_after_months_windows_with_rows_are_judged_and_of_the_others_the_last_weeks(world: Watched) -> None:
    world.capture(["a"], T0)
    world.time.advance_to(T0 + DAY)
    world.look()
    world.capture(["b"], T0 + 10 * DAY)
    world.time.advance_to(T0 + 100 * DAY)
    world.look()
    assert days(world) == [("03-01", 1), ("03-11", 1), *((f"{T0 + day * DAY:%m-%d}", 0) for day in range(72, 100))]
    assert monitor.due(world.shop, "demo") == []


def test_of_more_than_a_look_judges_recent_windows_come_first_and_then_the_newest(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "CATCH_UP", 10)
    world.time.advance_to(T0 + 60 * DAY)
    for day in range(0, 20, 2):
        world.capture([f"{day}-{i}" for i in range(20)], T0 + day * DAY, late=58 * DAY - day * DAY)
    world.look()
    assert [day for day, _ in days(world)] == ["03-19", "04-28", "04-29"]
    with monkeypatch.context() as patch, pytest.raises(Stopped):  # killed in the middle of the second look
        judge = monitor.judge
        judged: list[windows.Span] = []

        def stopping(shop: Any, model: str, span: windows.Span, *args: Any, **how: Any) -> Any:
            if judged:
                raise Stopped
            judged.append(span)
            return judge(shop, model, span, *args, **how)

        patch.setattr(looking, "judge", stopping)
        world.look()
    looks = 0
    while monitor.due(world.shop, "demo"):
        assert len(monitor.due(world.shop, "demo")) <= 10
        world.look()
        looks += 1
    assert looks < 6 and labelling.last_look(world.shop, "demo").left == ()
    for kind in ("drift", "performance"):
        assert [day for day, rows in days(world, kind) if rows] == [f"{T0 + day * DAY:%m-%d}" for day in range(0, 20, 2)], kind
    assert {w.revision for w in world.shop.book.between("demo")} == {1}


def test_what_ended_before_the_windows_changed_is_left_alone_whenever_its_rows_come(world: Watched) -> None:
    world.capture(["a"], T0)
    world.time.advance_to(T0 + 3 * DAY)
    world.look()
    world.enforce(watching(window="12h"), "config-2")
    world.time.advance_to(T0 + 4 * DAY)
    world.look()
    before = {(w.monitor, w.start, w.end) for w in world.shop.book.between("demo")}
    world.capture([f"b{i}" for i in range(60)], T0 - 5 * DAY, late=9 * DAY)
    world.look()
    assert {(w.monitor, w.start, w.end) for w in world.shop.book.between("demo")} == before


def test_rows_from_before_1970_that_are_there_already_break_nothing(world: Watched) -> None:
    """As an earlier release took them in."""
    long_ago = datetime.fromisoformat("1926-01-01T00:00:00+00:00")
    world.capture(["old"], long_ago)
    world.capture([f"a{i}" for i in range(60)], T0)
    world.time.advance_to(T0 + DAY)
    assert world.label({"a1": 2.0, "old": 2.0})["matched"] == 2
    world.look()
    assert (world.words("data_quality")[0].start[:10], world.words("data_quality")[0].evidence["rows"]) == ("1926-01-01", 1)
    assert days(world)[-1] == ("03-01", 60) and monitor.due(world.shop, "demo") == []
    where = history.folder(world.shop, "demo")
    captured.compact(where, today="20260302")
    assert captured.read(where).height == 61
    assert captured.trim(where, before=T0).rows == 1


def test_coverage_looks_no_farther_back_than_it_shows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, real, reckoned = Watched(home, monkeypatch, watching(window="15m")), windows.windows, list[int]()
    world.capture(["old"], datetime.fromisoformat("2018-01-01T00:00:00+00:00"))
    world.capture(["new"], T0)
    world.time.advance_to(T0 + timedelta(minutes=40))
    monkeypatch.setattr(windows, "windows", lambda *asked: reckoned.append(len(found := real(*asked))) or found)  # type: ignore[func-returns-value]
    found = labelling.coverage(world.shop, "demo")["windows"]
    assert (len(found), found[-3]["start"], found[-3]["rows"]) == (50, T0.isoformat(), 1)
    assert reckoned == [101]
