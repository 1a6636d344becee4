"""When an error means a full disk, and when its words only say so."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path
from typing import NamedTuple

import pytest

from modelyard.errors import NoRoom, StepFailed, YardError, no_room


class Usage(NamedTuple):
    free: int


def failed_step() -> StepFailed:
    return StepFailed("train.py ended with code 1", log_tail=("the disk is full of joy", "No space left on device"))


def test_what_a_script_printed_is_no_full_disk(tmp_path: Path) -> None:
    assert no_room(failed_step()) is None
    assert no_room(failed_step(), tmp_path) is None, "there is room"
    assert no_room(YardError("a column named `disk is full`"), tmp_path) is None
    assert no_room(ValueError("disk is full"), tmp_path) is None


def test_it_is_one_where_the_disk_is_full_indeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(4096))
    assert isinstance(no_room(failed_step(), tmp_path), NoRoom)
    assert no_room(YardError("something else"), tmp_path) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_systems_own_number_counts_wherever_it_is_in_the_chain(number: int) -> None:
    full = OSError(number, "x", "/disk/file")
    assert isinstance(no_room(full), NoRoom)
    outer = YardError("the step ended")
    outer.__cause__ = full
    found = no_room(outer)
    assert found is not None and found.where == "/disk/file"
    assert no_room(OSError(errno.EACCES, "No space left on device")) is None
    assert isinstance(no_room(OSError("No space left on device (os error 28)")), NoRoom), "Polars' errors have no number"


def test_sqlites_own_name_counts_and_ours_is_kept(tmp_path: Path) -> None:
    state = sqlite3.connect(tmp_path / "s.sqlite")
    state.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as full:
        state.executescript("CREATE TABLE a (b); CREATE TABLE c (d); CREATE TABLE e (f);")
    state.close()
    wrapped = RuntimeError("as MLflow wraps it")
    wrapped.__cause__ = full.value
    assert isinstance(no_room(wrapped), NoRoom)
    ours = NoRoom("full")
    assert no_room(ours) is ours
