"""The yard's own life: what is lost goes on, what is broken in one model stops no other, and somebody is told. Nothing is built."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard import schedules
from modelyard.clock import ReplayClock
from modelyard.config.spec import STAGES
from modelyard.durable import Run, RunRecord
from modelyard.errors import NoRoom, StepFailed, Unavailable, YardError
from modelyard.events import AlertSent, ConfigInForce, Deployed, RunnerFailed
from modelyard.flows import alerting, endpoints, monitor
from modelyard.flows.monitor.looking import CATCH_UP
from modelyard.monitor.book import Word
from modelyard.yard import Yard
from tests.build.test_processes import until
from tests.flows.releases import config

T0 = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def yard(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setattr(schedules, "TICK", 0.01)
    yard = Yard(home, ReplayClock(T0))
    yield yard
    yard.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a moment."""
    monkeypatch.setattr("modelyard.upkeep.FIRST_PAUSE", 0.05)


def enforce(yard: Yard, *models: str, live: bool = True, **parts: Any) -> None:
    """Models whose config is in force; `live`: with a version in production, as the state has it."""
    for model in models:
        settings = {**config(), **parts}
        settings["model"]["name"] = model
        yard.shop.record([ConfigInForce(model, "up-0", "c0", {str(stage): settings for stage in STAGES}, "/nowhere")])
        if live:
            yard.shop.record([Deployed(model, "production", "http://127.0.0.1:1", {"1": 100})])


def later(yard: Yard) -> None:
    """The next quarter of an hour begins."""
    assert isinstance(yard.shop.clock, ReplayClock)
    yard.shop.clock.advance_to(yard.shop.clock.now() + timedelta(minutes=15))


def alerts(yard: Yard, model: str) -> list[AlertSent]:
    return [entry.event for entry in yard.shop.journal.entries(model) if isinstance(entry.event, AlertSent)]


def start(yard: Yard, model: str, flow: str, **words: Any) -> RunRecord:
    record = yard.shop.runs.start(model, flow, {}, by="ana", **words)
    yard._going.launch(record)
    return record


# -- the watch ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("out of order"), OSError(5, "Input/output error"), YardError("no"), KeyError("x")])
def test_what_is_broken_in_one_model_ends_no_watch(yard: Yard, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    enforce(yard, "broken", "whole")
    looked: dict[str, int] = {"broken": 0, "whole": 0}

    def tick(model: str) -> None:
        looked[model] += 1
        yard.errands.done[model] = dict.fromkeys(("monitor",), yard.shop.clock.now())
        if model == "broken":
            raise error

    monkeypatch.setattr(yard, "tick", tick)
    yard.start_watching()
    for count in range(1, 8):
        later(yard)
        until(lambda count=count: looked["whole"] >= count)
    until(lambda: alerts(yard, "broken"))
    assert looked["broken"] == 1, "it waits for its pause"
    (told,) = alerts(yard, "broken")
    assert told.kind == "pipeline_failed" and "broken" in told.title
    assert str(error) in (yard.home.path / "alerts.log").read_text()
    assert alerts(yard, "whole") == []


def test_what_failed_is_looked_at_again_and_told_of_anew_once_it_was_well(yard: Yard, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    enforce(yard, "m")
    looks: list[bool] = []

    def tick(model: str) -> None:
        looks.append(len(looks) % 4 != 3)
        if looks[-1]:
            raise RuntimeError("out of order")
        yard.errands.done[model] = {"monitor": yard.shop.clock.now()}

    monkeypatch.setattr(yard, "tick", tick)
    yard.start_watching()
    for _ in range(2):
        seen = looks.count(False)
        later(yard)
        until(lambda seen=seen: looks.count(False) > seen)
    until(lambda: len(alerts(yard, "m")) == 2)
    assert looks[:8] == [True, True, True, False] * 2, "three tries said it once, and it came back after it had been well"


def test_a_garbage_segment_is_told_of_and_the_watch_goes_on(yard: Yard) -> None:
    enforce(yard, "m")
    capture = yard.home.endpoints / "m-production" / "capture"
    capture.mkdir(parents=True)
    (capture / "rows-1-2-0.parquet").write_bytes(b"no parquet at all")
    later(yard)
    yard.start_watching()
    until(lambda: alerts(yard, "m"))
    assert yard._watcher is not None and yard._watcher.is_alive()


def test_close_waits_for_the_watch_and_a_late_look_finds_a_closed_state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "TICK", 0.01)
    yard, inside, done = Yard(home, ReplayClock(T0)), threading.Event(), []
    enforce(yard, "m")
    later(yard)

    def tick(model: str) -> None:
        inside.set()
        time.sleep(0.2)
        done.append(yard.shop.runs.unfinished())  # still open

    monkeypatch.setattr(yard, "tick", tick)
    yard.start_watching()
    assert inside.wait(5)
    yard.close()
    assert done == [[]]
    with pytest.raises(Unavailable, match="closed"):
        yard.shop.runs.unfinished()


# -- what a tick does ---------------------------------------------------------------------------------------------------------------


def test_each_errand_is_done_when_its_own_time_has_come(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {"source": {"using": "csv", "location": "truth.csv"}, "schedule_expression": "0 * * * *"}
    retrain = {"on": ["schedule"], "schedule_expression": "0 6 * * *"}
    done: list[tuple[str, str]] = []
    monkeypatch.setattr(yard._upkeep, "fetch_labels", lambda model: done.append(("labels", str(yard.shop.clock.now())[11:16])))
    monkeypatch.setattr(monitor, "look", lambda shop, model, tell: done.append(("look", str(yard.shop.clock.now())[11:16])) or 0)
    enforce(yard, "m", labels=labels, retrain=retrain, monitor={"schedule_expression": "30 * * * *"})
    assert yard.errands.next_time("m") == T0 + timedelta(minutes=30)
    for _ in range(4 * 6):
        later(yard)
        yard.tick("m")
        yard.tick("m")
    assert [at for what, at in done if what == "labels"] == [f"{hour:02}:00" for hour in range(1, 7)]
    looks = [f"{hour:02}:30" for hour in range(6)]
    assert [at for what, at in done if what == "look"] == [*looks, "06:00"], "also when only the retraining's own time has come"


def test_the_labels_of_a_source_that_cannot_be_read_are_told_of_and_hold_up_no_look(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    enforce(yard, "m", labels={"source": {"using": "csv", "location": "gone.csv"}, "schedule_expression": "*/15 * * * *"})
    looks: list[str] = []
    monkeypatch.setattr(monitor, "look", lambda shop, model, tell: looks.append(model) or 0)
    for _ in range(3):
        later(yard)
        yard.tick("m")
    until(lambda: alerts(yard, "m"))
    assert len(looks) == 3 and [told.title for told in alerts(yard, "m")] == ["m: its labels cannot be fetched"]


def test_a_look_that_leaves_windows_over_is_gone_on_with_at_once(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a long downtime: CATCH_UP windows a look, so that other models get their turn between."""
    left = [2 * CATCH_UP + 7]
    looks: list[int] = []

    def look(shop: Any, model: str, tell: Any) -> int:
        looks.append(min(left[0], CATCH_UP))
        left[0] -= looks[-1]
        return looks[-1]

    monkeypatch.setattr(monitor, "look", look)
    monkeypatch.setattr(monitor, "due", lambda shop, model: [1] * left[0])
    enforce(yard, "m")
    later(yard)
    while (at := yard.errands.next_time("m")) is not None and at <= yard.shop.clock.now():
        yard.tick("m")
    assert looks == [CATCH_UP, CATCH_UP, 7] and yard.errands.next_time("m") == T0 + timedelta(minutes=30)


def test_a_look_that_a_person_asks_for_goes_on_until_nothing_is_due(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/reference/cli.md: `--now` judges every window that is due."""
    left = [2 * CATCH_UP + 7]

    def look(shop: Any, model: str, tell: Any) -> int:
        judged = min(left[0], CATCH_UP)
        left[0] -= judged
        return judged

    monkeypatch.setattr(monitor, "look", look)
    monkeypatch.setattr(monitor, "due", lambda shop, model: [1] * left[0])
    monkeypatch.setattr(yard.errands, "_govern", lambda model: None)
    enforce(yard, "m")
    run = yard.monitor("m", "ana")["run"]
    until(lambda: yard.shop.state["m"].runs[run].status != "running")
    assert yard.shop.state["m"].runs[run].reason == "1007 judged; no retraining"


def test_an_owner_that_comes_back_looks_at_once_where_it_missed_an_instant(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked at before is in the book, whoever looked."""
    yard = Yard(home, ReplayClock(T0))
    enforce(yard, "m", monitor={"schedule_expression": "0 6 * * 1", "window": "1d"})
    said = (T0.isoformat(), (T0 + timedelta(days=1)).isoformat(), "1", "healthy", "", (T0 + timedelta(days=1)).isoformat())
    yard.shop.book.put([Word("m", "drift", *said)])
    yard.close()
    yard = Yard(home, ReplayClock(T0 + timedelta(days=2)))
    assert yard.errands.next_time("m") == datetime(2026, 3, 2, 6, tzinfo=UTC), "Monday's, while nobody was there"
    monkeypatch.setattr(monitor, "look", lambda shop, model, tell: 0)
    yard.tick("m")
    assert yard.errands.next_time("m") == datetime(2026, 3, 9, 6, tzinfo=UTC)
    yard.close()


def test_a_clock_that_was_ahead_holds_up_nothing(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what was done at an hour that has not come yet, nor what the book says was judged then."""
    ahead = (T0 + timedelta(days=300)).isoformat()
    looks: list[datetime] = []
    monkeypatch.setattr(monitor, "look", lambda shop, model, tell: looks.append(shop.clock.now()) or 0)
    enforce(yard, "m")
    yard.shop.book.put([Word("m", "drift", T0.isoformat(), ahead, "1", "healthy", "", ahead)])
    with monkeypatch.context() as patch:
        patch.setattr(yard.shop.clock, "now", lambda: T0 + timedelta(days=301))
        yard.tick("m")
    assert len(looks) == 1
    for _ in range(2):
        later(yard)
        yard.errands.next_time("m")
        yard.tick("m")
    assert [at > T0 for at in looks[1:]] == [True]


def test_two_looks_at_once_judge_each_window_once(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's `monitor --now` while the schedule looks: the second one waits, and finds nothing due."""
    enforce(yard, "m")
    due, judged, inside = list(range(40)), list[int](), []

    def look(shop: Any, model: str, tell: Any) -> int:
        inside.append(1)
        assert len(inside) == 1
        found = [n for n in due if n not in judged]
        for n in found:
            time.sleep(0.001)
            judged.append(n)
        inside.pop()
        return len(found)

    monkeypatch.setattr(monitor, "look", look)
    threads = [threading.Thread(target=yard.look, args=("m",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    run = yard.monitor("m", "ana")["run"]
    for thread in threads:
        thread.join()
    assert yard.wait(run, 20)["status"] == "done" and judged == due


def test_close_does_not_wait_for_a_long_look_to_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "TICK", 0.01)
    yard, words = Yard(home, ReplayClock(T0)), list[int]()
    enforce(yard, "m")

    def look(shop: Any, model: str, tell: Any) -> int:
        for n in range(10_000):
            words.append(n)
            tell(Word("m", "drift", "", "", "1", "healthy", "", ""))
            time.sleep(0.005)
        return 10_000

    monkeypatch.setattr(monitor, "look", look)
    later(yard)
    yard.start_watching()
    until(lambda: words)
    yard.close()
    assert len(words) < 5000
    assert not (home / "alerts.log").exists(), "which is nobody's trouble"


# -- runs that are lost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", ["monitor", "up", "retrain"])
def test_a_run_lost_to_a_full_disk_goes_on_by_itself(yard: Yard, quick: None, flow: str) -> None:
    enforce(yard, "m")
    tries = []

    def work(run: Run) -> str:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise NoRoom("no space left on device")
        return "well"

    yard._flows[flow] = work
    record = start(yard, "m", flow)
    until(lambda: record.id in yard._going._lost)
    assert yard.run(record.id)["status"] == "running"
    yard.start_watching()
    until(lambda: yard.run(record.id)["status"] == "done")
    assert len(tries) == 3 and tries[2] - tries[1] > 0.05


def test_a_lost_run_waits_for_its_pause(yard: Yard) -> None:
    enforce(yard, "m")
    tries = []

    def work(run: Run) -> str:
        tries.append(1)
        raise NoRoom("no space left on device")

    yard._flows["monitor"] = work
    record = start(yard, "m", "monitor")
    until(lambda: record.id in yard._going._lost and record.id not in yard._going)
    for _ in range(5):
        assert yard.tick("m") is None
    assert tries == [1]


def test_an_end_that_cannot_be_written_leaves_a_run_that_goes_on(yard: Yard, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    enforce(yard, "m")
    yard._flows["up"] = lambda run: "well"
    real, failed = yard.shop.runs.end, []

    def end(*args: Any) -> None:
        if not failed:
            failed.append(1)
            raise RuntimeError("a mistake of ours")
        real(*args)

    monkeypatch.setattr(yard.shop.runs, "end", end)
    record = start(yard, "m", "up")
    until(lambda: record.id in yard._going._lost)
    *_, last = yard.follow(record.id)
    assert (last["kind"], last["what"]) == ("error", "RuntimeError: a mistake of ours")
    yard.start_watching()
    until(lambda: yard.run(record.id)["status"] == "done")


def test_an_alert_that_cannot_be_made_keeps_no_run_from_its_end(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def alert(*_: Any) -> list[AlertSent]:
        raise RuntimeError("the channel is broken")

    enforce(yard, "m")
    monkeypatch.setattr(alerting, "alert", alert)
    yard._flows["up"] = lambda run: (_ for _ in ()).throw(YardError("it went wrong"))
    assert yard.wait(start(yard, "m", "up").id, 10)["status"] == "failed"


def test_words_of_a_full_disk_in_a_log_make_no_run_endless(yard: Yard) -> None:
    def work(run: Run) -> str:
        raise StepFailed("train.py ended with code 1", log_tail=("disk is full",))

    enforce(yard, "m")
    yard._flows["up"] = work
    assert yard.wait(start(yard, "m", "up").id, 10)["status"] == "failed"


def test_a_run_that_two_ask_for_runs_once(yard: Yard) -> None:
    entered, free = [], threading.Event()

    def work(run: Run) -> str:
        entered.append(run.id)
        free.wait(10)
        return "well"

    yard._flows["up"] = work
    record = yard.shop.runs.start("m", "up", {}, by="ana")
    asking = [threading.Thread(target=yard._going.launch, args=(record,)) for _ in range(20)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    free.set()
    yard.wait(record.id, 10)
    assert entered == [record.id]


def test_a_hundred_runs_that_wait_hold_up_no_monitor_no_way_back_and_no_build(yard: Yard) -> None:
    free = threading.Event()
    yard._flows |= {"up": lambda run: str(free.wait(30)), "rollback": lambda run: "back", "monitor": lambda run: "well"}
    yard._flows["build"] = lambda run: "built"
    for n in range(100):
        start(yard, f"m{n}", "up")
    try:
        for flow in ("rollback", "monitor"):
            assert yard.wait(start(yard, "m1", flow).id, 10)["status"] == "done"
        assert yard.wait(start(yard, "another", "build").id, 10)["status"] == "done"
    finally:
        free.set()


# -- endpoints ----------------------------------------------------------------------------------------------------------------------


def test_an_endpoint_that_did_not_come_up_is_told_of_and_tried_again(yard: Yard, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    enforce(yard, "m", "n")
    tries: list[str] = []

    def restore(shop: Any, model: str, stage: str, rollout: Any) -> None:
        tries.append(model)
        if model == "m" and tries.count("m") < 3:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(endpoints, "restore", restore)
    yard.open()
    assert tries == ["m", "n"], "one that cannot come up keeps no other down"
    yard.start_watching()
    until(lambda: tries.count("m") == 3 and alerts(yard, "m"))
    time.sleep(0.3)
    assert (tries.count("m"), tries.count("n")) == (3, 1), "what is up is left alone"
    (told,) = alerts(yard, "m")
    assert (told.kind, told.title) == ("rollback", "m: production cannot come up")


def test_a_runner_that_dies_again_and_again_in_production_is_told_of_once(yard: Yard) -> None:
    enforce(yard, "m")
    for _ in range(6):
        yard._runner_failed("m", "staging", "1", "a runner ended with code 1")
    assert alerts(yard, "m") == []
    for _ in range(6):
        yard._runner_failed("m", "production", "1", "a runner ended with code 1")
    until(lambda: alerts(yard, "m"))
    (told,) = alerts(yard, "m")
    assert told.kind == "rollback" and "m:1" in told.title
    assert sum(isinstance(e.event, RunnerFailed) for e in yard.shop.journal.entries("m")) == 12
    assert str(RunnerFailed("m", "production", "", "the front ended with code -9")) == "production m: the front ended with code -9"
