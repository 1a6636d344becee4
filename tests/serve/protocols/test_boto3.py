"""A real boto3 client against a real front and a real runner: requests, streams, typed exceptions, explanations."""

from __future__ import annotations

import functools
import json
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serve.protocols import event_stream
from tests.serve.protocols.conftest import RECORD, Endpoint
from tests.serve.world import NAMES


@functools.cache
def client(port: int) -> Any:
    settings = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "eu-west-1"}
    return boto3.client(
        "sagemaker-runtime", endpoint_url=f"http://127.0.0.1:{port}", config=Config(retries={"total_max_attempts": 1}), **settings
    )


def ask(endpoint: Endpoint, body: Any = RECORD, name: str = "demo-production", **more: Any) -> dict[str, Any]:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"EndpointName": name, "ContentType": "application/json", "Body": sent, **more}
    answer: dict[str, Any] = client(endpoint.port).invoke_endpoint(**given)
    return answer


def test_an_answer_with_what_boto3_reads_from_headers(endpoint: Endpoint) -> None:
    answer = ask(endpoint, InferenceId="mine", CustomAttributes="trace=7", TargetVariant="2", SessionId="s")
    said = json.loads(answer["Body"].read())
    assert said["predictions"][0]["inference_id"] == "mine" and said["version"] == "2"
    assert (answer["InvokedProductionVariant"], answer["CustomAttributes"], answer["ContentType"]) == ("2", "trace=7", "application/json")
    assert json.loads(ask(endpoint, name="demo")["Body"].read())["version"] == "1"
    assert json.loads(ask(endpoint, name="anything", TargetModel="demo.tar.gz")["Body"].read())["model"] == "demo"
    assert ask(endpoint, Accept="text/csv")["Body"].read().startswith(b"inference_id,prediction,")


@pytest.mark.parametrize(
    ("body", "more", "name", "status"),
    [
        ({"c0": "text"}, {}, "ValidationError", 400),
        (b"{", {}, "ValidationError", 400),
        (RECORD, {"ContentType": "text/plain"}, "ValidationError", 400),
        (RECORD, {"Accept": "text/html"}, "ValidationError", 400),
        (RECORD, {"EndpointName": "other"}, "ValidationError", 400),
        (RECORD, {"TargetVariant": "9"}, "ValidationError", 400),
        (RECORD, {"TargetModel": "other.tar.gz"}, "ValidationError", 400),
        (RECORD, {"TargetContainerHostname": "one"}, "ValidationError", 400),
        (RECORD, {"EnableExplanations": "perhaps"}, "ValidationError", 400),
        (b" " * 7_000_000, {}, "ValidationError", 413),
    ],
)
def test_what_does_not_fit_raises_its_typed_exception(endpoint: Endpoint, body: Any, more: dict[str, str], name: str, status: int) -> None:
    runtime = client(endpoint.port)
    given = {"EndpointName": "demo-production", "ContentType": "application/json", **more}
    with pytest.raises(ClientError) as caught:
        runtime.invoke_endpoint(Body=body if isinstance(body, bytes) else json.dumps(body), **given)
    answer = caught.value.response
    assert type(caught.value) is getattr(runtime.exceptions, name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status and len(answer["Error"]["Message"]) > 10


def test_a_model_that_fails_raises_model_error(endpoint: Endpoint) -> None:
    runtime = client(endpoint.port)
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        ask(endpoint, {**RECORD, "c0": 666.0}, TargetVariant="2")
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (answer["OriginalStatusCode"], answer["OriginalMessage"]) == (500, "ValueError: the beast")


def test_no_runner_is_service_unavailable(endpoint: Endpoint) -> None:
    with pytest.raises(client(endpoint.port).exceptions.ServiceUnavailable):
        ask(endpoint, TargetVariant="gone")


def test_explanations_are_as_clarify_has_them(endpoint: Endpoint) -> None:
    rows = [RECORD, {**RECORD, "c0": 2.0}]
    for word in ("true", "`true`"):
        said = json.loads(ask(endpoint, rows, EnableExplanations=word)["Body"].read())
        assert said["version"] == "1.0" and said["predictions"]["content_type"] == "application/json"
        predictions = json.loads(said["predictions"]["data"])["predictions"]
        assert predictions == json.loads(ask(endpoint, rows, InferenceId="x")["Body"].read())["predictions"] or len(predictions) == 2
        found = said["explanations"]["kernel_shap"]
        assert [[f["feature_header"] for f in row] for row in found] == [list(NAMES)] * 2
        first = {f["feature_header"]: f["attributions"][0]["attribution"][0] for f in found[1]}
        assert found[0][0]["feature_type"] == "numerical" and max(first, key=lambda name: abs(first[name])) == "c0"
    assert "explanations" not in json.loads(ask(endpoint, EnableExplanations="false")["Body"].read())


def test_a_model_that_nobody_sees_through_is_not_explained(endpoint: Endpoint) -> None:
    runtime = client(endpoint.port)
    with pytest.raises(runtime.exceptions.ValidationError, match="not explained"):
        ask(endpoint, EnableExplanations="true", TargetVariant="2")


def test_many_rows_come_as_several_parts(endpoint: Endpoint) -> None:
    for accept, count in (("text/csv", 1001), ("application/jsonlines", 1000), ("application/json", 1)):
        answer = client(endpoint.port).invoke_endpoint_with_response_stream(
            EndpointName="demo-production", ContentType="application/json", Accept=accept, Body=json.dumps([RECORD] * 1000)
        )
        parts = [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
        assert len(parts) > 2 and (answer["ContentType"], answer["InvokedProductionVariant"]) == (accept, "1")
        assert len(b"".join(parts).splitlines()) == count
        assert accept == "application/json" or all(part.endswith(b"\n") for part in parts)
    runtime = client(endpoint.port)
    with pytest.raises(runtime.exceptions.ValidationError):
        runtime.invoke_endpoint_with_response_stream(EndpointName="demo-production", ContentType="application/json", Body=b"{")


@given(st.binary(max_size=100_000))
def test_a_stream_is_its_parts_joined(body: bytes) -> None:
    assert b"".join(event_stream.parts(body)) == body
    assert b"".join(event_stream.parts(body, event_stream.whole_lines)) == body
