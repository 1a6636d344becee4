"""API keys and TLS as each real client sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import boto3
import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from botocore.exceptions import ClientError
from tritonclient.utils import InferenceServerException

from modelyard.serve import routes, stats
from modelyard.serve.access import digest, new_key
from tests.serve.certificates import certificate
from tests.serve.protocols.conftest import SIGNED
from tests.serve.world import World, logistic

KEY = new_key()


class Endpoint(World):
    """`demo-production` with one key, over TLS."""

    def start(self) -> None:
        self.save("1", logistic())
        self.runner("1", SIGNED)
        self.ready("1")
        self.route({"1": 100}, SIGNED, access=routes.Access({"caller": digest(KEY)}))
        self.certificate, key = certificate(self.home, "localhost")
        words = ("--grpc-port", "0", "--certificate", str(self.certificate), "--key", str(key))
        self.start_front(arguments=words)
        self.grpc_port = stats.read(self.stats_path).grpc_port


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as made:
        made.start()
        yield made


def test_boto3_gives_the_key_as_its_access_key(endpoint: Endpoint) -> None:
    def ask(key: str) -> int:
        runtime = boto3.client(
            "sagemaker-runtime",
            endpoint_url=f"https://localhost:{endpoint.port}",
            verify=str(endpoint.certificate),
            region_name="eu-west-1",
            aws_access_key_id=key,
            aws_secret_access_key="any",
        )
        answer = runtime.invoke_endpoint(EndpointName="demo", ContentType="text/csv", Body=b",".join([b"1"] * 12))
        return len(json.loads(answer["Body"].read())["predictions"])

    assert ask(KEY) == 1
    with pytest.raises(ClientError, match="not let in") as caught:
        ask(new_key())
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401


def test_triton_sends_the_key_as_a_header(endpoint: Endpoint) -> None:
    def tls() -> object:
        from ssl import create_default_context

        return create_default_context(cafile=str(endpoint.certificate))

    with over_http.InferenceServerClient(f"localhost:{endpoint.port}", ssl=True, ssl_context_factory=tls) as client:
        assert client.is_server_ready()
        tensor = over_http.InferInput("all", [1, 12], "FP64")
        tensor.set_data_from_numpy(np.ones((1, 12)))
        assert client.infer("demo", [tensor], headers={"x-api-key": KEY}).as_numpy("prediction").shape == (1,)
        with pytest.raises(InferenceServerException, match="wants an API key"):
            client.infer("demo", [tensor])


def test_grpc_has_keys_and_tls_too(endpoint: Endpoint) -> None:
    tensor = over_grpc.InferInput("all", [1, 12], "FP64")
    tensor.set_data_from_numpy(np.ones((1, 12)))
    address = f"localhost:{endpoint.grpc_port}"
    with over_grpc.InferenceServerClient(address, ssl=True, root_certificates=str(endpoint.certificate)) as client:
        assert client.is_server_live() and client.is_server_ready()
        for headers in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}):
            assert client.infer("demo", [tensor], headers=headers).as_numpy("prediction").shape == (1,)
            assert client.get_model_metadata("demo", headers=headers).name == "demo"
        for ask in (
            lambda: client.infer("demo", [tensor]),
            lambda: client.get_model_metadata("demo"),
            lambda: client.is_model_ready("demo"),
        ):
            with pytest.raises(InferenceServerException) as caught:
                ask()
            assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
