"""Asynchronous invocations: a real boto3 client, real folders and a real S3 on loopback; what may be read; what outlives the front."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from modelyard.errors import BadInput, NotFound
from modelyard.serve import routes
from modelyard.serve.protocols import places
from modelyard.serve.refusals import TooLarge
from tests.serve.protocols.conftest import RECORD, SIGNED
from tests.serve.protocols.test_boto3 import client
from tests.serve.world import World, logistic

SECRETS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-west-1"}
BODY = json.dumps([RECORD] * 3)


class Endpoint(World):
    """An endpoint that reads `inputs` and the bucket `lake`, and answers into `answers`, or the bucket."""

    def __init__(self, s3: str) -> None:
        super().__init__()
        self.s3, self.queue, self.answers, self.inputs = s3, self.home / "queue", self.home / "answers", self.home / "inputs"
        self.inputs.mkdir()
        self.save("1", logistic())
        self.runner("1", SIGNED)
        self.ready("1")

    def begin(self, output: str = "") -> None:
        asynchronous = routes.Async((f"{self.inputs}/", "s3://lake/in/"), output or str(self.answers), str(self.queue))
        self.route({"1": 100}, SIGNED, asynchronous=asynchronous)
        self.start_front(env={**SECRETS, "AWS_ENDPOINT_URL": self.s3})

    def ask(self, **more: Any) -> dict[str, Any]:
        given = {"EndpointName": "demo-production", "ContentType": "application/json", **more}
        answer: dict[str, Any] = client(self.port).invoke_endpoint_async(**given)
        return answer


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=address, aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1").create_bucket(
        Bucket="lake"
    )
    yield address
    server.stop()


@pytest.fixture(scope="module")
def endpoint(s3: str) -> Iterator[Endpoint]:
    with Endpoint(s3) as made:
        made.begin()
        yield made


def test_a_file_is_answered_where_the_202_says(endpoint: Endpoint) -> None:
    (endpoint.inputs / "day").mkdir(exist_ok=True)
    (endpoint.inputs / "day" / "rows.json").write_text(BODY)
    for address in (f"{endpoint.inputs}/day/rows.json", f"file://{endpoint.inputs}/day/rows.json"):
        answer = endpoint.ask(InputLocation=address, InferenceId="mine", Accept="text/csv")
        assert answer["InferenceId"] == "mine" and answer["ResponseMetadata"]["HTTPStatusCode"] == 202
        output = Path(answer["OutputLocation"])
        assert output.parent == endpoint.answers and Path(answer["FailureLocation"]).parent == endpoint.answers / "failures"
        until(output.exists)
        assert output.read_text().splitlines()[1].startswith("mine-0,") and len(output.read_text().splitlines()) == 4
        until(lambda: not list(endpoint.queue.iterdir()))


def test_the_inference_id_that_the_202_says_is_the_rows(endpoint: Endpoint) -> None:
    (endpoint.inputs / "row.csv").write_text(",".join(RECORD) + "\n" + ",".join(map(str, RECORD.values())) + "\n")
    answer = endpoint.ask(InputLocation=f"{endpoint.inputs}/row.csv", ContentType="text/csv", Accept="text/csv")
    output = Path(answer["OutputLocation"])
    until(output.exists)
    assert output.read_text().splitlines()[1].split(",")[0] == answer["InferenceId"]


def test_a_body_that_comes_along_is_an_input_too(endpoint: Endpoint) -> None:
    answer = endpoint.ask(Body=BODY)
    until(Path(answer["OutputLocation"]).exists)
    assert len(json.loads(Path(answer["OutputLocation"]).read_bytes())["predictions"]) == 3


def test_what_fails_is_told_where_the_202_says(endpoint: Endpoint) -> None:
    (endpoint.inputs / "bad.json").write_text("{")
    for name, what in (("bad.json", "not JSON"), ("gone.json", "no such input")):
        answer = endpoint.ask(InputLocation=f"{endpoint.inputs}/{name}")
        until(Path(answer["FailureLocation"]).exists)
        assert what in json.loads(Path(answer["FailureLocation"]).read_bytes())["Message"]
        assert not Path(answer["OutputLocation"]).exists()


@pytest.mark.parametrize(
    "more",
    [
        {"InputLocation": "/etc/passwd"},
        {"InputLocation": "file:///etc/passwd"},
        {"InputLocation": "s3://other/in/x"},
        {"InputLocation": "s3://lake/other"},
        {"InputLocation": "s3://lake/in/../secret"},
        {"InputLocation": "https://lake/in/x"},
        {"InputLocation": "s3://[lake/in/x"},
        {"InputLocation": "//["},
        {"InputLocation": "{inputs}/../routes.json"},
        {"InputLocation": "{inputs}"},
        {"InputLocation": "x", "Body": BODY},
        {},
        {"Body": BODY, "RequestTTLSeconds": 99_999},
        {"Body": BODY, "Filename": "mine.out"},
    ],
)
def test_what_may_not_be_asked_is_refused_at_once(endpoint: Endpoint, more: dict[str, Any]) -> None:
    if "InputLocation" in more:
        more = {**more, "InputLocation": more["InputLocation"].format(inputs=endpoint.inputs)}
    with pytest.raises(ClientError) as caught:
        endpoint.ask(**more)
    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_an_input_and_an_answer_in_s3(endpoint: Endpoint, s3: str) -> None:
    bucket = boto3.client("s3", endpoint_url=s3, aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")
    bucket.put_object(Bucket="lake", Key="in/day/rows.json", Body=BODY.encode())
    assert endpoint.front is not None
    endpoint.front.stop()
    endpoint.begin("s3://lake/out/")
    answer = endpoint.ask(InputLocation="s3://lake/in/day/rows.json")
    key = answer["OutputLocation"].removeprefix("s3://lake/")
    assert key.startswith("out/")

    def there() -> bool:
        return any(o["Key"] == key for o in bucket.list_objects_v2(Bucket="lake").get("Contents", []))

    until(there)
    assert len(json.loads(bucket.get_object(Bucket="lake", Key=key)["Body"].read())["predictions"]) == 3
    endpoint.front.stop()
    endpoint.begin()


def test_a_request_outlives_the_front_and_waits_for_a_runner(endpoint: Endpoint) -> None:
    assert endpoint.front is not None
    endpoint.runners["1"].stop(0)
    answers = [endpoint.ask(Body=BODY) for _ in range(3)]
    time.sleep(1.0)
    endpoint.front.popen.kill()
    endpoint.front.popen.wait()
    assert len(list(endpoint.queue.iterdir())) == 3
    endpoint.runner("1", SIGNED)
    endpoint.ready("1")
    endpoint.begin()
    for answer in answers:
        until(Path(answer["OutputLocation"]).exists, 40)
    until(lambda: not list(endpoint.queue.iterdir()))


def test_an_endpoint_that_takes_none_says_so(endpoint: Endpoint) -> None:
    from modelyard.serve import stats

    table = endpoint.route({"1": 100}, SIGNED)
    stats.wait_generation(endpoint.stats_path, table.generation)
    with pytest.raises(ClientError, match="no asynchronous invocations"):
        endpoint.ask(Body=BODY)


def test_no_link_is_followed_and_nothing_but_files_is_read(tmp_path: Path) -> None:
    root, outside = tmp_path / "in", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "file").write_text("fine")
    (root / "link").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    os.mkfifo(root / "pipe")
    allowed = (str(root),)
    assert places.read(f"{root}/file", allowed, 10) == b"fine"
    for name in ("link", "folder/secret", "pipe", "sub"):
        with pytest.raises(BadInput):
            places.read(f"{root}/{name}", allowed, 10)
    with pytest.raises(NotFound):
        places.read(f"{root}/gone", allowed, 10)
    with pytest.raises(TooLarge):
        places.read(f"{root}/file", allowed, 3)


@given(
    st.lists(st.sampled_from(["..", ".", "", "a", "%2e%2e", "a b"]), max_size=5),
    st.sampled_from(["/data/in", "/data/in/", "file:///data/in"]),
)
def test_no_address_leads_out_of_what_is_allowed(names: list[str], base: str) -> None:
    for start in (base, "/data/in", "file:///data/in", "/data/inner", "/data"):
        try:
            _, found = places.inside("/".join((start.rstrip("/"), *names)), (base,))
        except BadInput:
            continue
        inside = Path("/data/in").joinpath(*found)
        assert os.path.normpath(inside) == str(inside) and str(inside).startswith("/data/in/")
