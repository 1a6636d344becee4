"""MLflow kept in step with the journal: what users already open to look at runs and models.

The journal is the truth; this is its mirror, so every call may be made again: a version is looked up by its bundle's digest before it
is created, and aliases are set to what the state says. One SQLite file, opened by the owner of the home alone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from modelyard.registry import direct
from modelyard.registry.state import Version

ALIASES = ("champion", "challenger")


REPORTS = ("report.html", "report.json")
"""What of a bundle MLflow shows beside the run."""
PAGE = 1000
"""What MLflow takes or gives at a time."""
ENDED = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
"""A trial's state as MLflow calls it."""
Point = tuple[str, int, float, float]
"""A metric's name, its step, its value (finite), and seconds since the trial began."""


@dataclass(frozen=True)
class Trial:
    """A trial of a search over hyperparameters. `value` is the objective's (null of a failed one), `series` all that it reported."""

    number: int
    metric: str
    state: Literal["complete", "pruned", "failed"]
    value: float | None
    reason: str
    params: Mapping[str, Any]
    started_at: datetime
    seconds: float
    series: tuple[Point, ...] = ()


class Store:
    """Lazy: MLflow (about a second of imports) is loaded by the first call that needs it; what is usual is written without (direct.py)."""

    def __init__(self, home: Path) -> None:
        self._database = home / "mlflow.sqlite"
        self._artifacts = home / "mlflow"
        self._client: Any = None
        self._opening = threading.Lock()

    def record(self, model: str, version: Version, bundle: Path, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """See that MLflow has this version, its run, metrics, parameters and lineage. Returns MLflow's run id."""
        lineage = {
            "modelyard.digest": version.digest,
            "modelyard.version": version.version,
            "modelyard.data": version.data_digest,
            "modelyard.code": version.code_digest,
            "modelyard.lock": version.lock_digest,
            "modelyard.config": version.config_digest,
            "modelyard.commit": version.commit or "",
        }
        if (written := self._directly(model, version, bundle, params, tags, lineage)) is not None:
            return written
        client = self._open()
        found = client.search_model_versions(f"name = '{model}' and tag.`modelyard.digest` = '{version.digest}'")
        if found:
            return str(found[0].run_id)
        run_id = self._run(client, model, version, params, tags, bundle)
        self._model(client, model)
        _write_mlmodel(bundle, self._artifacts / version.digest, run_id)
        created = client.create_model_version(model, source=(self._artifacts / version.digest).as_uri(), run_id=run_id, tags=lineage)
        client.set_model_version_tag(model, created.version, "modelyard.mlflow_version", created.version)
        return run_id

    def _directly(
        self, model: str, version: Version, bundle: Path, params: Mapping[str, Any], tags: Mapping[str, str], lineage: Mapping[str, str]
    ) -> str | None:
        """As `record`, without MLflow's client, whose import is then spared; None where it is needed."""
        if (bundle / "metrics.json").is_file():  # what was read off the log, step by step
            return None
        run_id, began = secrets.token_hex(16), int(time.time() * 1000)
        rows = direct.Rows(
            model=model,
            version=version.version,
            run=version.run,
            digest=version.digest,
            metrics={k: float(v) for k, v in version.metrics.items() if v is not None},
            params={k: str(v)[:6000] for k, v in params.items()},
            tags=tags,
            lineage=lineage,
            source=(self._artifacts / version.digest).as_uri(),
            artifacts=self._artifacts.as_uri(),
        )
        shown = self._artifacts / run_id / "artifacts"

        def files() -> None:
            _write_mlmodel(bundle, self._artifacts / version.digest, run_id)
            for name in REPORTS:
                if (bundle / name).is_file():
                    shown.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(bundle / name, shown / name)

        try:
            return run_id if direct.record(self._database, rows, run_id, began, files) else None
        except sqlite3.Error:  # the client says what is wrong, if it still is
            shutil.rmtree(shown.parent, ignore_errors=True)
            return None

    def trials(self, parent: str, trials: Iterable[Trial]) -> None:
        """See that MLflow has these trials, each a run of its own nested below `parent`; one that is there whole is left alone."""
        given = list(trials)
        if not given:
            return
        client = self._open()
        experiment = client.get_run(parent).info.experiment_id
        known = {run.data.tags["modelyard.trial"]: run for run in _children(client, experiment, parent)}
        for trial in given:
            run = known.get(str(trial.number))
            if run is None or run.info.status == "RUNNING":
                _trial(client, experiment, parent, trial, run)

    def alias(self, model: str, alias: str, version: Version | None) -> None:
        """Point `champion` or `challenger` at a version, or at none."""
        with contextlib.suppress(sqlite3.Error):
            if direct.alias(self._database, model, alias, version.digest if version else None):
                return
        client = self._open()
        if version is None:
            if alias in client.get_registered_model(model).aliases:
                client.delete_registered_model_alias(model, alias)
            return
        found = client.search_model_versions(f"name = '{model}' and tag.`modelyard.digest` = '{version.digest}'")
        if found and client.get_registered_model(model).aliases.get(alias) != found[0].version:
            client.set_registered_model_alias(model, alias, found[0].version)

    def get_ready(self) -> None:
        """Import MLflow and open the database, about a second's work, in a thread that has the time; nothing where it can be spared."""
        if not direct.known(self._database):
            self._open()

    def _open(self) -> Any:
        with self._opening:
            if self._client is None:
                os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
                os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
                os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
                from mlflow.tracking import MlflowClient

                self._artifacts.mkdir(parents=True, exist_ok=True)
                if not self._database.exists():
                    self._make()
                self._client = MlflowClient(*self._uris(self._database))
        return self._client

    @staticmethod
    def _uris(database: Path) -> tuple[str, str]:
        return f"sqlite:///{database}", f"sqlite:///{database}"

    def _make(self) -> None:
        """Make MLflow's tables aside: a database that was cut short within its migrations is one that MLflow never opens again."""
        from mlflow.tracking import MlflowClient

        for left in self._database.parent.glob(f"{self._database.stem}.making*"):
            left.unlink()
        # A name of its own: MLflow keeps an engine for each name it has seen, which would go on in the file that was just removed.
        work = self._database.with_suffix(f".making-{secrets.token_hex(4)}")
        made = MlflowClient(*self._uris(work))
        made._tracking_client.store.engine.dispose()
        work.replace(self._database)

    def _run(self, client: Any, model: str, version: Version, params: Mapping[str, Any], tags: Mapping[str, str], bundle: Path) -> str:
        from mlflow.entities import Metric, Param, RunTag

        experiment = client.get_experiment_by_name(model)
        artifacts = self._artifacts.as_uri()
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(model, artifact_location=artifacts)
        if known := client.search_runs([experiment_id], f"tags.`modelyard.run` = '{version.run}'"):
            run = known[0]  # a crash came between the run and its version, or before all was logged
            if run.info.status == "FINISHED":
                return str(run.info.run_id)
        else:
            name = f"{model}:{version.version}"
            run = client.create_run(experiment_id, run_name=name, tags={"modelyard.run": version.run})
        now = int(time.time() * 1000)
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(k, v, now, 0) for k, v in version.metrics.items() if v is not None],
            params=[Param(k, str(v)[:6000]) for k, v in params.items()],
            tags=[RunTag(k, v) for k, v in tags.items()],
        )
        for batch in _readings(bundle / "metrics.json", now):
            client.log_batch(run.info.run_id, metrics=batch)
        for name in REPORTS:
            if (bundle / name).is_file():
                client.log_artifact(run.info.run_id, str(bundle / name))
        client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)

    def _model(self, client: Any, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(model)
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _readings(path: Path, now: int) -> Iterator[list[Any]]:
    """What was read off the training log (build/metrics.py: a JSON object a line), as many at a time as MLflow takes."""
    from mlflow.entities import Metric

    if not path.is_file():
        return
    read = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = [Metric(r["name"], r["value"], now + int(1000 * r["seconds"]), r["step"]) for r in read if math.isfinite(r["value"])]
    yield from (found[i : i + PAGE] for i in range(0, len(found), PAGE))


def _children(client: Any, experiment: str, parent: str) -> Iterator[Any]:
    """The trials' runs below a run."""
    token = None
    while token != "":
        page = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=PAGE, page_token=token)
        yield from (run for run in page if "modelyard.trial" in run.data.tags)
        token = page.token or ""


def _trial(client: Any, experiment: str, parent: str, trial: Trial, run: Any) -> None:
    """Tell of one trial. `run` is what a crash left of it. Times are the trial's own, so that a metric told twice is one."""
    from mlflow.entities import Metric, Param, RunTag

    start = int(trial.started_at.timestamp() * 1000)
    end = start + int(trial.seconds * 1000)
    if run is None:
        tags = {"mlflow.parentRunId": parent, "modelyard.trial": str(trial.number)}
        run = client.create_run(experiment, start_time=start, run_name=f"trial {trial.number}", tags=tags)
    points = [(name, value, start + int(seconds * 1000), step) for name, step, value, seconds in _thinned(trial.series)]
    if trial.value is not None and trial.metric not in {name for name, *_ in points}:
        points.append((trial.metric, trial.value, end, 0))
    facts = {"modelyard.state": trial.state, "modelyard.objective": trial.metric, "modelyard.reason": trial.reason[:5000]}
    client.log_batch(
        run.info.run_id,
        params=[Param(k, str(v)[:6000]) for k, v in trial.params.items()],
        tags=[RunTag(k, v) for k, v in facts.items() if v],
    )
    for first in range(0, len(points), PAGE):
        batch = points[first : first + PAGE]
        client.log_batch(run.info.run_id, metrics=[Metric(_path(name), value, at, step) for name, value, at, step in batch])
    client.set_terminated(run.info.run_id, ENDED[trial.state], end)


def _thinned(series: Sequence[Point]) -> list[Point]:
    """At most PAGE values of each name, evenly taken; the last is always among them."""
    kept: list[Point] = []
    for name in dict.fromkeys(point[0] for point in series):
        values = [point for point in series if point[0] == name]
        stride = -(-len(values) // PAGE)
        kept += values[::-1][::stride][::-1]
    return kept


def _path(name: str) -> str:
    """A metric's name as MLflow, to which it is a path, takes it."""
    return "/".join(part for part in name.split("/") if part not in ("", ".", "..")) or "metric"


def _write_mlmodel(bundle: Path, folder: Path, run_id: str) -> None:
    """A model directory MLflow can show: an MLmodel of our own flavour that points at the bundle. Never a guessed requirement."""
    folder.mkdir(parents=True, exist_ok=True)
    signature = json.loads((bundle / "signature.json").read_text(encoding="utf-8"))
    types = {"int": "long", "float": "double", "str": "string", "bool": "boolean", "datetime": "datetime"}
    inputs = [{"name": c["name"], "type": types[c["type"]], "required": not c["nullable"]} for c in signature["columns"]]
    mlmodel = {
        "flavors": {"modelyard": {"bundle": bundle.name}},
        "model_uuid": bundle.name[:32],
        "run_id": run_id,
        "signature": {"inputs": json.dumps(inputs), "outputs": None, "params": None},
    }
    (folder / "MLmodel").write_text(json.dumps(mlmodel, indent=1), encoding="utf-8")  # JSON is YAML
