"""Durable runs: what a receipt promises, one promise a test. Process kills are in test_kill.py."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from modelyard.clock import ReplayClock
from modelyard.database import Database
from modelyard.durable import Outcome, Run, RunRecord, Runs, Stopped
from modelyard.errors import NoRoom, YardError
from modelyard.events import ApprovalWaived, RunEnded, RunResumed, RunStarted, StepDone
from modelyard.feed import Feed
from modelyard.registry.journal import Journal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)


@dataclass
class Life:
    """One life of the owner over a home: made again, it is what a restart finds."""

    home: Path
    clock: ReplayClock = field(default_factory=lambda: ReplayClock(NOW))

    def __post_init__(self) -> None:
        self.database = Database(self.home / "state.sqlite")
        self.journal = Journal(self.database, self.clock)
        self.runs = Runs(self.database, self.journal, self.clock, self.home / "runs")

    def again(self) -> Life:
        self.database.close()
        return Life(self.home, self.clock)

    def start(self, **words: Any) -> RunRecord:
        return self.runs.start("m", "up", {"x": [1]}, by="ada", **words)

    def told(self) -> list[Any]:
        return [entry.event for entry in self.journal.entries()]

    @contextmanager
    def failing(self, statement: str, error: BaseException) -> Iterator[list[str]]:
        """The storage fails at the first SQL statement that begins like this; what is yielded shows that it did."""
        fired: list[str] = []
        real = Database.transaction

        @contextmanager
        def transaction(database: Database) -> Iterator[Any]:
            with real(database) as connection:
                yield _Failing(connection, statement, error, fired)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Database, "transaction", transaction)
            yield fired


class _Failing:
    def __init__(self, connection: Any, statement: str, error: BaseException, fired: list[str]) -> None:
        self._connection, self._statement, self._error, self._fired = connection, statement, error, fired

    def execute(self, statement: Any) -> Any:
        if str(statement).startswith(self._statement) and not self._fired:
            self._fired.append(self._statement)
            raise self._error
        return self._connection.execute(statement)


@pytest.fixture
def life(home: Path) -> Life:
    return Life(home)


def fact(reason: str) -> ApprovalWaived:
    return ApprovalWaived("m", "1", "staging", reason)


# -- steps ------------------------------------------------------------------------------------------------------------------------


def test_a_step_is_done_once_in_the_life_of_a_run(life: Life) -> None:
    calls: list[str] = []

    def flow(run: Run) -> Any:
        first = run.step("first", lambda: calls.append("first") or {"n": (1, 2)})
        return first, run.step("second", lambda: calls.append("second") or "b")

    record = life.start()
    found = life.runs.execute(record, flow)
    assert found == ({"n": [1, 2]}, "b"), "a first run gets what a replay gets: JSON has no tuples"
    life = life.again()
    assert life.runs.execute(record, flow) == found
    assert calls == ["first", "second"]
    kinds = [(i["kind"], i.get("step")) for i in life.runs.feed(record.id).items()]
    assert kinds[-3:] == [("resumed", None), ("step_kept", "first"), ("step_kept", "second")]
    done = [e.step for e in life.told() if isinstance(e, StepDone)]
    assert done == ["first", "second"]
    assert [e.completed for e in life.told() if isinstance(e, RunResumed)] == [2]


def test_a_step_that_raised_is_done_again_and_left_nothing(life: Life) -> None:
    record, fail = life.start(), [True]

    def work() -> Outcome[int]:
        if fail:
            raise ValueError("no luck")
        return Outcome(1, [fact("told")])

    with pytest.raises(ValueError, match="no luck"):
        life.runs.execute(record, lambda run: run.step("s", work))
    assert life.told() == [RunStarted("m", record.id, "up", "ada")]
    fail.clear()
    assert life.runs.execute(record, lambda run: run.step("s", work)) == 1


@pytest.mark.parametrize("at", ["INSERT INTO journal", "INSERT INTO receipts"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("killed")], ids=["interrupt", "error"])
def test_a_receipt_and_its_facts_are_written_together_or_not_at_all(life: Life, at: str, error: BaseException) -> None:
    record, calls = life.start(), []
    before = life.told()

    def flow(run: Run) -> Any:
        return run.step("s", lambda: calls.append(1) or Outcome("v", [fact("a"), fact("b")]))

    with life.failing(at, error) as fired, pytest.raises(type(error)):
        life.runs.execute(record, flow)
    assert fired == [at]
    for restarted in (False, True):
        life = life.again() if restarted else life
        assert life.told() == before
        assert life.runs.receipt(record.id, "s") == (False, None)
        assert life.journal.verify() == len(before)
    assert life.runs.execute(record, flow) == "v"
    assert len(calls) == 2
    told = life.told()[len(before) :]
    assert told[:2] == [fact("a"), fact("b")] and isinstance(told[2], StepDone) and len(told) == 3


def full(words: str = "database or disk is full", name: str = "SQLITE_FULL") -> OperationalError:
    import sqlite3

    cause = sqlite3.OperationalError(words)
    cause.sqlite_errorname = name
    return OperationalError("INSERT", {}, cause)


def test_a_storage_error_while_a_receipt_is_written_is_told_as_such(life: Life) -> None:
    record = life.start()
    with life.failing("INSERT INTO receipts", full()) as fired, pytest.raises(NoRoom, match="database or disk is full"):
        life.runs.execute(record, lambda run: run.step("s", lambda: 1))
    assert fired
    assert [r.id for r in life.runs.unfinished()] == [record.id], "it is to go on when there is room"
    assert life.runs.execute(record, lambda run: run.step("s", lambda: 2)) == 2


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({1, 2}, "set is not JSON serializable"),
        (math.nan, "Out of range float"),
        ([{"a": math.inf}], "Out of range float"),
        ({"a": [{1: "x"}]}, "the key 1 would come back as text"),
        (NOW, "datetime is not JSON serializable"),
    ],
)
def test_what_is_not_json_is_refused_with_the_steps_name(life: Life, value: Any, why: str) -> None:
    record = life.start()
    with pytest.raises(YardError, match=why) as caught:
        life.runs.execute(record, lambda run: run.step("weigh", lambda: Outcome(value, [fact("told")])))
    assert "what `weigh` returned cannot be kept" in str(caught.value)
    assert life.runs.receipt(record.id, "weigh") == (False, None)
    assert len(life.told()) == 1, "no fact without its receipt"


def test_what_a_run_is_asked_and_told_must_be_json_too(life: Life) -> None:
    with pytest.raises(YardError, match="is asked to do cannot be kept"):
        life.runs.start("m", "up", {"x": {1}}, by="ada")
    with pytest.raises(YardError, match="the message `t` cannot be kept"):
        life.runs.send(life.start().id, "t", {1})
    assert len(life.told()) == 1


def test_two_steps_of_one_name_are_refused(life: Life) -> None:
    def flow(run: Run) -> None:
        run.step("same", lambda: 1)
        run.step("same", lambda: 2)

    with pytest.raises(YardError, match="two steps named `same`"):
        life.runs.execute(life.start(), flow)


def test_facts_told_between_steps_are_told_once(life: Life) -> None:
    def flow(run: Run) -> None:
        run.tell("config", fact("once"), fact("twice"))

    record = life.start()
    life.runs.execute(record, flow)
    life = life.again()
    life.runs.execute(record, flow)
    assert [e for e in life.told() if isinstance(e, ApprovalWaived)] == [fact("once"), fact("twice")]


def test_stopping_leaves_the_run_at_its_next_step(life: Life) -> None:
    record = life.start()

    def flow(run: Run) -> None:
        run.step("first", life.runs.stop)
        run.step("second", lambda: pytest.fail("it was to stop"))

    with pytest.raises(Stopped):
        life.runs.execute(record, flow)
    with pytest.raises(Stopped):
        life.runs.execute(record, lambda run: None)
    life = life.again()
    assert [r.id for r in life.runs.unfinished()] == [record.id]
    assert life.runs.receipt(record.id, "first") == (True, None)


def test_what_fails_while_everything_is_ended_did_not_fail(life: Life) -> None:
    def work() -> None:
        life.runs.stop()
        raise ValueError("its process was ended under it")

    with pytest.raises(Stopped):
        life.runs.execute(life.start(), lambda run: run.step("s", work))


# -- steps beside each other ------------------------------------------------------------------------------------------------------


def test_independent_steps_run_at_the_same_time_and_keep_their_own_receipts(life: Life) -> None:
    record, calls, gate = life.start(), [], threading.Barrier(3)

    def work(name: str) -> Callable[[], Any]:
        def do() -> Outcome[str]:
            gate.wait(20)  # breaks unless all three are here at once
            calls.append(name)
            return Outcome(name.upper(), [fact(name)])

        return do

    def flow(run: Run) -> Any:
        return run.together({name: work(name) for name in ("b", "a", "c")})

    found = life.runs.execute(record, flow)
    assert found == {"b": "B", "a": "A", "c": "C"} and list(found) == ["b", "a", "c"]
    life = life.again()
    assert life.runs.execute(record, flow) == found
    assert sorted(calls) == ["a", "b", "c"]
    assert sorted(e.reason for e in life.told() if isinstance(e, ApprovalWaived)) == ["a", "b", "c"]


@pytest.mark.parametrize("kept", [(), ("a",), ("b",), ("a", "b"), ("a", "b", "c")])
def test_after_a_kill_only_what_has_no_receipt_is_done_again(life: Life, kept: tuple[str, ...]) -> None:
    record, calls = life.start(), []
    for name in kept:  # a kill leaves any subset of the receipts, each with its facts
        life.runs.keep(record.id, name, name, [])
    life = life.again()
    found = life.runs.execute(record, lambda run: run.together({n: lambda n=n: calls.append(n) or n for n in ("a", "b", "c")}))
    assert found == {"a": "a", "b": "b", "c": "c"}
    assert sorted(calls) == sorted({"a", "b", "c"} - set(kept))


_KILLED = """
import sys, time
from pathlib import Path
from tests.test_durable import Life
life = Life(Path(sys.argv[1]))
def slow():
    print("began", flush=True)
    time.sleep(600)
def quick():
    return "quick"
life.runs.execute(life.start(id="r"), lambda run: run.together({"slow": slow, "quick": quick}))
"""


def test_a_process_that_is_killed_beside_a_step_that_ended_keeps_that_one(home: Path) -> None:
    """SIGKILL once one receipt is written and the other step is under way."""
    with subprocess.Popen([sys.executable, "-c", _KILLED, str(home)], stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent) as process:
        assert process.stdout is not None and process.stdout.readline() == b"began\n"
        feed = Feed(home / "runs" / "r" / "feed.jsonl")
        until(lambda: any(i["kind"] == "step_done" for i in feed.items()))
        process.kill()
    life = Life(home)
    record = life.runs.get("r")
    assert record is not None and life.journal.verify() == 2
    flow: Any = lambda run: run.together({"slow": lambda: "again", "quick": lambda: pytest.fail("it was done")})  # noqa: E731
    assert life.runs.execute(record, flow) == {"slow": "again", "quick": "quick"}
    assert sorted(e.step for e in life.told() if isinstance(e, StepDone)) == ["quick", "slow"]


def test_the_first_failure_is_raised_after_the_others_have_ended(life: Life) -> None:
    record, failed, ended = life.start(), threading.Event(), []

    def first() -> None:
        failed.set()
        raise ValueError("first")

    def slow() -> str:
        assert failed.wait(20)
        time.sleep(0.05)
        ended.append("slow")
        return "kept"

    def second() -> None:
        assert failed.wait(20)
        time.sleep(0.02)
        raise KeyError("second")

    with pytest.raises(ValueError, match="first"):
        life.runs.execute(record, lambda run: run.together({"slow": slow, "second": second, "first": first}))
    assert ended == ["slow"]
    assert life.runs.receipt(record.id, "slow") == (True, "kept"), "what went well is not done again"
    assert life.runs.receipt(record.id, "first") == (False, None)


def test_nothing_is_begun_after_a_failure(life: Life) -> None:
    def fail() -> None:
        raise ValueError("no luck")

    def flow(run: Run) -> Any:
        return run.together({"a": fail, "b": lambda: pytest.fail("it was begun")}, at_most=1)

    with pytest.raises(ValueError, match="no luck"):
        life.runs.execute(life.start(), flow)


def test_stopping_leaves_steps_beside_each_other_unfinished(life: Life) -> None:
    record, stopped = life.start(), threading.Event()

    def stop() -> str:
        life.runs.stop()
        stopped.set()
        return "done"

    def cut() -> None:
        assert stopped.wait(20)
        raise ValueError("its process was ended under it")

    with pytest.raises(Stopped):
        life.runs.execute(record, lambda run: run.together({"stop": stop, "cut": cut}))
    life = life.again()
    assert [r.id for r in life.runs.unfinished()] == [record.id]
    assert life.runs.receipt(record.id, "stop") == (True, "done")
    assert life.runs.receipt(record.id, "cut") == (False, None)


def test_names_beside_each_other_are_names_of_the_run(life: Life) -> None:
    def flow(run: Run) -> None:
        run.step("same", lambda: 1)
        run.together({"other": lambda: pytest.fail("it was begun"), "same": lambda: 2})

    with pytest.raises(YardError, match="two steps named `same`"):
        life.runs.execute(life.start(), flow)
    assert life.runs.execute(life.start(), lambda run: run.together({})) == {}


# -- runs -------------------------------------------------------------------------------------------------------------------------


def test_unfinished_runs_are_listed_oldest_first_until_they_end(life: Life) -> None:
    names = [life.runs.start("m", "up", {}, by="ada", id=id).id for id in ("c", "a", "b")]
    life.runs.start("other", "up", {}, by="ada", id="z")
    assert [r.id for r in life.runs.unfinished("m")] == names
    assert [r.id for r in life.runs.unfinished()] == [*names, "z"]
    record = life.runs.get("a")
    assert record is not None and record.status == "running"
    life.runs.end(record, "done", "well")
    life = life.again()
    assert [r.id for r in life.runs.unfinished("m")] == ["c", "b"]
    assert life.runs.get("a") == RunRecord("a", "m", "up", {}, "done")
    assert life.runs.get("nobody") is None


def test_a_run_ends_once(life: Life) -> None:
    record = life.start()
    life.runs.end(record, "done", "well")
    life.runs.end(record, "failed", "too late")
    assert [e for e in life.told() if isinstance(e, RunEnded)] == [RunEnded("m", record.id, "done", "well")]
    assert [i["status"] for i in life.runs.feed(record.id).items() if i["kind"] == "ended"] == ["done"]


def test_a_run_whose_id_is_there_already_is_given_back_as_it_is(life: Life) -> None:
    first = life.start(id="retrain-7")
    life.runs.end(first, "done")
    assert life.runs.start("m", "up", {"other": 1}, by="bob", id="retrain-7") == RunRecord("retrain-7", "m", "up", {"x": [1]}, "done")
    assert len([e for e in life.told() if isinstance(e, RunStarted)]) == 1


def test_of_many_that_start_one_id_at_once_one_does(life: Life) -> None:
    gate, found = threading.Barrier(8), []

    def start() -> None:
        gate.wait()
        found.append(life.start(id="same"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(map(str, found))) == 1
    assert len([e for e in life.told() if isinstance(e, RunStarted)]) == 1


# -- messages ---------------------------------------------------------------------------------------------------------------------


def waiter(run: Run) -> Any:
    return run.wait("word", TOMORROW)


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found


def until(met: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


def test_a_message_before_the_wait_is_there_when_it_comes(life: Life) -> None:
    record = life.start()
    assert life.runs.send(record.id, "word", {"yes": True}, fact("approved"))
    assert life.runs.execute(record, waiter) == {"yes": True}
    assert fact("approved") in life.told()


def test_a_message_in_the_wait_wakes_it(life: Life) -> None:
    record = life.start()
    thread, found = in_thread(lambda: life.runs.execute(record, waiter))
    until(lambda: any(i["kind"] == "waiting" for i in life.runs.feed(record.id).items()))
    assert not found
    life.runs.send(record.id, "other", "not for it")
    life.runs.send("other-run", "word", "not for it")
    life.runs.send(record.id, "word", [1])
    thread.join(20)
    assert found == [[1]]


def test_a_message_while_the_waiting_process_was_down_is_delivered(life: Life) -> None:
    record = life.start()

    def wait() -> str:
        try:
            return str(life.runs.execute(record, waiter))
        except Stopped:
            return "stopped"

    thread, found = in_thread(wait)
    until(lambda: any(i["kind"] == "waiting" for i in life.runs.feed(record.id).items()))
    life.runs.stop()
    thread.join(20)
    assert found == ["stopped"]
    other = life.again()
    assert other.runs.send(record.id, "word", "yes")
    third = other.again()
    assert third.runs.execute(record, waiter) == "yes"
    assert third.again().runs.execute(record, waiter) == "yes", "and again, whenever the flow comes by"


def test_the_first_message_wins_and_the_second_one_leaves_no_trace(life: Life) -> None:
    record = life.start()
    assert life.runs.send(record.id, "word", "yes", fact("yes"))
    assert not life.runs.send(record.id, "word", "no", fact("no"))
    assert life.runs.execute(record, waiter) == "yes"
    assert fact("yes") in life.told() and fact("no") not in life.told()


def test_of_messages_that_race_one_wins(life: Life) -> None:
    record, gate, won = life.start(), threading.Barrier(8), []

    def send(number: int) -> None:
        gate.wait()
        if life.runs.send(record.id, "word", number, fact(str(number))):
            won.append(number)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert life.runs.execute(record, waiter) == won[0]
    assert [e.reason for e in life.told() if isinstance(e, ApprovalWaived)] == [str(won[0])]


def test_the_deadline_goes_by_the_injected_clock_and_survives_restarts(life: Life) -> None:
    record = life.start()
    thread, found = in_thread(lambda: life.runs.execute(record, waiter))
    until(lambda: any(i["kind"] == "waiting" for i in life.runs.feed(record.id).items()))
    life.clock.advance_to(TOMORROW - timedelta(seconds=1))
    time.sleep(1.1)  # two of its looks
    assert thread.is_alive() and not found, "not yet"
    life.clock.advance_to(TOMORROW)
    thread.join(20)
    assert found == [None]


def test_a_message_after_the_deadline_is_too_late_for_ever(life: Life) -> None:
    record = life.start()
    life.clock.advance_to(TOMORROW)
    assert life.runs.execute(record, waiter) is None
    assert not life.runs.send(record.id, "word", "yes", fact("late"))
    life = life.again()
    assert life.runs.execute(record, waiter) is None, "a restart does not decide otherwise"
    assert fact("late") not in life.told()


def test_a_message_that_cannot_be_stored_is_not_delivered(life: Life) -> None:
    record = life.start()
    with life.failing("INSERT INTO messages", full()) as fired, pytest.raises(NoRoom):
        life.runs.send(record.id, "word", "yes", fact("yes"))
    assert fired and fact("yes") not in life.told()
    assert life.runs.send(record.id, "word", "yes", fact("yes")), "once there is room"


def test_everything_of_a_run_is_in_one_file(life: Life) -> None:
    record = life.start()
    life.runs.execute(record, lambda run: run.step("s", lambda: 1))
    with life.database.transaction() as tx:
        assert tx.execute(text("pragma integrity_check")).scalar_one() == "ok"
        assert tx.execute(text("pragma journal_mode")).scalar_one() == "delete"
        assert tx.execute(text("pragma synchronous")).scalar_one() == 3, "EXTRA"
