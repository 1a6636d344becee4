from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelyard.database import Database
from modelyard.monitor.outbox import PAUSES, Outbox

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_letter_waits_longer_each_time_and_is_given_up_in_the_end(tmp_path: Path) -> None:
    box, now = Outbox(Database(tmp_path / "db")), T0
    box.put("demo", "drift", {"secret": "PAGER"}, "title", "two\nlines", now)
    for tries, pause in enumerate(PAUSES, 1):
        assert box.due(now + pause - timedelta(seconds=1)) == []
        now += pause
        [letter] = box.due(now)
        assert (letter.tries, letter.channel, letter.body) == (tries, {"secret": "PAGER"}, "two\nlines")
        assert box.failed(letter, now) == (tries < len(PAUSES))
    assert box.due(now + timedelta(days=9)) == []


def test_letters_are_sent_in_the_order_they_were_written(tmp_path: Path) -> None:
    box = Outbox(Database(tmp_path / "db"))
    for title in ("violated", "healthy again"):
        box.put("demo", "drift", "json://host/", title, "", T0)
    first, second = box.due(T0 + PAUSES[0])
    assert (first.title, second.title) == ("violated", "healthy again")
    box.done(first)
    assert box.due(T0 + PAUSES[0]) == [second]
