"""A real tritonclient, over HTTP and over gRPC, with JSON and binary tensors; and what does not fit."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from modelyard.errors import BadInput
from modelyard.serve.plane import Answer
from modelyard.serve.protocols import Formats, oip, tensors
from modelyard.serve.protocols.oip_grpc import Service
from modelyard.serve.protocols.oip_messages import MESSAGES
from modelyard.serve.protocols.tensors import DATATYPES, Tensor
from modelyard.signature import Column, Signature
from tests.serve.protocols.conftest import RECORD, Endpoint
from tests.serve.world import NAMES, data

ROWS = data(7)[0]
OPEN: dict[ModuleType, Any] = {}
BOTH = pytest.mark.parametrize("kind", [over_http, over_grpc], ids=["http", "grpc"])


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    """gRPC's clients complain of an interpreter that ends before they do."""
    yield
    for made in OPEN.values():
        made.close()
    OPEN.clear()


def client(kind: ModuleType, endpoint: Endpoint) -> Any:
    port = endpoint.port if kind is over_http else endpoint.grpc_port
    if kind not in OPEN:
        OPEN[kind] = kind.InferenceServerClient(f"127.0.0.1:{port}")  # type: ignore[attr-defined]
    return OPEN[kind]


def column(kind: ModuleType, name: str, values: Any, *, binary: bool = True) -> Any:
    values = np.asarray(values)
    made = kind.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))  # type: ignore[attr-defined]
    made.set_data_from_numpy(values, **({"binary_data": binary} if kind is over_http else {}))
    return made


def wanted(endpoint: Endpoint) -> tuple[list[Any], list[float]]:
    """What the endpoint's own dialect answers for `ROWS`."""
    body = json.dumps([dict(zip(NAMES, row, strict=True)) for row in ROWS.tolist()]).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{endpoint.port}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        predictions = json.load(answer)["predictions"]
    return [p["prediction"] for p in predictions], [p["probabilities"]["1"] for p in predictions]


@BOTH
def test_what_there_is(endpoint: Endpoint, kind: ModuleType) -> None:
    triton = client(kind, endpoint)
    assert triton.is_server_live() and triton.is_server_ready()
    assert triton.is_model_ready("demo") and triton.is_model_ready("demo-production", "1")
    assert not any(triton.is_model_ready(*asked) for asked in (("demo", "gone"), ("demo", "9"), ("other",)))
    more = {"as_json": True} if kind is over_grpc else {}
    assert triton.get_server_metadata(**more)["name"] == "modelyard"
    about = triton.get_model_metadata("demo", **more)
    assert (about["name"], about["versions"], about["inputs"][0]) == (
        "demo",
        ["1", "2", "gone"],
        {"name": "c0", "datatype": "FP64", "shape": ["-1"] if kind is over_grpc else [-1]},
    )
    assert [(o["name"], o["datatype"]) for o in about["outputs"]] == [
        ("prediction", "INT64"),
        ("probability_0", "FP64"),
        ("probability_1", "FP64"),
    ]


@BOTH
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", ["columns", "narrow", "matrix"])
def test_answers_are_those_of_the_other_protocols(endpoint: Endpoint, kind: ModuleType, binary: bool, shape: str) -> None:
    inputs = {
        "columns": lambda: [column(kind, name, ROWS[:, i], binary=binary) for i, name in enumerate(NAMES)],
        "narrow": lambda: [column(kind, name, ROWS[:, [i]], binary=binary) for i, name in enumerate(NAMES)],
        "matrix": lambda: [column(kind, "all", ROWS, binary=binary)],
    }[shape]()
    more = {"binary_data": binary} if kind is over_http else {}
    outputs = [kind.InferRequestedOutput(name, **more) for name in ("probability_1", "prediction", "inference_id")]  # type: ignore[attr-defined]
    found = client(kind, endpoint).infer("demo", inputs, request_id="r7", outputs=outputs)
    labels, scores = wanted(endpoint)
    assert found.as_numpy("prediction").tolist() == labels and found.as_numpy("probability_1").tolist() == scores
    ids = [i.decode() if isinstance(i, bytes) else i for i in found.as_numpy("inference_id").tolist()]
    assert ids == [f"r7-{i}" for i in range(7)]
    head = found.get_response() if kind is over_http else found.get_response(as_json=True)
    assert (head["id"], head["model_name"], head["model_version"]) == ("r7", "demo", "1")


@BOTH
def test_by_default_every_output_comes_and_a_version_can_be_named(endpoint: Endpoint, kind: ModuleType) -> None:
    inputs = [column(kind, "all", ROWS[:2].astype(np.float32))]
    found = client(kind, endpoint).infer("demo", inputs, model_version="2")
    assert found.as_numpy("prediction").dtype == np.int64 and found.as_numpy("probability_0").shape == (2,)
    head = found.get_response() if kind is over_http else found.get_response(as_json=True)
    assert head["model_version"] == "2"


REFUSED = {
    "another model": ({"model_name": "other"}, "another endpoint", "NOT_FOUND"),
    "another version": ({"model_version": "9"}, "version `9`: the model has no such version", "NOT_FOUND"),
    "no runner": ({"model_version": "gone"}, "no runner", "UNAVAILABLE"),
    "a column that is unknown": ({"inputs": {"c99": [1.0]}}, "no column `c99`", "INVALID_ARGUMENT"),
    "a column that is missing": ({"inputs": {"c1": [1.0]}}, "`c0` is missing", "INVALID_ARGUMENT"),
    "a value that is missing": ({"inputs": {"c0": [np.nan]}}, "row 0, column `c0`", "INVALID_ARGUMENT"),
    "an infinite value": ({"inputs": {"c0": [np.inf]}}, "finite number", "INVALID_ARGUMENT"),
    "text for a number": ({"inputs": {"c0": np.array([b"x"], object)}}, "finite number", "INVALID_ARGUMENT"),
    "truth for a number": ({"inputs": {"c0": [True]}}, "finite number", "INVALID_ARGUMENT"),
    "several lengths": ({"inputs": {"c0": [1.0], "c1": [1.0, 2.0]}}, "`c1` has 2 values", "INVALID_ARGUMENT"),
    "three dimensions": ({"inputs": {"c0": [[[1.0]]]}}, "3 dimensions", "INVALID_ARGUMENT"),
    "a narrow matrix": ({"inputs": {"all": [[1.0, 2.0]]}}, "2 values for 12 columns", "INVALID_ARGUMENT"),
    "no rows": ({"inputs": {"c0": np.zeros(0)}}, "no rows", "INVALID_ARGUMENT"),
    "an output that is unknown": ({"outputs": ["other"]}, "no output `other`", "INVALID_ARGUMENT"),
    "a parameter": ({"priority": 3}, "parameter `priority`", "INVALID_ARGUMENT"),
    "a model that raises": ({"inputs": {"c0": [666.0]}, "model_version": "2"}, "the beast", "FAILED_PRECONDITION"),
}


@BOTH
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit(endpoint: Endpoint, kind: ModuleType, case: str) -> None:
    given, what, code = REFUSED[case]
    inputs = [column(kind, name, values) for name, values in given.get("inputs", {"c0": [1.0]}).items()]
    outputs = [kind.InferRequestedOutput(name) for name in given.get("outputs", [])] or None  # type: ignore[attr-defined]
    more = {k: v for k, v in given.items() if k in ("model_version", "priority")}
    with pytest.raises(InferenceServerException) as caught:
        client(kind, endpoint).infer(given.get("model_name", "demo"), inputs, outputs=outputs, **more)
    assert what in caught.value.message()
    if kind is over_grpc:
        assert caught.value.status() == f"StatusCode.{code}"


def test_a_call_that_its_caller_gives_up_is_in_the_log() -> None:
    async def hangs(*_: Any, **__: Any) -> Answer:
        asked.set()
        await asyncio.sleep(60)
        raise AssertionError

    async def given_up() -> None:
        call = asyncio.ensure_future(Service(plane)._infer(body, SimpleNamespace(invocation_metadata=lambda: ())))
        await asked.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()

    notes: list[int] = []
    plane: Any = SimpleNamespace(trace=lambda given: None, admit=lambda headers: "", max_body=lambda request: 1000, invoke=hangs)
    plane.note = lambda request, answer, start: notes.append(answer.status)
    asked, body = asyncio.Event(), MESSAGES["ModelInferRequest"](model_name="demo").SerializeToString()
    asyncio.run(given_up())
    assert notes == [499]


def test_a_gzipped_body_is_refused_and_said_so(endpoint: Endpoint) -> None:
    with pytest.raises(InferenceServerException, match="gzip"):
        client(over_http, endpoint).infer("demo", [column(over_http, "c0", [1.0])], request_compression_algorithm="gzip")


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "ModelMetadata", "ServerLive", "ServerReady", "ServerMetadata"])
def test_bytes_that_are_no_message_are_the_callers_fault(endpoint: Endpoint, method: str) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{endpoint.grpc_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(b"\xff\xff", timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert f"{method}Request" in caught.value.details()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("version", "pause"), [("gone", "1000"), ("9", None)])
def test_who_should_come_again_is_told_when_as_grpcs_own_retries_take_it(endpoint: Endpoint, version: str, pause: str | None) -> None:
    body = MESSAGES["ModelInferRequest"](model_name="demo", model_version=version)
    tensor = body.inputs.add(name="c0", datatype="FP64", shape=[1])
    tensor.contents.fp64_contents.append(1.0)
    with grpc.insecure_channel(f"127.0.0.1:{endpoint.grpc_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(body.SerializeToString(), timeout=10)
    assert dict(caught.value.trailing_metadata()).get("grpc-retry-pushback-ms") == pause  # type: ignore[attr-defined]


def test_a_large_message_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client(over_grpc, endpoint).infer("demo", [column(over_grpc, "c0", np.zeros(1_000_000))])
    assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED" and "6291456 bytes" in caught.value.message()


SIGNATURE = Signature(
    "multiclass_classification",
    (Column("n", "int"), Column("s", "str", nullable=True), Column("b", "bool"), Column("t", "datetime", nullable=True)),
    classes=("a", "b"),
)
FORMATS = Formats(SIGNATURE)


def test_datatypes_of_columns_and_outputs() -> None:
    assert [i["datatype"] for i in tensors.inputs(SIGNATURE)] == ["INT64", "BYTES", "BOOL", "BYTES"]
    assert [o["datatype"] for o in tensors.outputs(SIGNATURE)] == ["BYTES", "FP64", "FP64"]
    assert tensors.output_type(Signature("regression", ()), "prediction") == "FP64"


def test_text_and_missing_values_come_as_json_too() -> None:
    given = [
        Tensor("n", "INT8", [2], [1, 2]),
        Tensor("s", "BYTES", [2, 1], tensors.flat([["x"], [None]])),
        Tensor("b", "BOOL", [2], [True, False]),
        Tensor("t", "BYTES", [2], ["2026-01-01", None]),
    ]
    columns, count = tensors.columns(given, FORMATS.wanted)
    read = FORMATS.rows(columns, count, 0, coercers=FORMATS.table)
    assert read.columns == {"n": [1, 2], "s": ["x", None], "b": [True, False], "t": [1767225600_000000, None]}


def test_nan_in_json_is_a_missing_number() -> None:
    body = b'{"inputs": [{"name": "c0", "shape": [2], "datatype": "FP64", "data": [NaN, 1.5]}, {"name": "c1", "shape": [2], '
    body += b'"datatype": "BYTES", "data": ["NaN", "\\u00e9"]}]}'
    assert [t.values for t in oip._decoded(oip.Request("POST", "", {}, body)).inputs] == [[None, 1.5], ["NaN", "\u00e9"]]
    with pytest.raises(BadInput, match="infinite number"):
        oip._decoded(oip.Request("POST", "", {}, body.replace(b"1.5", b"Infinity")))


@pytest.mark.parametrize("binary", [True, False])
def test_a_client_may_send_a_missing_number_as_nan(endpoint: Endpoint, binary: bool) -> None:
    inputs = [column(over_http, "c0", [1.0]), column(over_http, "c1", [np.nan], binary=binary)]
    with pytest.raises(InferenceServerException, match="Input X contains NaN"):  # says the model, which takes none
        client(over_http, endpoint).infer("demo", inputs)


VALUES = {
    "BOOL": st.booleans(),
    "BYTES": st.text(st.characters(codec="utf-8"), max_size=8),
    **{f"INT{w}": st.integers(-(2 ** (w - 1)), 2 ** (w - 1) - 1) for w in (8, 16, 32, 64)},
    **{f"UINT{w}": st.integers(0, 2**w - 1) for w in (8, 16, 32, 64)},
    **{f"FP{w}": st.floats(width=w, allow_nan=False) for w in (16, 32, 64)},
}


@given(st.data())
def test_bytes_and_back(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(DATATYPES))
    values = data.draw(st.lists(VALUES[datatype], max_size=5))
    assert tensors.from_bytes(Tensor("x", datatype, [len(values)]), tensors.to_bytes(datatype, values)) == values


@given(st.sampled_from(DATATYPES), st.lists(st.integers(-1, 4), max_size=3), st.binary(max_size=64))
def test_any_bytes_are_values_or_a_refusal(datatype: str, shape: list[int], blob: bytes) -> None:
    tensor = Tensor("x", datatype, shape)
    try:
        tensor.values = tensors.from_bytes(tensor, blob)
        tensors.check(tensor)
    except BadInput:
        return
    assert len(tensor.values) == tensor.size


BODIES = {
    b"{": "no inference request",
    b'{"inputs": []}': "no inputs",
    b'{"inputs": [{"name": "c0", "shape": [1], "datatype": "FP64", "data": {"a": 1}}]}': "no list of values",
    b'{"inputs": [{"name": "c0", "shape": [1], "datatype": "FP64", "data": [[[[1]]]]}]}': "no list of values",
    b'{"inputs": [{"name": "c0", "shape": [2], "datatype": "FP64", "data": [1]}]}': "1 values; its shape [2] says 2",
    b'{"inputs": [{"name": "c0", "shape": [1], "datatype": "FP65", "data": [1]}]}': "datatype 'FP65'",
    b'{"inputs": [{"name": "c0", "shape": [1], "datatype": "FP64"}], "more": 1}': "unknown field `more`",
    b'{"inputs": [{"name": "c0", "shape": [1], "datatype": "FP64"}], "more": "NaN"}': "unknown field `more`",
    b'{"inputs": [{"name": "c0", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 9}}]}': "does not hold",
}


@pytest.mark.parametrize("body", BODIES)
def test_bodies_that_are_no_request(body: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        columns = oip._decoded(oip.Request("POST", "", {}, body)).inputs
        tensors.columns(columns, FORMATS.wanted)
    assert BODIES[body] in caught.value.what


@pytest.mark.parametrize("length", [b"-1", b"99", b"x", b"\xb2", b"9" * 30])
def test_lengths_of_the_head_that_do_not_hold(length: bytes) -> None:
    with pytest.raises(BadInput, match="length"):
        oip._decoded(oip.Request("POST", "", {b"inference-header-content-length": length}, b"{}"))


def test_errors_are_one_line_of_text(endpoint: Endpoint) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{endpoint.port}/v2/models/demo/infer", b"{")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400 and json.load(caught.value).keys() == {"error"}
    assert RECORD.keys() == set(NAMES)
