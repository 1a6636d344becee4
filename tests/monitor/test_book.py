"""The book of windows: every word once, the newest of a window holds, and nothing is ever changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.database import Database
from modelyard.monitor.book import Book, Word

DAY = "2026-03-{:02d}T00:00:00+00:00"


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    database = Database(tmp_path / "state.sqlite")
    yield Book(database)
    database.close()


def word(day: int, status: str = "healthy", monitor: str = "drift", model: str = "m", **more: object) -> Word:
    said = {"version": "1", "status": status, "reason": f"{status}!", "judged_at": DAY.format(day + 1), **more}
    return Word(model, monitor, DAY.format(day), DAY.format(day + 1), **said)  # type: ignore[arg-type]


def test_a_word_that_says_nothing_new_is_not_written_again(book: Book) -> None:
    assert [w.revision for w in book.put([word(1)])] == [1]
    assert book.put([replace(word(1), judged_at=DAY.format(9))]) == []
    assert [w.revision for w in book.put([word(1, "violated")])] == [2]
    assert [w.status for w in book.history("m", "drift", DAY.format(1), DAY.format(2))] == ["healthy", "violated"]
    found = book.get("m", "drift", DAY.format(1), DAY.format(2))
    assert found is not None and (found.status, found.revision) == ("violated", 2)


def test_evidence_alone_makes_another_word(book: Book) -> None:
    book.put([word(1, evidence={"labels": 3})])
    assert [w.revision for w in book.put([word(1, evidence={"labels": 4})])] == [2]


def test_words_are_found_by_their_windows(book: Book) -> None:
    book.put([word(d, status) for d, status in enumerate(["healthy", "unknown", "violated", "unknown", "healthy"], 1)])
    book.put([word(3, "warning"), word(9, monitor="performance"), word(9, model="other")])
    assert [w.status for w in book.newest("m", "drift", 3)] == ["warning", "unknown", "healthy"], "the newest word of each"
    assert [w.status for w in book.newest("m", "drift", 2, known=True)] == ["warning", "healthy"]
    assert [w.start for w in book.newest("m", "drift", 9, before=DAY.format(3))] == [DAY.format(1), DAY.format(2)]
    assert book.latest("m", "drift") == word(5) and book.latest("m", "bias") is None
    assert book.until("m", ["drift", "bias"]) == {"drift": DAY.format(6), "bias": ""}
    assert {w.monitor for w in book.between("m")} == {"drift", "performance"}
    assert [w.start for w in book.between("m", DAY.format(2), DAY.format(4), "drift")] == [DAY.format(2), DAY.format(3)]
    assert book.judged("m", ["drift"], DAY.format(5)) == {("drift", DAY.format(5), DAY.format(6))}


def test_windows_of_two_lengths_that_begin_at_once_have_a_word_each(book: Book) -> None:
    week = replace(word(1), end=DAY.format(8))
    book.put([word(1), week])
    assert book.newest("m", "drift", 5) == [word(1), week] and book.latest("m", "drift") == week


def test_what_is_old_is_let_go(book: Book) -> None:
    book.put([word(d) for d in range(1, 6)])
    assert book.forget("m", DAY.format(4), 1) == 2
    assert [w.start for w in book.between("m")] == [DAY.format(3), DAY.format(4), DAY.format(5)]


def test_what_alarms_and_the_governor_look_back_at_is_kept(book: Book) -> None:
    """The newest windows of each monitor, and the newest known ones: one that is long unknown still knows what it knew."""
    book.put([word(1, "violated"), word(2, "violated"), *(word(d, "unknown") for d in range(3, 9))])
    book.put([word(2, "warning"), *(word(d, monitor="performance") for d in (1, 2)), *(word(d, model="other") for d in range(1, 9))])
    assert book.forget("m", DAY.format(20), 2) == 4
    assert [w.start[8:10] for w in book.between("m", monitor="drift")] == ["01", "02", "07", "08"]
    assert [w.status for w in book.history("m", "drift", DAY.format(2), DAY.format(3))] == ["violated", "warning"], "whole windows"
    assert len(book.between("m", monitor="performance")) == 2 and len(book.between("other")) == 8
    assert book.forget("m", DAY.format(20), 2) == 0


def test_words_that_are_not_mature(book: Book) -> None:
    book.put([word(1, evidence={"mature": False}), word(2, evidence={"mature": True}), word(3), word(4, evidence={"mature": None})])
    book.put([word(5, evidence={"mature": False}), word(6, evidence={"mature": False})])
    book.put([word(1, evidence={"mature": True})])
    assert [w.start for w in book.immature("m", "drift", DAY.format(1), DAY.format(6))] == [DAY.format(5)]
    assert book.immature("m", "drift", DAY.format(6), DAY.format(7))[0].end == DAY.format(7)


def test_what_stands_when_a_window_is_judged(book: Book) -> None:
    book.put([word(1), word(2, "violated"), word(3, monitor="performance")])
    book.put([word(2, "warning")])
    found = book.standing("m", ["drift", "performance", "bias"], DAY.format(2), DAY.format(3))
    again, before = found["drift"]
    assert again is not None and before is not None
    assert (again.status, again.revision, before.status) == ("warning", 2, "healthy")
    assert found["performance"] == found["bias"] == (None, None)
    (_, last) = book.standing("m", ["drift"], DAY.format(9), DAY.format(10))["drift"]
    assert last == again and book.until("m", ["drift"], DAY.format(2)) == {"drift": DAY.format(2)}
    assert book.judged("m", ["drift"], DAY.format(1), DAY.format(2)) == {("drift", DAY.format(1), DAY.format(2))}


STATUS = st.sampled_from(["healthy", "warning", "violated", "unknown"])


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(said=st.lists(st.tuples(st.integers(1, 6), STATUS), max_size=30))
def test_what_holds_is_the_last_word_on_each_window(tmp_path_factory: pytest.TempPathFactory, said: list[tuple[int, str]]) -> None:
    database = Database(tmp_path_factory.mktemp("book") / "state.sqlite")
    try:
        book, holds, words = Book(database), dict[int, str](), dict[int, list[str]]()
        for day, status in said:
            book.put([word(day, status)])
            if holds.get(day) != status:
                words.setdefault(day, []).append(status)
            holds[day] = status
        assert {int(w.start[8:10]): w.status for w in book.between("m")} == holds
        for day, expected in words.items():
            assert [w.status for w in book.history("m", "drift", DAY.format(day), DAY.format(day + 1))] == expected
    finally:
        database.close()
