"""The journal: whoever edits, deletes, inserts, reorders or cuts off entries is found out; without `keep_head` by the chain alone."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.clock import ReplayClock
from modelyard.database import Database
from modelyard.errors import YardError
from modelyard.events import AlertSent, Event, RunEnded, RunStarted, StepDone
from modelyard.registry import journal as module
from modelyard.registry.journal import Journal

COUNT = 6
FIELDS = ("seq", "at", "recorded_at", "model", "kind", "data", "hash")


def facts() -> list[Event]:
    return [
        RunStarted("m", "up-1", "up", "ada", "because ümläut \U0001f600"),
        StepDone("m", "up-1", "data", 1.25),
        AlertSent("n", "drift", "a", 2, ["no route"]),
        AlertSent("n", "drift", "a", 2, ["no route"]),
        StepDone("m", "up-1", "train", 0.5),
        RunEnded("m", "up-1", "done", "well"),
    ]


def opened(folder: Path) -> Journal:
    return Journal(Database(folder / "state.sqlite"), ReplayClock(datetime(2026, 1, 1, tzinfo=UTC)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose journal holds `facts`, one append each."""
    folder = tmp_path_factory.mktemp("written")
    journal = opened(folder)
    for fact in facts():
        journal.append([fact])
    return folder


@contextmanager
def tampered(written: Path, *statements: str, keep_head: bool = True) -> Iterator[Path]:
    """A copy of that home in which somebody ran SQL on the journal."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copyfile(written / "state.sqlite", home / "state.sqlite")
        if keep_head:
            shutil.copyfile(written / "journal.head", home / "journal.head")
        with closing(sqlite3.connect(home / "state.sqlite")) as connection, connection:
            changed = sum(connection.execute(statement).rowcount for statement in statements)
        assert changed > 0, "the fault fired"
        yield home


def found_out(home: Path) -> str:
    """What opening and verifying says; fails where it says nothing."""
    with pytest.raises(YardError) as caught:
        opened(home).verify()
    return str(caught.value)


def test_entries_come_back_as_they_were_written(written: Path) -> None:
    journal = opened(written)
    assert journal.verify() == COUNT
    assert [e.event for e in journal.entries()] == facts()
    assert [e.seq for e in journal.entries("m")] == [1, 2, 5, 6]
    assert [e.seq for e in journal.entries(after=3, limit=2)] == [5, 6]
    assert journal.entries()[0].at == "2026-01-01T00:00:00+00:00"


@settings(max_examples=60)
@given(row=st.integers(1, COUNT), field=st.sampled_from(FIELDS), data=st.data())
def test_an_edited_field_of_any_entry_is_found(written: Path, row: int, field: str, data: st.DataObject) -> None:
    with closing(sqlite3.connect(written / "state.sqlite")) as connection:
        before = connection.execute(f"select {field} from journal where seq = ?", (row,)).fetchone()[0]
    if field == "seq":
        after: Any = data.draw(st.integers(COUNT + 1, 2**40) | st.integers(-5, 0))
    elif field == "data":
        key = data.draw(st.sampled_from(sorted(json.loads(before))))
        after = json.dumps({**json.loads(before), key: data.draw(st.sampled_from(["x", 7, None, []]))})
    else:
        letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
        after = data.draw(st.text(letters).filter(lambda text: text != before))
    if after == before:
        return
    quoted = str(after) if isinstance(after, int) else "'" + after.replace("'", "''") + "'"
    with tampered(written, f"update journal set {field} = {quoted} where seq = {row}", keep_head=False) as home:
        found_out(home)


@given(row=st.integers(1, COUNT))
def test_a_deleted_entry_is_found_wherever_it_stood(written: Path, row: int) -> None:
    with tampered(written, f"delete from journal where seq = {row}") as home:
        assert ("is missing" if row < COUNT else f"ends at entry {COUNT - 1}, but {COUNT} were written") in found_out(home)


@given(row=st.integers(1, COUNT - 1))
def test_a_deleted_entry_is_found_when_the_rest_moves_up(written: Path, row: int) -> None:
    moves = [f"update journal set seq = {n - 1} where seq = {n}" for n in range(row + 1, COUNT + 1)]
    with tampered(written, f"delete from journal where seq = {row}", *moves) as home:
        found_out(home)


@given(st.lists(st.integers(1, COUNT), min_size=2, max_size=2, unique=True))
def test_two_entries_that_changed_places_are_found_even_when_they_say_the_same(written: Path, pair: list[int]) -> None:
    a, b = pair
    swap = [f"update journal set seq = -1 where seq = {a}", f"update journal set seq = {a} where seq = {b}"]
    with tampered(written, *swap, f"update journal set seq = {b} where seq = -1", keep_head=False) as home:
        assert "was changed after it was written" in found_out(home)


@given(at=st.integers(1, COUNT))
def test_an_inserted_entry_is_found(written: Path, at: int) -> None:
    moves = [f"update journal set seq = {n + 1} where seq = {n}" for n in range(COUNT, at - 1, -1)]
    copy = f"insert into journal select {at}, at, recorded_at, model, kind, data, hash from journal where seq = {at + 1}"
    with tampered(written, *moves, copy, keep_head=False) as home:
        found_out(home)


def test_a_forged_chain_is_found_by_the_head(written: Path) -> None:
    """Whoever can write the file can also compute hashes; the head kept beside names another end."""
    with tampered(written, "update journal set data = replace(data, 'ada', 'eve') where seq = 1") as home:
        with closing(sqlite3.connect(home / "state.sqlite")) as connection, connection:
            head = module.GENESIS
            for seq, at, recorded, kind, data in connection.execute("select seq, at, recorded_at, kind, data from journal order by seq"):
                head = module._digest(seq, at, recorded, kind, data, head)
                connection.execute("update journal set hash = ? where seq = ?", (head, seq))
        assert f"entry {COUNT} is not the one that was written" in found_out(home)
        (home / "journal.head").unlink()
        assert opened(home).verify() == COUNT, "the chain alone cannot tell"


@given(cut=st.integers(1, COUNT))
def test_entries_cut_off_the_end_are_found_by_the_head_across_a_restart(written: Path, cut: int) -> None:
    with tampered(written, f"delete from journal where seq > {COUNT - cut}") as home:
        assert f"the journal ends at entry {COUNT - cut}, but {COUNT} were written" in found_out(home)
        assert "delete journal.head" in found_out(home), "and stays so, until a person decides"
        (home / "journal.head").unlink()
        assert opened(home).verify() == COUNT - cut, "the chain alone cannot tell"


def test_entries_cut_off_under_a_running_owner_are_found(written: Path) -> None:
    with tampered(written, "update journal set at = at") as home:
        journal = opened(home)
        with closing(sqlite3.connect(home / "state.sqlite")) as connection, connection:
            assert connection.execute("delete from journal where seq = ?", (COUNT,)).rowcount == 1
        with pytest.raises(YardError, match=f"ends at entry {COUNT - 1}, but {COUNT} were written"):
            journal.verify()


@pytest.mark.parametrize("text", ["", "[]", '{"seq": 6}', '{"seq": "six", "hash": ""}', "\0\0"])
def test_a_head_that_holds_none_is_told(written: Path, text: str) -> None:
    with tampered(written, "update journal set at = at") as home:
        (home / "journal.head").write_text(text)
        assert "journal.head was changed" in found_out(home)


def test_a_head_that_is_gone_is_warned_of(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tampered(written, "update journal set at = at", keep_head=False) as home:
        assert opened(home).verify() == COUNT
        assert "cannot be told" in caplog.text


def test_a_head_that_is_behind_is_what_a_crash_leaves(written: Path) -> None:
    with tampered(written, "update journal set at = at") as home:
        hashes = [e.hash for e in opened(written).entries()]
        (home / "journal.head").write_text(json.dumps({"seq": COUNT - 1, "hash": hashes[COUNT - 2]}))
        journal = opened(home)
        assert journal.verify() == COUNT
        journal.append([facts()[0]])
        assert json.loads((home / "journal.head").read_text())["seq"] == COUNT + 1


KILLED = """
import itertools, os, signal, sys, threading, time
from datetime import UTC, datetime
from pathlib import Path
from modelyard.clock import ReplayClock
from modelyard.database import Database
from modelyard.events import StepDone
from modelyard.registry.journal import Journal

journal = Journal(Database(Path(sys.argv[1]) / "state.sqlite"), ReplayClock(datetime(2026, 1, 1, tzinfo=UTC)))
threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
for n in itertools.count():
    print(journal.append([StepDone("m", "r", str(n), 0.0), StepDone("m", "r", "twin", 0.0)])[-1].seq, flush=True)
"""


def test_kills_at_any_moment_leave_a_journal_that_holds(home: Path) -> None:
    acknowledged = 0
    for life in range(8):
        argv = [sys.executable, "-c", KILLED, str(home), str(0.05 + life * 0.013)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == -9, f"it was killed: {done.stderr}"
        acknowledged = max([acknowledged, *(int(line) for line in done.stdout.split("\n")[:-1])])
        there = opened(home).verify()
        assert there >= acknowledged and there % 2 == 0, "all that was acknowledged, and never half an append"
    assert acknowledged > 0


def test_many_threads_write_one_chain(home: Path) -> None:
    journal, seen = opened(home), []
    journal.subscribe(lambda entry: seen.append(entry.seq))
    threads = [
        threading.Thread(target=lambda n=n: [journal.append([StepDone("m", f"r{n}", str(i), 0.0)]) for i in range(20)]) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened(home).verify() == 120
    assert seen == list(range(1, 121)), "listeners are told in order"


def test_a_listener_that_comes_late_is_told_of_everything_once(written: Path) -> None:
    with tampered(written, "update journal set at = at") as home:
        journal, seen = opened(home), []
        journal.subscribe(lambda entry: seen.append(entry.seq))
        journal.append([facts()[0], facts()[1]])
        assert seen == list(range(1, COUNT + 3))
