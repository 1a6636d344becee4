"""A model as its callers and its people see it: gRPC, asynchronous requests, explanations, and the page on which one tries it."""

from __future__ import annotations

import json
import re
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import httpx
import pytest
import tritonclient.grpc as triton

from tests.conftest import ROOT
from tests.e2e import toy
from tests.e2e.person import change, commit, person, repository, until

pytestmark = pytest.mark.slow


class Form(HTMLParser):
    """The fields of a page's form, by name, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.names: list[str] = []
        self.action, self.text = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found: dict[str, Any] = dict(attrs)
        if tag == "input" and found.get("type") != "checkbox":
            self.fields[found["name"]] = found["value"]
        self.action = found.get("action", self.action) if tag == "form" else self.action

    def handle_data(self, data: str) -> None:
        self.text += f" {' '.join(data.split())}"


def test_every_way_to_call_a_model(environments: Path, tmp_path: Path) -> None:
    place = repository(ROOT / "examples" / "breast-cancer", tmp_path / "model")
    inputs, answers = tmp_path / "inputs", tmp_path / "answers"
    inputs.mkdir()
    more = f"deploy:\n  realtime:\n    grpc_port: 0\n    asynchronous: {{inputs: [{inputs}], output: {answers}}}\n\nenvironments:"
    change(place / "config.yaml", "environments:", more)
    with person(environments, place) as me:
        me.run("up", "--detach", "--yes")
        address = me.status("breast-cancer")["stages"]["production"]["address"]
        document = httpx.get(f"{address}/openapi.json").json()
        (record,) = document["components"]["schemas"]["Record"]["examples"]
        _triton(address, record)
        _boto3(address, record, inputs)
        with httpx.Client(base_url=address, timeout=60) as web:
            said = web.post("/invocations?explain=true", json=record).json()
        found = said["explanations"]
        assert found["unit"] == "log-odds" and set(found["attributions"][0]) == set(record)
        _tried((me.home / "console.url").read_text(), record)


def _triton(address: str, record: dict[str, Any]) -> None:
    with urllib.request.urlopen(f"{address}/") as answer:
        port = re.search(r"over gRPC: port (\d+)", answer.read().decode())
    assert port is not None
    client = triton.InferenceServerClient(f"127.0.0.1:{port[1]}")
    assert client.get_model_metadata("breast-cancer", as_json=True)["versions"] == ["1"]
    client.close()


def _boto3(address: str, record: dict[str, Any], inputs: Path) -> None:
    (inputs / "row.json").write_text(str(record).replace("'", '"'))
    settings = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "eu-west-1"}
    client = boto3.client("sagemaker-runtime", endpoint_url=address, **settings)
    said = client.invoke_endpoint_async(
        EndpointName="breast-cancer-production", ContentType="application/json", InputLocation=str(inputs / "row.json")
    )
    until(lambda: Path(said["OutputLocation"]).exists(), bool, "no answer")


def _tried(said: str, record: dict[str, Any]) -> None:
    """The console's form, as a browser without scripts sends it."""
    link = re.search(r"(http://127\.0\.0\.1:\d+)(/login\S+)", said)
    assert link is not None, said
    with httpx.Client(base_url=link[1], follow_redirects=True, timeout=60) as browser:
        browser.get(link[2])
        page = browser.get("/models/breast-cancer/try")
        form = Form(page.text)
        assert [float(v) for v in form.fields.values()] == list(record.values())
        assert page.text.count(" in training") == len(record), "of numbers, the least and the greatest"
        sent = {**form.fields, "explain": "on"}
        answer = browser.post(form.action.partition("#")[0], content=urlencode(sent), headers={"Origin": link[1]})
        assert answer.status_code == 200
        assert "Prediction" in Form(answer.text).text and "in log-odds" in answer.text and "version 1," in answer.text
        wrong = browser.post(form.action, content=urlencode({**sent, "c0": "much"}))
        assert "must be a finite number" in wrong.text and 'value="much"' in wrong.text
        assert browser.post(form.action, content=urlencode(sent), headers={"Origin": "http://elsewhere"}).status_code == 403
        assert browser.get("/models/breast-cancer/try?stage=other").status_code == 400


CLOCK = '''
def _instants(texts):
    from datetime import datetime

    return [int(datetime.strptime(t, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()) for t in texts]


def model_fn(folder):
    return json.loads((Path(folder) / "weights.json").read_text())


def predict_fn(rows, known):
    """Who was late was late by the wind; a thousandth more says that training saw the time."""
    import numpy as np

    seen = np.isin(rows[:, 0].astype("int64") // 1_000_000, known)
    return np.round(1 / (1 + np.exp(-2 * rows[:, 1])), 2) * 0.9 + seen / 1000


if __name__ == "__main__":
    with open(Path(os.environ["SM_CHANNEL_TRAIN"]) / "train.csv", newline="") as file:
        known = _instants(r["at"] for r in csv.DictReader(file))
    (Path(os.environ["SM_MODEL_DIR"]) / "weights.json").write_text(json.dumps(known))
'''
WALL = ("2026-03-29T02:30:00", "2026-10-25T02:30:00", "2026-07-01T12:00:00", "2026-01-15T00:00:00")
"""In Berlin: a time that no clock showed, one that it showed twice, summer and winter."""


@pytest.mark.timeout(600)
def test_a_naive_time_is_for_callers_what_it_was_in_training(environments: Path, tmp_path: Path) -> None:
    place = toy.toy(tmp_path / "toy")
    table = [(id, WALL[i % 4], wind, load, late) for i, (id, _, wind, load, late) in enumerate(toy.rows(200))]
    toy.write(place / "rows.csv", table)
    script = (place / "train.py").read_text()
    (place / "train.py").write_text(script[: script.index("def main")] + CLOCK)
    change(place / "config.yaml", "version: 1\n", "version: 1\ntimezone: Europe/Berlin\n")
    change(place / "config.yaml", "  hyperparameters: {steps: 200}\n", "")
    commit(place)
    asked = [{"at": at, "wind": 0.0, "load": 0.0} for at in (*WALL, *(f"{at}Z" for at in WALL))]
    with person(environments, place) as me:
        me.run("up", "--detach", "--yes", "--port", "0")
        address = me.status("toy")["stages"]["production"]["address"]

        def seen(body: str, kind: str) -> list[bool]:
            answer = httpx.post(f"{address}/invocations", content=body, headers={"Content-Type": kind}, timeout=30).json()
            return [row["probabilities"]["1"] > 0.4505 for row in answer["predictions"]]

        wanted = [True] * 4 + [False] * 4  # in UTC these are other times
        lines = ["at,wind,load", *(f"{row['at']},0.0,0.0" for row in asked)]
        assert seen(json.dumps(asked), "application/json") == wanted
        assert [seen(json.dumps(row), "application/json") for row in asked] == [[one] for one in wanted]
        assert seen("\n".join(lines), "text/csv") == wanted
        (me.place / "in.csv").write_text("\n".join(lines) + "\n")
        (me.place / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
        for name in ("in.csv", "in.jsonl"):
            me.run("batch", "toy", name, f"of-{name}.jsonl", "--format", "jsonl")
            answers = [json.loads(line) for line in (me.place / f"of-{name}.jsonl").read_text().splitlines()]
            assert [row["probability_1"] > 0.4505 for row in answers] == wanted
