"""What `status` and `monitor` show of a model that was watched, as a person reads it and as a program does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli import watching
from modelyard.errors import NotFound
from modelyard.home import Home
from modelyard.monitor.book import Word
from modelyard.quality.window import document
from modelyard.yard import Yard
from tests.control.yards import accept, deploy, register
from tests.e2e.person import Person

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def words(count: int, kinds: tuple[str, ...] = ("drift", "performance")) -> list[Word]:
    found = []
    for i in range(count):
        start, end = ((START + HOUR * k).isoformat() for k in (i, i + 1))
        for kind in kinds:
            status: Any = "violated" if kind == "drift" and i >= count - 2 else "healthy"
            found.append(Word("flights", kind, start, end, "1", status, f"{kind}: window {i}", end, {"rows": 100 + i}))
    return found


@pytest.fixture
def me(home: Path, tmp_path: Path) -> Iterator[Person]:
    """Somebody whose model was watched for four hundred hours."""
    yard = Yard(home)
    accept(yard, "flights", timezone="UTC")
    register(yard, "flights", "1")
    deploy(yard, "flights", "production", v1=100)
    accept(yard, "fresh")
    yard.shop.book.put(words(400))
    yard.close()
    somebody = Person(home, tmp_path)
    yield somebody
    if Home(home).locked:
        somebody.run("down")


def test_thousands_of_words_do_not_flood_the_terminal(me: Person) -> None:
    said = me.run("monitor", "flights").out
    table = [line for line in said.splitlines() if "window " in line]
    assert len(table) == 30 and "window 399" in table[-1] and "window 385" in table[0]
    assert "770 older words are not shown: --last N shows more" in said
    trend = {line.split()[0]: line.split()[1] for line in said.splitlines()[:2]}
    assert trend == {"drift": "▂" * 58 + "██", "performance": "▂" * 60}
    assert said.splitlines()[0].endswith("violated")
    assert len([line for line in me.run("monitor", "flights", "--last", "3").out.splitlines() if "window " in line]) == 3


def test_words_are_chosen_by_time_and_by_monitor(me: Person) -> None:
    said = me.run("monitor", "flights", "--since", "2026-03-02", "--until", "2026-03-02T03:00", "--monitor", "drift").out
    assert [f"window {i}" in said for i in (23, 24, 25, 26, 27)] == [False, True, True, True, False]
    assert "performance" not in said and "older words" not in said
    assert "no such window was judged" in me.run("monitor", "flights", "--since", "2027-01-01").out
    assert "did you mean 'drift'?" in me.run("monitor", "flights", "--monitor", "drfit", code=2).err
    assert "`yesterday` is no time" in me.run("monitor", "flights", "--since", "yesterday", code=2).err
    assert "modelyard monitor fresh --now" in me.run("monitor", "fresh").out


def test_json_has_every_field_of_all_of_them(me: Person) -> None:
    told = me.json("monitor", "flights")
    assert len(told) == 800 and told[0] == vars(words(400)[0])
    assert [w["reason"] for w in me.json("monitor", "flights", "--monitor", "drift", "--last", "2")] == [
        "drift: window 398",
        "drift: window 399",
    ]


def test_a_report_is_a_page_and_its_document(me: Person, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    told = me.json("monitor", "flights", "--report", str(page), "--since", "2026-03-17", "--until", "2026-03-18")
    assert told["schema"] == "modelyard.window/1" and told["tally"]["drift"]["violated"] == 2
    assert "Violated: 2 of 32 verdicts, by drift." in page.read_text()
    said = me.run("monitor", "flights", "--report", str(page)).out
    assert f"✓ {page}  Violated: 1 of 2 verdicts, by drift." in said
    one = me.json("monitor", "flights", "--window", "2026-03-01T05:30")
    assert one["span"]["start"] == "2026-03-01T05:00:00+00:00"
    assert "--window goes with --report" in me.run("monitor", "flights", "--window", "2026-03-01", code=2).err
    assert "no window of `fresh` has been judged yet" in me.run("monitor", "fresh", "--report", str(page), code=2).err


def test_windows_without_traffic_have_a_report_and_a_time_without_windows_has_none(tmp_path: Path) -> None:
    span = {"start": START.isoformat(), "end": (START + HOUR).isoformat(), "timezone": "UTC", "window": "1h"}
    model = {"name": "flights", "problem_type": "regression", "owner": None}
    about = {"model": model, "span": span, "made_at": START.isoformat(), "version": None}
    silent = {**vars(words(1)[0]), "version": "", "status": "unknown", "history": []}
    page = tmp_path / "report.html"
    watching._report(document(about=about, words=[silent], missing="no version answered here"), page, as_json=False)
    assert "too little to judge by" in page.read_text()
    with pytest.raises(NotFound, match="no window of `flights` was judged then"):
        watching._report(document(about=about, words=[], missing="no version answered here"), page, as_json=False)


def test_the_overview_names_the_worst_of_all_monitors(me: Person) -> None:
    lines = {line.split()[0]: line for line in me.run("status").out.splitlines()}
    assert "MONITORS" in lines["MODEL"]
    assert "violated drift" in lines["flights"] and lines["fresh"].split()[-2:] == ["-", "-"]
    full = me.run("status", "flights").out
    assert "drift        violated  2026-03-17T15:00..2026-03-17T16:00  window 399" in full
    assert "performance  healthy" in full


@pytest.mark.parametrize(
    ("said", "brief"),
    [
        ({"drift": None, "bias": None}, "-"),
        ({"drift": {"status": "healthy"}, "bias": None}, "healthy drift"),
        ({"drift": {"status": "healthy"}, "bias": {"status": "healthy"}}, "healthy all 2"),
        ({"drift": {"status": "healthy"}, "bias": {"status": "unknown"}}, "healthy drift"),
        ({"drift": {"status": "unknown"}, "bias": {"status": "unknown"}}, "unknown all 2"),
        ({"drift": {"status": "warning"}, "bias": {"status": "violated"}, "estimate": {"status": "violated"}}, "violated bias, estimate"),
    ],
)
def test_the_worst_is_what_stands_out(said: dict[str, Any], brief: str) -> None:
    import click

    assert click.unstyle(watching._worst(said)) == brief


def test_what_a_reason_says_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = {**vars(words(1)[0]), "reason": "drift: \x1b]0;pwned\x07moved", "revision": 2}
    watching._windows([bad], 30, 1, "flights", filtered=False)
    said = capsys.readouterr().out
    assert "pwned" not in said and "\x1b" not in said and "moved  (revision 2)" in said
