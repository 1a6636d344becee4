"""Alerts: what is logged, what is sent, and what is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard.clock import ReplayClock
from modelyard.flows.alerting import alert, resend
from modelyard.monitor import alerts

from .releases import World, config

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def world(home: Path, monkeypatch: pytest.MonkeyPatch, **words: Any) -> World:
    made = World(home, monkeypatch, clock=ReplayClock(T0))
    made.accept({**config(), "alerts": words})
    return made


def sent(monkeypatch: pytest.MonkeyPatch, *failing: str) -> list[str]:
    """The URLs that are tried from now on; those of `failing` take nothing."""
    urls: list[str] = []

    def send(to: list[str], title: str, body: str, tone: str) -> list[str]:
        urls.extend(to)
        return [f"{url}: not delivered" for url in to if url in failing]

    monkeypatch.setattr(alerts, "send", send)
    return urls


def test_a_missing_secret_is_no_channel_and_no_failure_of_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, urls = world(home, monkeypatch, to=[{"secret": "PAGER_URL"}]), sent(monkeypatch)
    [told] = alert(made.shop, "demo", "drift", "t", "b")
    assert told.sent_to == 0 and len(told.errors) == 1 and "PAGER_URL" in told.errors[0] and urls == []


def test_channels_and_failures_are_counted_apart(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = [{"secret": "PAGER_URL"}, "json://one.invalid", "json://two.invalid"]
    made, urls = world(home, monkeypatch, to=to), sent(monkeypatch, "json://two.invalid")
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


def test_an_alert_of_many_lines_is_one_line_of_the_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(home, monkeypatch)
    alert(made.shop, "demo", "drift", "demo: drift violated", "x moved\nNext: modelyard status demo")
    assert (home / "alerts.log").read_text().splitlines() == [
        "2026-03-01T00:00:00+00:00 demo drift: demo: drift violated | x moved | Next: modelyard status demo"
    ]


def test_what_a_channel_did_not_take_is_tried_again_until_it_does(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "secrets").mkdir(mode=0o700, exist_ok=True)
    (home / "secrets" / "PAGER").write_text("json://pager.invalid/t0ken")
    (home / "secrets" / "PAGER").chmod(0o600)
    made = world(home, monkeypatch, to=["json://one.invalid", {"secret": "PAGER"}])
    sent(monkeypatch, "json://one.invalid", "json://pager.invalid/t0ken")
    alert(made.shop, "demo", "drift", "t", "b")
    assert b"t0ken" not in (home / "state.sqlite").read_bytes()

    urls = sent(monkeypatch, "json://one.invalid")
    assert resend(made.shop) == 0 and urls == [], "not before a pause"
    made.clock.advance_to(T0 + timedelta(minutes=1))
    assert resend(made.shop) == 1 and urls == ["json://one.invalid", "json://pager.invalid/t0ken"]
    made.open()
    for minutes in (6, 21, 81, 500):
        made.clock.advance_to(T0 + timedelta(minutes=minutes))
        assert resend(made.shop) == 0
    assert urls[2:] == ["json://one.invalid"] * 3, "four more tries in all, over a restart, and then no more"
    said = [line.split(" ", 3)[3] for line in (home / "alerts.log").read_text().splitlines()]
    assert said[1] == "t | delivered to json://pager.invalid/*** by try 2"
    assert said[2].startswith("t | given up after 5 tries: json://one.invalid")


def test_a_channel_that_is_back_gets_what_it_missed_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, got = world(home, monkeypatch, to=["json://one.invalid", "json://two.invalid"]), list[str]()
    down = {"json://one.invalid"}

    def send(to: list[str], title: str, body: str, tone: str) -> list[str]:
        got.extend(f"{to[0][7:10]} {title}" for url in to if url not in down)
        return [f"{url}: not delivered" for url in to if url in down]

    monkeypatch.setattr(alerts, "send", send)
    alert(made.shop, "demo", "drift", "violated", "b")
    alert(made.shop, "demo", "bias", "violated too", "b")
    down.clear()
    [told] = alert(made.shop, "demo", "drift", "healthy again", "b")
    assert (told.sent_to, told.errors) == (2, [])
    assert [line for line in got if line.startswith("one")] == ["one violated", "one violated too", "one healthy again"]
    assert len([line for line in got if line.startswith("two")]) == 3, "what another channel missed is not its own"
    made.clock.advance_to(T0 + timedelta(days=1))
    assert resend(made.shop) == 0, "nothing waits any more"


def test_while_a_channel_is_down_each_alert_waits_its_full_number_of_tries(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(home, monkeypatch, to=["json://one.invalid"])
    sent(monkeypatch, "json://one.invalid")
    for number in range(10):
        [told] = alert(made.shop, "demo", "drift", f"alert {number}", "b")
        assert told.sent_to == 0 and len(told.errors) == 1
    assert [(letter.title, letter.tries) for letter in made.shop.outbox.due(T0 + timedelta(minutes=1))] == [
        (f"alert {n}", 1) for n in range(10)
    ]


def test_what_is_tried_again_is_as_bad_as_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, tones, up = world(home, monkeypatch, to=["json://one.invalid"]), list[str](), list[bool]()

    def send(to: list[str], title: str, body: str, tone: str) -> list[str]:
        tones.append(tone)
        return [] if up else [f"{to[0]}: not delivered"]

    monkeypatch.setattr(alerts, "send", send)
    alert(made.shop, "demo", "rollback", "rolled back", "b")
    alert(made.shop, "demo", "drift", "healthy again", "b", "success")
    with made.shop.outbox._database.transaction() as tx:  # of a yard before there were tones
        tx.exec_driver_sql("UPDATE outbox SET kind = 'rollback' WHERE id = 1")
    up.append(True)
    tones.clear()
    made.clock.advance_to(T0 + timedelta(minutes=1))
    waiting = [(letter.kind, letter.tone) for letter in made.shop.outbox.due(made.clock.now())]
    assert waiting == [("rollback", "failure"), ("drift", "success")]
    assert resend(made.shop) == 2 and tones == ["failure", "success"]


def test_an_alert_goes_out_though_its_log_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, urls = world(home, monkeypatch, to=["json://one.invalid"]), sent(monkeypatch)
    (home / "alerts.log").mkdir()
    [told] = alert(made.shop, "demo", "capture", "the disk is full", "b")
    assert told.sent_to == 1 and urls == ["json://one.invalid"]
