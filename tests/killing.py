"""What the kill tests share: a place for homes, the product's own command in a process of its own, and what it leaves behind.

There are no hooks in the product: a test follows the run's feed, as any watcher may, and kills the owner at the line it waits for. Where
that is not exact enough, fixtures/paused.py runs the product and holds it still at a step.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psutil

from modelyard.clock import ReplayClock
from modelyard.database import Database
from modelyard.events import Event
from modelyard.registry.journal import Journal

PATIENCE = 90.0
"""Seconds after which what was to come has not come. No test passes by it."""
TINY, PAUSED = (Path(__file__).parent / "fixtures" / name for name in ("tiny", "paused.py"))
E = TypeVar("E", bound=Event)
Item = dict[str, Any]


def until(met: Callable[[], Any], what: str = "it", seconds: float = PATIENCE, said: Callable[[], str] = str) -> Any:
    """What `met` gives as soon as that is true of it; `said` is asked for what a failure should show."""
    deadline = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < deadline, f"{what} never came about\n{said()}"
        time.sleep(0.005)
    return found


@dataclass(frozen=True)
class Process:
    """A process, told from a later one with its pid by its start time."""

    pid: int
    started: float
    words: str

    @property
    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def below(pid: int) -> list[Process]:
    """Everything that a process started, directly or not."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            found.append(Process(child.pid, child.create_time(), " ".join([*child.cmdline(), _inside(child.pid)])))
        except psutil.NoSuchProcess:
            continue
    return found


FORKED = "process 2 of a fork"
"""Words of a script that was forked from a warm interpreter."""


def _inside(pid: int) -> str:
    """Which process of a fork's own namespace it is: the first keeps the script, which comes second and has no words of its own."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
    known = next(line for line in status.splitlines() if line.startswith("NSpid")).split()[1:]
    return f"process {known[-1]} of a fork" if len(known) > 2 else ""


class Command:
    """`modelyard ...` in a process of its own, the leader of its group; what it says goes to a file."""

    def __init__(self, home: Home, *words: str, pause: tuple[str, str] | None = None) -> None:
        """`pause`: the name of a step, and `before` its receipt or `after` it."""
        self.home, self._output = home, tempfile.NamedTemporaryFile("w+", suffix=".out")  # noqa: SIM115  (lives as long as this)
        env = {**os.environ, "MODELYARD_HOME": str(home.path)}
        argv = [sys.executable, "-m", "modelyard.cli", *words]
        if pause is not None:
            env |= {"PAUSE_AT": pause[0], "PAUSE_WHEN": pause[1]}
            argv = [sys.executable, str(PAUSED), *words]
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": self._output, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(argv, env=env, start_new_session=True, **streams)
        home.commands.append(self)

    @property
    def said(self) -> str:
        return Path(self._output.name).read_text(encoding="utf-8", errors="replace")

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def says(self, words: str) -> str:
        """Wait until it says something that matches; what matched."""
        until(lambda: re.search(words, self.said) or self.ended, f"'{words}'", said=lambda: self.said)
        found = re.search(words, self.said)
        assert found, f"it ended with {self.process.returncode} and never said '{words}':\n{self.said}"
        return found[0]

    def end(self) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(PATIENCE)

    def pauses(self) -> None:
        """Wait until it stands still."""
        until(lambda: self.ended or psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED, "its pause", said=lambda: self.said)
        assert not self.ended, f"it ended with {self.process.returncode} and never paused:\n{self.said}"

    def children(self) -> list[Process]:
        return below(self.process.pid)

    def kill(self) -> list[Process]:
        """SIGKILL to it alone. Returns what it had started, none of which may be there for more than five seconds."""
        children = self.children()
        assert not self.ended, f"it was to be killed, and had ended:\n{self.said}"
        self.process.kill()
        assert self.process.wait(10) == -signal.SIGKILL
        gone(children, 5)
        return children


def gone(processes: list[Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := [p for p in processes if p.alive]:
        assert time.monotonic() < deadline, f"left behind for {seconds} s: {left}"
        time.sleep(0.02)


@dataclass
class Home:
    """A yard's home, and a model's repository beside it."""

    path: Path
    repository: Path
    commands: list[Command] = field(default_factory=list)

    @property
    def config(self) -> str:
        return str(self.repository / "config.yaml")

    def up(self, *words: str, pause: tuple[str, str] | None = None) -> Command:
        return Command(self, "up", self.config, "--port", "0", *words, pause=pause)

    def train_for(self, seconds: float) -> None:
        """Another config: training takes so long."""
        path = self.repository / "config.yaml"
        path.write_text(re.sub(r"seconds: [0-9.]+", f"seconds: {seconds}", path.read_text()))

    def run(self) -> str:
        """The id of the newest run; '' where none has begun."""
        feeds = sorted((self.path / "runs").glob("*/feed.jsonl"), key=lambda p: p.stat().st_ctime_ns if p.exists() else 0)
        begun = {feed.parent.name: feed for feed in feeds}
        return max(begun, key=lambda run: _began(begun[run]), default="")

    def items(self, run: str) -> list[Item]:
        """The feed of a run, whole lines only."""
        path = self.path / "runs" / run / "feed.jsonl"
        data = path.read_bytes() if path.exists() else b""
        return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]

    def news(self, command: Command, run: str | None = None) -> Iterator[Item]:
        """Items of a run (by default of the first one that begins after now) as they come, until the command ends."""
        known, seen = self.run(), 0
        if run is None:
            until(lambda: command.ended or self.run() != known, "a run", said=lambda: command.said)
            run = self.run()
        else:
            seen = len(self.items(run))
        deadline = time.monotonic() + PATIENCE
        while not command.ended:
            found = self.items(run)
            for item in found[seen:]:
                yield item
                deadline = time.monotonic() + PATIENCE
            seen = len(found)
            assert time.monotonic() < deadline, f"nothing new in {run}:\n{command.said}"
            time.sleep(0.002)

    def events(self, kind: type[E]) -> list[E]:
        """Facts of a kind in the journal, after its chain was verified. Only while nobody owns the home."""
        database = Database(self.path / "state.sqlite")
        try:
            journal = Journal(database, ReplayClock(datetime.now(UTC)))
            journal.verify()
            return [e.event for e in journal.entries() if isinstance(e.event, kind)]
        finally:
            database.close()

    def mlflow(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of MLflow's own database, read-only."""
        with closing(sqlite3.connect(f"file:{self.path / 'mlflow.sqlite'}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    def close(self) -> None:
        for command in self.commands:
            if not command.ended:
                children = command.children()
                command.process.kill()
                command.process.wait()
                gone(children, 20)
        subprocess.run(["chmod", "-R", "u+w", str(self.path)], check=False)
        shutil.rmtree(self.path)
        shutil.rmtree(self.repository, ignore_errors=True)


def _began(feed: Path) -> str:
    with feed.open(encoding="utf-8") as file:
        first = file.readline()
    return str(json.loads(first)["at"]) if first.endswith("\n") else ""


class Place:
    """Makes homes that share what takes long to make and is none of these tests' concern: environments, and MLflow's empty tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "envs").mkdir()
        code = (
            "import sys, pathlib; from modelyard.registry.store import Store; Store(pathlib.Path(sys.argv[1])).alias('x', 'champion', None)"
        )
        subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, timeout=300)
        assert (folder / "mlflow.sqlite").is_file()

    def home(self) -> Home:
        path, repository = Path(tempfile.mkdtemp(prefix="yard-")), Path(tempfile.mkdtemp(prefix="tiny-"))
        (path / "envs").symlink_to(self.folder / "envs")
        shutil.copyfile(self.folder / "mlflow.sqlite", path / "mlflow.sqlite")
        shutil.copytree(TINY, repository, dirs_exist_ok=True)
        numbers = random.Random(0)
        rows = [f"{numbers.gauss(2 * (n % 2), 0.7):.4f},{numbers.random():.4f},{n % 2}" for n in range(120)]
        (repository / "rows.csv").write_text("\n".join(["x,noise,label", *rows]) + "\n")
        return Home(path, repository)
