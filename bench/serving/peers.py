"""The candidates: how each is installed, started and asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
SKLEARN = ("scikit-learn", "pandas", "joblib")
Command = Callable[[Path, Path, int], list[str]]
"""(bin folder of the environment, folder of its model, port) -> the server's command line."""


@dataclass(frozen=True)
class Peer:
    """A server of the same model. `packages` make its environment; `body` names the form of its requests (rows.py)."""

    name: str
    packages: tuple[str, ...]
    version_of: str
    command: Command
    path: str = "/predict"
    body: str = "instances"
    batching: bool = False
    env: dict[str, str] = field(default_factory=dict)


def _mlflow(bin: Path, model: Path, port: int) -> list[str]:
    return [str(bin / "mlflow"), "models", "serve", "-m", str(model / "mlflow"), "-p", str(port), "--env-manager", "local", "-w", "1"]


def _fastapi(bin: Path, model: Path, port: int) -> list[str]:
    return [str(bin / "uvicorn"), "fastapi_app:app", "--port", str(port), "--log-level", "warning", "--loop", "uvloop"]


def _bentoml(bin: Path, model: Path, port: int) -> list[str]:
    return [str(bin / "bentoml"), "serve", "bentoml_app:Churn", "-p", str(port), "--host", "127.0.0.1"]


def _app(script: str) -> Command:
    return lambda bin, model, port: [str(bin / "python"), str(HERE / "apps" / script), str(port)]


def _mlserver(bin: Path, model: Path, port: int) -> list[str]:
    others = {"grpc_port": 10_000 + port % 10_000, "metrics_port": 20_000 + port % 10_000}  # below those that free ports come from
    settings = {"debug": False, "host": "127.0.0.1", "http_port": port, **others, "parallel_workers": 1}
    parameters = {"uri": str(model / "model.joblib")}
    (model / "settings.json").write_text(json.dumps(settings))
    one = {"name": "churn", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}
    (model / "model-settings.json").write_text(json.dumps(one))
    return [str(bin / "mlserver"), "start", str(model)]


PEERS = (
    Peer("mlflow", ("mlflow", *SKLEARN), "mlflow", _mlflow, "/invocations", "split"),
    Peer("fastapi", ("fastapi", "uvicorn[standard]", *SKLEARN), "fastapi", _fastapi),
    Peer("bentoml", ("bentoml", *SKLEARN), "bentoml", _bentoml, body="bento"),
    Peer("bentoml batching", ("bentoml", *SKLEARN), "bentoml", _bentoml, body="bento", batching=True),
    Peer("litserve", ("litserve", *SKLEARN), "litserve", _app("litserve_app.py")),
    Peer("litserve batching", ("litserve", *SKLEARN), "litserve", _app("litserve_app.py"), batching=True),
    Peer("mlserver", ("mlserver", "mlserver-sklearn", "uvloop<0.22", *SKLEARN), "mlserver", _mlserver, "/v2/models/churn/infer", "v2"),
    Peer("ray serve", ("ray[serve]", *SKLEARN), "ray", _app("ray_app.py")),
    Peer("ray serve batching", ("ray[serve]", *SKLEARN), "ray", _app("ray_app.py"), batching=True),
)
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0", "PYTHONWARNINGS": "ignore", "GIT_PYTHON_REFRESH": "quiet",
}  # fmt: skip
