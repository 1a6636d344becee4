"""A real MLflow scoring client, in an environment of its own, against a real front."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request

import pytest

from modelyard import __version__
from tests import environments
from tests.serve.protocols.conftest import Endpoint
from tests.serve.world import NAMES, data

PROGRAM = """
import json, sys
import numpy as np, pandas as pd, requests
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

port, rows, names = json.loads(sys.argv[1])
client = ScoringServerClient("127.0.0.1", port)
client.wait_server_ready(10)
frame = pd.DataFrame(rows, columns=names)
missing = frame.assign(c11=[None] + list(frame.c11[1:]))
values = {"predictions": "values"}
said = {"version": client.get_version()}
said["frame"] = client.invoke(frame).get_predictions().to_dict("records")
said["values"] = client.invoke(frame, params=values).get_predictions("ndarray").tolist()
said["array"] = client.invoke(frame.to_numpy(), params=values).get_predictions("ndarray").tolist()
said["records"] = client.invoke(frame.to_dict("records"), params=values).get_predictions()[0].tolist()
try:
    client.invoke(missing)
except Exception as exc:
    said["missing"] = str(exc)
url = client.url_prefix + "/invocations"
for kind, body in (("text/csv", frame.to_csv(index=False)), ("application/json", frame.to_json(orient="records"))):
    answer = requests.post(url, data=body, headers={"Content-Type": kind}, params=values)
    said[kind] = answer.json()["predictions"]
print(json.dumps(said))
"""


@pytest.mark.slow
def test_the_scoring_client(endpoint: Endpoint) -> None:
    rows = data(4)[0].tolist()
    argument = json.dumps([endpoint.port, rows, NAMES])
    done = subprocess.run([environments.python("iris-mlflow"), "-c", PROGRAM, argument], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["version"] == __version__
    labels = [row["prediction"] for row in said["frame"]]
    assert all(set(row) == {"inference_id", "prediction", "probabilities"} for row in said["frame"])
    for how in ("values", "array", "records", "text/csv", "application/json"):
        assert said[how] == labels, how
    assert "424" in said["missing"] and "NaN" in said["missing"]  # the model's own word: the column may be missing, the model takes none


def test_health_and_version(endpoint: Endpoint) -> None:
    for path, body in (("/health", b"\n"), ("/version", __version__.encode())):
        with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}{path}") as answer:
            assert answer.read() == body


def test_bare_predictions_by_query(endpoint: Endpoint) -> None:
    body = json.dumps({"instances": [[0.5] * 12, [1.5] * 12]}).encode()

    def ask(query: str) -> tuple[int, dict[str, object]]:
        url = f"http://127.0.0.1:{endpoint.port}/invocations{query}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as exc:
            return exc.code, json.load(exc)

    assert ask("?predictions=values")[1]["predictions"] == [1, 1]
    assert isinstance(ask("?predictions=records")[1]["predictions"], list)
    for query in ("?predictions=other", "?more=1", "?explain=perhaps"):
        assert ask(query)[0] == 400
