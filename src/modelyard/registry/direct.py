"""A version's rows in MLflow's own tables, without MLflow: importing it takes longer than all the rest of a small build.

Only where nothing is out of the ordinary: the tables are of a revision that is known here, experiment and registered model are there,
nothing of the version is, and MLflow takes every name and text as it is. Whatever else it may be is left to MLflow's client. A test
compares row for row with what the client writes. All of a version is one transaction, as durable as SQLite has them.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

REVISIONS = frozenset({"dc11669786a5"})
"""Of MLflow's tables (Alembic's word for it), those whose rows are known here: of MLflow 3.17."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-. ]{0,199}")
"""Names that MLflow takes as they are."""
LONGEST = 5000
"""Characters of a value that MLflow keeps whole."""
MOST = 100
"""Parameters, and tags, that MLflow takes at a time."""
BUSY_SECONDS = 5.0


@dataclass(frozen=True)
class Rows:
    """What is told of a version. `lineage` are its own tags, `tags` its run's; `source` and `artifacts` are addresses (file:)."""

    model: str
    version: str
    run: str
    digest: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    lineage: Mapping[str, str]
    source: str
    artifacts: str

    def ordinary(self) -> bool:
        """Whether MLflow would take all of it as it is."""
        names = [self.model, *self.metrics, *self.params, *self.tags]
        texts = [*self.params.values(), *self.tags.values(), *self.lineage.values()]
        return (
            all(NAME.fullmatch(name) for name in names)
            and not any(name.startswith("mlflow.") for name in self.tags)
            and all(len(text) <= LONGEST for text in texts)
            and all(math.isfinite(value) for value in self.metrics.values())
            and len(self.params) <= MOST
            and len(self.tags) <= MOST
        )


def known(database: Path) -> bool:
    """Whether the tables are there, and of a revision whose rows are known here."""
    try:
        with _opened(database) as tables:
            return _known(tables)
    except sqlite3.Error:
        return False


def record(database: Path, rows: Rows, run_id: str, began: int, beside: Callable[[], None] = lambda: None) -> bool:
    """Write the rows, and whatever `beside` writes before them; `run_id` is the new run's, which began at `began` (milliseconds since
    1970). False: nothing was written, and it is the client's to do.

    Raises what `beside` does, and sqlite3.Error, of a full disk above all; then no row was written.
    """
    if not rows.ordinary() or not database.exists():
        return False
    with _opened(database) as tables, _transaction(tables):
        experiment = _experiment(tables, rows) if _known(tables) else None
        if experiment is None or _there(tables, rows):
            return False
        beside()
        _run(tables, rows, run_id, experiment, began)
        _version(tables, rows, run_id)
    return True


def alias(database: Path, model: str, name: str, digest: str | None) -> bool:
    """Point an alias at the version of this digest, or at none. False: nothing was written, and it is the client's to do.

    Raises as `record`."""
    if not database.exists():
        return False
    with _opened(database) as tables, _transaction(tables):
        if not _known(tables) or not _registered(tables, model):
            return False
        if digest is None:
            tables.execute("DELETE FROM registered_model_aliases WHERE workspace = 'default' AND name = ? AND alias = ?", (model, name))
            return True
        if len(found := _versions(tables, model, digest)) != 1:
            return False
        tables.execute(
            "INSERT INTO registered_model_aliases (workspace, name, alias, version) VALUES ('default', ?, ?, ?) "
            "ON CONFLICT (workspace, name, alias) DO UPDATE SET version = excluded.version",
            (model, name, found[0]),
        )
    return True


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    """As it is: never made anew."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as tables:
        tables.execute("PRAGMA foreign_keys=ON")
        tables.execute("PRAGMA synchronous=EXTRA")
        yield tables


@contextmanager
def _transaction(tables: sqlite3.Connection) -> Iterator[None]:
    tables.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        tables.execute("ROLLBACK")
        raise
    tables.execute("COMMIT")


def _known(tables: sqlite3.Connection) -> bool:
    """MLflow's workspaces are for servers that several teams share."""
    if os.environ.get("MLFLOW_ENABLE_WORKSPACES"):
        return False
    return {revision for (revision,) in tables.execute("SELECT version_num FROM alembic_version")} <= REVISIONS


def _experiment(tables: sqlite3.Connection, rows: Rows) -> int | None:
    """The model's own, where it and the registered model are there and as they were made."""
    asked = "SELECT experiment_id, artifact_location, lifecycle_stage FROM experiments WHERE workspace = 'default' AND name = ?"
    found = tables.execute(asked, (rows.model,)).fetchone()
    return int(found[0]) if _registered(tables, rows.model) and found and tuple(found[1:]) == (rows.artifacts, "active") else None


def _registered(tables: sqlite3.Connection, model: str) -> bool:
    return tables.execute("SELECT 1 FROM registered_models WHERE workspace = 'default' AND name = ?", (model,)).fetchone() is not None


def _there(tables: sqlite3.Connection, rows: Rows) -> bool:
    """Whether something of the version is there, as after a crash."""
    run = tables.execute("SELECT 1 FROM tags WHERE key = 'modelyard.run' AND value = ? LIMIT 1", (rows.run,)).fetchone()
    return run is not None or bool(_versions(tables, rows.model, rows.digest))


def _versions(tables: sqlite3.Connection, model: str, digest: str) -> Sequence[int]:
    asked = "SELECT version FROM model_version_tags WHERE workspace = 'default' AND name = ? AND key = 'modelyard.digest' AND value = ?"
    return [version for (version,) in tables.execute(asked, (model, digest))]


def _run(tables: sqlite3.Connection, rows: Rows, run_id: str, experiment: int, began: int) -> None:
    name, now = f"{rows.model}:{rows.version}", _now()
    tables.execute(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, "
        "source_version, lifecycle_stage, artifact_uri, experiment_id) "
        "VALUES (?, ?, 'UNKNOWN', '', '', 'unknown', 'FINISHED', ?, ?, '', 'active', ?, ?)",
        (run_id, name, began, now, f"{rows.artifacts}/{run_id}/artifacts", experiment),
    )
    values = [(key, value, now, 0, False, run_id) for key, value in rows.metrics.items()]
    for table in ("metrics", "latest_metrics"):
        tables.executemany(f"INSERT INTO {table} (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)", values)  # noqa: S608
    params, tags = rows.params.items(), {"modelyard.run": rows.run, "mlflow.runName": name, **rows.tags}.items()
    tables.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", [(*pair, run_id) for pair in params])
    tables.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", [(*pair, run_id) for pair in tags])


def _version(tables: sqlite3.Connection, rows: Rows, run_id: str) -> None:
    now, asked = _now(), "SELECT coalesce(max(version), 0) + 1 FROM model_versions WHERE workspace = 'default' AND name = ?"
    (number,) = tables.execute(asked, (rows.model,)).fetchone()
    tables.execute(
        "INSERT INTO model_versions (workspace, name, version, creation_time, last_updated_time, current_stage, source, "
        "storage_location, run_id, status) VALUES ('default', ?, ?, ?, ?, 'None', ?, ?, ?, 'READY')",
        (rows.model, number, now, now, rows.source, rows.source, run_id),
    )
    tables.execute("UPDATE registered_models SET last_updated_time = ? WHERE workspace = 'default' AND name = ?", (now, rows.model))
    tags = {**rows.lineage, "modelyard.mlflow_version": str(number)}.items()
    tables.executemany(
        "INSERT INTO model_version_tags (workspace, name, version, key, value) VALUES ('default', ?, ?, ?, ?)",
        [(rows.model, number, *pair) for pair in tags],
    )


def _now() -> int:
    return int(time.time() * 1000)
