"""What is written into MLflow's tables without MLflow, against what its client writes; and when it is left to the client."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.registry import direct
from modelyard.registry.state import Version
from modelyard.registry.store import Store

TAGS = {"team": "risk", "note": ""}
PARAMS = {"depth": 3, "rate": 0.1, "long": "x" * 4000, "none": None}


def version(number: int) -> Version:
    return Version(
        version=str(number), registered_at="2026-01-02T03:04:05+00:00", digest=f"{number:064x}", data_digest="d" * 64,
        code_digest="c" * 64, lock_digest="l" * 64, config_digest="f" * 64, commit=None, dirty=False,
        metrics={"roc_auc": 0.9 + number / 100, "rows": 142, "lift": None}, gates=(), because="", run=f"build-{number}",
    )  # fmt: skip


def bundle(folder: Path, number: int) -> Path:
    made = folder / f"bundle-{number}"
    made.mkdir()
    column = {"name": "x", "type": "float", "nullable": False}
    (made / "signature.json").write_text(json.dumps({"columns": [column]}))
    (made / "report.html").write_text("<p>the report</p>")
    return made


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one version of a model: MLflow takes seconds to make its tables."""
    home = tmp_path_factory.mktemp("template")
    Store(home).record("demo", version(1), bundle(home, 1), {}, {})
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    made = tmp_path / "home"
    shutil.copytree(template, made)
    with closing(sqlite3.connect(made / "mlflow.sqlite")) as tables, tables:
        tables.execute("UPDATE experiments SET artifact_location = ? WHERE name = 'demo'", ((made / "mlflow").as_uri(),))
    return made


def recorded(home: Path, monkeypatch: pytest.MonkeyPatch, *, by_client: bool) -> tuple[Store, list[str]]:
    """Two versions of a model, the second by the one way or the other; then its aliases."""
    home.mkdir()
    store, runs = Store(home), []
    with monkeypatch.context() as patch:
        if by_client:
            patch.setattr(direct, "_known", lambda tables: False)
        for number in (1, 2):
            runs.append(store.record("demo", version(number), bundle(home, number), PARAMS, TAGS))
            store.alias("demo", "challenger", version(number))
        store.alias("demo", "champion", version(2))
        store.alias("demo", "challenger", None)
    return store, runs


def written(home: Path, runs: list[str]) -> dict[str, list[list[Any]]]:
    """Every row of every table, with ids, folders and times by what they stand for."""

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            for place, run in enumerate(runs):
                value = value.replace(run, f"run {place}")
            return value.replace(home.as_uri(), "HOME")
        return "a time" if isinstance(value, int) and value > 10**12 else value

    with closing(sqlite3.connect(home / "mlflow.sqlite")) as tables:
        names = [name for (name,) in tables.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(([plain(v) for v in row] for row in tables.execute(f'SELECT * FROM "{name}"')), key=repr) for name in names}


def test_the_rows_are_those_that_mlflows_client_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow's own first experiment lies in the working folder
    ours, our_runs = recorded(tmp_path / "ours", monkeypatch, by_client=False)
    _, their_runs = recorded(tmp_path / "theirs", monkeypatch, by_client=True)
    one, other = written(tmp_path / "ours", our_runs), written(tmp_path / "theirs", their_runs)
    assert one.keys() == other.keys() and len(one["runs"]) == 2 and len(one["model_versions"]) == 2
    for table in one:
        assert one[table] == other[table], table

    client = ours._open()
    run = client.get_run(our_runs[1])
    assert run.data.metrics == {"roc_auc": 0.92, "rows": 142.0} and run.data.params["long"] == "x" * 4000
    assert run.info.status == "FINISHED" and run.info.start_time <= run.info.end_time
    assert [a.path for a in client.list_artifacts(our_runs[1])] == ["report.html"]
    assert client.get_model_version_by_alias("demo", "champion").run_id == our_runs[1]
    assert client.get_registered_model("demo").aliases == {"champion": 2}
    folders = [sorted(re.sub("|".join(runs), "RUN", str(p.relative_to(home))) for p in (home / "mlflow").rglob("*"))
               for home, runs in ((tmp_path / "ours", our_runs), (tmp_path / "theirs", their_runs))]  # fmt: skip
    assert folders[0] == folders[1]


def test_mlflow_as_installed_has_a_revision_that_is_known_here(tmp_path: Path) -> None:
    """Else nothing breaks, but every build pays for MLflow's import again: compare what its client writes now, then add the revision."""
    store = Store(tmp_path)
    assert not direct.known(tmp_path / "mlflow.sqlite")
    store._open()
    assert direct.known(tmp_path / "mlflow.sqlite")


def test_a_further_version_is_recorded_without_mlflow(home: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from tests.registry.test_direct import *\n"
        "for name in [n for n in sys.modules if n.partition('.')[0] == 'mlflow']: del sys.modules[name]\n"
        "home = Path(sys.argv[2]); store = Store(home); store.get_ready()\n"
        "store.record('demo', version(2), bundle(home, 2), PARAMS, TAGS); store.alias('demo', 'challenger', version(2))\n"
        "assert not [n for n in sys.modules if n.partition('.')[0] == 'mlflow']\n"
    )
    root = Path(__file__).parent.parent.parent
    subprocess.run([sys.executable, "-c", program, str(root), str(home)], check=True, cwd=home)
    assert [int(v.version) for v in Store(home)._open().search_model_versions("name = 'demo'")] == [2, 1]


def _no_revision(tables: sqlite3.Connection) -> None:
    tables.execute("UPDATE alembic_version SET version_num = 'of-the-future'")


def _deleted(tables: sqlite3.Connection) -> None:
    tables.execute("UPDATE experiments SET lifecycle_stage = 'deleted'")


def _moved(tables: sqlite3.Connection) -> None:
    tables.execute("UPDATE experiments SET artifact_location = 'file:///elsewhere' WHERE name = 'demo'")


def _told_before(tables: sqlite3.Connection) -> None:
    tables.execute("UPDATE tags SET value = 'build-2' WHERE key = 'modelyard.run'")


@pytest.mark.parametrize("change", [_no_revision, _deleted, _moved, _told_before])
def test_what_is_out_of_the_ordinary_is_left_to_the_client(home: Path, change: Callable[[sqlite3.Connection], None]) -> None:
    with closing(sqlite3.connect(home / "mlflow.sqlite")) as tables, tables:
        change(tables)
    before = written(home, [])
    assert not direct.record(home / "mlflow.sqlite", rows(home), "0" * 32, 1)
    assert written(home, []) == before


def test_a_version_that_is_told_again_stays_as_it_was(home: Path) -> None:
    store = Store(home)
    run = store.record("demo", version(2), bundle(home, 2), PARAMS, TAGS)
    before, files = written(home, []), {p: p.read_bytes() for p in (home / "mlflow").rglob("*") if p.is_file()}
    assert store.record("demo", version(2), home / "bundle-2", PARAMS, TAGS) == run
    assert written(home, []) == before
    assert {p: p.read_bytes() for p in (home / "mlflow").rglob("*") if p.is_file()} == files, "its MLmodel names the run that there is"


def rows(home: Path, **facts: Any) -> direct.Rows:
    usual = direct.Rows("demo", "2", "build-2", "2" * 64, {"auc": 0.5}, {}, {}, {}, "file:///s", (home / "mlflow").as_uri())
    return replace(usual, **facts)


@pytest.mark.parametrize(
    "facts",
    [
        {"metrics": {"a/../b": 1.0}}, {"metrics": {"a": float("nan")}}, {"metrics": {"a" * 300: 1.0}}, {"params": {"a\n": "1"}},
        {"tags": {"mlflow.runName": "another"}}, {"tags": {"long": "x" * 9000}}, {"params": {str(n): "" for n in range(101)}},
    ],
)  # fmt: skip
def test_names_and_texts_that_mlflow_might_not_take_are_left_to_it(home: Path, facts: dict[str, Any]) -> None:
    before = written(home, [])
    assert not direct.record(home / "mlflow.sqlite", rows(home, **facts), "0" * 32, 1)
    assert written(home, []) == before
    assert direct.record(home / "mlflow.sqlite", rows(home), "0" * 32, 1)


def test_a_version_is_recorded_whole_or_not_at_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written(home, [])

    def cut_short(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(direct, "_version", cut_short)
        with pytest.raises(sqlite3.OperationalError):
            direct.record(home / "mlflow.sqlite", rows(home), "0" * 32, 1)
    assert written(home, []) == before
    store = Store(home)
    with monkeypatch.context() as patch:
        patch.setattr(direct, "_version", cut_short)
        run = store.record("demo", version(2), bundle(home, 2), {}, {})  # by the client
    assert store.record("demo", version(2), home / "bundle-2", {}, {}) == run, "told twice, recorded once"
    assert [int(v.version) for v in store._open().search_model_versions("name = 'demo'")] == [2, 1]
    assert sorted(p.name for p in (home / "mlflow").iterdir() if len(p.name) == 32).count(run) == 1
