"""The monitors over captured rows: what is judged, by which labels, when the governor is asked, and what it says."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_
from hypothesis import strategies as st

from modelyard.build import bundle
from modelyard.database import Database
from modelyard.durable import Stopped
from modelyard.errors import HomeLocked, NoRoom, NotFound
from modelyard.events import AlertSent, ApprovalRequested, RetrainDecided, WindowJudged
from modelyard.flows import capturing, drawing, history, labelling, monitor
from modelyard.flows.monitor import governing, looking, reference, segments
from modelyard.monitor import labels, windows
from modelyard.monitor.book import Book, Word
from modelyard.monitor.verdicts import Verdict
from modelyard.serve import captured
from modelyard.serve.captured import folder, reading, trimming

from ..watched import DAY, T0, Watched, settings

RETRAIN = {"on": ["performance"], "min_new_labels": 2, "cooldown": "2d"}


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(home, monkeypatch)


def governed(home: Path, monkeypatch: pytest.MonkeyPatch, **retrain: Any) -> Watched:
    """A world in which the first day's performance is violated and asks for a retraining, two days after T0."""
    world = Watched(home, monkeypatch, settings(retrain={**RETRAIN, **retrain}))
    world.capture(["a", "b", "c"], T0)
    world.time.advance_to(T0 + DAY)
    world.label({"a": 9.0, "b": 9.0, "c": 9.0})
    world.time.advance_to(T0 + 2 * DAY)
    return world


def verdicts(world: Watched, kind: str) -> list[tuple[str, str, str]]:
    return [(w.start[:16], w.end[:16], w.status) for w in world.words(kind)]


# -- labels ---------------------------------------------------------------------------------------------------------------------


def test_drift_is_judged_whatever_the_labels_are(world: Watched) -> None:
    """A ledger that cannot be joined, of an older release say, keeps performance from being judged, and nothing else."""
    world.capture([f"r{i}" for i in range(200)], T0, [i / 20 for i in range(200)])
    labels.add(pl.DataFrame({"inference_id": ["r1"], "label": ["cat"]}), world.home.labels("demo"), T0)
    world.time.advance_to(T0 + DAY)
    world.look()
    assert verdicts(world, "drift") == [("2026-03-01T00:00", "2026-03-02T00:00", "healthy")]


def test_drift_reads_no_labels(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    world.capture(["a"], T0)
    world.time.advance_to(T0 + DAY)
    read: list[object] = []
    monkeypatch.setattr(history, "labelled", lambda *asked: read.append(asked) or asked[2])
    monitor.judge(world.shop, "demo", windows.Span(T0, T0 + DAY), ["data_quality", "drift", "estimate"])
    assert [v[2] for v in verdicts(world, "drift")] == ["unknown"] and not read
    with contextlib.suppress(pl.exceptions.PolarsError):  # the rows as they are have no labels
        monitor.judge(world.shop, "demo", windows.Span(T0, T0 + DAY), ["performance"])
    assert read, "nothing else reads them"


def test_a_window_is_judged_again_when_more_labels_come(world: Watched) -> None:
    world.capture(["a", "b", "c"], T0)
    world.label({"a": 2.0, "b": 2.0})
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    world.look()
    assert [(w.status, w.revision) for w in world.words("performance")] == [("healthy", 1)], "no news, no new word"
    world.label({"a": 90.0, "b": 90.0, "c": 90.0, "unknown": 1.0})
    world.look()
    (word,) = world.words("performance")
    assert (word.status, word.revision) == ("violated", 2)
    said = world.shop.book.history("demo", "performance", word.start, word.end)
    assert [(w.status, w.evidence["labels"]) for w in said] == [("healthy", 2), ("violated", 3)], "what it said before is kept"
    assert [e.status for e in world.events(WindowJudged) if e.monitor == "performance"] == ["healthy", "violated"], "news"


# -- windows of another kind ------------------------------------------------------------------------------------------------------


def test_windows_of_two_lengths_that_begin_at_once_are_two(world: Watched) -> None:
    """From days to weeks on a Monday: the week that begins where a day began is judged all the same."""
    monday = T0 + DAY
    world.capture(["a"], monday)
    world.time.advance_to(monday + DAY)
    world.look()
    world.enforce(settings(monitor={**settings()["monitor"], "window": "1w"}), "config-2")
    world.time.advance_to(monday + 7 * DAY)
    world.look()
    assert [v[:2] for v in verdicts(world, "drift")] == [("2026-03-02T00:00", "2026-03-03T00:00"), ("2026-03-02T00:00", "2026-03-09T00:00")]


@pytest.mark.parametrize("change", [{"monitor": {**settings()["monitor"], "window": "12h"}}, {"timezone": "Europe/Berlin"}])
def test_after_a_change_only_windows_that_end_later_are_judged(world: Watched, change: dict[str, Any]) -> None:
    for day in range(6):
        world.capture([f"r{day}"], T0 + day * DAY)
    world.time.advance_to(T0 + 3 * DAY + timedelta(hours=13))
    world.look()
    before = {(w.monitor, w.start, w.end) for w in world.shop.book.between("demo")}
    world.enforce(settings(**change), "config-2")
    world.look()
    world.enforce(settings(**change, alerts={"on": []}), "config-3")  # the windows stay: nothing begins anew
    world.time.advance_to(T0 + 5 * DAY)
    world.look()
    fresh = [w for w in world.shop.book.between("demo") if (w.monitor, w.start, w.end) not in before]
    changed = (T0 + 3 * DAY + timedelta(hours=13)).isoformat()
    assert fresh and all(w.end > changed for w in fresh), [(w.start, w.end) for w in fresh]
    assert world.shop.model("demo").watched_since == changed


def watching(**parts: Any) -> dict[str, Any]:
    return settings(monitor={**settings()["monitor"], **parts})


def test_a_monitor_that_is_switched_on_judges_nothing_of_the_time_it_was_off(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Months of the past would raise alarms, and a retraining, about what is over."""
    world = Watched(home, monkeypatch, watching(drift={"enabled": False}))
    for day in range(9):
        world.capture([f"{day}-{i}" for i in range(200)], T0 + day * DAY, [100.0 + i for i in range(200)])
    for until, drift in ((3, True), (5, False), (8, True)):
        world.time.advance_to(T0 + until * DAY - timedelta(hours=1))
        world.look()
        world.enforce(watching(drift={"min_rows": 10, "enabled": drift}), f"config-{until}")
    world.time.advance_to(T0 + 9 * DAY)
    world.look()
    judged = {kind: [w.start[8:10] for w in world.words(kind)] for kind in ("drift", "data_quality")}
    assert judged == {"drift": ["03", "04", "08", "09"], "data_quality": [f"{day:02}" for day in range(1, 10)]}


def test_no_window_is_left_out_after_the_clock_was_ahead(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was judged meanwhile stands; what is over since is judged at its own time."""
    world.capture([f"a{i}" for i in range(60)], T0)
    with monkeypatch.context() as patch:
        patch.setattr(world.shop.clock, "now", lambda: T0 + 30 * DAY)
        monitor.judge(world.shop, "demo", windows.Span(T0 + 29 * DAY, T0 + 30 * DAY), list(monitor.MONITORS))
    for day in range(1, 3):
        world.capture([f"{day}-{i}" for i in range(60)], T0 + day * DAY)
        world.time.advance_to(T0 + (day + 1) * DAY)
        world.look()
    assert [w.start[8:10] for w in world.words("data_quality")] == ["01", "02", "03", "30"]


# -- windows that changed ---------------------------------------------------------------------------------------------------------


def test_rows_that_are_taken_in_later_are_judged_by_every_monitor(world: Watched) -> None:
    world.capture([f"a{i}" for i in range(60)], T0 + DAY)
    world.capture([f"b{i}" for i in range(60)], T0 + 2 * DAY)
    world.time.advance_to(T0 + 3 * DAY)
    world.look()
    labelling.came(world.shop, "demo", T0 + DAY + timedelta(hours=5), T0 + DAY + timedelta(hours=6))
    world.capture([f"c{i}" for i in range(40)], T0 + DAY + timedelta(hours=5))
    assert {one.span.start for one in monitor.relabelled(world.shop, "demo")} == {T0 + DAY}
    world.look()
    for kind in ("data_quality", "drift"):
        assert [(w.evidence["rows"], w.revision) for w in world.words(kind)] == [(100, 2), (60, 1)], kind
    assert monitor.relabelled(world.shop, "demo") == []


def test_rows_that_callers_send_late_are_judged(world: Watched) -> None:
    """A caller that asks at night about the events of the day: their windows were over, and empty, hours ago."""
    world.capture([f"z{i}" for i in range(60)], T0)
    world.time.advance_to(T0 + 3 * DAY)
    world.look()
    assert [w.evidence["rows"] for w in world.words("data_quality")] == [60, 0, 0]
    world.time.advance_to(T0 + 3 * DAY + timedelta(hours=2))
    world.capture([f"a{i}" for i in range(60)], T0 + DAY, late=timedelta(days=2, hours=1))
    assert {one.span.start for one in monitor.relabelled(world.shop, "demo")} == {T0 + DAY}
    world.look()
    for kind in ("data_quality", "drift"):
        assert [(w.evidence["rows"], w.revision) for w in world.words(kind)] == [(60, 1), (60, 2), (0, 1)], kind
    assert monitor.relabelled(world.shop, "demo") == []
    world.capture([f"b{i}" for i in range(5)], T0 + DAY, late=timedelta(days=2, hours=3))
    assert monitor.relabelled(world.shop, "demo") == [], "a twelfth more"
    world.capture([f"c{i}" for i in range(2)], T0 + DAY, late=timedelta(days=2, hours=3))
    world.time.advance_to(T0 + 3 * DAY + timedelta(hours=4))
    world.look()
    assert [w.evidence["rows"] for w in world.words("drift")] == [60, 67, 0]


def test_rows_in_time_have_nothing_judged_again(world: Watched) -> None:
    world.capture([f"a{i}" for i in range(60)], T0 + DAY - timedelta(seconds=70))
    world.time.advance_to(T0 + DAY)
    world.look()
    world.capture([f"b{i}" for i in range(60)], T0 + DAY)
    world.time.advance_to(T0 + 2 * DAY)
    assert monitor.relabelled(world.shop, "demo") == []


def test_labels_that_are_due_after_months_may_be_late_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {**settings()["monitor"]["performance"], "label_delay": "120d"}
    world = Watched(home, monkeypatch, watching(performance=asked))
    world.capture(["a", "b", "c"], T0)
    world.label({"a": 2.0, "b": 2.0})
    world.time.advance_to(T0 + 121 * DAY)
    while monitor.due(world.shop, "demo"):
        world.look()
    world.time.advance_to(T0 + 140 * DAY)
    world.label({"c": 90.0})
    assert [(one.monitor, one.span.start) for one in monitor.relabelled(world.shop, "demo")] == [("performance", T0)]
    world.time.advance_to(T0 + 2000 * DAY)
    assert len(monitor.relabelled(world.shop, "demo")) == 1, "for as long as its rows are kept"
    captured.trim(history.folder(world.shop, "demo"), before=T0 + DAY)
    assert monitor.relabelled(world.shop, "demo") == []


def test_what_was_said_of_rows_that_are_gone_holds(world: Watched) -> None:
    """A label for one of the last rows of a window whose others were let go: a verdict on one row is worth less than that on all."""
    world.capture(["a", "b"], T0)
    world.capture(["c"], T0 + timedelta(hours=20))
    world.label({"a": 2.0, "b": 2.0})
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    captured.trim(history.folder(world.shop, "demo"), before=T0 + timedelta(hours=19))
    assert history.answers(world.shop, "demo").height == 1
    world.label({"c": 90.0})
    assert [one.monitor for one in monitor.relabelled(world.shop, "demo")] == ["performance"]
    world.look()
    assert [(w.status, w.evidence["rows"], w.revision) for w in world.words("performance")] == [("healthy", 3, 1)]


@settings_(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    judged=st.sets(st.integers(0, 60), max_size=20),
    touched=st.lists(st.tuples(st.integers(0, 60 * 24), st.integers(0, 72)), max_size=12),
)
def test_the_windows_that_changed_rows_are_in(tmp_path_factory: pytest.TempPathFactory, judged: set[int], touched: list[Any]) -> None:
    """Against looking at each judged window by itself; hours since T0 and how many."""
    database = Database(tmp_path_factory.mktemp("book") / "state.sqlite")
    try:
        book = Book(database)
        spans = [windows.Span(T0 + day * DAY, T0 + (day + 1) * DAY) for day in judged]
        book.put(Word("m", "drift", s.start.isoformat(), s.end.isoformat(), "1", "healthy", "", "") for s in spans)
        times = [(T0 + timedelta(hours=at), T0 + timedelta(hours=at + long)) for at, long in touched]
        found = looking._within(SimpleNamespace(book=book), "m", ["drift"], history.spans(times))  # type: ignore[arg-type]
        wanted = {s for s in spans if any(first < s.end and last >= s.start for first, last in times)}
        assert {one.span for one in found} == wanted and len(found) == len(wanted)
    finally:
        database.close()


def test_the_words_on_a_window_are_written_together(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them or none: whoever is killed between two monitors judges the window as a whole again."""
    world.capture([f"a{i}" for i in range(60)], T0)
    world.time.advance_to(T0 + DAY)
    written: list[int] = []
    put = world.shop.book.put
    monkeypatch.setattr(world.shop.book, "put", lambda words: (written.append(len(words)), put(words)))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        failing(patch, "drift", Stopped())
        world.look()
    assert world.shop.book.between("demo") == [] and not written, "data quality had been judged"
    world.look()
    assert written == [3] and {w.monitor for w in world.shop.book.between("demo")} == {"data_quality", "drift", "estimate"}


def test_performance_is_held_against_the_estimate_of_the_same_look(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a downtime both are due at once."""
    world.capture(["a", "b", "c"], T0)
    world.label({"a": 2.0, "b": 2.0, "c": 2.5})
    world.time.advance_to(T0 + 2 * DAY)
    said = Verdict("estimate", "healthy", "estimate: fine", {"rows": 3, "metrics": {"mae": 0.1}, "intervals": {"mae": [0.0, 0.3]}})
    monkeypatch.setitem(monitor.MONITORS, "estimate", replace(monitor.MONITORS["estimate"], judge=lambda _: said))
    world.look()
    (word,) = world.words("performance")
    assert word.evidence["estimated"]["mae"][0] == 0.1


def test_a_window_is_judged_once_and_the_journal_has_what_is_news(world: Watched) -> None:
    world.capture([f"r{i}" for i in range(200)], T0, [i / 20 for i in range(200)])
    world.capture([f"s{i}" for i in range(200)], T0 + DAY, [i / 20 for i in range(200)])
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    assert monitor.due(world.shop, "demo") == []
    world.look()
    assert [(w.status, w.revision) for w in world.words("drift")] == [("healthy", 1), ("healthy", 1)]
    assert [e.status for e in world.events(WindowJudged) if e.monitor == "drift"] == ["healthy"], "the second is no news"


def test_after_a_long_downtime_a_look_judges_so_many_and_the_next_goes_on(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "CATCH_UP", 4)
    world.capture(["a"], T0)
    world.time.advance_to(T0 + 5 * DAY)
    kinds = [kind for kind, m in monitor.MONITORS.items() if m.enabled(world.shop.config("demo"))]
    wanted = sum(5 if kind != "performance" else 4 for kind in kinds)
    for _ in range(wanted):
        if not monitor.due(world.shop, "demo"):
            break
        assert len(monitor.due(world.shop, "demo")) <= 4
        world.look()
    assert len(world.shop.book.between("demo")) == wanted
    assert {w.revision for w in world.shop.book.between("demo")} == {1}


def test_a_look_opens_a_version_once_however_many_windows_it_judges(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(3):
        world.capture([f"{day}-{i}" for i in range(60)], T0 + day * DAY)
    world.time.advance_to(T0 + 3 * DAY)
    opened: list[str] = []
    real = bundle.open
    monkeypatch.setattr(bundle, "open", lambda digest, home: opened.append(str(digest)) or real(digest, home))  # type: ignore[func-returns-value]
    world.look()
    assert len(world.words("drift")) == 3 and len(opened) == 1
    world.capture(["late"] * 60, T0 + 3 * DAY)
    world.time.advance_to(T0 + 4 * DAY)
    world.look()
    assert len(opened) == 2, "the next look verifies it anew"


def test_a_look_lists_the_capture_once_a_window(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    listed, first = list[Path](), list[Path]()
    real, earliest = folder.listing, captured.earliest
    for module in (folder, reading):
        monkeypatch.setattr(module, "listing", lambda where: listed.append(where) or real(where))  # type: ignore[func-returns-value]
    monkeypatch.setattr(captured, "earliest", lambda where: first.append(where) or earliest(where))  # type: ignore[func-returns-value]

    def look(begin: int, days: int) -> int:
        for day in range(begin, begin + days):
            world.capture([f"{day}-{i}" for i in range(60)], T0 + day * DAY)
        world.time.advance_to(T0 + (begin + days) * DAY)
        listed.clear()
        first.clear()
        monitor.look(world.shop, "demo")
        assert len(first) == 1, "when the capture begins is asked once a look"
        return len(listed)

    look(0, 1)
    few, more = look(1, 2), look(3, 5)
    assert more - few == 3


def test_the_hold_out_is_encoded_once_a_look(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = {**settings()["monitor"], "segments": ["x"]}
    world, encoded = Watched(home, monkeypatch, settings(monitor=watch)), list[int]()
    labelled = pl.DataFrame({"inference_id": [str(i) for i in range(50)], "f.x": [float(i % 2) for i in range(50)]})
    labelled = labelled.with_columns((2 * pl.col("f.x")).alias("y.prediction"), (2 * pl.col("f.x")).alias("label"))
    monkeypatch.setattr(reference, "rows", lambda window: labelled)
    real = segments._side
    monkeypatch.setattr(segments, "_side", lambda window, table: encoded.append(table.height) or real(window, table))  # type: ignore[func-returns-value]
    for day in range(3):
        world.capture([f"{day}-{i}" for i in range(60)], T0 + day * DAY, [float(i % 2) for i in range(60)])
    world.time.advance_to(T0 + 4 * DAY)
    world.label({f"{day}-{i}": 0.0 for day in range(3) for i in range(60)})
    world.look()
    assert len(world.words("performance")) == 3 and sorted(encoded) == [50, 60, 60, 60]


def test_a_look_that_is_killed_before_its_word_is_written_judges_again(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    world.capture(["a"], T0)
    world.time.advance_to(T0 + DAY)
    append, killed = world.shop.journal.append, []

    def kill(*args: Any, **kwargs: Any) -> Any:
        killed.append(args)
        raise KeyboardInterrupt

    monkeypatch.setattr(world.shop.journal, "append", kill)
    with pytest.raises(KeyboardInterrupt):
        world.look()
    assert killed and world.words("drift") == []
    monkeypatch.setattr(world.shop.journal, "append", append)
    world.look()
    assert [w.revision for w in world.words("drift")] == [1]


# -- monitors that fail -------------------------------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, kind: str, exc: BaseException | None) -> None:
    """The monitor raises from now on; None: it judges."""

    def judge(window: Any) -> Verdict:
        if exc is not None:
            raise exc
        return Verdict(kind, "healthy", f"{kind}: fine", {"rows": window.rows.height})  # type: ignore[arg-type]

    monkeypatch.setitem(monitor.MONITORS, kind, replace(monitor.MONITORS[kind], judge=judge))


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("no such thing\nand more"),
        pl.exceptions.ComputeError("cannot compute"),
        pl.exceptions.PanicException("a panic"),
        NotFound("the bundle is gone"),
        OSError(5, "Input/output error"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_monitor_that_fails_is_unknown_and_keeps_no_other_from_its_work(
    world: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, exc: BaseException
) -> None:
    for day in range(2):
        world.capture([f"{day}-{i}" for i in range(200)], T0 + day * DAY, [i / 20 for i in range(200)])
    world.time.advance_to(T0 + 2 * DAY)
    failing(monkeypatch, "data_quality", exc)
    world.look()
    words = world.words("data_quality")
    assert [w.status for w in words] == ["unknown"] * 2 and [w.status for w in world.words("drift")] == ["healthy"] * 2
    assert words[0].evidence == {"rows": 200, "labels": 0, "failed": type(exc).__name__} and "\n" not in words[0].reason
    assert len([r for r in caplog.records if "data_quality" in r.getMessage() and r.exc_info]) == 1, "logged once, with where it was"
    assert [e.title for e in world.events(AlertSent)] == ["demo: data_quality cannot be judged"]
    world.open()
    world.capture(["2-0"], T0 + 2 * DAY)
    world.time.advance_to(T0 + 4 * DAY)
    failing(monkeypatch, "data_quality", None)
    world.look()
    titles = [e.title for e in world.events(AlertSent) if "data_quality" in e.title]
    assert titles == ["demo: data_quality cannot be judged"], "the newest window is empty: it was not asked"
    world.capture(["4-0"], T0 + 4 * DAY)
    world.time.advance_to(T0 + 5 * DAY)
    world.look()
    assert [e.title for e in world.events(AlertSent) if "data_quality" in e.title][1:] == ["demo: data_quality is judged again"]


def test_evidence_that_is_no_json_fails_like_its_monitor(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    world.capture(["a"], T0)
    world.time.advance_to(T0 + DAY)
    nan = Verdict("data_quality", "healthy", "data_quality: fine", {"rows": 1, "value": float("nan")})
    monkeypatch.setitem(monitor.MONITORS, "data_quality", replace(monitor.MONITORS["data_quality"], judge=lambda _: nan))
    world.look()
    assert [w.status for w in world.words("data_quality")] == ["unknown"] and world.words("drift")


def test_rows_that_cannot_be_read_are_no_silence(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: Any, **__: Any) -> pl.DataFrame:
        raise pl.exceptions.ComputeError("a broken file")

    for day in range(16):
        world.capture([f"{day}-{i}" for i in range(30)], T0 + day * DAY)
    world.time.advance_to(T0 + 15 * DAY)
    world.look()
    monkeypatch.setattr(drawing, "at_most", unreadable)
    world.time.advance_to(T0 + 16 * DAY)
    world.look()
    last = world.words("drift")[-1]
    assert (last.status, last.version, "rows" in last.evidence) == ("unknown", "1", False)
    titles = {e.title for e in world.events(AlertSent)}
    assert "demo: drift cannot be judged" in titles and "demo: no traffic" not in titles


def test_what_max_size_lets_go_before_its_labels_come_is_not_measured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/how-to/capture.md: bytes are a bound, and a window's word on its rows stays."""
    deploy = {**settings()["deploy"], "capture": {"max_size": "1MB"}}
    watch = {**settings()["monitor"], "performance": {**settings()["monitor"]["performance"], "label_delay": "48h"}}
    world = Watched(home, monkeypatch, settings(deploy=deploy, monitor=watch))
    monkeypatch.setattr(trimming, "_on_disk", lambda path: 2**20)  # a file is as large as all may be
    for day in range(3):
        world.capture([f"{day}-{i}" for i in range(60)], T0 + day * DAY)
        world.time.advance_to(T0 + (day + 1) * DAY)
        world.label({f"{day}-{i}": 2.0 for i in range(60)})
        monitor.look(world.shop, "demo")
        capturing.tidy(world.shop, "demo", "production")
    assert [w.start[8:10] for w in world.words("drift")] == ["01", "02", "03"]
    left = {id.partition("-")[0] for id in captured.read(history.folder(world.shop, "demo"))["inference_id"]}
    assert left == {"2"} and world.words("performance") == []


def test_a_capture_that_cannot_be_compacted_is_told_of_by_each_monitor(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    world.capture([f"r{i}" for i in range(60)], T0)
    world.time.advance_to(T0 + DAY)
    with monkeypatch.context() as patch:
        patch.setattr(captured, "compact", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        monitor.look(world.shop, "demo")
    words = world.words("drift") + world.words("data_quality")
    assert [(w.status, w.evidence["failed"]) for w in words] == [("unknown", "OSError")] * 2


@pytest.mark.parametrize(
    "exc", [KeyboardInterrupt(), Stopped(), HomeLocked("another"), NoRoom("full"), OSError(28, "No space left on device")]
)
def test_what_ends_the_process_ends_the_look_and_the_window_is_still_due(
    world: Watched, monkeypatch: pytest.MonkeyPatch, exc: BaseException
) -> None:
    world.capture(["a"], T0)
    world.time.advance_to(T0 + DAY)
    with monkeypatch.context() as patch, pytest.raises(type(exc)):
        failing(patch, "drift", exc)
        world.look()
    assert world.words("drift") == []
    world.look()
    assert len(world.words("drift")) == 1


# -- the governor -----------------------------------------------------------------------------------------------------------------


def test_labels_of_nobodys_prediction_do_not_count(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = governed(home, monkeypatch, min_new_labels=4)
    world.label({f"foreign{i}": 1.0 for i in range(50)})
    assert not world.look()
    assert "3 new labels came and 4 are needed" in world.events(RetrainDecided)[-1].reason
    assert history.labelled_since(world.shop, "demo", None) == 3
    assert history.labelled_since(world.shop, "demo", T0 + DAY) == 0, "they came at that very instant"


def test_a_retraining_that_a_person_asked_for_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = governed(home, monkeypatch)
    assert governing._facts(world.shop, world.shop.model("demo"), world.shop.config("demo")).last_retrain is None
    for id in ("r1", "r2"):
        world.shop.runs.end(world.shop.runs.start("demo", "retrain", {}, by="ada", id=id), "done")
    facts = governing._facts(world.shop, world.shop.model("demo"), world.shop.config("demo"))
    assert facts.last_retrain == T0 + 2 * DAY and facts.retrains_this_month == 2
    assert not world.look(), "the window ended before it"


def test_the_governors_own_retraining_counts_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = governed(home, monkeypatch)
    assert world.look()
    world.begin("retrain")
    assert len(world.shop.model("demo").retrains) == 1


@pytest.mark.parametrize("flow", ["up", "build", "retrain", "deploy", "rollback"])
def test_a_change_under_way_holds_it_back(home: Path, monkeypatch: pytest.MonkeyPatch, flow: str) -> None:
    world = governed(home, monkeypatch)
    world.begin(flow)
    facts = governing._facts(world.shop, world.shop.model("demo"), world.shop.config("demo"))
    assert facts.building


def test_a_version_that_waits_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = governed(home, monkeypatch)
    world.begin("deploy")
    end = (T0 + 90 * DAY).isoformat()
    world.shop.record([ApprovalRequested("demo", "run-1", "7", "production", "d", "c", "ada", end, False)])
    assert not world.look()
    assert "version 7 waits for approval" in world.events(RetrainDecided)[-1].reason


def test_a_brake_that_holds_is_told_of_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = governed(home, monkeypatch, min_new_labels=5)
    for hours in range(3):
        world.time.advance_to(T0 + 2 * DAY + timedelta(hours=hours))
        assert not world.look()
    assert [e.brake for e in world.events(RetrainDecided)] == ["labels"]
    world.begin("build")
    world.look()
    world.look()
    assert [e.brake for e in world.events(RetrainDecided)] == ["labels", "building"], "another brake is news"
