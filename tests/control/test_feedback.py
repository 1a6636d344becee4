"""Labels over HTTP: what is taken, what is refused, and that it counts once."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from modelyard import events as e
from modelyard.config.spec import STAGES
from modelyard.control import feedback
from modelyard.monitor import labels
from tests.control.yards import Plane, plane
from tests.flows.releases import config

PATH = "/api/v1/models/demo/labels"
CSV = {"Content-Type": "text/csv"}


@pytest.fixture
def served(home: Path) -> Iterator[Plane]:
    with plane(home) as it:
        it.yard.shop.record(
            [
                e.RunStarted("demo", "up-demo", "up", "ana", ""),
                e.ConfigAccepted("demo", "up-demo", "c0" * 32, dict.fromkeys(map(str, STAGES), config()), "/nowhere"),
            ]
        )
        yield it


def held(served: Plane) -> dict[str, object]:
    return dict(labels.latest(served.yard.home.labels("demo")).select("inference_id", "label").iter_rows())


def test_labels_are_taken_and_count_once(served: Plane) -> None:
    body = "inference_id,y\na,1.5\nb,\n"
    first, again = (served.web.post(PATH, content=body, headers=CSV) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == {"new": 1, "corrected": 0, "repeated": 0, "blank": 1, "matched": 0, "waiting": 1}
    assert again.json() == {"new": 0, "corrected": 0, "repeated": 1, "blank": 1, "matched": 0, "waiting": 1}
    assert held(served) == {"a": 1.5}


def test_json_lines_lists_and_parquet(served: Plane) -> None:
    file = BytesIO()
    pl.DataFrame({"inference_id": ["d"], "label": [4.0]}).write_parquet(file)
    for kind, body in (
        ("application/json", b'[{"inference_id": "a", "label": 1.0}]'),
        ("application/json", b'{"inference_id": "b", "label": 2.0}'),
        ("application/x-ndjson", b'{"inference_id": "c", "label": 3.0}\n'),
        ("application/vnd.apache.parquet", file.getvalue()),
    ):
        assert served.web.post(PATH, content=body, headers={"Content-Type": kind}).json()["new"] == 1
    assert held(served) == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}


def test_a_local_caller_needs_no_token_and_a_stranger_has_none(served: Plane) -> None:
    with served.local as local:
        assert local.post(PATH, content="inference_id,y\na,1\n", headers=CSV).json()["new"] == 1
    assert served.anonymous.post(PATH, content="inference_id,y\nb,1\n", headers=CSV).status_code == 401
    for wrong in ("Bearer wrong", "Basic d3Jvbmc6", "wrong"):
        assert served.anonymous.post(PATH, content="inference_id,y\nb,1\n", headers={**CSV, "Authorization": wrong}).status_code == 401
    foreign = {**CSV, "Origin": "https://example.com"}
    assert served.web.post(PATH, content="inference_id,y\nb,1\n", headers=foreign).status_code == 403
    assert held(served) == {"a": 1}


@pytest.mark.parametrize(
    ("path", "kind", "body", "status", "said"),
    [
        (PATH, "text/plain", "a,1", 400, "not read as"),
        (PATH, "text/csv", "y\n1\n", 400, "no column 'inference_id'"),
        (PATH, "application/json", "[", 400, "not JSON"),
        (PATH, "text/csv", "inference_id,y\na,1\na,2\n", 400, "has two labels"),
        ("/api/v1/models/demmo/labels", "text/csv", "inference_id,y\na,1\n", 404, "no model `demmo`"),
        ("/api/v1/models/..%2fdemo/labels", "text/csv", "inference_id,y\na,1\n", 404, ""),
    ],
)
def test_what_is_refused_leaves_nothing(path: str, kind: str, body: str, status: int, said: str, served: Plane) -> None:
    answer = served.web.post(path, content=body, headers={"Content-Type": kind})
    assert answer.status_code == status and said in answer.json()["error"]["what"]
    assert held(served) == {}


def test_a_body_that_is_too_large_is_not_read(served: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "LARGEST", 1000)
    body = b"inference_id,y\n" + b"".join(b"a%03d,1\n" % i for i in range(500))

    def chunks() -> Iterator[bytes]:
        for begin in range(0, len(body), 100):
            yield body[begin : begin + 100]

    for content in (body, chunks()):  # that says how long it is, and that does not
        answer = served.web.post(PATH, content=content, headers=CSV)
        assert answer.status_code == 413 and "in parts" in answer.json()["error"]["next"]
    assert held(served) == {}
    assert served.web.post(PATH, content=body[:900], headers=CSV).status_code == 200


def test_the_verbs_of_the_command_line(served: Plane) -> None:
    sent = {"model": "demo", "body": "inference_id,y\na,1\n", "content_type": "text/csv"}
    assert served.web.post("/api/v1/take-labels", json=sent).json()["new"] == 1
    assert served.web.post("/api/v1/label-coverage", json={"model": "demo"}).json()["windows"] == []
    answer = served.web.post("/api/v1/label-coverage", json={"model": "demo", "since": "noon"})
    assert answer.status_code == 400 and "`noon` is no time" in answer.json()["error"]["what"]


def test_the_route_is_in_the_document_of_the_api(served: Plane) -> None:
    said = served.web.get("/api/v1/openapi.json").json()["paths"][feedback.PATH]["post"]
    assert set(said["requestBody"]["content"]) >= {"text/csv", "application/json"}
