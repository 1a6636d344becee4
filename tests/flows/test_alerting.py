"""Alerts: what is logged, what is sent, and what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.flows.alerting import alert
from modelyard.monitor import alerts

from .releases import World, config


def world(home: Path, monkeypatch: pytest.MonkeyPatch, **words: Any) -> World:
    made = World(home, monkeypatch)
    made.accept({**config(), "alerts": words})
    return made


def sent(monkeypatch: pytest.MonkeyPatch, *failed: str) -> list[str]:
    urls: list[str] = []
    monkeypatch.setattr(alerts, "send", lambda to, title, body: (urls.extend(to), list(failed))[1])
    return urls


def test_a_missing_secret_is_no_channel_and_no_failure_of_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, urls = world(home, monkeypatch, to=[{"secret": "PAGER_URL"}]), sent(monkeypatch)
    [told] = alert(made.shop, "demo", "drift", "t", "b")
    assert told.sent_to == 0 and len(told.errors) == 1 and "PAGER_URL" in told.errors[0] and urls == []


def test_channels_and_failures_are_counted_apart(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = [{"secret": "PAGER_URL"}, "json://one.invalid", "json://two.invalid"]
    made, urls = world(home, monkeypatch, to=to), sent(monkeypatch, "json://two.invalid: not delivered")
    [told] = alert(made.shop, "demo", "drift", "t", "b")
    assert told.sent_to == 1 and len(told.errors) == 2 and urls == to[1:]


def test_the_log_gets_what_the_channels_do_not_want(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, urls = world(home, monkeypatch, to=["json://one.invalid"], on=["rollback"]), sent(monkeypatch)
    [told] = alert(made.shop, "demo", "drift", "demo: drift violated", "why")
    assert (told.sent_to, told.errors, urls) == (0, [], [])
    alert(made.shop, "demo", "rollback", "demo: rolled back", "why")
    assert urls == ["json://one.invalid"]
    lines = (home / "alerts.log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["demo drift: demo: drift violated | why", "demo rollback: demo: rolled back | why"]
