"""The data plane without any transport: who answers, what is counted, compared, kept and told."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from modelyard.errors import BadInput, YardError
from modelyard.serve import plane as planes
from modelyard.serve import routes
from modelyard.serve.captured import read
from modelyard.serve.plane import Answer, Plane, Request
from modelyard.serve.protocols.plain import Plain
from modelyard.serve.quick import Quick
from modelyard.serve.refusals import ModelFailed, NoRunner, NotCaptured, QueueFull, TimedOut, TooLarge

from .planned import in_a_loop, plane, variant

RECORD = {"x": 1.5, "k": 3, "t": "a"}
REFUSED = {**RECORD, "t": "c"}


async def ask(one: Plane, body: Any = RECORD, **headers: str) -> Answer:
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return await one.invoke(Request("POST", "/invocations", fields, json.dumps(body).encode()), Plain())


async def settled() -> None:
    await asyncio.sleep(0.02)


def code(answer: Answer) -> str:
    return str(json.loads(answer.body)["error"]["code"])


@in_a_loop
async def test_every_answer_names_the_version_that_was_asked(tmp_path: Path) -> None:
    one = await plane(tmp_path)
    for body, status in ((RECORD, 200), (REFUSED, 424), ({"x": "text"}, 400)):
        answer = await ask(one, body)
        assert (answer.status, answer.version) == (status, "7") and (b"x-modelyard-version", b"7") in answer.headers
    counted = one.router.stats.variants["7"]
    assert (counted.requests, counted.answered, counted.errors, counted.client_errors, counted.in_flight) == (3, 1, 1, 1, 0)
    assert code(await one.invoke(Request("POST", "/x", {}), Plain(), endpoint="other")) == "not_found"
    assert (await one.invoke(Request("POST", "/x", {}, b"{}"), Plain(), endpoint="demo")).status == 400
    assert one.router.stats.unrouted == 1


class Failing(Plain):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def write(self, *_: Any) -> Answer:
        raise self.error


@pytest.mark.parametrize(
    ("error", "counter", "status"),
    [
        (ModelFailed("x"), "errors", 424),
        (TimedOut("x"), "errors", 504),
        (NoRunner("x"), "errors", 503),
        (YardError("x"), "errors", 500),
        (ZeroDivisionError("x"), "errors", 500),
        (BadInput("x"), "client_errors", 400),
        (TooLarge("x"), "client_errors", 413),
        (QueueFull("x"), "rejected", 429),
        (NotCaptured("x"), "rejected", 503),
    ],
)
def test_a_failure_counts_by_whose_doing_it_was_and_not_by_its_status(tmp_path: Path, error: Exception, counter: str, status: int) -> None:
    async def call() -> None:
        one = await plane(tmp_path)
        answer = await one.invoke(Request("POST", "/invocations", {}, json.dumps(RECORD).encode()), Failing(error))
        counted = one.router.stats.variants["7"]
        assert (answer.status, getattr(counted, counter), counted.requests, counted.in_flight) == (status, 1, 1, 0)
        assert "ZeroDivision" not in answer.body.decode()

    asyncio.run(call())


@in_a_loop
async def test_a_caller_who_is_gone_is_no_error_of_the_version(tmp_path: Path) -> None:
    one = await plane(tmp_path)
    with pytest.raises(asyncio.CancelledError):
        await one.invoke(Request("POST", "/invocations", {}, json.dumps(RECORD).encode()), Failing(asyncio.CancelledError()))
    counted = one.router.stats.variants["7"]
    assert (counted.client_errors, counted.errors, counted.in_flight) == (1, 0, 0)


@in_a_loop
async def test_where_it_must_be_captured_and_cannot_be_nobody_is_answered(tmp_path: Path) -> None:
    (tmp_path / "capture").write_text("no folder")
    one = await plane(tmp_path, capture=routes.Capture(str(tmp_path / "capture"), mode="required"))
    answer = await ask(one)
    assert (answer.status, code(answer)) == (503, "not_captured")
    counted = one.router.stats.variants["7"]
    assert (counted.rejected, counted.answered, one.router.stats.capture.failed) == (1, 0, 1)
    buffered = await plane(tmp_path, capture=routes.Capture(str(tmp_path / "capture")))
    assert (await ask(buffered)).status == 200 and buffered.router.stats.capture.failed == 1


@in_a_loop
async def test_a_large_body_is_read_and_written_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "LARGE_BODY", 10)
    threads: set[int] = set()

    class Noting(Plain):
        def read(self, *arguments: Any) -> Any:
            threads.add(threading.get_ident())
            return super().read(*arguments)

    one = await plane(tmp_path)
    body = json.dumps([RECORD] * 300).encode()
    answer = await one.invoke(Request("POST", "/invocations", {}, body), Noting())
    assert answer.status == 200 and len(json.loads(answer.body)["predictions"]) == 300
    assert threads and threading.get_ident() not in threads


# -- mirrors ---------------------------------------------------------------------------------------------------------------------


def two(folder: Path, role: Any = "shadow", slope: float = 0.1) -> tuple[routes.Variant, routes.Variant]:
    return variant(folder, "2", 0 if role == "shadow" else 50, slope=slope, role=role), variant(folder, "1", 100)


@in_a_loop
async def test_a_shadow_is_asked_too_and_judged_and_never_answers(tmp_path: Path) -> None:
    one = await plane(tmp_path, *two(tmp_path), mirrors=(routes.Mirror("1", "2", "2"),))
    quick = Quick(one, frozenset())
    for _ in range(5):
        assert (await ask(one)).version == "1"
        assert b'"version":"1"' in quick(b"/invocations", [], {b"content-length": b"9"}, json.dumps([RECORD, RECORD]).encode())  # type: ignore[operator]
        await settled()
    shadow, champion = one.router.stats.variants["2"], one.router.stats.variants["1"]
    assert (shadow.compared, shadow.disagreed, shadow.answered, shadow.rows) == (15, 0, 10, 15)
    assert (champion.compared, champion.requests) == (0, 10)
    assert read(tmp_path / "capture")["version"].unique().to_list() == ["1"]


@pytest.mark.parametrize("role", ["shadow", "challenger"])
def test_what_the_other_version_answers_otherwise_or_not_at_all_is_counted(tmp_path: Path, role: str) -> None:
    async def call() -> None:
        one = await plane(tmp_path, *two(tmp_path, role, slope=-9.0), mirrors=(routes.Mirror("1", "2", "2"),))
        target = {"x_amzn_sagemaker_target_variant": "1"}
        assert (await ask(one, [RECORD, {**RECORD, "x": 0}], **target)).status == 200
        await settled()
        judged = one.router.stats.variants["2"]
        assert (judged.compared, judged.disagreed) == (2, 1)
        assert judged.requests == (1 if role == "shadow" else 0)  # a challenger has requests of its own
        await ask(one, REFUSED, **target)
        await settled()
        assert judged.compared == 2  # what was not answered is not compared

    asyncio.run(call())


@in_a_loop
async def test_a_version_with_another_schema_that_refuses_the_row_disagrees(tmp_path: Path) -> None:
    one = await plane(tmp_path, *two(tmp_path), mirrors=(routes.Mirror("1", "2", "2"),))
    live = one.router.live
    assert live is not None

    def refuse(*_: Any, **__: Any) -> Any:
        raise BadInput("another schema")

    next(v for v in live.variants if v.version == "2").formats.parse = refuse  # type: ignore[method-assign]
    await ask(one)
    await settled()
    shadow = one.router.stats.variants["2"]
    assert (shadow.compared, shadow.disagreed, shadow.client_errors) == (1, 1, 1)


@in_a_loop
async def test_a_shadow_that_does_not_answer_in_time_has_failed_and_a_champion_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(rows: Any) -> Any:
        raise TimedOut("version 2 did not answer within 5 s")

    for role, errors in (("shadow", 1), ("challenger", 0)):
        one = await plane(tmp_path, *two(tmp_path, role), mirrors=(routes.Mirror("1", "2", "2"),))
        (mirror,) = one.router.live.choose("1").mirrors
        monkeypatch.setattr(mirror.to, "predict", late)
        assert (await ask(one, x_amzn_sagemaker_target_variant="1")).version == "1"
        await settled()
        judged = one.router.stats.variants["2"]
        assert (judged.errors, judged.compared, judged.answered) == (errors, 0, 0)


@in_a_loop
async def test_mirrors_take_their_share_and_never_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await plane(tmp_path, *two(tmp_path), mirrors=(routes.Mirror("1", "2", "2", 0.3),))
    for _ in range(400):
        await ask(one)
        await asyncio.sleep(0)
    await settled()
    assert 70 < one.router.stats.variants["2"].compared < 170
    monkeypatch.setattr("modelyard.serve.mirroring.AT_ONCE", 3)
    busy = await plane(tmp_path, *two(tmp_path), mirrors=(routes.Mirror("1", "2", "2"),))
    for _ in range(50):
        await ask(busy)  # never gives the loop away: nothing is compared meanwhile
    await settled()
    assert busy.router.stats.variants["2"].compared == 3


# -- access log and traces -------------------------------------------------------------------------------------------------------


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP/HTTP collector that reads JSON as the standard has it."""
    came: list[ExportTraceServiceRequest] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for span in said["resourceSpans"][0]["scopeSpans"][0]["spans"]:  # ids are hexadecimal in OTLP, and base64 in protobuf's JSON
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
            came.append(json_format.ParseDict(said, ExportTraceServiceRequest()))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", came
    server.shutdown()


def test_a_traced_request_has_spans_for_what_it_did(tmp_path: Path) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def call(address: str) -> None:
        one = await plane(tmp_path, traces=routes.Traces(address, 0.0))
        request = Request("POST", "/invocations", {}, json.dumps([RECORD, RECORD]).encode(), trace=one.trace(parent.encode()))
        answer = await one.invoke(request, Plain())
        one.note(request, answer, planes.time.perf_counter() - 0.01)
        untraced = Request("POST", "/invocations", {}, json.dumps(RECORD).encode(), trace=one.trace(None))
        one.note(untraced, await one.invoke(untraced, Plain()), planes.time.perf_counter())
        one.tick()
        await one.close()

    with collector() as (address, came):
        asyncio.run(call(address))
    (resource,) = [r for one in came for r in one.resource_spans]
    assert {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"] == "demo-production"
    spans = {span.name: span for span in resource.scope_spans[0].spans}
    assert spans.keys() == {"POST /invocations", "parse", "predict", "write", "capture"}
    root = spans["POST /invocations"]
    assert (root.trace_id.hex(), root.parent_span_id.hex(), root.kind) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 2)
    told = {a.key: a.value.string_value or a.value.int_value for a in root.attributes}
    assert (told["http.response.status_code"], told["modelyard.rows"], told["modelyard.version"]) == (200, 2, "7")
    for name, span in spans.items():
        assert span.trace_id == root.trace_id and root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert name == root.name or span.parent_span_id == root.span_id


@in_a_loop
async def test_a_collector_that_is_away_costs_spans_and_nothing_else(tmp_path: Path) -> None:
    one = await plane(tmp_path, traces=routes.Traces("http://127.0.0.1:1/v1/traces", 1.0))
    request = Request("POST", "/invocations", {}, json.dumps(RECORD).encode(), trace=one.trace(None))
    answer = await one.invoke(request, Plain())
    one.note(request, answer, 0.0)
    tracer = one.tracer
    assert answer.status == 200 and tracer is not None
    await one.close()
    assert tracer.dropped == 5


@in_a_loop
async def test_the_access_log_has_both_ways_and_follows_the_table(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    one = await plane(tmp_path, access_log=str(path))
    quick = Quick(one, frozenset())
    assert isinstance(quick(b"/invocations", [], {b"content-length": b"9"}, json.dumps(RECORD).encode()), bytes)
    request = Request("POST", "/invocations", {}, json.dumps([RECORD, RECORD]).encode(), caller="shop")
    one.note(request, await one.invoke(request, Plain()), 0.0)
    await plane(tmp_path)  # the table without a log
    await one.router.look()
    one.tick()
    assert one.access_log is None
    await asyncio.sleep(0.1)
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["status"], line["rows"], line["version"], line.get("caller")) for line in told] == [
        (200, 1, "7", None),
        (200, 2, "7", "shop"),
    ]
    assert all(0 < line["ms"] < 1000 and len(line["inference_id"]) >= 32 for line in told)
