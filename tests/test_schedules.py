"""The schedules of many models: each in its time, none twice, none for another's sake never, and idling costs nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard import schedules
from modelyard.clock import ReplayClock
from modelyard.config.spec import STAGES, Config
from modelyard.events import ConfigInForce, Deployed
from modelyard.home import Home
from modelyard.schedules import Agenda, Schedules
from modelyard.targets.fake import FakeTarget
from modelyard.workshop import Workshop
from tests.build.test_processes import until
from tests.flows.releases import config

T0 = datetime(2026, 3, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def written(model: str, **parts: Any) -> dict[str, Any]:
    return {**config(), **parts, "model": {"name": model, "problem_type": "regression"}}


# -- what a config asks for -----------------------------------------------------------------------------------------------------


def test_every_schedule_of_a_config_is_kept() -> None:
    deploy = {"batch": {"input": "in", "output": "out", "schedule_expression": "0 3 * * *"}}
    labels = {"source": {"using": "csv", "location": "truth.csv"}, "schedule_expression": "0 * * * *"}
    retrain = {"on": ["schedule"], "schedule_expression": "0 6 * * 1"}
    watched = Config.model_validate(written("m", deploy=deploy, labels=labels, retrain=retrain))
    crons = {"monitor": "*/15 * * * *", "batch": "0 3 * * *", "labels": "0 * * * *", "retrain": "0 6 * * 1"}
    assert schedules.times(watched) == crons
    assert schedules.times(Config.model_validate(written("m"))) == {"monitor": "*/15 * * * *"}
    last = dict.fromkeys(crons, T0)
    assert schedules.next_time(watched, last) == T0 + QUARTER
    assert schedules.due(watched, last, T0 + QUARTER - timedelta(seconds=1)) == set()
    assert schedules.due(watched, last, T0 + timedelta(hours=1)) == {"monitor", "labels"}
    assert schedules.due(watched, last, T0 + timedelta(days=3)) == set(crons)


# -- the agenda -----------------------------------------------------------------------------------------------------------------

STEP = st.tuples(st.sampled_from("abcdef"), st.one_of(st.none(), st.integers(0, 50)))


@given(st.lists(st.one_of(STEP, st.integers(0, 60)), max_size=200))
def test_the_agenda_is_what_a_plain_dict_would_be(steps: list[Any]) -> None:
    agenda, plain = Agenda(), dict[str, datetime]()
    for step in steps:
        if isinstance(step, int):
            now = T0 + step * QUARTER
            wanted = sorted((at, model) for model, at in plain.items() if at <= now)
            assert agenda.due(now) == [model for _, model in wanted]
            plain = {model: at for model, at in plain.items() if at > now}
        else:
            model, minutes = step
            at = None if minutes is None else T0 + minutes * QUARTER
            agenda.put(model, at)
            plain.pop(model, None)
            plain |= {} if at is None else {model: at}


def test_an_agenda_that_changes_for_ever_does_not_grow() -> None:
    agenda = Agenda()
    for n in range(10_000):
        agenda.put("m", T0 + n * QUARTER)
    assert len(agenda._heap) < 100


# -- turns ----------------------------------------------------------------------------------------------------------------------


class Fleet:
    """Models whose schedules fire each quarter of an hour by `clock`; a look notes itself, and does what `work` says."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, count: int = 3) -> None:
        self.clock = ReplayClock(T0)
        self.shop = Workshop(Home(home), FakeTarget(), self.clock)
        self.models = [f"m{n:04}" for n in range(count)]
        self.looks: Counter[str] = Counter()
        self.at_once: Counter[str] = Counter()
        self.most = 0
        self.mended: Counter[str] = Counter()
        self.failures: list[tuple[str, str]] = []
        self.paused: set[str] = set()
        self.work: Callable[[str], object] = lambda model: None
        self.last = dict.fromkeys(self.models, T0)
        self._lock, self.closing = threading.Lock(), threading.Event()
        for model in self.models:
            self.enforce(model)
        monkeypatch.setattr(schedules, "TICK", 0.002)
        self.schedules = Schedules(
            self.shop,
            self.closing,
            next=self._next,
            look=self._look,
            mend=lambda model: self.mended.update([model]),
            failed=lambda model, exc: (self.paused.add(model), self.failures.append((model, str(exc)))),  # type: ignore[arg-type,return-value]
            well=lambda model: None,
            over=lambda model: model not in self.paused,
        )
        self.thread = threading.Thread(target=self.schedules.watch, daemon=True)

    def enforce(self, model: str, **parts: Any) -> None:
        self.shop.record([ConfigInForce(model, "up-0", "c0", {str(stage): written(model, **parts) for stage in STAGES}, "/nowhere")])
        self.shop.record([Deployed(model, "production", "http://127.0.0.1:1", {"1": 100})])

    def _next(self, model: str) -> datetime | None:
        return schedules.next_time(self.shop.config(model), {"monitor": self.last.get(model, T0)})

    def _look(self, model: str) -> None:
        with self._lock:
            self.at_once[model] += 1
            self.most = max(self.most, self.at_once[model])
        now = self.clock.now()
        try:
            self.work(model)
            self.last[model] = now
        finally:
            with self._lock:
                self.at_once[model] -= 1
                self.looks[model] += 1

    def step(self) -> None:
        self.clock.advance_to(self.clock.now() + QUARTER)

    def close(self) -> None:
        self.closing.set()
        if self.thread.is_alive():
            self.thread.join(20)
        self.shop.close()


@pytest.fixture
def fleet(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    fleet = Fleet(home, monkeypatch)
    yield fleet
    fleet.close()


def test_each_model_is_looked_at_once_an_instant(fleet: Fleet) -> None:
    fleet.thread.start()
    for count in range(1, 6):
        fleet.step()
        until(lambda count=count: min(fleet.looks[m] for m in fleet.models) >= count)
    time.sleep(0.1)
    assert set(fleet.looks.values()) == {5} and fleet.most == 1


def test_many_instants_that_were_missed_are_made_up_for_in_one_look(fleet: Fleet) -> None:
    for _ in range(200):
        fleet.step()
    fleet.thread.start()
    until(lambda: len(fleet.looks) == 3)
    time.sleep(0.1)
    assert set(fleet.looks.values()) == {1}


def test_what_is_not_done_yet_is_gone_on_with_at_once_and_others_get_their_turn(fleet: Fleet) -> None:
    """A look that leaves work over (its instant stays in the past) waits behind the models that are due."""
    left, order = {"m0000": 5}, list[str]()

    def work(model: str) -> None:
        order.append(model)
        if left.get(model, 0) > 0:
            left[model] -= 1
            fleet.last[model] -= 4 * QUARTER
            raise_back.add(model)

    raise_back: set[str] = set()
    look = fleet.schedules._look

    def keeps_back(model: str) -> None:
        before = fleet.last[model]
        look(model)
        if model in raise_back:
            raise_back.discard(model)
            fleet.last[model] = before

    fleet.schedules._look, fleet.work = keeps_back, work
    fleet.step()
    fleet.thread.start()
    until(lambda: fleet.looks["m0000"] == 6)
    assert {"m0001", "m0002"} <= set(order[:4]) and fleet.most == 1
    time.sleep(0.05)
    assert fleet.looks["m0000"] == 6


def test_a_slow_model_keeps_no_other_waiting(fleet: Fleet) -> None:
    free = threading.Event()
    fleet.work = lambda model: free.wait(20) if model == "m0000" else None
    fleet.thread.start()
    try:
        for count in range(1, 5):
            fleet.step()
            until(lambda count=count: min(fleet.looks["m0001"], fleet.looks["m0002"]) >= count)
        assert fleet.looks["m0000"] == 0 and fleet.most == 1, "nor is it looked at twice at the same time"
    finally:
        free.set()


def test_a_model_that_fails_waits_for_its_pause(fleet: Fleet) -> None:
    def work(model: str) -> None:
        if model == "m0001":
            raise ValueError("damaged")

    fleet.work = work
    fleet.thread.start()
    for count in range(1, 4):
        fleet.step()
        until(lambda count=count: fleet.looks["m0002"] >= count)
    assert fleet.failures == [("m0001", "damaged")] and fleet.looks["m0001"] == 1
    fleet.work = lambda model: None
    fleet.paused.clear()
    until(lambda: fleet.looks["m0001"] == 2)


def test_a_new_model_and_a_new_config_are_noticed(fleet: Fleet) -> None:
    fleet.thread.start()
    fleet.enforce("late")
    fleet.enforce("m0000", monitor={"schedule_expression": "0 0 1 1 *"})
    until(lambda: fleet.mended["late"] > 0)
    fleet.step()
    until(lambda: fleet.looks["late"] == 1 and fleet.looks["m0001"] == 1)
    time.sleep(0.05)
    assert fleet.looks["m0000"] == 0, "its new schedule comes round once a year"


def test_every_model_is_visited_now_and_then_and_a_quiet_turn_thinks_about_few(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(home, monkeypatch, 90)
    asked: list[str] = []
    fleet.schedules._next = lambda model: asked.append(model)  # type: ignore[func-returns-value]
    with ThreadPoolExecutor(1) as pool:
        fleet.schedules.turn(pool)
        assert sorted(asked) == fleet.models, "all are new"
        fleet.mended.clear()
        for _ in range(schedules.ROUND):
            fleet.schedules.turn(pool)
        assert set(fleet.mended.values()) == {1} and len(fleet.mended) == 90
        assert len(asked) == 90, "nothing has changed, so nothing is reckoned"
        fleet.enforce("m0007")
        fleet.schedules.turn(pool)
        assert asked[90:] == ["m0007"]
    fleet.close()


def test_close_waits_for_looks_and_begins_no_more(fleet: Fleet) -> None:
    inside, free, done = threading.Event(), threading.Event(), list[str]()

    def work(model: str) -> None:
        inside.set()
        free.wait(20)
        done.append(model)

    fleet.work = work
    fleet.step()
    fleet.thread.start()
    assert inside.wait(20)
    fleet.closing.set()
    threading.Timer(0.1, free.set).start()
    fleet.thread.join(20)
    assert not fleet.thread.is_alive() and 1 <= len(done) <= schedules.LOOKERS


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=12))
def test_whatever_the_gaps_no_instant_is_forgotten_and_none_counts_twice(minutes: list[int]) -> None:
    """The bookkeeping alone: a model is due exactly when one of its instants lies between two times at which it was done."""
    watched, last, now = Config.model_validate(written("m")), T0, T0
    for gap in minutes:
        now += timedelta(minutes=gap)
        wanted = (now - T0) // QUARTER > (last - T0) // QUARTER
        assert (schedules.due(watched, {"monitor": last}, now) == {"monitor"}) == wanted
        if wanted:
            last = now
