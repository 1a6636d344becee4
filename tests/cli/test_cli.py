"""The command line itself: help, JSON, guesses, exit codes, completion, and what it does not import."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest

from modelyard.cli import COMMANDS, cli
from modelyard.cli.owner import ensure_server
from modelyard.clock import WallClock
from modelyard.database import Database
from modelyard.events import AlertSent, Event
from modelyard.home import Home
from modelyard.registry.journal import Journal
from tests.build.test_processes import until
from tests.conftest import ROOT
from tests.e2e.person import MODELYARD, Person

HEAVY = {"mlflow", "ray", "boto3", "polars", "pyarrow", "pandas", "sqlalchemy", "fastapi", "uvicorn", "scipy", "matplotlib", "duckdb"}


@pytest.fixture
def me(home: Path, tmp_path: Path) -> Iterator[Person]:
    """Somebody with an empty home. A command that steers a run starts the control plane, and leaves it running: it is ended here."""
    somebody = Person(home, tmp_path)
    yield somebody
    if Home(home).locked:
        Person(home, tmp_path).run("down")


def commands() -> list[tuple[str, ...]]:
    """Every command, groups' commands included."""
    context = click.Context(cli)
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        found += [(name, inner) for inner in command.commands] if isinstance(command, click.Group) else [(name,)]
    return found


def command(words: tuple[str, ...]) -> click.Command:
    found: click.Command = cli
    for word in words:
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), word)
        assert inner is not None
        found = inner
    return found


def test_the_issues_commands_are_all_there() -> None:
    named = "init check schema plan up build deploy approve reject rollback status logs predict batch labels monitor data retrain"
    assert {*named.split(), "rollout", "compare", "who-served", "reproduce", "server", "down"} <= set(COMMANDS)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_is_a_sentence_and_says_what_each_option_does(words: tuple[str, ...]) -> None:
    found = command(words)
    assert found.help and found.help.split("\n\n")[0].strip().endswith((".", "?"))
    for parameter in found.params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            assert parameter.help or parameter.opts == ["--problem-type"], f"{parameter.opts} is not explained"
    done = subprocess.run(
        [sys.executable, "-c", "from modelyard.cli import main; main()", *words, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("Usage: modelyard ") and done.stderr == ""


def test_the_first_help_names_every_command_and_the_exit_codes(me: Person) -> None:
    said = me.run("--help").out
    flat = " ".join(said.split())
    assert all(f"  {name} " in said for name in COMMANDS)
    assert all(f"{code} {what}" in flat for code, what in enumerate(("done", "failed", "bad input or config", "a gate said no", "waiting")))
    assert "MODELYARD_HOME" in said
    assert me.run("-h").out == said
    assert me.run("--version").out.startswith("modelyard, version 0.")


JSON_WORDS = {
    "init": ("init", "made", "--json"),
    "data diff": ("data", "diff", "a.csv", "b.csv"),
    "batch": ("batch", "nobody", "in.csv", "out.csv"),
    "labels": ("labels", "nobody", "truth.csv"),
    "predict": ("predict", "nobody", "rows.json"),
    "replay": ("replay", "config.yaml", "traffic.csv"),
    "who-served": ("who-served", "nobody", "--at", "2026-01-01"),
}
TAKES_NOTHING = {"plan", "up", "build", "check", "status", "down", "schema"}


@pytest.mark.parametrize("words", [w for w in commands() if any("--json" in p.opts for p in command(w).params)], ids=" ".join)
def test_json_is_all_that_stands_on_standard_output(me: Person, words: tuple[str, ...]) -> None:
    """On an empty home and an empty folder: an answer, or the one error shape."""
    name = " ".join(words)
    given = JSON_WORDS.get(name, words if name in TAKES_NOTHING else (*words, "nobody"))
    said = me.run(*given, "--json", code=None)
    answer = json.loads(said.out)
    if said.code:
        assert said.code == 2, said
        assert {"code", "what", "where", "next"} <= set(answer["error"]) and answer["error"]["what"]
    else:
        assert name in ("status", "down", "init", "schema")


@pytest.mark.parametrize(
    "words", [("up", "--nonsense"), ("deploy",), ("up", "--port", "many"), ("server", "--port", "70000"), ("nonsense",)]
)
def test_a_misused_command_is_an_error_in_the_one_shape_too(me: Person, words: tuple[str, ...]) -> None:
    error = me.json(*words, code=2)["error"]
    assert error["code"] == "bad_input" and error["what"]
    plain = me.run(*words, code=2)
    assert plain.out == "" and "Usage:" in plain.err


@pytest.mark.parametrize(
    "typed,meant",
    [("stauts", "status"), ("roll-back", "rollback"), ("who-serve", "who-served"), ("retrian", "retrain"), ("servr", "server")],
)
def test_a_mistyped_command_is_guessed(me: Person, typed: str, meant: str) -> None:
    assert f"Did you mean `{meant}`?" in me.run(typed, code=2).err
    assert "Did you mean" not in me.run("zzzz", code=2).err


def test_mistyped_options_and_inner_commands_are_guessed(me: Person) -> None:
    assert "--detach" in me.run("up", "--detatch", code=2).err
    assert "diff" in me.run("data", "dif", "a", "b", code=2).err


def test_exit_codes_of_quick_commands(me: Person) -> None:
    """0, 2 and 1; tests/e2e has a gate's 3 (test_traffic) and approval's 4, by real runs."""
    assert me.run("status").out == "no model yet\n  next: modelyard up config.yaml\n"
    assert me.run("down").out == "nothing runs\n"
    assert "config.yaml" in me.run("check", code=2).err
    shutil.copytree(ROOT / "examples" / "breast-cancer", me.place / "model")
    assert "holds: breast-cancer" in me.run("check", "model/config.yaml").out
    (me.place / "model" / "breast_cancer.csv").unlink()
    said = me.run("check", "model/config.yaml", code=2).err
    assert "config.yaml:10:" in said and "there is no file breast_cancer.csv" in said and "^" in said


def test_a_home_that_is_no_folder(me: Person) -> None:
    file = me.place / "file"
    file.write_text("")
    error = Person(file, me.place).json("status", code=2)["error"]
    assert "is not a folder" in error["what"] and "MODELYARD_HOME" in error["next"]


def test_the_schema_is_json(me: Person) -> None:
    schema = json.loads(me.run("schema").out)
    assert json.loads(me.run("schema", "--json").out) == schema
    assert {"model", "data", "train", "bring"} <= set(schema["properties"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_has_a_script(me: Person, shell: str) -> None:
    me.env["_MODELYARD_COMPLETE"] = f"{shell}_source"
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("there is no bash")
    said = me.run()
    assert "_MODELYARD_COMPLETE" in said.out and "modelyard" in said.out


def test_commands_and_options_are_completed(me: Person) -> None:
    def completed(line: str) -> list[str]:
        words = line.split(" ")
        env = {"_MODELYARD_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        return Person(me.home, me.place, env).run().out.split()

    assert completed("modelyard rollb") == ["plain,rollback"]
    assert "plain,--detach" in completed("modelyard up --d")
    assert completed("modelyard status ") == [], "no model yet, and no error either"


@pytest.mark.parametrize(
    "words,code", [(("--help",), 0), (("check", "config.yaml"), 0), (("schema",), 0), (("stauts",), 2)], ids=lambda w: str(w)
)
def test_quick_commands_import_nothing_heavy(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    example = ROOT / "examples" / "breast-cancer"
    look = "import atexit, sys; atexit.register(lambda: print(*{m.partition('.')[0] for m in sys.modules}, file=sys.stderr))"
    done = subprocess.run(
        [sys.executable, "-c", f"{look}\nfrom modelyard.cli import main\nmain({list(words)!r})"],
        cwd=example,
        capture_output=True,
        text=True,
        env={**os.environ, "MODELYARD_HOME": str(tmp_path / "home")},
    )
    assert done.returncode == code, done.stderr
    assert set(done.stderr.split()) & HEAVY == set()
    assert not (tmp_path / "home").exists(), "it opens no home"


def test_it_runs_as_a_module_too(me: Person) -> None:
    done = subprocess.run([sys.executable, "-m", "modelyard.cli", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("modelyard") and Path(MODELYARD).exists()


def test_many_commands_at_once_share_the_home(me: Person) -> None:
    """Whoever comes first owns it for a moment, and answers the others."""
    going = [me.start("status", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(6)]
    said = [(*process.communicate(timeout=120), process.returncode) for process in going]
    assert [(json.loads(out), code) for out, _, code in said] == [([], 0)] * 6, said


def test_the_journal_is_shown_and_verified(me: Person) -> None:
    record(me.home, AlertSent("flights", "drift", "one\x1b]0;pwned\x07", 0), AlertSent("other", "drift", "two", 0))
    shown = me.run("journal").out
    assert "alert (drift): one" in shown and "two" in shown and "pwned" not in shown
    assert "two" not in me.run("journal", "flights").out
    assert [e["data"]["title"] for e in me.json("journal", "--limit", "1")] == ["two"]
    assert me.json("journal", "--verify") == {"entries": 2}
    assert "2 entries" in me.run("journal", "--verify").out
    with sqlite3.connect(me.home / "state.sqlite") as state:
        state.execute("UPDATE journal SET data = replace(data, 'one', 'won') WHERE seq = 1")
    state.close()
    assert "entry 1 was changed" in me.run("journal", "--verify", code=1).err
    assert "entry 1 was changed" in me.json("journal", "--verify", code=1)["error"]["what"]


def record(home: Path, *events: Event) -> None:
    database = Database(home / "state.sqlite")
    Journal(database, WallClock()).append(events)
    database.close()


def test_the_consoles_token_is_printed_on_a_terminal_alone(me: Person) -> None:
    """What is no terminal is a log, as `up --detach` makes one, and others may read it."""
    me.home.chmod(0o755)
    log = me.home / "server.log"
    log.write_text("")
    log.chmod(0o644)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MODELYARD_HOME", str(me.home))
            ensure_server(0)
        token = (me.home / "console.token").read_text()
        until(lambda: str(me.home / "console.url") in log.read_text())  # it answers a moment before it says so
        assert token not in log.read_text()
        assert token in (me.home / "console.url").read_text()
        private = ("server.log", "console.token", "console.url", "state.sqlite", "journal.head")
        assert {name: oct((me.home / name).stat().st_mode & 0o777) for name in private if (me.home / name).exists()} == {
            name: "0o600" for name in private if (me.home / name).exists()
        }
    finally:
        me.run("down")


def test_the_server_says_when_it_is_ready_in_json_too(me: Person) -> None:
    with me.start("server", "--port", "0", "--json", stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        said = json.loads(server.stdout.readline())
        assert said["home"] == str(me.home) and said["console"].startswith("http://127.0.0.1:")
        assert httpx.get(f"{said['console']}/healthz").json()["status"] == "ok"
        assert httpx.get(Path(said["login_file"]).read_text()).status_code == 303
        me.run("down")
        assert server.stdout.read() == ""
