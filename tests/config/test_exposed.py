from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from modelyard.config import exposed
from modelyard.config.load import load
from modelyard.config.spec import Realtime
from modelyard.errors import BadInput

TEXT = """\
version: 1
model: {{name: small, problem_type: regression}}
environments: {{production: {environment}}}
data: {{source: {{using: csv, location: data.csv}}, target_col: y}}
train: {{framework: sklearn, entry_point: train.py}}
deploy: {{realtime: {realtime}}}
"""
ANYWHERE = "0.0.0.0"  # noqa: S104


def messages(folder: Path, realtime: str = "{}", **environment: Any) -> list[str]:
    (folder / "tls.pem").write_text("")
    (folder / "tls.key").write_text("")
    words = "{" + ", ".join(f"{key}: {value}" for key, value in environment.items()) + "}"
    (folder / "config.yaml").write_text(TEXT.format(environment=words, realtime=realtime))
    return [said for _, said, next in exposed.findings(load(folder / "config.yaml")) if next]


TLS = "{certificate: tls.pem, key: tls.key}"


@pytest.mark.parametrize("host", ["127.0.0.1", "'::1'"])
def test_an_endpoint_of_this_machine_needs_nothing(tmp_path: Path, host: str) -> None:
    assert messages(tmp_path, host=host) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "other machines can reach 0.0.0.0, and there are no `tls` and `keys`"),
        ({"tls": TLS}, "other machines can reach 0.0.0.0, and there are no `keys`"),
        ({"keys": "true"}, "other machines can reach 0.0.0.0, and there are no `tls`"),
    ],
)
def test_one_that_others_reach_needs_tls_and_keys(tmp_path: Path, more: dict[str, str], said: str) -> None:
    assert messages(tmp_path, host=ANYWHERE, **more) == [said]
    assert messages(tmp_path, host=ANYWHERE, tls=TLS, keys="true") == []


def test_names_addresses_and_files(tmp_path: Path) -> None:
    assert messages(tmp_path, host="models.example") == ["`models.example` is no address of a machine"]
    assert messages(tmp_path, names="[a.example, 'https://b.example', 'c.example:80', x_y]") == [
        "`https://b.example` is no host name",
        "`c.example:80` is no host name",
    ]
    assert messages(tmp_path, tls="{certificate: other.pem, key: tls.key}") == ["there is no file other.pem"]
    assert messages(tmp_path, tls=f"{{certificate: {tmp_path}/tls.pem, key: tls.key}}") == []


@pytest.mark.parametrize(
    ("address", "holds"),
    [
        ("http://127.0.0.1:4318/v1/traces", True),
        ("https://x/", True),
        ("x:4318", False),
        ("http:///v1", False),
        ("http://[x/", False),
    ],
)
def test_where_traces_go(tmp_path: Path, address: str, holds: bool) -> None:
    assert messages(tmp_path, f"{{traces: {{endpoint: '{address}'}}}}") == ([] if holds else [f"`{address}` is no HTTP address"])


@pytest.mark.parametrize(
    ("addresses", "bad"),
    [
        ("inputs: [/in, 's3://bucket/in/'], output: 'gs://bucket/out/'", []),
        ("inputs: [/in, 'gopher://x/in/'], output: 's4://bucket/out/'", ["gopher://x/in/", "s4://bucket/out/"]),
        ("inputs: ['s3://[x/'], output: 's3://out/'", ["s3://[x/"]),
    ],
)
def test_where_asynchronous_inputs_and_answers_lie(tmp_path: Path, addresses: str, bad: list[str]) -> None:
    said = messages(tmp_path, f"{{asynchronous: {{{addresses}}}}}")
    assert said == [f"nothing here opens `{address}`" for address in bad]


def test_grpc_and_http_do_not_share_a_port(tmp_path: Path) -> None:
    assert messages(tmp_path, "{grpc_port: 9000}", port=9000) == ["the production endpoint answers HTTP on this port"]
    assert messages(tmp_path, "{grpc_port: 9001}", port=9000) == messages(tmp_path, "{grpc_port: 0}", port=0) == []


@pytest.mark.parametrize("keys", [{"timeout": "0s"}, {"timeout": "1s", "max_batch_wait_ms": 1000.0}])
def test_an_answer_has_time_to_come(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="`timeout` must be longer than `max_batch_wait_ms`"):
        Realtime(**keys)  # type: ignore[arg-type]


def test_a_front_that_both_stages_share_listens_in_one_way(tmp_path: Path) -> None:
    """Staging's endpoint comes first: a fixed port of production's alone could never be had."""
    said = "both stages share a front (deploy.realtime.shared), and staging has another `{}`"
    assert messages(tmp_path, "{shared: true}", port=8500) == [said.format("port")]
    assert messages(tmp_path, "{shared: true}", tls=TLS, names="[a.example]") == [said.format("names"), said.format("tls")]
    assert messages(tmp_path, "{shared: {staging: false, production: true}}", port=8500) == []
    assert messages(tmp_path, "{shared: true}", port="8500}, staging: {port: 8500") == []
    with pytest.raises(BadInput, match="each endpoint needs its own"):
        messages(tmp_path, "{shared: {staging: true, production: false}}", port="8500}, staging: {port: 8500")
