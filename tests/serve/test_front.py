"""The front's HTTP contract, against a real front process and a runner that answers from a thread of the test."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.serve import routes, stats
from modelyard.serve.captured import read
from modelyard.serve.processes import Child, spawn_front, wait_front
from modelyard.signature import Column, Signature

from .fake import Columns, FakeRunner, double
from .planned import variant

SIGNED = Signature("regression", (Column("x", "float", nullable=True),), id_col="id")
MAX_BODY = 2000


class Endpoint:
    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.stats = folder, folder / "routes.json", folder / "stats.json"
        self.runner = FakeRunner(folder / "runner.sock", self.predict, ["x"])
        self.generation = 0
        self.route()
        self.front: Child = spawn_front(routes=self.path, stats_path=self.stats, log=folder / "front.log")
        self.port = wait_front(self.front, self.stats).port

    @staticmethod
    def predict(columns: Columns, count: int) -> Columns:
        if 60.0 in columns["x"]:
            time.sleep(1.5)
        return double(columns, count)

    def route(self, **more: Any) -> routes.RoutingTable:
        self.generation += 1
        variant = routes.Variant("7", 100, (str(self.folder / "runner.sock"),), SIGNED.to_dict())
        capture, limits = routes.Capture(str(self.folder / "capture")), routes.Limits(timeout_s=1.0, max_body=MAX_BODY)
        fields: dict[str, Any] = {"variants": (variant,), "capture": capture, "limits": limits, **more}
        table = routes.RoutingTable("demo-production", "demo", "production", generation=self.generation, **fields)
        routes.write(self.path, table)
        return table

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, http.client.HTTPResponse]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        link.request(method, path, data, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = link.getresponse()
        content = answer.read()
        link.close()
        return (
            answer.status,
            json.loads(content) if "json" in (answer.getheader("content-type") or "") else content.decode(),
            answer,
        )

    def raw(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as link:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            answer = b""
            while part := link.recv(65536):
                answer += part
        return answer


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    endpoint = Endpoint(tmp_path_factory.mktemp("e"))
    yield endpoint
    endpoint.front.stop()


def test_an_answer_and_its_headers(endpoint: Endpoint) -> None:
    status, content, answer = endpoint.call("POST", "/invocations", {"x": 2, "id": "UA1"}, Content_Type="application/json")
    assert status == 200
    assert content == {"predictions": [{"inference_id": "UA1", "prediction": 4.0}], "model": "demo", "version": "7"}
    assert answer.getheader("x-modelyard-version") == answer.getheader("x-Amzn-Invoked-Production-Variant") == "7"
    status, content, _ = endpoint.call(
        "POST",
        "/endpoints/demo-production/invocations",
        [{"x": 1}, {"x": 2}],
        X_Amzn_SageMaker_Inference_Id="abc",
        Accept="text/csv",
    )
    assert (status, content) == (200, "inference_id,prediction\nabc-0,2.0\nabc-1,4.0\n")


def test_csv_in(endpoint: Endpoint) -> None:
    status, content, _ = endpoint.call("POST", "/invocations", b"id,x\na,1\nb,2.5\n", Content_Type="text/csv")
    assert (status, [p["prediction"] for p in content["predictions"]]) == (200, [2.0, 5.0])


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("POST", "/invocations", b"{", {}, 400, "bad_input"),
        ("POST", "/invocations", {"y": 1}, {}, 400, "bad_input"),
        ("POST", "/invocations", {"x": 1}, {"X-Amzn-SageMaker-Target-Variant": "8"}, 400, "bad_input"),
        ("POST", "/invocations", {"x": 1}, {"Content-Type": "text/html"}, 415, "unsupported_content_type"),
        ("POST", "/invocations", {"x": 1}, {"Accept": "text/html"}, 406, "not_acceptable"),
        ("POST", "/invocations", b"x" * (MAX_BODY + 1), {}, 413, "too_large"),
        ("POST", "/invocations", {"x": -1}, {}, 424, "model_failed"),
        ("POST", "/invocations", {"x": 60}, {}, 504, "timed_out"),
        ("POST", "/invocations", {"x": 1}, {"Host": "evil.example"}, 403, "wrong_host"),
        ("POST", "/invocations", {"x": 1}, {"Host": "localhost.evil.example:80"}, 403, "wrong_host"),
        ("GET", "/invocations", None, {}, 405, "method_not_allowed"),
        ("POST", "/ping", b"", {}, 405, "method_not_allowed"),
        ("GET", "/../etc/passwd", None, {}, 404, "not_found"),
        ("GET", "/%2e%2e/%00", None, {}, 404, "not_found"),
    ],
)
def test_refusals_have_one_shape(
    endpoint: Endpoint, method: str, path: str, body: Any, headers: dict[str, str], status: int, code: str
) -> None:
    got, content, answer = endpoint.call(method, path, body, **headers)
    assert (got, content["error"]["code"]) == (status, code), content
    assert set(content["error"]) == {"code", "what", "where", "next"}
    assert answer.getheader("content-type") == "application/json"


def test_head_is_answered_as_get_without_the_body(endpoint: Endpoint) -> None:
    with socket.create_connection(("127.0.0.1", endpoint.port)) as caller:
        caller.sendall(b"HEAD /ping HTTP/1.1\r\nHost: localhost\r\n\r\nHEAD /invocations HTTP/1.0\r\n\r\n")
        said = b"".join(iter(lambda: caller.recv(65536), b""))
    first, _, second = said.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200") and b"content-length: 18" in first
    assert second.startswith(b"HTTP/1.1 405") and second.endswith(b"\r\n\r\n")


def test_a_wrong_method_names_the_right_ones(endpoint: Endpoint) -> None:
    for path in ("/invocations", "/endpoints/demo/invocations"):
        assert endpoint.call("DELETE", path)[2].getheader("allow") == "POST"


def test_hosts_by_which_it_may_be_called(endpoint: Endpoint) -> None:
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:80"):
        assert endpoint.call("GET", "/ping", Host=host)[0] == 200


def test_a_body_without_a_length_is_stopped_on_the_way(endpoint: Endpoint) -> None:
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    head = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert endpoint.raw(head + chunk * 100 + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    expect = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\nExpect: 100-continue\r\n\r\n"
    assert endpoint.raw(expect).startswith(b"HTTP/1.1 413 ")  # before a byte of it was asked for


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"x%d: 1\r\n" % i for i in range(200)) + b"\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_broken_http_is_refused_and_the_end(endpoint: Endpoint, request_: bytes) -> None:
    status, code = (b"431", "head_too_large") if len(request_) > 1000 else (b"400", "bad_request")
    answer = endpoint.raw(request_)
    assert answer.startswith(b"HTTP/1.1 %b " % status) and b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1") == 1
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == code


def test_ping_hint_and_metrics(endpoint: Endpoint) -> None:
    assert endpoint.call("GET", "/ping")[:2] == (200, {"status": "ready"})
    hint = endpoint.call("GET", "/")[1]
    assert "version 7" in hint and "x (float, may be missing)" in hint
    endpoint.call("POST", "/invocations", {"x": 1})
    metrics = endpoint.call("GET", "/metrics")[1]
    answered = next(line for line in metrics.splitlines() if 'result="answered"' in line)
    assert answered.startswith('modelyard_requests_total{endpoint="demo-production",front="0",version="7"')
    assert int(answered.split()[-1]) >= 1
    assert (endpoint.call("GET", "/health/live")[0], endpoint.call("GET", "/health/ready")[0]) == (200, 200)


def test_a_table_that_does_not_hold_is_left_aside_and_sighup_hastens(endpoint: Endpoint) -> None:
    before = stats.read(endpoint.stats)
    odd = endpoint.path.read_text().replace('"type":"float"', '"type":"odd"')
    assert '"odd"' in odd
    for number, text in enumerate(("{", odd), 1):
        endpoint.path.write_text(text)
        deadline = time.monotonic() + 10
        while stats.read(endpoint.stats).bad_tables < before.bad_tables + number:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert endpoint.call("POST", "/invocations", {"x": 1})[0] == 200
    table = endpoint.route()
    os.kill(endpoint.front.pid, signal.SIGHUP)
    assert stats.wait_generation(endpoint.stats, table.generation).generation == table.generation


def test_without_a_version_it_is_503(endpoint: Endpoint) -> None:
    for more in (
        {"variants": ()},
        {"variants": (routes.Variant("8", 100, (str(endpoint.folder / "nobody.sock"),), SIGNED.to_dict()),)},
    ):
        table = endpoint.route(**more)
        stats.wait_generation(endpoint.stats, table.generation)
        for method, path in (("GET", "/ping"), ("POST", "/invocations")):
            status, content, answer = endpoint.call(method, path, {"x": 1} if method == "POST" else None)
            assert (status, content["error"]["code"], answer.getheader("Retry-After")) == (503, "no_runner", "1")
    table = endpoint.route()
    stats.wait_generation(endpoint.stats, table.generation)
    assert endpoint.call("GET", "/ping")[0] == 200


def test_capture_may_be_off_or_moved(endpoint: Endpoint) -> None:
    for capture in (routes.Capture(str(endpoint.folder / "off"), mode="off"), routes.Capture(str(endpoint.folder / "moved"))):
        table = endpoint.route(capture=capture)
        stats.wait_generation(endpoint.stats, table.generation)
        assert endpoint.call("POST", "/invocations", {"x": 1, "id": "m"})[0] == 200
    assert not (endpoint.folder / "off").exists()
    assert read(endpoint.folder / "moved")["inference_id"].to_list() == ["m"]


def test_the_answers_are_counted(endpoint: Endpoint) -> None:
    table = endpoint.route()
    before = stats.wait_generation(endpoint.stats, table.generation).variants["7"]
    for x, times in ((1, 5), (-1, 3), ("bad", 2)):
        for _ in range(times):
            endpoint.call("POST", "/invocations", {"x": x})
    deadline = time.monotonic() + 10
    while (now := stats.difference(stats.read(endpoint.stats).variants["7"], before)).requests < 10:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (now.answered, now.errors, now.client_errors, now.rows, sum(now.histogram)) == (5, 3, 2, 5, 5)
    assert now.error_rate == 3 / 8


def test_a_trace_goes_on_in_the_answer(endpoint: Endpoint) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for path, status in (("/invocations", 200), ("/nothing", 404)):
        got, _, answer = endpoint.call("POST", path, {"x": 1}, traceparent=trace)
        assert got == status and (answer.getheader("traceparent") or "").startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert endpoint.call("POST", "/invocations", {"x": 1})[2].getheader("traceparent") is None


def test_a_version_with_a_row_plan_needs_no_runner(endpoint: Endpoint) -> None:
    """A whole front: the plan answers, what it refuses is explained, both are counted, and rows are on file when the answer is there."""
    folder = endpoint.folder / "planned"
    folder.mkdir()
    table = endpoint.route(
        variants=(variant(folder),), capture=routes.Capture(str(folder / "capture")), access_log=str(folder / "access.log")
    )
    stats.wait_generation(endpoint.stats, table.generation)
    record = {"x": 1.5, "k": 3, "t": "a", "id": "P1"}
    status, content, answer = endpoint.call("POST", "/invocations", record, Content_Type="application/json")
    assert (status, content["predictions"][0]["prediction"], answer.getheader("x-modelyard-version")) == (200, "Yes", "7")
    assert read(folder / "capture")["inference_id"].to_list() == ["P1"]
    assert endpoint.call("POST", "/invocations", {**record, "t": "c"})[:2][1]["error"]["code"] == "model_failed"
    assert endpoint.call("POST", "/invocations", {**record, "t": 1})[0] == 400
    deadline = time.monotonic() + 10
    while not (folder / "access.log").exists() or len((folder / "access.log").read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    told = [json.loads(line) for line in (folder / "access.log").read_text().splitlines()]
    assert [line["status"] for line in told] == [200, 424, 400] and told[0]["inference_id"] == "P1"
    table = endpoint.route()
    stats.wait_generation(endpoint.stats, table.generation)
