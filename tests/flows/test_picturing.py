"""The report of windows of a model that was really watched: captured rows, labels, the book, a bundle."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.errors import BadInput, NotFound
from modelyard.flows import history, picturing
from modelyard.quality import window
from modelyard.serve import captured
from tests.flows.monitor.test_drift import HIGH, World
from tests.flows.watched import DAY, T0, Watched, settings


@pytest.fixture
def watched(home: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Ten days of a hundred rows; from the sixth on, `x` is far away."""
    world = Watched(home, monkeypatch)
    for day in range(10):
        x = [(i % 100) / 10 if day < 5 else 50.0 + i for i in range(100)]
        world.capture([f"d{day}-{i}" for i in range(100)], T0 + day * DAY + timedelta(hours=1), x)
    world.time.advance_to(T0 + 10 * DAY)
    world.look()
    return world


def report(world: Watched, *args: Any, **more: Any) -> dict[str, Any]:
    return picturing.of_span(world.shop, "demo", *args, **more)


def feature(found: dict[str, Any], name: str = "x") -> dict[str, Any]:
    return next(c for c in found["columns"] if c["name"] == name)


def status(found: dict[str, Any], monitor: str) -> str:
    return str(next(w["status"] for w in found["words"] if w["monitor"] == monitor))


def test_the_newest_window_is_reported_where_none_is_named(watched: Watched) -> None:
    found = report(watched)
    assert (found["span"]["start"], found["span"]["windows"]) == ((T0 + 9 * DAY).isoformat(), 1)
    assert found["rows"] == {"window": 100, "baseline": 1000, "scores": 1000}
    assert status(found, "drift") == "violated" and feature(found)["moved"]
    assert sum(cell["now"] for cell in feature(found)["cells"] if cell["mark"] == "above") == 1.0
    assert feature(found)["facts"]["median"][0] == pytest.approx(99.5, abs=1)
    assert found["lineage"]["bundle"] == watched.shop.model("demo").versions["1"].digest
    assert found["config"]["drift"]["min_rows"] == 10
    page = window.render(found)
    assert "Violated" in page and len(page.encode()) < 2_000_000


def test_a_span_adds_up_its_windows(watched: Watched) -> None:
    found = report(watched, since="2026-03-01", until="2026-03-11")
    assert found["rows"]["window"] == 1000 and found["span"]["windows"] == 10
    assert found["tally"]["drift"]["violated"] == 5 and found["tally"]["drift"]["healthy"] == 5
    outside = sum(cell["now"] for cell in feature(found)["cells"] if cell["mark"] == "above")
    assert outside == pytest.approx(0.5)
    assert [p["start"][:10] for p in found["course"]["points"]] == [f"2026-03-{d:02}" for d in range(1, 11)]
    half = report(watched, until="2026-03-06")
    assert half["rows"]["window"] == 500 and half["tally"]["drift"]["violated"] == 0 and not feature(half)["moved"]


def test_a_window_is_found_by_its_beginning_or_by_what_it_holds(watched: Watched) -> None:
    for named in ("2026-03-03", "2026-03-03T00:00:00+00:00", "2026-03-03T17:30", "2026-03-02T22:00-05:00"):
        assert report(watched, window=named)["span"]["start"] == (T0 + 2 * DAY).isoformat(), named
    nowhere = report(watched, window="2020-01-01")
    assert (
        nowhere["verdict"]["sentence"] == "No window was judged here."
        and nowhere["missing"] == "no row that version 1 answered then is kept"
    )
    assert "No pictures of the columns" in window.render(nowhere)


def test_late_labels_leave_what_was_said_before(watched: Watched) -> None:
    before = report(watched, window="2026-03-02")
    assert status(before, "performance") == "unknown"
    watched.label({f"d1-{i}": 2 * (i % 100) / 10 for i in range(100)})
    watched.look()
    after = next(w for w in report(watched, window="2026-03-02")["words"] if w["monitor"] == "performance")
    assert after["status"] == "healthy" and after["revision"] == 2
    assert [h["status"] for h in after["history"]] == ["unknown", "healthy"]
    assert "Said before of this window" in window.render(report(watched, window="2026-03-02"))


def test_rows_that_are_counted_again_give_the_same(watched: Watched, tmp_path: Path) -> None:
    """Where no profile is kept, the captured rows are read; the report is the same."""
    kept = report(watched, since="2026-03-01", until="2026-03-11")
    folder = watched.shop.home.profiles("demo")
    assert folder.exists(), "windows leave profiles behind"
    folder.rename(tmp_path / "profiles")
    counted = report(watched, since="2026-03-01", until="2026-03-11")
    assert [c["cells"] for c in counted["columns"]] == [c["cells"] for c in kept["columns"]]
    assert counted["rows"] == kept["rows"]


def test_a_bundle_that_is_gone_leaves_the_words(watched: Watched, tmp_path: Path) -> None:
    (watched.shop.home.bundles / watched.shop.model("demo").versions["1"].digest).rename(tmp_path / "gone")
    found = report(watched)
    assert found["columns"] == [] and found["missing"] and status(found, "drift") == "violated"
    assert "No pictures of the columns" in window.render(found)


def test_what_is_no_time_no_span_no_model_no_monitor_is_said_so(watched: Watched) -> None:
    with pytest.raises(BadInput, match="`soon` is no time"):
        report(watched, since="soon")
    with pytest.raises(BadInput, match="begins at 2026-03-05"):
        report(watched, since="2026-03-05", until="2026-03-04")
    with pytest.raises(NotFound):
        picturing.of_span(watched.shop, "dema")
    with pytest.raises(BadInput, match="no monitor `drfit`") as said:
        picturing.listed(watched.shop, "demo", monitor="drfit")
    assert said.value.next == "did you mean 'drift'?"


@pytest.mark.parametrize("far", ["0001-01-01", "9999-12-31", "1899-12-31T23:59", "2200-01-01T00:00Z", "99991231T000000Z"])
def test_times_that_nobody_lives_to_see_are_refused(watched: Watched, far: str) -> None:
    for asked in ({"since": far}, {"until": far}, {"window": far}):
        with pytest.raises(BadInput) as said:
            report(watched, **asked)
        assert (said.value.what, said.value.next) == (f"`{far}` is out of reach", "give a time from 1900 to 2199")


@pytest.mark.parametrize("kept", [True, False], ids=["kept profiles", "rows counted again"])
def test_the_longest_span_costs_what_there_is_in_it(watched: Watched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: bool) -> None:
    """Three hundred years are four thousand months of the book, and a hundred thousand days of profiles and of captured rows."""
    usual = report(watched, since="2026-03-01", until="2026-03-11")
    if not kept:
        watched.shop.home.profiles("demo").rename(tmp_path / "profiles")
    calls = []
    for owner, name in ((watched.shop.book, "between"), (history, "pieces"), (history, "answers")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, of=real, **more: calls.append(of) or of(*args, **more))
    found = report(watched, since="1900-01-01", until="2199-12-31")
    assert len(calls) <= 2
    assert found["rows"] == usual["rows"] and found["tally"] == usual["tally"]
    assert [c["cells"] for c in found["columns"]] == [c["cells"] for c in usual["columns"]]
    assert len(window.render(found).encode()) < 2_000_000
    nothing = report(watched, since="1950-01-01", until="2020-01-01")
    assert nothing["words"] == [] and nothing["missing"] == "no row that version 1 answered then is kept"


def test_words_are_listed_by_span_by_monitor_and_newest_first_to_go(watched: Watched) -> None:
    shop = watched.shop
    everything = picturing.listed(shop, "demo")
    assert len(everything) == picturing.counted(shop, "demo") >= 20
    assert [w.end for w in everything] == sorted(w.end for w in everything)
    newest = picturing.listed(shop, "demo", limit=5)
    assert newest == everything[-5:]
    drift = picturing.listed(shop, "demo", since="2026-03-03", until="2026-03-05", monitor="drift")
    assert [w.start[:10] for w in drift] == ["2026-03-03", "2026-03-04"]
    assert picturing.counted(shop, "demo", "2026-03-03", "2026-03-05", "drift") == 2
    assert picturing.listed(shop, "demo", since="2026-03-03", until="2026-03-08", monitor="drift", limit=2) == [
        w for w in everything if w.monitor == "drift" and w.start[:10] in ("2026-03-06", "2026-03-07")
    ]


def test_the_segments_of_one_window_are_those_its_monitor_judged(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = settings()
    words["monitor"] = {**words["monitor"], "segments": ["site"], "drift": {"min_rows": 100}}
    world = World(home, monkeypatch, words)
    world.at(T0, [*(i / 90 for i in range(900)), *HIGH[:100]], **{"x.site": ["north"] * 900 + ["south"] * 100})
    said = world.word()
    found = report(world)["segments"]
    assert [(s["segment"], s["rows"], [c["column"] for c in s["moved"]]) for s in found] == [
        ("site=south", 100, ["x", "y.prediction"]),
        ("site=north", 900, []),
    ]
    assert [m["segment"] for m in said.evidence["segments"]["moved"]] == ["site=south"]
    assert all(c["ratio"] > 1 for c in found[0]["moved"])
    world.at(T0 + DAY, HIGH, **{"x.site": ["north"] * 1000})
    world.word(2)
    assert report(world, since="2026-03-01", until="2026-03-03")["segments"] == [], "they are those of one window"


def test_a_column_that_the_capture_does_not_keep_is_not_said_to_have_moved(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Watched(home, monkeypatch, settings(deploy={"capture": {"redact": [{"column": "x"}]}}))
    world.capture([f"{i}" for i in range(100)], T0, [(i % 100) / 10 for i in range(100)])
    where = history.folder(world.shop, "demo")
    rows = captured.read(where).with_columns(pl.lit(None, pl.Float64).alias("f.x"))
    monkeypatch.setattr(history, "answers", lambda *_, **__: rows)
    world.time.advance_to(T0 + DAY)
    world.look()
    found = report(world)
    assert status(found, "drift") == "healthy"
    assert not feature(found)["moved"] and feature(found)["ratio"] is None and feature(found, "y.prediction")["ratio"] is not None


def test_where_a_measure_does_not_fit_the_usual_one_is_drawn(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config in force may ask for what an older version's columns cannot be measured by."""
    config = watched.shop.config("demo")
    odd = config.monitor.drift.prediction.model_copy(update={"measure": "cramers_v"})
    drift = config.monitor.drift.model_copy(update={"prediction": odd})
    asked = config.model_copy(update={"monitor": config.monitor.model_copy(update={"drift": drift})})
    monkeypatch.setattr(watched.shop, "config", lambda model: asked)
    found = report(watched)
    assert found["missing"] is None and feature(found)["moved"]
    assert feature(found, "y.prediction")["ratio"] > 1
