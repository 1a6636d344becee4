"""A person at a terminal: a home, a repository, and the CLI as real subprocesses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from modelyard.cli.owner import asking
from modelyard.control.client import Caller

MODELYARD = str(Path(sys.executable).parent / "modelyard")
T = TypeVar("T")


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    out: str
    err: str
    code: int

    @property
    def all(self) -> str:
        return self.out + self.err


@dataclass
class Person:
    """`place` is where they stand, a model's repository; `home` their MODELYARD_HOME."""

    home: Path
    place: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MODELYARD_")}
        return {**kept, "MODELYARD_HOME": str(self.home), "COLUMNS": "140", **self.env}

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """A command left running."""
        return subprocess.Popen([MODELYARD, *words], cwd=self.place, env=self.environment, text=True, **more)

    def run(self, *words: str, code: int | None = 0, given: str | None = None, timeout: float = 240) -> Said:
        """A command to its end; its exit code must be `code`, unless that is None."""
        done = subprocess.run(
            [MODELYARD, *words],
            cwd=self.place,
            env=self.environment,
            input=given,
            stdin=None if given is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        said = Said(done.stdout, done.stderr, done.returncode)
        assert code is None or said.code == code, f"{words} exited with {said.code}, not {code}:\n{said.all}"
        assert not re.search("^Traceback", said.err, re.MULTILINE), f"{words}:\n{said.all}"  # ours; a script's stands behind a bar
        return said

    def json(self, *words: str, code: int | None = 0, given: str | None = None) -> Any:
        """The same with --json: standard output must be one JSON value and nothing else."""
        said = self.run(*words, "--json", code=code, given=given)
        try:
            return json.loads(said.out)
        except ValueError as exc:
            raise AssertionError(f"{words} --json printed no JSON: {said.out!r}\n{said.err}") from exc

    def status(self, model: str) -> dict[str, Any]:
        found: dict[str, Any] = self.json("status", model)[0]
        return found

    def journal(self, model: str) -> list[dict[str, Any]]:
        """Every entry of the journal about a model, asked of the API by which the CLI asks too."""
        with asked_of(self.home) as caller:
            found: list[dict[str, Any]] = caller.call("journal", model=model, limit=10_000)
        return found

    def processes(self) -> list[str]:
        """Command lines of every process of this home: owner, fronts, runners, steps, keepers."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            try:
                named = " ".join(process.info["cmdline"] or [])
                if str(self.home) in named or process.environ().get("MODELYARD_HOME") == str(self.home):
                    found.append(named)
            except psutil.Error:
                continue
        return found

    def down(self) -> None:
        """Stop everything, and see that it has stopped."""
        self.run("down")
        left = until(self.processes, lambda found: not found, "processes of the home are left")
        assert not left


@contextmanager
def asked_of(home: Path) -> Iterator[Caller]:
    """The owner of a home, or this process for a moment, as `modelyard.cli.owner` finds it."""
    before = os.environ.get("MODELYARD_HOME")
    os.environ["MODELYARD_HOME"] = str(home)
    try:
        with asking() as caller:
            yield caller
    finally:
        os.environ.pop("MODELYARD_HOME")
        if before is not None:
            os.environ["MODELYARD_HOME"] = before


def until(look: Callable[[], T], holds: Callable[[T], bool], otherwise: str, seconds: float = 20) -> T:
    """The first thing seen of which `holds` is true."""
    deadline = time.monotonic() + seconds
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"{otherwise}: {seen}"
        time.sleep(0.1)
    return seen


@contextmanager
def person(environments: Path, place: Path) -> Iterator[Person]:
    """Somebody with an empty home that shares the model environments of this session. Everything is stopped and removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="yard-"))
    (home / "envs").symlink_to(environments)
    somebody = Person(home, place)
    try:
        yield somebody
        somebody.down()
    finally:
        for process in psutil.process_iter():
            try:
                if process.environ().get("MODELYARD_HOME") == str(home):
                    process.kill()
            except psutil.Error:
                continue
        discard(home)


def discard(folder: Path) -> None:
    (folder / "envs").unlink(missing_ok=True)
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)  # snapshots and bundles are read-only
    shutil.rmtree(folder, ignore_errors=True)


def repository(source: Path, into: Path) -> Path:
    """A copy of a model's files as a Git repository of its own, all committed."""
    shutil.copytree(source, into, ignore=shutil.ignore_patterns("__pycache__"))
    git(into, "init", "-q")
    commit(into)
    return into


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "as it is")


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def change(file: Path, old: str, new: str) -> None:
    """Replace the one place where `old` stands."""
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file.name}"
    file.write_text(text.replace(old, new))
