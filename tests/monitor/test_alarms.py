"""Episodes, causes and silence; and that they are the alarms that `verdicts` has."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import AlertAfter
from modelyard.database import Database
from modelyard.monitor.alarms import EXPECTED, Cause, Episode, Episodes, cause, silence, stretches
from modelyard.monitor.book import Word
from modelyard.monitor.verdicts import Status, in_alarm

T0 = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
LETTERS: dict[str, Status] = {"h": "healthy", "w": "warning", "v": "violated", "?": "unknown"}


def word(place: int, status: Status, monitor: str = "drift", **evidence: Any) -> Word:
    start = T0 + place * HOUR
    return Word("demo", monitor, start.isoformat(), (start + HOUR).isoformat(), "1", status, f"{monitor}: said", "", evidence)


def words(text: str) -> list[Word]:
    return [word(i, LETTERS[c]) for i, c in enumerate(text)]


def said(text: str, after: AlertAfter) -> list[tuple[int, int, int, bool]]:
    """(first window, window that raised it, last window, over) of each stretch."""

    def place(at: str) -> int:
        return (datetime.fromisoformat(at) - T0) // HOUR

    return [(place(s.since), place(s.raised.start), place(s.words[-1].start), s.over) for s in stretches(words(text), after)]


def test_an_episode_lasts_from_its_first_violated_window_to_the_one_that_ends_it() -> None:
    once, three = AlertAfter(), AlertAfter(num_windows=4, num_violation_windows=3)
    assert said("hhvv", once) == [(2, 2, 3, False)]
    assert said("vvhhvh", once) == [(0, 0, 2, True), (4, 4, 5, True)]
    assert said("hwh??", once) == []
    assert said("v??vh", once) == [(0, 0, 4, True)], "unknown windows are as if they were not"
    assert said("hvhvvvhh", three) == [(1, 4, 7, True)], "since the first of those that raised it"
    [found] = stretches(words("hvhvvvhh"), three)
    assert found.until == found.violated[-1].end == (T0 + 6 * HOUR).isoformat() and len(found.violated) == 4


@given(st.text("hwv?", max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_stretches_are_the_alarm_of_every_moment(text: str, windows: int, violations: int) -> None:
    after = AlertAfter(num_windows=max(windows, violations), num_violation_windows=violations)
    for end in range(len(text) + 1):
        found = stretches(words(text[:end]), after)
        assert all(s.over for s in found[:-1])
        assert bool(found and not found[-1].over) == in_alarm([LETTERS[c] for c in text[:end]], after)
        assert all(s.words[0].status == "violated" and (not s.over or s.words[-1].status != "violated") for s in found)
        assert all(a.words[-1].end <= b.raised.start for a, b in itertools.pairwise(found))


def test_episodes_are_kept(tmp_path: Path) -> None:
    book = Episodes(Database(tmp_path / "db"))
    first = Episode("demo", "drift", "2026-03-02", "2026-03-01", moved=("x", "y"))
    book.put(first)
    book.put(Episode("demo", "bias", "2026-03-02", "2026-03-01", "2026-03-04", "2026-03-03"))
    book.put(Episode("other", "drift", "2026-03-02", "2026-03-01"))
    assert book.open("demo") == {"drift": first}
    assert [e.monitor for e in book.of("demo")] == ["bias", "drift"] and [e.monitor for e in book.of("demo", "2026-03-03")] == ["drift"]
    closed = Episode("demo", "drift", "2026-03-02", "2026-03-01", "2026-03-05", "2026-03-04", ("x", "y", "z"))
    book.put(closed)
    assert book.open("demo") == {} and closed in book.of("demo") and len(book.of("demo")) == 2


@pytest.mark.parametrize(
    ("monitor", "evidence", "wanted"),
    [
        (
            "drift",
            {
                "moved": ["delay", "carrier"],
                "columns": [{"column": "delay", "measure": "psi", "value": 0.3125}, {"column": "distance", "measure": "psi", "value": 0.1}],
                "prediction": {"column": "y.score", "measure": "psi", "value": 0.4, "moved": True},
                "segments": {"judged": 3, "moved": [{"segment": "carrier=UA", "rows": 90, "columns": ["delay", "distance"]}]},
            },
            Cause({"delay": "PSI 0.312", "carrier": "", "y.score": "PSI 0.4"}, ("carrier=UA (delay, distance)",)),
        ),
        (
            "data_quality",
            {
                "columns": 12,
                "violations": [
                    {"feature_name": "age", "constraint_check_type": "completeness_check", "description": "60% have a value", "share": 0.4}
                ],
            },
            Cause({"age": "completeness_check"}),
        ),
        (
            "performance",
            {
                "criteria": [
                    {"metric": "roc_auc", "value": 0.61, "status": "violated"},
                    {"metric": "f1", "value": 0.5, "status": "healthy"},
                ],
                "parts": [
                    {"column": "carrier", "value": "UA", "status": "violated"},
                    {"column": "carrier", "value": "AA", "status": "healthy"},
                ],
            },
            Cause({"roc_auc": "0.61"}, ("carrier=UA",)),
        ),
        ("bias", {"moved": [{"name": "DPPL of sex!=M", "value": 0.31, "was": 0.12}]}, Cause({"DPPL of sex!=M": "0.31, 0.12 when built"})),
        ("estimate", {}, Cause()),
        ("drift", {}, Cause()),
    ],
)
def test_what_moved_is_read_from_any_monitor_s_evidence(monitor: str, evidence: dict[str, Any], wanted: Cause) -> None:
    assert cause(word(0, "violated", monitor, **evidence)) == wanted


# -- nobody asks ------------------------------------------------------------------------------------------------------------------


def hours(rates: np.ndarray) -> list[tuple[datetime, datetime, int]]:
    return [(T0 + i * HOUR, T0 + (i + 1) * HOUR, int(rows)) for i, rows in enumerate(rates)]


def office(days: int, rate: float, seed: int) -> np.ndarray:
    """Requests by the hour, from nine to five on Mondays to Fridays, by chance."""
    hour = np.arange(days * 24)
    open_ = (hour % 24 >= 9) & (hour % 24 < 17) & (hour // 24 % 7 < 5)
    return np.random.default_rng(seed).poisson(np.where(open_, rate, 0.0))


def test_silence_begins_when_others_would_have_asked() -> None:
    for day in (14, 15):  # a Monday, after two others, and a Tuesday
        rows, noon = office(16, 50.0, 0), day * 24 + 12
        rows[noon:] = 0
        assert silence(hours(rows[:noon])) is None
        found = silence(hours(rows[: noon + 1]))
        assert found is not None and found.since == T0 + noon * HOUR and EXPECTED <= found.expected < 100
    rows = office(9, 50.0, 0)
    rows[7 * 24 + 12 :] = 0
    assert silence(hours(rows[: 7 * 24 + 15])) is None, "only one Monday is known"


def test_a_silence_of_rare_requests_takes_longer_to_tell() -> None:
    rows = np.full(24 * 20, 3)
    rows[24 * 18 :] = 0
    assert silence(hours(rows[: 24 * 18 + 6])) is None
    found = silence(hours(rows[: 24 * 18 + 7]))
    assert found is not None and found.expected == 21


@given(st.integers(0, 1000), st.sampled_from([0.2, 3.0, 50.0]), st.integers(1, 28 * 24))
def test_nights_weekends_and_rare_requests_are_no_silence(seed: int, rate: float, end: int) -> None:
    assert silence(hours(office(28, rate, seed)[:end])) is None


def test_a_model_that_never_had_traffic_is_not_silent() -> None:
    assert silence([]) is None and silence(hours(np.zeros(24 * 20))) is None
