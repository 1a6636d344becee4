"""What alerts say, as people read it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from modelyard.config.spec import AlertAfter
from modelyard.monitor import telling
from modelyard.monitor.alarms import Episode, Silence, stretches
from modelyard.monitor.telling import About

from .test_alarms import T0, word, words

ABOUT = About("demo", "America/New_York", "https://wiki.example.com/demo", "http://127.0.0.1:8080")
HALF = timedelta(seconds=30)
AFTER = AlertAfter(num_windows=4, num_violation_windows=2)
MOVED = {
    "moved": ["dep_delay", "carrier"],
    "columns": [{"column": "dep_delay", "measure": "psi", "value": 0.3125}],
    "segments": {"judged": 2, "moved": [{"segment": "origin=JFK", "rows": 90, "columns": ["dep_delay"]}]},
}


def test_an_alert_says_what_where_since_when_and_what_to_do() -> None:
    history = [*words("hv"), replace(word(2, "violated", **MOVED), reason="drift: 2 of 11 features moved")]
    [found] = stretches(history, AFTER)
    told = telling.raised(found, ABOUT, AFTER.num_windows)
    assert told.title == "demo: drift violated"
    assert told.body.splitlines() == [
        "2 of 11 features moved",
        "Moved: dep_delay (PSI 0.312), carrier",
        "Segments: origin=JFK (dep_delay)",
        "Since: 2026-03-01 20:00 EST, 2 of the last 2 windows violated",
        "Version: 1",
        "Runbook: https://wiki.example.com/demo",
        "Console: http://127.0.0.1:8080/models/demo/windows/2026-03-02T02%3A00%3A00%2B00%3A00/2026-03-02T03%3A00%3A00%2B00%3A00",
        "Next: modelyard monitor demo --report demo.html --window 2026-03-02T02:00:00+00:00",
    ]


def test_an_alert_knows_no_more_than_it_does() -> None:
    [found] = stretches(words("v"), AlertAfter())
    told = telling.raised(found, About("demo", "UTC"), 1)
    assert told.body.splitlines() == [
        "said",
        "Since: 2026-03-02 00:00 UTC, the last window violated",
        "Version: 1",
        "Next: modelyard monitor demo --report demo.html --window 2026-03-02T00:00:00+00:00",
    ]


def test_a_recovery_says_how_long_it_was_and_all_that_moved() -> None:
    history = [word(0, "violated", **MOVED), word(1, "violated", moved=["distance"]), word(2, "healthy")]
    [found] = stretches(history, AlertAfter())
    told = telling.recovered(found, About("demo", "UTC"))
    assert told.title == "demo: drift is healthy again"
    assert told.body.splitlines() == [
        "said",
        "Was violated: 2 hours, from 2026-03-02 00:00 UTC to 2026-03-02 02:00 UTC, in 2 windows",
        "Moved meanwhile: dep_delay (PSI 0.312), carrier, distance",
        "Segments: origin=JFK (dep_delay)",
    ]
    [warned] = stretches([*history[:2], word(2, "warning")], AlertAfter())
    assert telling.recovered(warned, ABOUT).title == "demo: drift is no longer violated"
    assert telling.was(found, ABOUT).title == "demo: drift was violated, and is no more"


def test_how_bad_each_message_is() -> None:
    [found] = stretches(words("vh"), AlertAfter())
    [warned] = stretches(words("vw"), AlertAfter())
    episode, plain = Episode("demo", "drift", "", T0.isoformat()), About("demo", "UTC")
    tones = {
        "failure": [telling.raised(found, plain, 1)],
        "success": [
            telling.recovered(found, plain),
            telling.was(found, plain),
            telling.resumed(episode, T0.isoformat(), plain),
            telling.judged_again(word(0, "healthy"), episode, plain),
        ],
        "warning": [
            telling.recovered(warned, plain),
            telling.was(warned, plain),
            telling.unwatched(episode, plain),
            telling.failing(word(0, "unknown"), plain),
            telling.silent(Silence(T0, T0, 30), plain),
        ],
    }
    for tone, messages in tones.items():
        assert [(m.title, m.tone) for m in messages] == [(m.title, tone) for m in messages]


def test_moments_and_lengths_under_a_minute_are_told_to_the_second() -> None:
    short = [replace(w, start=(T0 + i * HALF).isoformat(), end=(T0 + (i + 1) * HALF).isoformat()) for i, w in enumerate(words("hvh"))]
    [found] = stretches(short, AlertAfter())
    said = telling.recovered(found, About("demo", "UTC")).body
    assert "Was violated: 30 seconds, from 2026-03-02 00:00:30 UTC to 2026-03-02 00:01 UTC, in 1 window" in said
    assert str(short[1]) == "drift 2026-03-02T00:00:30..2026-03-02T00:01 violated: said"


def test_long_reasons_and_lists_are_cut() -> None:
    many = word(0, "violated", moved=[f"f{i}" for i in range(12)])
    [found] = stretches([replace(many, reason="drift: " + "moved " * 200)], AlertAfter())
    first, moved, *_ = telling.raised(found, About("demo", "UTC"), 1).body.splitlines()
    assert len(first) <= telling.LONGEST and first.endswith("...")
    assert moved == "Moved: f0, f1, f2, f3, f4 and 7 more"


def test_silence_and_its_end() -> None:
    told = telling.silent(Silence(T0, T0, 1200), replace(ABOUT, timezone="UTC"))
    assert told.title == "demo: no traffic" and "No request since 2026-03-02 00:00 UTC" in told.body and "1,200 rows" in told.body
    assert "Runbook: https://wiki.example.com/demo" in told.body and told.body.endswith("Next: modelyard status demo")
    back = telling.resumed(Episode("demo", "traffic", "", T0.isoformat()), datetime(2026, 3, 4, 6, tzinfo=T0.tzinfo).isoformat(), ABOUT)
    assert back.title == "demo: traffic is back" and "2 days 6 hours" in back.body


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(0, "0 minutes"), (1, "1 minute"), (45, "45 minutes"), (60, "1 hour"), (90, "1 hour 30 minutes"), (1440, "1 day"),
     (3240, "2 days 6 hours"), (60 * 24 * 31 + 60, "31 days")],
)  # fmt: skip
def test_how_long_it_lasted(minutes: int, said: str) -> None:
    assert telling.lasted(T0.isoformat(), (T0 + minutes * (datetime(2026, 1, 1, 0, 1) - datetime(2026, 1, 1))).isoformat()) == said
