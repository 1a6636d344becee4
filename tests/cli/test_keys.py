from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from modelyard.cli import keys as commands
from tests.cli.standin import Caller, standing_in

LISTED = [{"name": "shop", "by": "ann", "created_at": "2026-01-31T12:00:00+00:00"}]


def answer(verb: str, **words: Any) -> Any:
    return LISTED if verb == "keys-list" else {**words, "key": "my_secret"}


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return standing_in(monkeypatch, answer, commands)


def test_the_key_alone_is_on_standard_output(caller: Caller) -> None:
    done = CliRunner().invoke(commands.keys, ["create", "demo", "shop"])
    assert done.exit_code == 0 and done.stdout == "my_secret\n" and "keep it" in done.stderr and "my_secret" not in done.stderr
    assert caller.calls == [("keys-create", {"model": "demo", "stage": "production", "name": "shop"})]


def test_list_and_revoke(caller: Caller) -> None:
    done = CliRunner().invoke(commands.keys, ["list", "demo", "--stage", "staging"])
    assert "shop" in done.stdout and "2026-01-31 12:00" in done.stdout
    assert json.loads(CliRunner().invoke(commands.keys, ["list", "demo", "--json"]).stdout)[0]["name"] == "shop"
    done = CliRunner().invoke(commands.keys, ["revoke", "demo", "shop"])
    assert "`shop` is let in no more to demo production" in done.stdout
    assert [verb for verb, _ in caller.calls] == ["keys-list", "keys-list", "keys-revoke"]
