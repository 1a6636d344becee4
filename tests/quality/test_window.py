"""The report of a window: what it says, what it draws, and that it stays small whatever comes."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.quality import window
from modelyard.quality.window import columns, course, evidence
from modelyard.quality.window.features import MAX_PLOTS
from tests.quality.watched_windows import document, figures, profiles, word, words

EVIL = "<script>alert(1)</script>\"'&\x1b"
LARGEST = 2_000_000


class Page(HTMLParser):
    """A page's tags, and its text outside the styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._inside, self._text = "", list[str]()
        self.feed(html)
        self.text = " ".join(" ".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside != "style":
            self._text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def test_the_page_says_what_was_judged_and_why() -> None:
    page = Page(window.render(document()))
    for said in (
        "flights version 3", "Violated: 6 of 46 verdicts, by drift.", "2 of 8 features moved: amount_0 (PSI 0.50)", "6 violated, 6 healthy",
        "America/New_York", "Columns that moved 2 of 9", "9,000 of 11,665", "ROC AUC 0.7620 0.7420 to 0.7820", "0.7520 to 0.7920",
        "completeness_check", "97% of the rows have it", "drift.share", "ab" * 32, "brand new", "missing 3.0% (before 0.0%)", "f.colour",
    ):  # fmt: skip
        assert said in page.text, said
    assert page.count("script") == 0 and page.count("h1") == 1
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg")
    for link in (attrs["href"] for tag, attrs in page.tags if tag == "a"):
        assert link is not None and link.removeprefix("#") in ids, "every link stays in the page, and leads somewhere"
    assert not re.search(r"(src|href)=\"(https?:)?//", window.render(document())), "nothing is fetched"


def test_two_calls_give_the_same_bytes() -> None:
    assert window.render(document()) == window.render(json.loads(json.dumps(document())))


def test_two_hundred_features_with_long_names_stay_under_two_megabytes() -> None:
    profile, baseline = profiles(200)
    for side in (profile, baseline):
        side["columns"] = {f"{name}-{'long name ' * 30}": column for name, column in side["columns"].items()}
    reasons = [
        {**w, "reason": "a reason that goes on and on, " * 100, "evidence": {**w["evidence"], "more": ["x" * 500] * 50}} for w in words(400)
    ]
    found = document(profile=profile, baseline=baseline, figures=figures(profile), words=reasons)
    page = window.render(found)
    assert len(found["columns"]) == 201
    assert len(page.encode()) < LARGEST
    assert Page(page).count("figure") <= MAX_PLOTS + 12
    assert f"{200 - MAX_PLOTS} more columns, which moved less, are in the table alone" in page
    assert page.count("long name") > 200, "every column is in the table"


def test_whatever_came_from_outside_shows_as_text() -> None:
    profile, baseline = profiles(2, new=EVIL)
    for side in (profile, baseline):
        side["columns"] = {f"{name}{EVIL}": column for name, column in side["columns"].items()}
    said = [
        word("drift", 0, "violated", EVIL, {"columns": [], EVIL: EVIL, "list": [{EVIL: EVIL}]}, version=EVIL),
        word(EVIL, 0, EVIL, EVIL),
    ]
    found = document(
        profile=profile, baseline=baseline, figures=figures(profile), words=said, config={EVIL: EVIL}, lineage={"bundle": EVIL}
    )
    page = window.render(found)
    assert Page(page).count("script") == 0
    assert "<script>alert(1)</script>\"'&\N{REPLACEMENT CHARACTER}" in Page(page).text
    assert not any(name.startswith("on") for _, attrs in Page(page).tags for name in attrs)


@pytest.mark.parametrize(
    ("statuses", "state", "said"),
    [
        ([], "none", "No window was judged here."),
        (["unknown", "unknown"], "none", "Nothing could be judged: there was too little to judge by."),
        (["healthy", "unknown"], "passed", "Healthy: 1 verdict of drift. 1 could not be judged."),
        (["healthy", "warning"], "warning", "Warning: 1 of 2 verdicts, by drift."),
        (["warning", "violated", "unknown"], "failed", "Violated: 1 of 2 verdicts, by drift. 1 could not be judged."),
    ],
)
def test_nothing_known_is_never_good(statuses: list[str], state: str, said: str) -> None:
    assert window.verdict([{"status": s, "monitor": "drift"} for s in statuses]) == {"state": state, "sentence": said}


def test_what_was_said_before_of_a_window_is_kept() -> None:
    before = {
        "revision": 1,
        "judged_at": "2026-03-02T05:00:00+00:00",
        "status": "unknown",
        "reason": "performance: 3 labels, 100 are needed",
    }
    now = {**before, "revision": 2, "status": "healthy", "reason": "performance: roc_auc 0.780 holds"}
    told = word("performance", 0, "healthy", now["reason"], {"labels": 900}, revision=2, history=[before, now])
    page = Page(window.render(document(words=[told]))).text
    assert "Said before of this window" in page and "3 labels, 100 are needed" in page and "revision 2" in page
    assert page.count("roc_auc 0.780 holds") == 1, "the newest word is no history"


def test_a_span_without_pictures_says_why() -> None:
    found = document(profile=None, baseline=None, missing="no row that version 3 answered then is kept")
    page = Page(window.render(found)).text
    assert "No pictures of the columns: no row that version 3 answered then is kept." in page
    assert "Rows compared" not in page and found["columns"] == []


def test_cells_are_shares_of_all_rows() -> None:
    profile, baseline = profiles(6)
    for column in columns.compared(profile, baseline, figures(profile)):
        for side in ("now", "before"):
            assert sum(cell[side] for cell in column["cells"]) == pytest.approx(1, abs=1e-9), column["name"]
    by_name = {c["name"]: c for c in columns.compared(profile, baseline, figures(profile))}
    assert by_name["amount_0"]["facts"]["missing"] == [0.03, 0.0]
    fresh = [c for c in by_name["kind_1"]["cells"] if c["mark"] == "new"]
    assert [(c["name"], c["now"], c["before"]) for c in fresh] == [("brand new", 0.1, 0.0)]
    assert columns.compared(profile, baseline)[0]["name"] == "y.probability", "the score stands first"


@given(st.lists(st.integers(0, 50), min_size=1, max_size=80), st.integers(0, 30), st.integers(0, 30), st.integers(0, 20))
def test_no_category_is_lost_however_many_there_are(counts: list[int], rare: int, new: int, missing: int) -> None:
    named = {f"v{i}": n for i, n in enumerate(counts)}
    fresh = {"a": new // 2} if new else {}
    now = {"kind": "categorical", "counts": named, "other": rare, "new": new, "fresh": fresh, "missing": missing}
    rows = sum(counts) + rare + new + missing
    before = {**now, "new": 0, "fresh": {}}
    both = {"rows": max(rows, 1), "columns": {"c": now}, "score": {"column": "y.prediction", "rows": max(rows, 1), **now}}
    then = {"rows": max(rows, 1), "columns": {"c": before}, "score": {"column": "y.prediction", "rows": max(rows, 1), **before}}
    found = columns.compared(both, then)[1]["cells"]
    assert sum(c["now"] for c in found) == pytest.approx(1 if rows else 0)
    assert len(found) <= columns.MAX_CELLS + 5


def test_instants_are_written_as_such() -> None:
    micros = [1_772_323_200_000_000.0 + 86_400_000_000 * i for i in range(4)]
    shape = {
        "kind": "numeric",
        "low": micros[0],
        "edges": micros[1:],
        "missing": 0,
        "min": micros[0],
        "max": micros[3],
        "mean": micros[1],
        "m2": 1.0,
    }
    side = {
        "rows": 4,
        "columns": {"at": {**shape, "counts": [0, 2, 1, 1, 0]}},
        "score": {"column": "y.prediction", "rows": 4, **shape, "counts": [0, 2, 1, 1, 0]},
    }
    found = columns.compared(side, side, times=["at"])[1]
    assert found["cells"][0]["name"] == "2026-03-01 00:00 to 2026-03-02 00:00"
    assert found["facts"]["max"] == ["2026-03-04 00:00"] * 2 and "std" not in found["facts"]
    assert columns._instant(1e30) == columns._number(1e30)
    page = window.render(document(profile=side, baseline=side, figures=[], times=["at"]))
    assert "greatest 2026-03-04 00:00 (before 2026-03-04 00:00)" in Page(page).text


def test_drifts_own_figures_are_read() -> None:
    assert columns.ratio({"measure": "ks", "value": 0.27, "threshold": 0.18}) == pytest.approx(1.5)
    assert columns.ratio({"measure": "psi", "value": 0.27, "threshold": None}) is None
    told = {"columns": [{"value": 0.1, "threshold": 0.2}], "prediction": {"value": 0.3, "threshold": 0.2}}
    assert evidence.effect(told) == pytest.approx(1.5)
    assert evidence.effect({"rows": 12}) is None


def test_the_numbers_of_an_estimate_are_estimates() -> None:
    measured = word(
        "performance",
        0,
        "healthy",
        "",
        {"metrics": {"f1": 0.5, "rows": 90}, "intervals": {"f1": [0.4, 0.6]}, "estimated": {"f1": [0.52, 0.45, 0.6]}},
    )
    estimate = word("estimate", 0, "healthy", "", {"metrics": {"f1": 0.52}, "intervals": {"f1": [0.45, 0.6]}})
    assert evidence.measured([measured, estimate]) == ["f1"], "a count is no metric"
    both = course.windows(course.glimpse(w) for w in (estimate, measured))
    assert len(both) == 1
    assert both[0]["metrics"]["f1"] == {
        "value": 0.5, "low": 0.4, "high": 0.6, "estimated": 0.52, "estimated_low": 0.45, "estimated_high": 0.6, "holdout": None,
    }  # fmt: skip
    alone = course.windows([course.glimpse(estimate)])[0]["metrics"]["f1"]
    assert (alone["value"], alone["estimated"], alone["estimated_high"]) == (None, 0.52, 0.6)


def test_everything_a_word_keeps_is_in_a_table() -> None:
    told = {
        "rows": 12,
        "names": ["a", "b"],
        "sides": {"left": 1, "right": None},
        "list": [{"x": 1, "y": {"z": 2}}],
        "of": {"v": {"labels": 3}},
    }
    found = evidence.tables(told, leave=("names",))
    assert [t["title"] for t in found] == ["", "sides", "list", "of"]
    assert found[0]["rows"] == [["rows", "12"]]
    assert found[2] == {"title": "list", "head": ["x", "y"], "rows": [["1", "z 2"]], "more": 0}
    assert found[3]["rows"] == [["v", "3"]]
    parts = evidence.tables({"segments": {"judged": 12, "moved": [{"segment": "origin=JFK", "columns": ["distance", "hour"]}]}})
    assert [(t["title"], t["rows"]) for t in parts] == [("", [["judged", "12"]]), ("segments: moved", [["origin=JFK", "distance, hour"]])]
    many = evidence.tables({"list": [{"x": i} for i in range(200)]})[0]
    assert len(many["rows"]) + many["more"] == 200


STATUS = st.sampled_from(["violated", "warning", "healthy", "unknown"])
NUMBER = st.one_of(st.none(), st.floats(0, 1))


@st.composite
def facts(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for i in range(draw(st.integers(0, 24))):
        metric = {"value": draw(NUMBER), "low": draw(NUMBER), "high": draw(NUMBER), "holdout": 0.5}
        metric |= dict.fromkeys(("estimated", "estimated_low", "estimated_high"))
        one = word("drift", i, draw(STATUS), "")
        told = {key: one[key] for key in ("start", "end", "version")} | {"status": {"drift": one["status"]}, "metrics": {"m": metric}}
        found.append({**told, "rows": draw(st.one_of(st.none(), st.integers(0, 99))), "labels": 1, "effect": draw(NUMBER)})
    return found


@given(facts(), st.integers(1, 30))
def test_neighbours_are_put_together_and_nothing_bad_is_hidden(found: list[dict[str, Any]], most: int) -> None:
    made = course.points(found, "m", most)
    assert len(made) <= most
    assert sum(p["windows"] for p in made) == len(found)
    assert sum(p["rows"] or 0 for p in made) == sum(f["rows"] or 0 for f in found)
    statuses = [f["status"]["drift"] for f in found]
    assert ("violated" in statuses) == any(p["status"]["drift"] == "violated" for p in made)
    effects = [f["effect"] for f in found if f["effect"] is not None]
    assert max(effects, default=None) == max((p["effect"] for p in made if p["effect"] is not None), default=None)
    values = [f["metrics"]["m"]["value"] for f in found if f["metrics"]["m"]["value"] is not None]
    for point in made:
        if point["value"] is not None:
            assert min(values) - 1e-9 <= point["value"] <= max(values) + 1e-9
    assert [p["start"] for p in made] == sorted(p["start"] for p in made)
    if found:
        assert (made[0]["start"], made[-1]["end"]) == (found[0]["start"], found[-1]["end"])


def test_what_is_not_finite_breaks_no_page() -> None:
    profile, baseline = profiles(2)
    bad = [{"column": "amount_0", "measure": "psi", "value": math.nan, "threshold": 0.2, "moved": False, "p": math.inf}]
    assert "amount_0" in window.render(document(profile=profile, baseline=baseline, figures=bad))


def test_every_kind_of_verdict_has_its_picture() -> None:
    measures = [{"facet": "sex=F", "metric": "DPPL", "value": 0.1}, {"facet": "sex=F", "metric": "DI", "value": 0.8}]
    moved = [{"facet": "sex=F", "metric": "DI", "value": 0.8, "low": 0.7, "high": 0.9, "was": 1.0, "name": "DI of sex=F"}]
    versions = {
        "versions": {"2": {"labels": 300, "roc_auc": [0.75, 0.7, 0.8]}},
        "metrics": {"roc_auc": 0.7},
        "intervals": {"roc_auc": [0.65, 0.75]},
    }
    said = [
        word("data_quality", 0, "warning", "data_quality: amount_0 is missing", {"violations": []}),
        word("bias", 0, "violated", "bias: DI of sex=F is 0.8", {"moved": moved, "measures": measures}),
        word("attribution", 0, "healthy", "attribution: as it was", {"importance": {"amount_0": [0.5, 0.4], "kind_1": [0.3, 0.6]}}),
        word("performance", 0, "healthy", "performance: fine", versions),
    ]
    page = Page(window.render(document(words=said)))
    drawn = [str(attrs["aria-label"]) for tag, attrs in page.tags if tag == "svg"]
    assert any(label.startswith("Missing values. amount_0 3.0% (before 0.0%)") for label in drawn)
    assert any(label.startswith("Bias by group. DPPL sex=F 0.1000, DI - 1 sex=F -0.2000") for label in drawn), (
        "a ratio from its neutral value"
    )
    assert any(label.startswith("Weight of the features. amount_0 40.0% (before 50.0%)") for label in drawn)
    assert any(label.startswith("ROC AUC by version. version 3 0.7000, version 2 0.7500") for label in drawn)


def test_segments_say_what_moved_in_them() -> None:
    parts = [
        {"segment": "origin=JFK", "rows": 300, "moved": [{"column": "amount_0", "ratio": 2.5, "value": 0.5}]},
        {"segment": f"origin={EVIL}", "rows": 250, "moved": []},
    ]
    page = Page(window.render(document(segments=parts)))
    assert "origin=JFK 300 amount_0 (2.500 of its threshold)" in page.text and "250 nothing" in page.text
    assert page.count("script") == 0 and ("section", "segments") in [(tag, attrs.get("id")) for tag, attrs in page.tags]
    assert "Segments" not in Page(window.render(document())).text


def test_a_window_without_traffic_after_an_estimate_without_labels_has_a_page() -> None:
    """Neither window has a measured metric, and the newest speaks of none at all."""
    estimated = {"rows": 900, "metrics": {"roc_auc": 0.71, "f1": 0.6}, "intervals": {"roc_auc": [0.68, 0.74]}}
    said = [
        word("estimate", 0, "healthy", "estimate: roc_auc holds", estimated),
        word("performance", 0, "unknown", "performance: 0 of 900 predictions have labels", {"labels": 0, "rows": 900}),
        word("estimate", 1, "unknown", "estimate: no rows in the window", {"rows": 0}),
        word("performance", 1, "unknown", "performance: no predictions in the window", {"labels": 0, "rows": 0}),
    ]
    page = Page(window.render(document(words=said)))
    assert "ROC AUC — 0.7100 0.6800 to 0.7400" in page.text, "the newest window that speaks of a metric stands in the table"


def test_a_metric_that_the_newest_window_lacks_breaks_no_page() -> None:
    said = [word("performance", i, "healthy", "performance: holds", {"metrics": {name: 0.7}}) for i, name in enumerate(("f1", "roc_auc"))]
    assert "ROC AUC 0.7000" in Page(window.render(document(words=said))).text


def test_performance_is_shown_whatever_comes_after_it() -> None:
    """The page keeps the newest words in full, and these may all be of windows without traffic."""
    quiet = [word("performance", 12 + i, "unknown", "performance: no predictions in the window", {"rows": 0}) for i in range(80)]
    page = Page(window.render(document(words=[*words(), *quiet])))
    assert "ROC AUC 0.7620 0.7420 to 0.7820" in page.text and "Performance As far as labels came" in page.text
