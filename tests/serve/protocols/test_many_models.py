"""Real clients of a front that answers for many endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.serve.protocols.test_boto3 import client
from tests.serve.test_fleet import Fleet


@pytest.fixture
def fleet(home: Path) -> Iterator[Fleet]:
    made = Fleet(home)
    for i in range(3):
        made.table(i)
    made.start()
    yield made
    if made.child is not None:
        made.child.stop()


def test_boto3_names_the_endpoint_or_the_target_model(fleet: Fleet) -> None:
    runtime = client(fleet.port)

    def ask(name: str, **more: str) -> float:
        answer = runtime.invoke_endpoint(EndpointName=name, ContentType="application/json", Body=b'{"x": 1}', **more)
        return float(json.loads(answer["Body"].read())["predictions"][0]["prediction"])

    assert ask("m1-production") == 2.0
    assert ask("models", TargetModel="m2-production.tar.gz") == 3.0
    for name, more in (("nobody", {}), ("m1-production", {"TargetModel": "nobody.tar.gz"})):
        with pytest.raises(runtime.exceptions.ValidationError, match="nobody"):
            ask(name, **more)


def test_triton_names_the_model(fleet: Fleet) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{fleet.port}") as server:
        assert server.is_server_live() and server.is_server_ready() and server.is_model_ready("m1-production")
        assert server.get_server_metadata()["name"] == "modelyard"
        x = triton.InferInput("x", [1], "FP64")
        x.set_data_from_numpy(np.array([5.0]))
        assert server.infer("m2-production", [x]).as_numpy("prediction").tolist() == [15.0]
        with pytest.raises(InferenceServerException, match="no endpoint `nobody`"):
            server.infer("nobody", [x])
