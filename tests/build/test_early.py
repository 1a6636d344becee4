"""A warm interpreter that is begun before it is known what for: taken by the run that wants just that, else gone without a trace."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.build import early, sandbox
from modelyard.build.forerunner import Forerunner
from modelyard.build.warm import Asked, Warm
from modelyard.home import Home, scratch_prefix

pytestmark = [pytest.mark.needs("bwrap"), pytest.mark.skipif(not sandbox.namespaces(), reason="users may not make namespaces here")]
CONFIG = Path("/somewhere/config.yaml")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "HOME": "/tmp", "TMPDIR": "/tmp"}


def asked(**facts: Any) -> Asked:
    usual: dict[str, Any] = {"python": sys.executable, "modules": ["json"], "environment": ENVIRONMENT, "read_only": [], "program": None}
    return Asked(**{**usual, **facts})


def noted(home: Path, **facts: Any) -> None:
    (home / "runs").mkdir(exist_ok=True)
    early.note(home, CONFIG, asked(**facts))


def left(home: Path) -> list[Path]:
    """Folders of runs, and of sockets, that are there."""
    return [*(home / "runs").iterdir(), *Path(tempfile.gettempdir()).glob(f"{scratch_prefix(home)}*")]


def wait_until_up(run: str) -> None:
    while not early._begun.warm.up:  # type: ignore[union-attr]
        assert early._begun.warm.lives, run  # type: ignore[union-attr]


def ran(warm: Warm, folder: Path) -> str:
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "script.py").write_text("import sys; print('json' in sys.modules)")
    python = Path(sys.executable)
    view = sandbox.View({folder / "code": "/opt/ml"}, sandbox.python_mounts(python), cwd="/opt/ml")
    argv = warm.wrap([str(python), "--", "script.py"], view)
    return subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL).stdout


def test_the_run_that_was_foretold_takes_it(home: Path) -> None:
    noted(home)
    with early.begun("build", home, CONFIG):
        assert early.reserved("up", CONFIG) is None and early.reserved("build", Path("/another.yaml")) is None
        run = early.reserved("build", CONFIG)
        assert run is not None and run.startswith("build-") and early.reserved("build", CONFIG) is None, "one run, one id"
        wait_until_up(run)
        Home(home).sweep()  # as the owner does when it begins
        warm = early.taken(run, asked())
        assert warm is not None and early.taken(run, asked()) is None, "and once"
    assert ran(warm, home / "runs" / run) == "True\n", "it is the taker's, also after the block"
    warm.close()
    assert left(home) == [home / "runs" / run]


@pytest.mark.parametrize(
    "other", [{"modules": ["json", "csv"]}, {"environment": {}}, {"read_only": ["/usr"]}, {"program": ["/usr", "x"]}, {"python": "/usr/x"}]
)
def test_a_run_that_wants_anything_else_begins_its_own(home: Path, other: dict[str, Any]) -> None:
    noted(home)
    with early.begun("build", home, CONFIG):
        run = early.reserved("build", CONFIG)
        assert run is not None
        wait_until_up(run)
        begun = early._begun.warm  # type: ignore[union-attr]
        assert early.taken(run, asked(**other)) is None
        assert not begun.lives and not begun.scratch.exists(), "nothing goes on that nobody wants"


def test_what_nobody_asked_for_leaves_nothing(home: Path) -> None:
    noted(home)
    with early.begun("build", home, CONFIG):
        begun = early._begun.warm  # type: ignore[union-attr]
        assert len(left(home)) == 2
    assert not begun.lives and left(home) == []
    with early.begun("build", home, CONFIG):
        run = early.reserved("build", CONFIG)
        early.drop("another")
        assert early._begun is not None, "another run's end is none of its business"
        early.drop(str(run))
        assert early._begun is None


def _nothing(home: Path, patch: pytest.MonkeyPatch) -> None:
    (home / "warm").rename(home / "gone")


def _garbage(home: Path, patch: pytest.MonkeyPatch) -> None:
    for file in (home / "warm").iterdir():
        file.write_text("{")


def _no_object(home: Path, patch: pytest.MonkeyPatch) -> None:
    for file in (home / "warm").iterdir():
        file.write_text(json.dumps(["python"]))


def _no_python(home: Path, patch: pytest.MonkeyPatch) -> None:
    noted(home, python="/nowhere/python")


def _no_folder(home: Path, patch: pytest.MonkeyPatch) -> None:
    noted(home, read_only=["/nowhere"])


def _turned_off(home: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("MODELYARD_WARM", "0")


def _owned(home: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Home, "locked", True)


@pytest.mark.parametrize("change", [_nothing, _garbage, _no_object, _no_python, _no_folder, _turned_off, _owned])
def test_nothing_is_begun(home: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, pytest.MonkeyPatch], None]) -> None:
    noted(home)
    change(home, monkeypatch)
    with early.begun("build", home, CONFIG):
        assert early._begun is None and early.reserved("build", CONFIG) is None
    assert list((home / "runs").iterdir()) == []


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELYARD_HOME", str(home))
    noted(home)
    return home


@pytest.mark.parametrize("words", [["build", str(CONFIG)], ["up", "--yes", str(CONFIG), "--json"], ["build", "../somewhere/config.yaml"]])
def test_a_command_line_is_begun_for_before_the_command_is_there(at_home: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")
    forerunner = Forerunner()
    early.foreseen(words, forerunner)
    foreseen = early._begun
    assert foreseen is not None and foreseen.warm._launcher is forerunner
    with early.begun(words[0], at_home, CONFIG):
        assert early._begun is foreseen, "the command takes what is begun"
        assert early.reserved(words[0], CONFIG) == foreseen.run
    assert early._begun is None and forerunner.process.returncode is not None
    assert left(at_home) == [at_home / "runs" / foreseen.run]


@pytest.mark.parametrize(
    "words", [["build", "--help"], ["up", "--detach", str(CONFIG)], ["up", "--port", "0"], ["build", str(CONFIG), "more"], ["build"]]
)
def test_what_is_not_foreseen_leaves_nothing(at_home: Path, words: list[str]) -> None:
    forerunner = Forerunner()
    early.foreseen(words, forerunner)
    assert early._begun is None
    early.over()
    assert forerunner.process.returncode == 0 and left(at_home) == []


def test_a_command_with_words_of_its_own_is_begun_for_with_the_forerunner_too(at_home: Path) -> None:
    forerunner = Forerunner()
    early.foreseen(["up", "--port", "0", str(CONFIG)], forerunner)
    with early.begun("up", at_home, CONFIG):
        assert early._begun is not None and early._begun.warm._launcher is forerunner
    assert left(at_home) == [] and forerunner.process.returncode is not None


def test_another_config_than_was_foreseen_begins_its_own(at_home: Path) -> None:
    other = CONFIG.with_name("other.yaml")
    early.note(at_home, other, asked(modules=["csv"]))
    early.foreseen(["build", str(CONFIG)], Forerunner())
    foreseen = early._begun
    assert foreseen is not None
    with early.begun("build", at_home, other):
        assert foreseen.warm._launcher.process.returncode is not None
        assert early._begun is not None and early._begun.warm.asked["modules"] == ["csv"]
    assert left(at_home) == []
