"""The console's pages, as a browser gets them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from modelyard import events as e
from modelyard.control import console, moments, timeline
from modelyard.monitor.book import Word
from modelyard.quality.report import document
from modelyard.yard import Yard
from tests.control.yards import DIGEST, Plane, accept, ask, deploy, judge, plane, register

EVIL = "<script>alert(1)</script>\"'&\x1b\ud800"


class Page(HTMLParser):
    """A page's tags with their attributes, and its text outside styles and scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.titles: list[str] = []
        self._inside: list[str] = []
        self._text: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("style", "script", "title"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        where = self._inside[-1] if self._inside else ""
        {"script": self.scripts, "title": self.titles, "style": []}.get(where, self._text).append(data)

    def all(self, tag: str, css: str = "") -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag and css in ["", *(attrs.get("class") or "").split()]]


@pytest.fixture
def served(home: Path) -> Iterator[Plane]:
    with plane(home) as it:
        yield it


def get(served: Plane, path: str, status: int = 200) -> Page:
    response = served.web.get(path)
    assert response.status_code == status
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return Page(response.text)


def a_model(yard: Yard, model: str = "flights", **words: str) -> None:
    """One version in production, another on its way there and waiting for a word; some verdicts."""
    accept(yard, model, **words)
    register(yard, model, "1")
    deploy(yard, model, "staging", v1=100)
    deploy(yard, model, "production", v1=100)
    yard.shop.record([e.Promoted(model, "production", "1", None, "first version")])
    register(
        yard, model, "2", "cd" * 32, because="drift violated", gates=["roc_auc 0.7123 >= 0.7: passed", "f1 0.2 < 0.3: failed (only warns)"]
    )
    deploy(yard, model, "production", v1=90, v2=10)
    judge(yard, model, "drift", 1, "healthy", "0 of 8 features moved")
    judge(yard, model, "drift", 2, "violated", "3 of 8 features moved: carrier (PSI 0.41)")
    judge(yard, model, "performance", 1, "unknown", "12 labels, at least 500 are needed")


def test_an_empty_home_names_the_next_command(served: Plane) -> None:
    page = get(served, "/")
    assert "No model yet" in page.text
    assert "modelyard up config.yaml" in page.text


def test_the_overview_shows_every_model_with_what_matters(served: Plane) -> None:
    a_model(served.yard, owner="team@example.com")
    accept(served.yard, "houses")
    page = get(served, "/")
    for words in (
        "Models 2", "flights", "binary classification · team@example.com", "Champion version 1", "houses", "no champion yet",
        "http://127.0.0.1:40001", "not live", "version 1 90%", "version 2 10%", "nothing deployed",
        "ROC AUC", "0.7123", "roc_auc 0.7123 >= 0.7: passed", "f1 0.2 < 0.3: failed (only warns)", "drift violated",
        "violated", "3 of 8 features moved: carrier (PSI 0.41)", "unknown", "12 labels, at least 500 are needed",
        "no window has been judged yet", "up-flights", "running",
    ):  # fmt: skip
        assert words in page.text, words
    widths = [i["style"] for i in page.all("i") if i.get("style")]
    assert "width: 90%" in widths and "width: 10%" in widths


def test_what_waits_comes_with_the_exact_commands(served: Plane) -> None:
    a_model(served.yard)
    ask(served.yard, "flights", "2")
    page = get(served, "/")
    assert "flights:2 waits for approval to enter production (asked by ana)" in page.text
    assert "anybody may give it but ana" in page.text
    assert "2030-01-01 00:00:00 UTC" in page.text
    assert f"MODELYARD_HOME={served.yard.home.path} modelyard approve flights:2" in page.text
    assert f"MODELYARD_HOME={served.yard.home.path} modelyard reject flights:2" in page.text
    assert "waits for approval" in get(served, "/models/flights").text


def test_the_usual_home_needs_no_naming(served: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    a_model(served.yard)
    ask(served.yard, "flights", "2", allow_self=True)
    monkeypatch.setenv("HOME", str(served.yard.home.path.parent))
    monkeypatch.setattr(served.yard.home, "path", served.yard.home.path.parent / ".modelyard")
    page = get(served, "/")
    assert "MODELYARD_HOME" not in page.text
    assert "modelyard approve flights:2" in page.text
    assert "whoever asked may give it too" in page.text


def a_rollout(yard: Yard, model: str = "flights", **words: object) -> None:
    """Version 2 takes over from version 1, as the run that leads it keeps it."""
    seen = {
        "requests": 1200,
        "errors": 3,
        "restarts": 0,
        "refused": 0,
        "in_flight": 0,
        "compared": 400,
        "disagreed": 6,
        "latency": [[12, 9]],
    }
    thresholds = {"error_rate": 0.01, "latency_p99_ratio": 2.0, "min_requests": 20, "disagreement": 0.1, "drift": "violated"}
    found = {
        "version": "2", "champion": "1", "kind": "canary", "step": "10%", "plan": [10, 50, 100], "position": 0,
        "weights": {"2": 10, "1": 90}, "since": "2026-03-01T00:00:00+00:00", "elapsed": 90.0, "bake": 60.0, "metric": None,
        "predicted": 0.012, "new": seen, "old": seen, "usual": seen, "thresholds": thresholds, "counted": {}, **words,
    }  # fmt: skip
    folder = yard.home.runs / f"up-{model}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rollout.json").write_text(json.dumps(found))


def test_traffic_that_moves_is_shown_with_its_alarms_and_the_way_back(served: Plane) -> None:
    a_model(served.yard)
    assert "Take it back" not in get(served, "/models/flights").text
    a_rollout(served.yard)
    page = get(served, "/models/flights")
    for words in (
        "version 2 takes over from version 1 (canary)", "1,200 requests, 1.5 bake times in this step", "10% 50% 100%",
        "errors 0.2% of 1,200 requests over 1.0%", "latency p99 12.0 ms over 2 times the champion's, 12.0 ms",
        "disagreement 1.5% of 400 rows over the 1.2% of the replay and 10.0%",
        f"Take it back MODELYARD_HOME={served.yard.home.path} modelyard rollout flights abort",
    ):  # fmt: skip
        assert words in page.text.replace("▸ ", ""), words
    assert "Let it win" not in page.text
    a_rollout(served.yard, kind="ab", plan=[30], step="30%")
    page = get(served, "/models/flights").text
    assert "modelyard rollout flights promote" in page and "version 1 (A/B test)" in page


def test_a_replay_has_a_page_and_is_shown_where_the_word_is_given(served: Plane) -> None:
    a_model(served.yard)
    assert "no replay judged flights:2" in get(served, "/replays/flights/2", 404).text
    said = "100 captured requests; 3.00% answered otherwise"
    judged = e.ReplayJudged("flights", "up-flights", "2", "1", True, "block", 0.03, said)
    asked = e.ApprovalRequested(
        "flights", "up-flights", "2", "production", DIGEST, "c0", "ana", "2030-01-01T00:00:00+00:00", False, replay=said
    )
    served.yard.shop.record([judged, asked])
    folder = served.yard.home.runs / "up-flights"
    folder.mkdir(parents=True)
    found = {
        "model": "flights", "champion": "flights:1", "version": "flights:2", "made_at": "2026-03-01T00:00:00+00:00", "rows": 0,
        "notes": [EVIL],
        "about": "", "measured": None, "metric": None, "latency": None, "errors": {"old": 0, "new": 0, "new_alone": 0, "said": [EVIL]},
        "verdict": {"ok": True, "on_fail": "block", "sentence": EVIL},
    }  # fmt: skip
    (folder / "replay.json").write_text(json.dumps(found))
    page = get(served, "/models/flights")
    assert said in page.text and [a["href"] for a in page.all("a")].count("/replays/flights/2") == 2
    response = served.web.get("/replays/flights/2")
    assert response.status_code == 200 and response.headers["content-security-policy"] == console.REPORT_POLICY
    assert Page(response.text).all("script") == [] and "flights:2 beside flights:1" in Page(response.text).text


def test_the_journal_is_newest_first_and_of_one_model_where_asked(served: Plane) -> None:
    a_model(served.yard)
    accept(served.yard, "houses")
    page = get(served, "/")
    assert page.text.index("ana started up up-houses") < page.text.index("ana started up up-flights")
    one = get(served, "/?model=houses")
    assert "ana started up up-houses" in one.text
    assert "ana started up up-flights" not in one.text
    assert [o["value"] for o in one.all("option") if "selected" in o] == ["houses"]
    assert get(served, "/?model=").text.count("ana started") == 2


def test_the_journal_stops_at_a_hundred(served: Plane) -> None:
    run = accept(served.yard, "flights")
    served.yard.shop.record([e.StepDone("flights", run, f"step {i}", 0.1) for i in range(150)])
    page = get(served, "/models/flights")
    assert len(page.all("time")) == 100
    assert "step 149 done" in page.text
    assert "step 49 done" not in page.text


def test_a_models_page_is_in_its_own_time_zone_with_all_versions(served: Plane) -> None:
    a_model(served.yard, timezone="America/New_York")
    for number in range(3, 8):
        register(served.yard, "flights", str(number), f"{number:064}")
    page = get(served, "/models/flights")
    assert "times in America/New_York" in page.text
    assert re.search(r"\d\d:\d\d:\d\d E[SD]T", page.text)
    assert "2026-03-02 .. 2026-03-03 EST" in page.text, "a window of a day there, though not in UTC"
    links = [a["href"] for a in page.all("a") if (a.get("href") or "").startswith("/reports/")]
    assert links == [f"/reports/flights/{n}" for n in range(7, 0, -1)]
    assert "All 7 versions" in get(served, "/").text


def test_the_timeline_has_a_cell_a_window(served: Plane) -> None:
    a_model(served.yard)
    page = get(served, "/models/flights")
    assert (len(page.all("rect", "healthy")), len(page.all("rect", "violated")), len(page.all("rect", "unknown-cell"))) == (1, 1, 1)
    assert any("violated: 3 of 8 features moved" in title for title in page.titles)
    assert {s["aria-label"] for s in page.all("svg")} >= {"drift, 2 windows: 1 violated, 1 healthy", "performance, 1 window: 1 unknown"}
    assert any("version 1 90%" in title for title in page.titles)


def test_only_monitors_that_the_config_has_use_for_are_shown(served: Plane) -> None:
    """Without facets there is no bias to look at; what was ever said stays."""
    a_model(served.yard)
    page = get(served, "/models/flights").text
    assert "Data quality not judged" in page and "Bias" not in page and "Attribution" not in page
    judge(served.yard, "flights", "bias", 1, "healthy", "bias: no farther from neutral")
    page = get(served, "/models/flights").text
    assert "Bias healthy" in page and "Attribution" not in page
    assert "bias: no farther" not in page, "the monitor's name is said once"


def test_unknown_things_are_pages_that_say_what_there_is(served: Plane) -> None:
    a_model(served.yard)
    assert "did you mean flights ?" in get(served, "/models/fligts", 404).text
    assert "did you mean flights ?" in get(served, "/?model=fligts", 404).text
    assert "it has 1, 2" in get(served, "/reports/flights/9", 404).text
    assert "not in its bundle" in get(served, "/reports/flights/1", 404).text
    assert "alert" not in str(get(served, "/models/%3Cscript%3Ealert(1)", 404).scripts)


def test_a_report_is_its_bundles_with_what_became_of_it(served: Plane) -> None:
    a_model(served.yard)
    folder = served.yard.home.bundles / DIGEST
    folder.mkdir(parents=True)
    sealed = document(
        about={"model": {"name": "flights", "problem_type": "regression"}, "version": "1"}, signature=None, gates=[], lineage={}, data={}
    )
    (folder / "report.json").write_text(json.dumps(sealed))
    (served.yard.home.bundles / "secret").write_text("no")
    answer = served.web.get("/reports/flights/1")
    assert "flights" in answer.text and "registered flights:1" in answer.text and "nothing judged this version" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "sandbox" in policy and "script-src" not in policy
    for path in ("/reports/flights/..%2fsecret", "/reports/../secret", "/reports/flights/%2e%2e/secret", "/reports/..%2f..%2fetc/passwd"):
        assert served.web.get(path).status_code == 404


def test_everything_is_escaped(served: Plane) -> None:
    """Names of a config, reasons, comments: whatever came from outside shows as text."""
    clean = EVIL.replace("\ud800", "")  # the journal's database takes no lone surrogates
    run = accept(served.yard, "flights", owner=clean, because=clean, timezone=clean)
    register(served.yard, "flights", "1", gates=[clean], because=clean)
    served.yard.shop.record(
        [
            e.ApprovalGiven("flights", run, "1", "production", True, clean, False, clean),
            e.RetrainDecided("flights", False, clean),
            e.Deployed("flights", "production", clean, {"1": 100}, clean),
            e.RunEnded("flights", run, "failed", clean),
        ]
    )
    judge(served.yard, "flights", "drift", 1, "violated", clean)
    judge(served.yard, "flights", "performance", 1, clean, clean)
    ours = get(served, "/").scripts
    for path in ("/", "/models/flights"):
        page = get(served, path)
        assert page.scripts == ours and len(page.all("script")) == 1
        assert "<script>alert(1)</script>\"'&\N{REPLACEMENT CHARACTER}" in page.text
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_no_character_breaks_a_page() -> None:
    assert console._shown(EVIL).encode() == "<script>alert(1)</script>\"'&\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}".encode()
    assert console._ticked("run `a<b` <now>") == "run <code>a&lt;b</code> &lt;now&gt;"


def test_the_policy_lets_nothing_run_but_our_script(served: Plane) -> None:
    a_model(served.yard)
    for path, status in (("/", 200), ("/models/flights", 200), ("/models/nothing", 404)):
        response = served.web.get(path)
        assert response.status_code == status
        policy = dict(part.strip().partition(" ")[::2] for part in response.headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["style-src"], policy["img-src"]) == ("'none'", "'unsafe-inline'", "data:")
        assert (policy["connect-src"], policy["base-uri"], policy["frame-ancestors"]) == ("'self'", "'none'", "'none'")
        for script in Page(response.text).scripts:
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert policy["script-src"] == f"'sha256-{digest}'"
        assert not re.search(r"(src|href)=\"(https?:)?//", response.text), "nothing comes from elsewhere"


def test_pages_can_be_read_without_sight_mouse_or_script(served: Plane) -> None:
    a_model(served.yard)
    for path in ("/", "/models/flights"):
        response = served.web.get(path)
        page = Page(response.text)
        assert page.all("html")[0]["lang"] == "en"
        assert "width=device-width" in str(page.all("meta"))
        assert len(page.all("h1")) == 1
        assert page.all("a")[0]["href"] == "#content", "the first stop skips to the content"
        assert all(svg.get("aria-label") for svg in page.all("svg"))
        assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in response.text
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
    assert "3 of 8 features moved" in get(served, "/models/flights").text, "the timeline's reasons are there in words too"


def test_a_model_that_has_only_begun_has_a_page(served: Plane) -> None:
    served.yard.shop.record([e.RunStarted("early", "up-1", "up", "ana")])
    assert "no config yet" in get(served, "/").text
    assert "No version yet" in get(served, "/models/early").text


def test_times_say_their_zone() -> None:
    assert moments.moment("2026-07-01T12:00:00+00:00", moments.zone("Europe/Berlin")) == "2026-07-01 14:00:00 CEST"
    assert moments.moment("2026-07-01T12:00:00+00:00", moments.zone("no/such")) == "2026-07-01 12:00:00 UTC"
    assert moments.span("2026-07-01T12:00:00+00:00", "2026-07-01T12:15:00+00:00") == "2026-07-01 12:00 .. 2026-07-01 12:15 UTC"


def test_traffic_long_after_the_windows_has_an_axis_of_its_own(served: Plane) -> None:
    """Windows are in the events' time: those of a replayed year lie long before the deployments of today."""
    a_model(served.yard)
    state, now = served.yard.shop.model("flights"), served.yard.shop.clock.now()
    words = {"drift": served.yard.shop.book.newest("flights", "drift", timeline.MOST)}
    windows, traffic = timeline.axes(state, words, now)
    assert windows is not None and traffic is not None
    assert (windows.end - windows.start).days == 2
    assert windows != traffic
    assert all(0 <= b["x"] <= timeline.WIDTH and b["width"] >= 1 for b in timeline.traffic(state, traffic, moments.UTC)["blocks"])


def test_only_the_newest_windows_are_drawn_and_the_rest_counted(served: Plane) -> None:
    accept(served.yard, "flights")
    hours = [f"2026-03-{1 + i // 24:02}T{i % 24:02}:00:00+00:00" for i in range(timeline.MOST + 21)]
    served.yard.shop.book.put(Word("flights", "drift", a, b, "1", "healthy", "fine", b) for a, b in itertools.pairwise(hours))
    page = get(served, "/models/flights")
    assert len(page.all("rect", "healthy")) == timeline.MOST
    assert f"the newest {timeline.MOST} of each monitor" in page.text
