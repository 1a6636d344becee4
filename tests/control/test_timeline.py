"""A model's timeline and the pages of its windows, as a browser gets them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard import events as e
from modelyard.clock import ReplayClock
from modelyard.control import console, lanes, moments, watched
from modelyard.control.timeline import Axis
from modelyard.monitor.book import Word
from modelyard.quality.window.course import glimpse, points, windows
from modelyard.yard import Yard
from tests.control.test_console import EVIL, Page, get
from tests.control.yards import Plane, accept, deploy, plane, register

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 20
TIMELINE = "/models/flights/timeline"


def words(count: int = DAYS, step: timedelta = DAY, model: str = "flights") -> list[Word]:
    """Drift moves from the tenth window on for four windows, the metric falls with it; labels of the last two are not there yet."""
    found = []
    for i in range(count):
        start, end = ((START + step * k).isoformat() for k in (i, i + 1))
        bad = 10 <= i < 14
        effect, area = (0.5, 0.70) if bad else (0.05, 0.78)
        drift = {"rows": 100 + i, "columns": [{"column": "carrier", "value": effect, "threshold": 0.2}]}
        status: Any = "violated" if bad else "healthy"
        found.append(Word(model, "drift", start, end, "1" if i < 14 else "2", status, f"drift: {effect}", end, drift))
        estimate = {"rows": 100 + i, "metrics": {"roc_auc": area + 0.01}, "intervals": {"roc_auc": [area - 0.01, area + 0.03]}}
        found.append(Word(model, "estimate", start, end, "1", "healthy", "estimate: fine", end, estimate))
        if i < count - 2:
            criteria = [{"metric": "roc_auc", "holdout": 0.79}]
            told = {
                "labels": 90,
                "metrics": {"roc_auc": area, "f1": 0.5},
                "intervals": {"roc_auc": [area - 0.02, area + 0.02]},
                "criteria": criteria,
            }
            found.append(Word(model, "performance", start, end, "1", status, f"performance: roc_auc {area}", end, told))
    return found


def a_history(yard: Yard, clock: ReplayClock) -> None:
    """Version 2 takes over from version 1 after an alert; the clock stands at the end."""
    accept(yard, "flights", timezone="UTC")
    register(yard, "flights", "1")
    deploy(yard, "flights", "production", v1=100)
    yard.shop.record([e.Promoted("flights", "production", "1", None, "first version")])
    clock.advance_to(START + 11 * DAY)
    yard.shop.record([e.AlertSent("flights", "drift", "flights: drift violated", 1)])
    clock.advance_to(START + 12 * DAY)
    yard.shop.record([e.RunStarted("flights", "retrain-1", "retrain", "the governor", "drift violated")])
    register(yard, "flights", "2", "cd" * 32)
    deploy(yard, "flights", "production", v1=90, v2=10)
    clock.advance_to(START + 14 * DAY)
    deploy(yard, "flights", "production", v2=100)
    yard.shop.record([e.Promoted("flights", "production", "2", "1", "canary passed")])
    clock.advance_to(START + DAYS * DAY)
    yard.shop.book.put(words())


@pytest.fixture
def served(home: Path) -> Iterator[Plane]:
    clock = ReplayClock(START)
    with plane(home, clock) as it:
        a_history(it.yard, clock)
        yield it


def labelled(page: Page) -> dict[str, str]:
    """The lanes by the first word of what they are called for those who do not see them."""
    said = [str(svg["aria-label"]) for svg in page.all("svg")]
    return {text.split(",")[0].split(":")[0]: text for text in said}


def test_all_lanes_are_on_one_axis(served: Plane) -> None:
    page = get(served, TIMELINE)
    said = labelled(page)
    assert said["rows judged by window"] == "rows judged by window: 2,190 in all, at most 119 in one"
    assert said["ROC AUC"] == "ROC AUC, measured from 0.7000 to 0.7800, last 0.7800; estimated from 0.7100 to 0.7900, last 0.7900"
    assert "at most 2.50, and 1 counts as moved" in said["largest effect on a column by its threshold"]
    assert said["Drift"] == "Drift: 4 violated, 16 healthy" and said["Performance"] == "Performance: 4 violated, 14 healthy"
    assert (
        said["Roll-outs"].startswith("Roll-outs: 5") and said["Retrainings"].startswith("Retrainings: 1") and "Alerts: 1" in said["Alerts"]
    )
    assert len(page.all("path", "measured-line")) == len(page.all("path", "estimated-band")) == len(page.all("path", "holdout")) == 1
    assert any("measured 0.7000 (0.6800 to 0.7200)\nestimated 0.7100 (0.6900 to 0.7300)\n90 labels" in title for title in page.titles)
    assert any("2026-03-12 00:00:00 UTC: alert (drift): flights: drift violated" in title for title in page.titles)
    places = {(m["d"] or "").split()[0] for m in page.all("path", "warning")}
    assert places == {"M550.0"}, "the alert stands where its day lies among twenty"


def test_performance_is_drawn_whatever_comes_after_it(served: Plane) -> None:
    """Windows without traffic have no metric, and there may be more of them than of those that have."""
    quiet = []
    for i in range(DAYS, DAYS + 30):
        start, end = ((START + DAY * k).isoformat() for k in (i, i + 1))
        told = {"rows": 0, "labels": 0}
        quiet += [Word("flights", kind, start, end, "2", "unknown", f"{kind}: no rows", end, told) for kind in ("performance", "estimate")]
    served.yard.shop.book.put(quiet)
    page = get(served, TIMELINE)
    assert len(page.all("path", "measured-line")) == len(page.all("path", "estimated-band")) == 1
    assert any("ROC AUC" in said for said in labelled(page)), "the metric that a criterion names comes first"


@pytest.mark.parametrize(
    "path", [f"{TIMELINE}?until=0001-01-01", f"{TIMELINE}?since=9999-12-31", "/models/flights/windows/00010101T000000Z/99991231T000000Z"]
)
def test_times_out_of_reach_are_refused(served: Plane, path: str) -> None:
    answer = served.web.get(path)
    assert answer.status_code == 400 and "out of reach" in answer.text


def test_the_farthest_times_can_be_asked_for(served: Plane) -> None:
    page = get(served, f"{TIMELINE}?since=1900-01-01&until=2199-12-31T23:59")
    for way in {a["href"] for a in page.all("a") if (a["href"] or "").startswith("?since=")}:
        get(served, f"{TIMELINE}{way}")


def test_what_is_drawn_is_there_in_words_too(served: Plane) -> None:
    page = get(served, TIMELINE)
    assert "2026-03-11 .. 2026-03-12 UTC" in page.text and "drift violated" in page.text and "2.50" in page.text
    for sentence in (
        "flights:2 promoted in production: canary passed",
        "the governor started retrain",
        "alert (drift): flights: drift violated",
    ):
        assert sentence in page.text
    assert page.all("a")[0]["href"] == "#content" and len(page.all("h1")) == 1
    assert all(svg.get("aria-label") for svg in page.all("svg"))
    rows = [a for a in page.all("a") if "/windows/" in (a["href"] or "") and "tabindex" not in a]
    assert len(rows) == DAYS, "each window has one link that the keyboard reaches; those of the lanes are for the mouse"
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_a_part_of_time_and_another_metric_can_be_asked_for(served: Plane) -> None:
    page = get(served, f"{TIMELINE}?since=2026-03-05&until=2026-03-08")
    assert "2026-03-05 00:00:00 UTC to 2026-03-08 00:00:00 UTC · 3 windows" in page.text
    assert "Nothing was rolled out, retrained or told of." in page.text and "Versions share of the traffic" in page.text
    assert "F1, measured from 0.5000 to 0.5000" in labelled(get(served, f"{TIMELINE}?metric=f1"))["F1"]
    ways = {a["href"] for a in page.all("a") if (a["href"] or "").startswith("?since=")}
    assert any("since=2026-03-03T12%3A00%3A00%2B00%3A00&until=2026-03-06T12%3A00%3A00%2B00%3A00" in (w or "") for w in ways), (
        "half a span earlier"
    )
    for way in ways:
        assert served.web.get(f"{TIMELINE}{way}").status_code == 200
    assert "1 windows" in get(served, f"{TIMELINE}?since=2026-03-05T01:00&until=2026-03-05T02:00").text, "zoomed into a window"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=yesterday", "yesterday is no time"),
        ("since=2026-03-08&until=2026-03-05", "give an end that comes later"),
        ("until=2026-13-01", "2026-13-01 is no time"),
    ],
)
def test_a_time_that_is_none_is_said_so(served: Plane, query: str, said: str) -> None:
    assert said in get(served, f"{TIMELINE}?{query}", 400).text


def test_an_empty_part_of_time_and_an_empty_model_have_a_page(served: Plane) -> None:
    assert "0 windows" in get(served, f"{TIMELINE}?since=2020-01-01&until=2020-02-01").text
    served.yard.shop.record([e.RunStarted("early", "up-1", "up", "ana")])
    assert "Nothing to draw yet" in get(served, "/models/early/timeline").text
    assert "did you mean flights ?" in get(served, "/models/fligts/timeline", 404).text


def test_a_windows_page_is_its_report(served: Plane) -> None:
    link = next(a["href"] for a in get(served, TIMELINE).all("a") if "/20260311T000000Z/" in (a["href"] or ""))
    assert link == "/models/flights/windows/20260311T000000Z/20260312T000000Z"
    answer = served.web.get(link)
    assert answer.status_code == 200 and answer.headers["content-security-policy"] == console.REPORT_POLICY
    page = Page(answer.text)
    assert page.all("script") == [] and len(answer.content) < 2_000_000
    assert "Violated: 2 of 3 verdicts, by drift and performance." in page.text
    assert "ROC AUC 0.7000 0.6800 to 0.7200 0.7100 0.6900 to 0.7300" in page.text
    assert "No pictures of the columns" in page.text, "this version's bundle is not there"
    whole = Page(served.web.get("/models/flights/windows/20260301T000000Z/20260321T000000Z").text)
    assert "Violated: 8 of 58 verdicts" in whole.text and "16 healthy" in whole.text
    assert served.web.get("/models/flights/windows/20260301T000000Z/20280301T000000Z").status_code == 200, "two years"
    for path, status in (("20200101T000000Z/20200102T000000Z", 400), ("x/y", 400), ("20260312T000000Z/20260311T000000Z", 400)):
        assert served.web.get(f"/models/flights/windows/{path}").status_code == status
    assert served.web.get("/models/none/windows/20260311T000000Z/20260312T000000Z").status_code == 404
    assert served.anonymous.get(link).status_code == 401


def test_a_windows_page_is_kept_until_something_new_is_said(served: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(served.yard, "window_report", lambda *a, made=made, ask=served.yard.window_report: made.append(a) or ask(*a))
    path = "/models/flights/windows/20260311T000000Z/20260312T000000Z"
    first, again = served.web.get(path), served.web.get(path)
    assert first.text == again.text and len(made) == 1
    last = next(w for w in words() if w.monitor == "performance" and w.start.startswith("2026-03-11"))
    served.yard.shop.book.put([replace(last, status="healthy", reason="performance: better, with all labels")])
    page = Page(served.web.get(path).text)
    assert len(made) == 2 and "better, with all labels" in page.text and "Said before of this window" in page.text
    for i in range(watched.Reports.KEPT + 3):
        served.web.get(f"/models/flights/windows/{START + i * timedelta(hours=1):%Y%m%dT%H%M%SZ}/20260312T000000Z")
    served.web.get(path)
    assert len(made) == 2 + watched.Reports.KEPT + 3 + 1, "the oldest went"


def test_a_year_of_quarters_of_an_hour_is_put_together(served: Plane) -> None:
    """More windows than places: a place shows the worst of its windows, and says how many they are."""
    step = timedelta(minutes=15)
    served.yard.shop.book.put(words(1000, step, "busy"))
    accept(served.yard, "busy", timezone="UTC")
    response = served.web.get("/models/busy/timeline?since=2026-03-01&until=2026-03-12")
    page = Page(response.text)
    assert "1,000 windows, up to 6 of them in a place" in page.text
    assert len(page.all("rect", "field")) <= watched.POINTS
    assert len(page.all("rect", "violated")) >= 2, "four bad windows of an hour are not hidden among a thousand"
    assert len(response.content) < 1_000_000
    assert "180 windows" in get(served, "/models/busy/timeline").text, "the newest where nothing is asked for"


def test_the_timeline_escapes_and_obeys_the_policy(served: Plane) -> None:
    clean = EVIL.replace("\ud800", "")
    served.yard.shop.record([e.AlertSent("flights", clean, clean, 1)])
    bad = replace(words()[0], status=clean, reason=clean, version=clean, evidence={"metrics": {clean: 0.5}, "rows": 3})
    served.yard.shop.book.put([bad, replace(bad, monitor="performance")])
    response = served.web.get(f"{TIMELINE}?metric=%3Cscript%3E")
    page = Page(response.text)
    assert len(page.all("script")) == 1 and "<script>alert(1)</script>" in page.text
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert not re.search(r"(src|href)=\"(https?:)?//", response.text)


def test_the_models_page_leads_there(served: Plane) -> None:
    page = get(served, "/models/flights")
    links = [a["href"] for a in page.all("a")]
    assert TIMELINE in links
    assert links.count("/models/flights/windows/20260311T000000Z/20260312T000000Z") == 6, "three cells and three lines"


def test_a_gap_in_the_labels_is_a_gap_in_the_line() -> None:
    some = [w for w in words(6) if not (w.monitor == "performance" and w.start.startswith("2026-03-02"))]
    made = points(windows(glimpse(vars(w)) for w in some), "roc_auc")
    found = lanes.performance(made, Axis(START, START + 6 * DAY), moments.UTC)
    assert found is not None
    line = {shape["class"]: shape["d"] for shape in found["lines"]}
    assert line["measured-line"].count("M") == 2 and line["estimated-line"].count("M") == 1
    assert len(found["fields"]) == 6


def test_the_axis_of_an_effect_ends_somewhere() -> None:
    huge = replace(words(1)[0], evidence={"columns": [{"value": 1e9, "threshold": 0.2}]})
    found = lanes.effects(points(windows([glimpse(vars(huge))])), Axis(START, START + DAY), moments.UTC)
    assert found is not None and found["bars"][0]["height"] == 100 and 0 < found["level"] < 100


@pytest.mark.parametrize(
    ("title", "tone"),
    [
        ("demo: drift violated", "warning"),
        ("demo: the runner of demo:1 in production dies again and again", "warning"),
        ("demo: drift is healthy again", "passed"),
        ("demo: performance is no longer violated", "passed"),
        ("demo: drift was violated, and is no more", "passed"),
        ("demo: traffic is back", "passed"),
        ("demo: drift is judged again", "passed"),
    ],
)
def test_an_alert_has_the_colour_of_what_it_tells(title: str, tone: str) -> None:
    assert lanes._kind(e.AlertSent("demo", "drift", title, 1)) == ("alerts", tone)
