"""The state database under real faults: a full disk, a foreign lock, a failed fsync, a second owner. Each test shows its fault fired."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from modelyard import database as module
from modelyard.clock import ReplayClock
from modelyard.database import Database
from modelyard.errors import HomeLocked, NoRoom, Unavailable, YardError
from modelyard.events import AlertSent
from modelyard.home import Home
from modelyard.registry.journal import Journal
from tests.conftest import require

CLOCK = ReplayClock(datetime(2026, 1, 1, tzinfo=UTC))


def fact(title: str) -> AlertSent:
    return AlertSent("m", "drift", title, 0)


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code), *words], capture_output=True, text=True, timeout=60)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 512 KiB: a file system of its own."""
    require("" if os.geteuid() == 0 else "only root may mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="yard-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode != 0:
        folder.rmdir()
        require(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)
    return ballast


def test_a_full_disk_is_told_loses_nothing_and_heals(small_disk: Path) -> None:
    database = Database(small_disk / "state.sqlite")
    journal = Journal(database, CLOCK)
    journal.append([fact("before")])
    seen: list[str] = []
    journal.subscribe(lambda entry: seen.append(str(entry.event)))
    ballast = fill(small_disk)
    free = os.statvfs(small_disk)
    assert free.f_bavail == 0, "the disk is full"
    with pytest.raises(NoRoom) as caught:
        journal.append([fact("x" * 20_000)])
    assert "make room on the disk" in caught.value.next and caught.value.http_status == 507
    assert journal.verify() == 1, "what was acknowledged is there, in the process ..."
    assert len(seen) == 1, "and nobody was told of what was not written"
    database.close()
    again = Journal(Database(small_disk / "state.sqlite"), CLOCK)
    assert again.verify() == 1, "... and after a restart, on a disk that is still full"
    ballast.unlink()
    again.append([fact("x" * 20_000)])
    assert again.verify() == 2
    assert [e.event for e in again.entries()] == [fact("before"), fact("x" * 20_000)]


def test_a_file_that_may_not_grow_is_told_loses_nothing_and_heals(home: Path) -> None:
    """For those who may not mount a disk: the limit on a file's size, in a process of its own."""
    done = python(
        """
        import resource, signal, sys
        from datetime import UTC, datetime
        from pathlib import Path
        from modelyard.clock import ReplayClock
        from modelyard.database import Database
        from modelyard.errors import NoRoom
        from modelyard.events import AlertSent
        from modelyard.registry.journal import Journal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        path = Path(sys.argv[1]) / "state.sqlite"
        journal = Journal(Database(path), ReplayClock(datetime(2026, 1, 1, tzinfo=UTC)))
        journal.append([AlertSent("m", "drift", "before", 0)])
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
        try:
            journal.append([AlertSent("m", "drift", "x" * 200_000, 0)])
        except NoRoom as exc:
            print("fired:", exc.what)
        print("kept:", journal.verify())
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        journal.append([AlertSent("m", "drift", "x" * 200_000, 0)])
        print("healed:", journal.verify())
        """,
        str(home),
    )
    assert done.stdout.splitlines()[1:] == ["kept: 1", "healed: 2"], done.stdout + done.stderr
    assert done.stdout.startswith("fired: the state database could not be written")
    assert Journal(Database(home / "state.sqlite"), CLOCK).verify() == 2


def test_a_head_that_cannot_be_written_stays_behind_and_catches_up(home: Path) -> None:
    journal = Journal(Database(home / "state.sqlite"), CLOCK)
    journal.append([fact("one")])
    before = (home / "journal.head").read_text()
    (home / "journal.partial").mkdir()  # in the place where the new head is written first
    journal.append([fact("two")])
    assert (home / "journal.head").read_text() == before, "the fault fired"
    again = Journal(Database(home / "state.sqlite"), CLOCK)
    assert again.verify() == 2
    (home / "journal.partial").rmdir()
    again.append([fact("three")])
    assert '"seq": 3' in (home / "journal.head").read_text()


def test_a_foreign_lock_is_waited_for_a_bounded_time_and_then_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.5)
    journal = Journal(Database(home / "state.sqlite"), CLOCK)
    journal.append([fact("one")])
    foreign = sqlite3.connect(home / "state.sqlite", isolation_level=None)
    for lock, release in (("begin immediate", "rollback"), ("begin; select * from journal", "rollback")):
        for statement in lock.split(";"):
            foreign.execute(statement).fetchone()
        began = time.monotonic()
        with pytest.raises(HomeLocked, match="another program holds the state database") as caught:
            journal.append([fact("two")])
        assert 0.4 < time.monotonic() - began < 10
        assert "stop that program" in caught.value.next
        foreign.execute(release)
        assert journal.verify() == 1, "no update was lost, and none half made"
    journal.append([fact("two")])
    assert [e.event for e in journal.entries()] == [fact("one"), fact("two")]
    foreign.close()


def test_a_lock_that_goes_in_time_is_not_even_noticed(home: Path) -> None:
    journal = Journal(Database(home / "state.sqlite"), CLOCK)
    foreign = sqlite3.connect(home / "state.sqlite", isolation_level=None, check_same_thread=False)
    foreign.execute("begin immediate")
    import threading

    timer = threading.Timer(0.5, lambda: foreign.execute("rollback"))
    timer.start()
    began = time.monotonic()
    journal.append([fact("one")])
    assert time.monotonic() - began > 0.3, "it was locked"
    assert journal.verify() == 1


def test_after_a_failed_fsync_nothing_is_written_until_a_restart(home: Path) -> None:
    """Linux forgets what it could not write: an fsync that goes well after one that failed proves nothing. By strace's fault injection."""
    require("" if shutil.which("strace") else "strace is not installed")
    code = """
        import sys
        from datetime import UTC, datetime
        from pathlib import Path
        from modelyard.clock import ReplayClock
        from modelyard.database import Database
        from modelyard.errors import NoRoom
        from modelyard.events import AlertSent
        from modelyard.registry.journal import Journal

        journal = Journal(Database(Path(sys.argv[1]) / "state.sqlite"), ReplayClock(datetime(2026, 1, 1, tzinfo=UTC)))
        for title in ("one", "two", "three"):
            try:
                journal.append([AlertSent("m", "drift", title, 0)])
            except NoRoom as exc:
                print(exc)
    """
    trace = home / "trace"
    # the first life syncs without fault: tables are made, and the head of an empty journal is none
    Journal(Database(home / "state.sqlite"), CLOCK).append([fact("zero")])
    inject = ["strace", "-f", f"-o{trace}", f"-P{home / 'state.sqlite'}", "-etrace=fdatasync", "-einject=fdatasync:error=EIO:when=1"]
    done = subprocess.run([*inject, sys.executable, "-c", textwrap.dedent(code), str(home)], capture_output=True, text=True, timeout=120)
    if "ptrace" in done.stderr.lower():
        require(f"strace may not trace here: {done.stderr.strip()[:200]}")
    assert "(INJECTED)" in trace.read_text(), "the fault fired"
    said = done.stdout.strip().split("next:")
    assert len(said) == 4 and "SQLITE_IOERR" in said[0], done.stdout + done.stderr
    assert trace.read_text().count("fdatasync(") == 2, "one that failed, one of the rollback, and none after that"
    again = Journal(Database(home / "state.sqlite"), CLOCK)
    assert again.verify() == 1
    again.append([fact("one")])
    assert again.verify() == 2


def test_a_damaged_file_is_told_as_such(home: Path) -> None:
    (home / "state.sqlite").write_bytes(b"no database, though long enough to be looked at " * 100)
    with pytest.raises(YardError, match="the state database is damaged") as caught:
        Database(home / "state.sqlite")
    assert "backup" in caught.value.next


def test_an_error_in_a_transaction_takes_all_of_it_back(home: Path) -> None:
    database = Database(home / "state.sqlite")
    with pytest.raises(ZeroDivisionError), database.transaction() as tx:
        tx.execute(text("insert into journal values (1, '', '', 'm', 'k', '{}', 'h')"))
        with database.transaction() as inner:
            assert inner is tx, "a nested call joins"
            inner.execute(text("insert into journal values (2, '', '', 'm', 'k', '{}', 'h')"))
        raise ZeroDivisionError
    with database.transaction() as tx:
        assert tx.execute(text("select count(*) from journal")).scalar_one() == 0


HOLD = """
import sys, time
from pathlib import Path
from modelyard.home import Home
home = Home(Path(sys.argv[1]))
home.lock()
print("mine", flush=True)
"""


def test_a_second_process_is_refused_and_told_who_the_first_is(home: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", f"{HOLD}time.sleep(600)", str(home)], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None and owner.stdout.readline() == "mine\n"
        assert Home(home).locked
        with pytest.raises(HomeLocked, match=f"process {owner.pid} owns this home"):
            Home(home).lock()
        second = python(HOLD, str(home))
        assert "HomeLocked" in second.stderr and "mine" not in second.stdout
    finally:
        owner.kill()
        owner.wait()
    assert not Home(home).locked, "the kernel let go of it"
    mine = Home(home)
    mine.lock()
    assert "HomeLocked" in python(HOLD, str(home)).stderr
    mine.unlock()
    assert python(HOLD, str(home)).stdout == "mine\n"


def test_looking_whether_a_home_is_owned_takes_it_from_nobody(home: Path) -> None:
    """However long a look is interrupted while it holds what lookers share."""
    with (home / "owner.lock").open("a+") as slow:
        fcntl.flock(slow, fcntl.LOCK_SH)
        mine = Home(home)
        owning = threading.Thread(target=mine.lock)
        owning.start()
        owning.join(1)
        assert owning.is_alive(), "neither refused nor owner of what somebody still looks at"
    owning.join(10)
    assert not owning.is_alive() and Home(home).locked
    mine.unlock()


def test_many_who_look_whether_a_home_is_owned_take_it_from_nobody(home: Path) -> None:
    watcher = "import sys; from pathlib import Path; from modelyard.home import Home; h = Home(Path(sys.argv[1]))\nwhile True: h.locked"
    watching = [subprocess.Popen([sys.executable, "-c", watcher, str(home)]) for _ in range(2)]
    try:
        time.sleep(1)
        for _ in range(30):
            mine = Home(home)
            mine.lock()
            mine.unlock()
        assert all(w.poll() is None for w in watching), "they were looking all the while"
    finally:
        for process in watching:
            process.kill()
            process.wait()


def test_a_closed_database_stays_closed(tmp_path: Path) -> None:
    """A thread that comes too late must not open the file again: another process may own it by then."""
    database = Database(tmp_path / "state.sqlite")
    database.close()
    with pytest.raises(Unavailable, match="closed"), database.transaction():
        pass
    database.close()
