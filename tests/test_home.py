"""Who may read what a home holds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.home import Home, append_private, scratch_prefix, usual_mode, write_private


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_what_an_owner_makes_is_for_its_user_alone(home: Path, tmp_path: Path) -> None:
    home.chmod(0o755)
    ours, other = Home(home), Home(tmp_path / "other")
    ours.lock()
    other.lock()
    (home / "kept").write_text("")
    (home / "folder").mkdir()
    assert (mode(home / "kept"), mode(home / "folder")) == (0o600, 0o700)
    assert mode(home) == 0o755, "its own mode is its user's matter"
    assert usual_mode() == 0o644
    ours.unlock()
    (tmp_path / "second").write_text("")
    assert mode(tmp_path / "second") == 0o600, "the other home is still ours"
    other.unlock()
    (tmp_path / "third").write_text("")
    assert mode(tmp_path / "third") == 0o644


def test_what_an_older_owner_left_readable_is_closed(home: Path) -> None:
    ours = Home(home)
    for file in (ours.database, ours.server_log, ours.console):
        file.write_text("")
        file.chmod(0o644)
    ours.lock()
    ours.unlock()
    assert {mode(file) for file in (ours.database, ours.server_log, ours.console)} == {0o600}


def test_private_files_are_private_whatever_was_there(tmp_path: Path) -> None:
    secret, log = tmp_path / "secret", tmp_path / "log"
    for file in (secret, log):
        file.write_text("old ")
        file.chmod(0o666)
    write_private(secret, "new")
    with append_private(log) as out:
        assert out.tell() == 4
        out.write(b"new")
    assert (secret.read_text(), mode(secret)) == ("new", 0o600)
    assert (log.read_text(), mode(log)) == ("old new", 0o600)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "secret"]


def test_a_sweep_leaves_the_folder_of_a_runner_that_goes_on(home: Path) -> None:
    folders = [Path(tempfile.mkdtemp(prefix=scratch_prefix(home))) for _ in range(3)]
    for folder in folders[:2]:
        os.mkfifo(folder / "runner.alive")
    reading = os.open(folders[0] / "runner.alive", os.O_RDONLY | os.O_NONBLOCK)
    Home(home).sweep()
    assert [folder.exists() for folder in folders] == [True, False, False]
    os.close(reading)
    Home(home).sweep()
    assert not folders[0].exists()
