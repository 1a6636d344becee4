"""MLflow kept in step with the journal: what users already open to look at runs and models.

The journal is the truth; this is its mirror, so every call may be made again: a version is looked up by its bundle's digest before it
is created, and aliases are set to what the state says. One SQLite file, opened by the owner of the home alone.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.registry.state import Version

ALIASES = ("champion", "challenger")


class Store:
    """Lazy: MLflow (about a second of imports) is loaded by the first call that needs it."""

    def __init__(self, home: Path) -> None:
        self._database = home / "mlflow.sqlite"
        self._artifacts = home / "mlflow"
        self._client: Any = None
        self._opening = threading.Lock()

    def record(self, model: str, version: Version, bundle: Path, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """See that MLflow has this version, its run, metrics, parameters and lineage. Returns MLflow's run id."""
        client = self._open()
        found = client.search_model_versions(f"name = '{model}' and tag.`modelyard.digest` = '{version.digest}'")
        if found:
            return str(found[0].run_id)
        run_id = self._run(client, model, version, params, tags)
        self._model(client, model)
        lineage = {
            "modelyard.digest": version.digest,
            "modelyard.version": version.version,
            "modelyard.data": version.data_digest,
            "modelyard.code": version.code_digest,
            "modelyard.lock": version.lock_digest,
            "modelyard.config": version.config_digest,
            "modelyard.commit": version.commit or "",
        }
        _write_mlmodel(bundle, self._artifacts / version.digest, run_id)
        created = client.create_model_version(model, source=(self._artifacts / version.digest).as_uri(), run_id=run_id, tags=lineage)
        client.set_model_version_tag(model, created.version, "modelyard.mlflow_version", created.version)
        return run_id

    def alias(self, model: str, alias: str, version: Version | None) -> None:
        """Point `champion` or `challenger` at a version, or at none."""
        client = self._open()
        if version is None:
            if alias in client.get_registered_model(model).aliases:
                client.delete_registered_model_alias(model, alias)
            return
        found = client.search_model_versions(f"name = '{model}' and tag.`modelyard.digest` = '{version.digest}'")
        if found and client.get_registered_model(model).aliases.get(alias) != found[0].version:
            client.set_registered_model_alias(model, alias, found[0].version)

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

    def _run(self, client: Any, model: str, version: Version, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
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
        client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)

    def _model(self, client: Any, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(model)
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


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
