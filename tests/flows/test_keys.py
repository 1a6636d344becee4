from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import BadInput, NotFound
from modelyard.events import KeyCreated, KeyRevoked
from modelyard.flows import keys
from modelyard.serve import routes
from modelyard.serve.access import NoKey, admit
from modelyard.serve.keys import OWNER
from modelyard.serve.routes import Access

from .releases import World, config


def settings(*, asks: bool = True) -> dict[str, Any]:
    found = config()
    found["environments"]["production"]["keys"] = asks
    return found


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(home, monkeypatch)
    world.accept(settings())
    world.register("1")
    return world


def access(world: World) -> Access:
    """Whom the endpoint in production lets in now."""
    return world.target._endpoints["demo-production"].spec.access


def test_a_key_is_in_force_at_once_and_until_it_is_revoked(world: World) -> None:
    made = keys.create(world.shop, "demo", "production", "early", "ann")  # before there is an endpoint
    world.release("1", ("production",))
    assert admit(access(world), {b"x-api-key": made["key"].encode()}) == "early"
    later = keys.create(world.shop, "demo", "production", "later", "bob")
    assert admit(access(world), {b"x-api-key": later["key"].encode()}) == "later"
    assert [(one["name"], one["by"]) for one in keys.listed(world.shop, "demo", "production")] == [("early", "ann"), ("later", "bob")]
    keys.revoke(world.shop, "demo", "production", "early", "bob")
    with pytest.raises(NoKey):
        admit(access(world), {b"x-api-key": made["key"].encode()})
    assert admit(access(world), {b"x-api-key": later["key"].encode()}) == "later"
    told = world.events(KeyCreated, KeyRevoked)
    assert [str(event) for event in told] == [
        "ann created the API key `early` of demo production",
        "bob created the API key `later` of demo production",
        "bob revoked the API key `early` of demo production",
    ]
    assert all(secret not in str(vars(event)) for event in told for secret in (made["key"], later["key"]))


def test_a_key_of_one_stage_opens_no_other(world: World) -> None:
    made = keys.create(world.shop, "demo", "production", "shop", "ann")
    world.release("1")
    staging = world.target._endpoints["demo-staging"].spec.access
    assert staging.keys is None  # it asks for none
    assert made["key"] not in (world.home.path / "endpoints" / "demo-production" / "keys.json").read_text()
    assert keys.listed(world.shop, "demo", "staging") == []


def test_what_is_refused(world: World) -> None:
    with pytest.raises(NotFound, match="no model"):
        keys.create(world.shop, "other", "production", "shop", "ann")
    with pytest.raises(BadInput, match="lets everybody in"):
        keys.create(world.shop, "demo", "staging", "shop", "ann")
    with pytest.raises(NotFound, match="no key"):
        keys.revoke(world.shop, "demo", "production", "shop", "ann")
    keys.create(world.shop, "demo", "production", "shop", "ann")
    with pytest.raises(BadInput, match="already"):
        keys.create(world.shop, "demo", "production", "shop", "ann")
    assert len(world.events(KeyCreated)) == 1


def test_what_the_config_says_of_callers_reaches_the_target(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(home, monkeypatch)
    found = settings()
    found["environments"]["production"] |= {
        "host": "127.0.0.2",
        "port": 8443,
        "names": ["models.example"],
        "tls": {"certificate": "tls.pem", "key": "/etc/tls.key"},
    }
    traces = {"endpoint": "http://127.0.0.1:4318/v1/traces", "sample": 0.5}
    found["deploy"]["realtime"] = {"fronts": 3, "access_log": True, "traces": traces}
    world.accept(found)
    world.register("1")
    world.release("1", ("production",))
    spec = world.target.applied[-1]
    assert (spec.host, spec.port, spec.names, spec.fronts, spec.access_log) == ("127.0.0.2", 8443, ("models.example",), 3, True)
    assert spec.tls == (Path("/nowhere/tls.pem"), Path("/etc/tls.key"))  # the config's folder is /nowhere
    assert spec.traces == routes.Traces("http://127.0.0.1:4318/v1/traces", 0.5)
    assert spec.access.keys is not None and spec.access.keys.keys() == {OWNER}
