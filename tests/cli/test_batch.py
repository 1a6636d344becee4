"""`modelyard batch` and Ctrl-C: the job ends wherever it is at work, and what is done stays done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import psutil
import pytest

from modelyard.control.server import Server
from modelyard.yard import Yard
from tests.flows.live import HANGS, Live, words

PRODUCT = """
import sys
from pathlib import Path
from modelyard.build.envs import Env
from modelyard.flows import scoring
scoring.envs.ensure = lambda lock, home: Env("0", Path(sys.executable), lock)
from modelyard.cli import main
main()
"""
JOB = "modelyard.serve.batch.job"


@pytest.fixture
def inputs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a version that answers what is below 100, and hangs otherwise; and a file that it answers."""
    world = Live(home, monkeypatch, {"1": HANGS})
    world.accept(words())
    world.register("1")
    world.close()
    folder = tmp_path / "in"
    folder.mkdir()
    pl.DataFrame({"x": [1.0, 2.0]}).write_csv(folder / "a.csv")
    return folder


@contextmanager
def owned(home: Path, by_another: bool) -> Iterator[None]:
    """For as long as the block lasts another process than the command's own owns the home, or none does."""
    if not by_another:
        yield
        return
    yard = Yard(home)
    server = Server(yard)
    server.start()
    try:
        yield
    finally:
        server.stop()
        yard.close()


def batch(home: Path, source: Path, target: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "MODELYARD_HOME": str(home)}
    argv = [sys.executable, "-c", PRODUCT, "batch", "demo:1", str(source), str(target), "--workers", "1"]
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def done(home: Path, source: Path, target: Path) -> str:
    """What one says that nobody stops."""
    command = batch(home, source, target)
    said, error = command.communicate(timeout=90)
    assert (command.returncode, error) == (0, "")
    return said


def until_there(path: Path) -> None:
    deadline = time.monotonic() + 90
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def jobs() -> list[int]:
    """Jobs of a batch that are at work below this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if JOB in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize(
    ("by_another", "number"),
    [(True, signal.SIGINT), (False, signal.SIGINT), (False, signal.SIGTERM)],
    ids=["a server owns the home", "the command owns the home", "SIGTERM"],
)
def test_ctrl_c_ends_the_job_and_the_same_command_goes_on(
    home: Path, inputs: Path, tmp_path: Path, by_another: bool, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    with owned(home, by_another):
        done(home, inputs, out)
        before = (out / "a.csv").stat().st_mtime_ns
        pl.DataFrame({"x": [3.0, 100.0]}).write_csv(inputs / "b.csv")
        command = batch(home, inputs, out)
        until_there(out / ".b.csv.part")
        assert jobs(), "it is at work on the file at which it hangs"
        command.send_signal(number)
        said, error = command.communicate(timeout=90)
        assert command.returncode == 1
        assert said == "" and "stopping the batch" in error
        assert "error: the batch was stopped; 1 file is done and stays" in error
        assert "next: run the same command again: it does what is left" in error
        assert jobs() == [], "nothing of it is left, whoever owns the home"
        assert sorted(path.name for path in out.glob("[!.]*")) == ["a.csv"]
        pl.DataFrame({"x": [3.0, 4.0]}).write_csv(inputs / "b.csv")  # it would hang for ever at the other one
        assert "4 rows in 2 files (1 done before)" in done(home, inputs, out)
    assert (out / "a.csv").stat().st_mtime_ns == before
    assert pl.read_csv(out / "b.csv")["prediction"].to_list() == [6.0, 8.0]


def test_the_end_of_the_terminal_is_none_below_nohup(home: Path, inputs: Path, tmp_path: Path) -> None:
    pl.DataFrame({"x": [100.0]}).write_csv(inputs / "b.csv")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup leaves it to what it starts
    try:
        command = batch(home, inputs, tmp_path / "out")
    finally:
        signal.signal(signal.SIGHUP, before)
    until_there(tmp_path / "out")
    command.send_signal(signal.SIGHUP)
    command.send_signal(signal.SIGINT)  # were it the second signal, it would end the command where it stands
    _, error = command.communicate(timeout=90)
    assert "error: the batch was stopped; " in error


def test_a_batch_that_nobody_has_begun_is_not_stopped(home: Path) -> None:
    yard = Yard(home)
    try:
        assert yard.stop_batch("none") == {"stopped": False}
    finally:
        yard.close()
