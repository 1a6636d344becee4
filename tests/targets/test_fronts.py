"""The fronts of a local endpoint: several on one port, TLS, API keys, changes of all these while callers call."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from modelyard.errors import BadInput, YardError
from modelyard.flows import holdout
from modelyard.serve.keys import Keys, Pass
from modelyard.serve.routes import Access
from tests.build.test_processes import until
from tests.serve.certificates import certificate

from .scripts import ANSWERS, scripted
from .world import NAME, SLOW, World

ANYWHERE = "0.0.0.0"  # noqa: S104


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("yard"))
    world.script("1", ANSWERS)
    yield world
    world.target.close()


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    yield shared
    shared.target.remove(NAME)
    shared.told.clear()


def fronts(world: World) -> list[int]:
    return [place._child.pid for place in world.live()._front._places if place._child is not None and place.alive]


def test_fronts_share_a_port_and_one_that_dies_takes_no_other_down(world: World) -> None:
    world.apply({"1": 100}, fronts=3)
    before = fronts(world)
    assert len(set(before)) == 3
    load = world.under_load(lambda: until(lambda: world.state.variants["1"].requests > 100), keep=6, close=6, slow=2)
    assert not load.failures
    until(lambda: world.settled(len(load.answered)))
    told = [json.loads(place._stats.read_text())["variants"]["1"]["answered"] for place in world.live()._front._places]
    assert sum(told) == len(load.answered) and sum(count > 0 for count in told) >= 2
    os.kill(before[1], signal.SIGKILL)
    until(lambda: len(fronts(world)) == 3 and fronts(world) != before)
    assert [fronts(world)[i] for i in (0, 2)] == [before[i] for i in (0, 2)]
    assert any("the front ended" in reason for _, reason in world.told)
    until(lambda: world.settled(len(load.answered)))  # what the dead one counted is not forgotten
    again = world.under_load(lambda: until(lambda: world.state.variants["1"].requests > len(load.answered) + 50), keep=4, close=4, slow=0)
    assert not again.failures


def test_a_port_that_others_share_is_still_taken(world: World) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(BadInput, match="cannot be used"):
            world.apply({"1": 100}, fronts=2, port=other.getsockname()[1])


def test_a_grpc_port_is_shared_with_nobody_else(world: World) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BadInput, match="cannot be used"):
            world.apply({"1": 100}, grpc_port=port)
    world.apply({"1": 100}, grpc_port=port, linger=0.2)
    world.apply({"1": 100}, grpc_port=port, fronts=2, linger=0.2)  # others of our own take over from those that listen there yet
    assert world.live()._front.counted()[0].grpc_port == port


def test_a_changed_listener_takes_over_without_a_failed_request(world: World) -> None:
    port = int(world.apply({"1": 100}).address.rpartition(":")[2])
    old = fronts(world)

    def change() -> None:
        world.apply({"1": 100}, fronts=2, names=("models.example",), linger=0.2)
        until(lambda: all(not Path(f"/proc/{pid}").exists() for pid in old))

    load = world.under_load(change, keep=6, close=6, slow=0)
    assert world.port == port and not load.failures
    until(lambda: world.settled(len(load.answered)))
    assert json.loads(holdout.post(world.state.address, b'{"x": 1.0}', headers={"Host": "models.example:80"}))["version"] == "1"
    with pytest.raises(YardError, match="not called by that name"):
        holdout.post(world.state.address, b'{"x": 1.0}', headers={"Host": "other.example"})


@pytest.mark.slow
@pytest.mark.parametrize("way", ["another listener", "its end"])
def test_a_front_that_ends_answers_first_however_long_its_model_may_take(shared: World, way: str) -> None:
    """The model takes longer than a process of ours mostly gets to end in, and not as long as an answer may take."""
    shared.versions["2"] = scripted(shared.home, "2", SLOW.format(number=2.0, seconds=10.0))
    state = shared.apply({"2": 100}, timeout=20.0)
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(holdout.post(state.address, b'{"x": 1.0}', timeout=30)))
    asking.start()
    until(lambda: shared.state.variants["2"].in_flight == 1)
    if way == "its end":
        shared.target.remove(NAME)
    else:
        old = fronts(shared)
        shared.apply({"2": 100}, timeout=20.0, names=("models.example",), linger=0.1)
        until(lambda: all(not Path(f"/proc/{pid}").exists() for pid in old), 30)
    asking.join()
    assert [json.loads(answer)["version"] for answer in answers] == ["2"]
    shared.target.remove(NAME)


def test_tls_and_keys(world: World, tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    keys = Keys(world.live()._folder if NAME in world.target._endpoints else world.home / "endpoints" / NAME)
    key = keys.create("shop", "ann", datetime.now(UTC))
    state = world.apply({"1": 100}, host=ANYWHERE, tls=tls, names=("models.example",), access=Access(keys.hashes()))
    assert state.address.startswith("https://127.0.0.1:") and key not in json.dumps(str(state))

    def status(own: Pass) -> int:
        try:
            holdout.post(state.address, b'{"x": 1.0}', own=own)
        except YardError as exc:
            return exc.http_status
        return 200

    assert [status(state.own), status(Pass(key, tls[0])), status(Pass("", tls[0])), status(Pass(key + "x", tls[0]))] == [200, 200, 401, 401]
    other = tmp_path / "other"
    other.mkdir()
    assert status(Pass(key, certificate(other)[0])) == 503  # another's certificate is not trusted
    keys.revoke("shop")
    world.target.let_in(NAME, Access(keys.hashes()))
    assert [status(state.own), status(Pass(key, tls[0]))] == [200, 401]
    ping = ssl.create_default_context(cafile=str(tls[0]))
    with socket.create_connection(("127.0.0.1", world.port)) as link, ping.wrap_socket(link, server_hostname="models.example") as caller:
        caller.sendall(b"GET /ping HTTP/1.1\r\nHost: models.example\r\n\r\nGET /metrics HTTP/1.1\r\nHost: models.example\r\n\r\n")
        said = b""
        while b"401" not in said:
            said += caller.recv(65536)
        assert said.startswith(b"HTTP/1.1 200") and said.count(b"www-authenticate: Bearer") == 1


def test_a_key_that_is_revoked_while_a_version_is_on_its_way_is_let_in_no_more(world: World) -> None:
    keys = Keys(world.home / "endpoints" / NAME)
    key = keys.create("shop", "anna", datetime.now(UTC))
    on_its_way = world.spec({"1": 100}, access=Access(keys.hashes()), linger=0.1)
    world.target.apply(on_its_way)
    keys.revoke("shop")
    world.target.let_in(NAME, Access(keys.hashes()))
    state = world.target.apply(on_its_way)
    with pytest.raises(YardError, match="not let in"):
        holdout.post(state.address, b'{"x": 1.0}', headers={"X-Api-Key": key})
    assert holdout.post(state.address, b'{"x": 1.0}', own=Pass(keys.own()))


def test_an_endpoint_that_others_reach_wants_tls_and_keys(world: World, tmp_path: Path) -> None:
    for more in ({}, {"access": Access({})}, {"tls": certificate(tmp_path)}):
        with pytest.raises(BadInput, match="needs `tls` and `keys`"):
            world.apply({"1": 100}, host=ANYWHERE, **more)


def test_boto3_gives_its_key_as_the_access_key_id(world: World) -> None:
    keys = Keys(world.home / "endpoints" / NAME)
    key = keys.create("boto", "ann", datetime.now(UTC))
    address = world.apply({"1": 100}, access=Access(keys.hashes())).address

    def ask(id: str) -> int:
        settings = {"aws_access_key_id": id, "aws_secret_access_key": "unused", "region_name": "eu-west-1", "endpoint_url": address}
        client = boto3.client("sagemaker-runtime", config=Config(retries={"total_max_attempts": 1}), **settings)
        try:
            answer = client.invoke_endpoint(EndpointName=NAME, ContentType="application/json", Body=b'{"x": 1}')
        except ClientError as exc:
            return int(exc.response["ResponseMetadata"]["HTTPStatusCode"])
        return int(answer["ResponseMetadata"]["HTTPStatusCode"])

    assert [ask(key), ask("AKIAIOSFODNN7EXAMPLE")] == [200, 401]
