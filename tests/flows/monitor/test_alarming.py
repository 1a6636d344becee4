"""Alarms end to end: captured rows in, messages at a real HTTP receiver out; once an episode, whatever is judged again or killed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.events import AlertSent
from modelyard.flows.monitor import alarming
from modelyard.monitor.book import Word

from ...monitor.test_alerts import Receiver
from ...monitor.test_alerts import receiver as receiver
from ..watched import DAY, T0, Watched, settings

Sent = list[tuple[str, str]]


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Iterator[Watched]:
    yield told(home, monkeypatch, receiver)


def told(home: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver, **watch: Any) -> Watched:
    to = [f"json://127.0.0.1:{receiver.server_port}"]
    alerts = {"to": to, "runbook": "https://wiki.example.com/demo"}
    return Watched(home, monkeypatch, settings(alerts=alerts, monitor={**settings()["monitor"], **watch}))


def arrived(receiver: Receiver) -> list[str]:
    return [message["title"] for message in receiver.got]


def said(world: Watched, statuses: str, first: int = 0, monitor: str = "drift", **evidence: Any) -> list[Word]:
    """Words on consecutive days, as if they had been judged."""
    names = {"h": "healthy", "w": "warning", "v": "violated", "?": "unknown"}
    written = []
    for day, letter in enumerate(statuses, first):
        start, end = (T0 + day * DAY).isoformat(), (T0 + (day + 1) * DAY).isoformat()
        facts = {"rows": 100, **evidence}
        word = Word("demo", monitor, start, end, "1", names[letter], f"{monitor}: said", T0.isoformat(), facts)  # type: ignore[arg-type]
        written += world.shop.book.put([word])
        world.time.advance_to(max(world.time.now(), T0 + (day + 1) * DAY))
    return written


def sound(world: Watched, fresh: list[Word]) -> None:
    alarming.sound(world.shop, "demo", fresh)


# -- the whole way ------------------------------------------------------------------------------------------------------------------


def test_drift_that_comes_stays_and_goes_is_two_messages(world: Watched, receiver: Receiver) -> None:
    usual, moved = [i / 20 for i in range(200)], [40.0 + i for i in range(200)]
    for day, x in enumerate([usual, moved, moved, usual]):
        world.capture([f"{day}-{i}" for i in range(200)], T0 + day * DAY, x)
        world.time.advance_to(T0 + (day + 1) * DAY)
        world.look()
        world.look()
    drift = [message for message in receiver.got if ": drift " in message["title"]]
    assert [message["title"] for message in drift] == ["demo: drift violated", "demo: drift is healthy again"]
    lines = drift[0]["message"].splitlines()
    assert any(re.match(r"Moved: x \(.*\d", line) for line in lines), lines
    assert "Since: 2026-03-02 00:00 UTC, the last window violated" in lines
    assert "Runbook: https://wiki.example.com/demo" in lines
    assert lines[-1] == "Next: modelyard monitor demo --report demo.html --window 2026-03-02T00:00:00+00:00"
    assert "Was violated: 2 days, from 2026-03-02 00:00 UTC to 2026-03-04 00:00 UTC, in 2 windows" in drift[1]["message"]
    assert [e.sent_to for e in world.events(AlertSent) if ": drift " in e.title] == [1, 1]
    assert [line.split(": ", 1)[1][:21] for line in (world.home.path / "alerts.log").read_text().splitlines() if " drift: " in line] == [
        "demo: drift violated ",
        "demo: drift is health",
    ]


# -- once -------------------------------------------------------------------------------------------------------------------------


def test_a_word_that_a_killed_process_wrote_is_told_of_by_the_next_look(world: Watched, receiver: Receiver) -> None:
    said(world, "v")
    sound(world, [])
    sound(world, [])
    assert arrived(receiver) == ["demo: drift violated"]


def test_nobody_is_told_twice_over_a_restart(world: Watched, receiver: Receiver) -> None:
    sound(world, said(world, "v"))
    world.open()
    sound(world, said(world, "v", 1))
    assert arrived(receiver) == ["demo: drift violated"]
    sound(world, said(world, "h", 2))
    world.open()
    sound(world, said(world, "h", 3))
    assert arrived(receiver) == ["demo: drift violated", "demo: drift is healthy again"]


def test_who_is_killed_between_sending_and_writing_tells_again(world: Watched, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = said(world, "v")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="killed"):

        def killed(*_: Any, **__: Any) -> None:
            raise OSError("killed")

        patch.setattr(world.shop.journal, "append", killed)
        sound(world, fresh)
    assert world.shop.episodes.open("demo") == {}
    sound(world, [])
    assert arrived(receiver) == ["demo: drift violated"] * 2, "at least once"


def test_a_window_judged_again_is_no_news_while_the_newest_says_the_same(world: Watched, receiver: Receiver) -> None:
    sound(world, said(world, "hhv"))
    sound(world, said(world, "v", 1, rows=3))
    assert arrived(receiver) == ["demo: drift violated"]
    sound(world, said(world, "h", 2, rows=3))
    assert arrived(receiver)[1:] == ["demo: drift is healthy again"]


def test_labels_that_take_back_every_violated_window_end_the_episode(world: Watched, receiver: Receiver) -> None:
    sound(world, said(world, "v", 0, "performance"))
    sound(world, said(world, "h", 0, "performance", rows=3))
    assert arrived(receiver) == ["demo: performance violated", "demo: performance is healthy again"]
    assert "takes back" in receiver.got[-1]["message"]


def test_unknown_windows_neither_begin_nor_end_an_episode(world: Watched, receiver: Receiver) -> None:
    for statuses, first in (("?", 0), ("v", 1), ("?", 2), ("?", 3)):
        sound(world, said(world, statuses, first))
    assert arrived(receiver) == ["demo: drift violated"] and "drift" in world.shop.episodes.open("demo")


def test_what_moved_within_an_episode_is_named_when_it_ends(world: Watched, receiver: Receiver) -> None:
    sound(world, said(world, "v", 0, moved=["age"]))
    sound(world, said(world, "v", 1, moved=["income"]))
    sound(world, said(world, "h", 2, moved=[]))
    first, last = receiver.got
    assert "Moved: age" in first["message"] and "income" not in first["message"]
    assert "Moved meanwhile: age, income" in last["message"]
    assert world.shop.episodes.of("demo")[0].moved == ("age", "income")


def test_an_episode_of_more_windows_than_are_looked_back_at_is_told_of_whole(
    world: Watched, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarming, "BACK", 3)
    sound(world, said(world, "hv"))
    sound(world, said(world, "vv?vvv", 2))
    sound(world, said(world, "h", 8))
    assert arrived(receiver) == ["demo: drift violated", "demo: drift is healthy again"]
    assert "Was violated: 7 days, from 2026-03-02 00:00 UTC to 2026-03-09 00:00 UTC, in 6 windows" in receiver.got[1]["message"]


def test_an_episode_that_a_downtime_hid_is_one_message(world: Watched, receiver: Receiver) -> None:
    sound(world, said(world, "hvhvvhh"))
    assert arrived(receiver) == ["demo: drift was violated, and is no more"]
    assert "from 2026-03-04 00:00 UTC to 2026-03-06 00:00 UTC" in receiver.got[0]["message"]
    sound(world, said(world, "h", 7))
    assert len(receiver.got) == 1


def test_an_episode_that_people_know_of_is_not_told_again_where_labels_judge_its_windows_again(world: Watched, receiver: Receiver) -> None:
    for day, letter in enumerate("hvvhh"):
        sound(world, said(world, letter, day, "performance"))
    assert arrived(receiver) == ["demo: performance violated", "demo: performance is healthy again"]
    sound(world, said(world, "hvvhh", 0, "performance", rows=101))
    assert len(receiver.got) == 2
    sound(world, said(world, "hvhhh", 0, "performance", rows=102))
    assert len(receiver.got) == 2, "and not where it is shorter now"


def test_an_episode_whose_beginning_a_killed_process_wrote_is_told_of(world: Watched, receiver: Receiver) -> None:
    said(world, "hv")
    sound(world, said(world, "hh", 2))
    assert arrived(receiver) == ["demo: drift was violated, and is no more"]


def test_a_channel_is_told_how_bad_it_is(world: Watched, receiver: Receiver) -> None:
    for day, letter in enumerate("vhvw"):
        sound(world, said(world, letter, day))
    assert [message["type"] for message in receiver.got] == ["failure", "success", "failure", "warning"]
    sound(world, said(world, "v", 4))
    world.shop.book.put([replace(world.words("drift")[-1], status="healthy"), replace(world.words("drift")[2], status="healthy")])
    sound(world, [])
    assert receiver.got[-1]["title"] == "demo: drift is healthy again" and receiver.got[-1]["type"] == "success"


def test_flapping_alarms_by_their_rule(home: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    world = told(home, monkeypatch, receiver, alert_after={"num_windows": 4, "num_violation_windows": 3})
    for day, letter in enumerate("vhvhvvvhvhhh"):
        sound(world, said(world, letter, day))
    assert arrived(receiver) == ["demo: drift violated", "demo: drift is healthy again"]


def test_a_monitor_that_is_turned_off_in_an_episode_says_so(world: Watched, receiver: Receiver) -> None:
    sound(world, said(world, "v"))
    off = {**settings()["monitor"], "drift": {"enabled": False}}
    world.enforce({**world.settings["production"], "monitor": off}, "config-2")
    sound(world, [])
    sound(world, [])
    assert arrived(receiver) == ["demo: drift violated", "demo: drift is no longer watched"]
    assert world.shop.episodes.open("demo") == {}


def switched(world: Watched, *, on: bool) -> None:
    watch = {**settings()["monitor"], "drift": {"enabled": on}}
    world.enforce({**world.settings["production"], "monitor": watch}, f"config-{on}-{world.time.now():%d}")
    sound(world, [])


def test_a_monitor_that_is_on_again_says_nothing_of_before(world: Watched, receiver: Receiver) -> None:
    sound(world, said(world, "hv"))
    switched(world, on=False)
    switched(world, on=True)
    sound(world, [])
    assert arrived(receiver) == ["demo: drift violated", "demo: drift is no longer watched"], "its last word is of before"
    sound(world, said(world, "h", 2))
    assert len(arrived(receiver)) == 2
    sound(world, said(world, "v", 3))
    assert arrived(receiver)[2:] == ["demo: drift violated"]
    assert "Since: 2026-03-04 00:00 UTC, the last window violated" in receiver.got[-1]["message"]


def test_an_episode_after_a_monitor_was_off_begins_with_its_own_words(
    home: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    world = told(home, monkeypatch, receiver, alert_after={"num_windows": 3, "num_violation_windows": 2})
    sound(world, said(world, "v"))
    after = {"alert_after": {"num_windows": 3, "num_violation_windows": 2}}
    for on in (False, True):
        watch = {**settings()["monitor"], **after, "drift": {"enabled": on}}
        world.enforce({**world.settings["production"], "monitor": watch}, f"config-{on}")
        sound(world, [])
    sound(world, said(world, "v", 1))
    assert arrived(receiver) == [], "one of its windows, where two are needed"
    sound(world, said(world, "v", 2))
    assert arrived(receiver) == ["demo: drift violated"] and "Since: 2026-03-02" in receiver.got[0]["message"]


def test_neither_a_failure_nor_a_silence_of_before_is_told_anew(world: Watched, receiver: Receiver) -> None:
    sound(world, said(world, "h" * 16))
    sound(world, said(world, "?", 16, rows=0, failed="ValueError"))
    assert arrived(receiver) == ["demo: drift cannot be judged", "demo: no traffic"]
    sound(world, said(world, "h", 17))
    sound(world, said(world, "?", 18, rows=0, failed="ValueError"))
    before = arrived(receiver)
    switched(world, on=False)  # data_quality has no word that would say that traffic is back
    assert arrived(receiver)[len(before) :] == ["demo: drift is no longer watched"]
    sound(world, said(world, "h", 18, "data_quality"))
    before = arrived(receiver)
    switched(world, on=True)
    assert arrived(receiver) == before


def test_a_channel_that_fails_stops_no_monitor(home: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    world = told(home, monkeypatch, receiver)
    receiver.status = 500
    sound(world, said(world, "v"))
    [event] = world.events(AlertSent)
    assert event.sent_to == 0 and "json://127.0.0.1" in event.errors[0] and "drift" in world.shop.episodes.open("demo")
    assert [letter.title for letter in world.shop.outbox.due(world.time.now() + DAY)] == ["demo: drift violated"]


# -- nobody asks --------------------------------------------------------------------------------------------------------------------


def test_a_model_that_nobody_asks_any_more_is_told_of_once(world: Watched, receiver: Receiver) -> None:
    fresh = said(world, "h" * 16)
    sound(world, fresh)
    for day in (16, 17, 18):
        sound(world, said(world, "?", day, rows=0))
    assert arrived(receiver) == ["demo: no traffic"]
    assert "No request since 2026-03-17 00:00 UTC" in receiver.got[0]["message"]
    assert [e.kind for e in world.events(AlertSent)] == ["data_quality"]
    sound(world, said(world, "h", 19))
    assert arrived(receiver)[1:] == ["demo: traffic is back"] and "3 days" in receiver.got[1]["message"]
    assert world.shop.episodes.open("demo") == {}


def test_the_console_is_linked_without_its_token(world: Watched, receiver: Receiver) -> None:
    world.home.console.write_text("http://127.0.0.1:8080/login?token_given=s3cret")
    sound(world, said(world, "v"))
    message = receiver.got[0]["message"]
    assert "Console: http://127.0.0.1:8080/models/demo/windows/" in message and "s3cret" not in message
    world.home.console.unlink()
