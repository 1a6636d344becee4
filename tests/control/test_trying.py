"""The page on which a person tries an endpoint, apart from any endpoint (tests/e2e/test_callers.py has one)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from modelyard.errors import Unavailable
from modelyard.yard import Yard
from tests.control.test_console import EVIL, Page, a_model
from tests.control.yards import Plane, plane

FIELDS = [
    {"name": EVIL, "type": "str", "nullable": False, "value": EVIL, "words": ["a", EVIL]},
    {"name": "vip", "type": "bool", "nullable": True, "value": ""},
    {"name": "n", "type": "int", "nullable": True, "value": "3", "between": [0.0, 72.0]},
]


@pytest.fixture
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    def trial(yard: Yard, model: str, stage: str) -> dict[str, Any]:
        return {"address": "http://127.0.0.1:1", "version": "7", "fields": [dict(f) for f in FIELDS]}

    monkeypatch.setattr(Yard, "trial", trial)
    with plane(home) as it:
        yield it


def said(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> list[Any]:
    """Have endpoints answer so; returns what they are asked."""
    asked: list[Any] = []

    def tried(yard: Yard, model: str, stage: str, values: dict[str, str], *, explain: bool) -> dict[str, Any]:
        asked.append((model, stage, values, explain))
        return {"ms": 1.25, **answer}

    monkeypatch.setattr(Yard, "tried", tried)
    return asked


def send(served: Plane, **fields: str) -> httpx.Response:
    return served.web.post("/models/m/try?stage=staging", content=urlencode(fields))


def test_the_form_has_a_field_a_column_with_the_example(served: Plane) -> None:
    page = Page(served.web.get("/models/m/try").text)
    assert {i["name"]: i["value"] for i in page.all("input") if i.get("type") != "checkbox"}["c2"] == "3"
    options = [o["value"] for o in page.all("option")]
    assert [options[0], *options[2:]] == ["a", "true", "false", ""] and options[1].startswith(EVIL[:9])
    assert [i.get("list") for i in page.all("input") if i.get("type") != "checkbox"] == ["c0-values", None]
    assert [d["id"] for d in page.all("datalist")] == ["c0-values"]
    assert "whole number, 0 to 72 in training, may be empty" in page.text and "version 7" in page.text
    assert page.scripts == [] and EVIL[:5] not in {t for t, _ in page.tags}


def test_what_is_sent_is_asked_and_shown_with_the_answer(served: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = {
        "output": "probability_yes",
        "unit": "log-odds",
        "base": 0.5,
        "why": "it is so",
        "attributions": [["n", -2.0], [EVIL, 1.0]],
    }
    answer = {"prediction": EVIL, "version": "7", "probabilities": {"no": 0.25, "yes": 0.75}, "explanation": explanation}
    asked = said(monkeypatch, {"answer": answer})
    page = Page(send(served, c0="x", c1="true", c2="", explain="on").text)
    assert asked == [("m", "staging", {EVIL: "x", "vip": "true", "n": ""}, True)]
    for words in ("version 7, 1.2 ms", "yes 0.7500", "n -2", "Base 0.5, together -0.5", "probability yes", "it is so"):
        assert words in page.text, words
    assert page.scripts == []
    widths = [i["style"] for i in page.all("i") if i.get("style")]
    assert widths == ["width: 25%", "width: 75%", "width: 100%", "width: 50%"]


def test_an_error_of_the_endpoint_stands_above_the_form_as_it_was_sent(served: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    said(
        monkeypatch,
        {"error": {"code": "bad_input", "what": "`n` must be a whole number", "where": "row 0, column `n`", "next": "Mend it."}},
    )
    response = send(served, c2="much")
    page = Page(response.text)
    assert response.status_code == 200 and "must be a whole number" in page.text and "Next: Mend it." in page.text
    assert {i["name"]: i["value"] for i in page.all("input") if i.get("type") != "checkbox"}["c2"] == "much"


def test_what_is_no_form_is_refused(served: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = said(monkeypatch, {"answer": {"prediction": 1, "version": "1"}})
    assert served.web.post("/models/m/try", content=b"\xff").status_code == 400
    assert served.web.post("/models/m/try", content=b"c0=" + b"x" * 1_000_001).status_code == 400
    assert served.web.post("/models/m/try", content=iter([b"c0=x"])).status_code == 400
    assert served.web.post("/models/m/try?stage=other", content=b"c0=x").status_code == 400
    assert served.anonymous.post("/models/m/try", content=b"c0=x").status_code == 401
    assert served.web.post("/models/m/try", content=b"c0=x", headers={"Origin": "http://elsewhere"}).status_code == 403
    assert asked == []


def test_a_model_that_is_not_up_says_what_to_do(home: Path) -> None:
    with plane(home) as it:
        a_model(it.yard)
        response = it.web.get("/models/flights/try", headers={"Accept": "text/html"})
        assert response.status_code == Unavailable.http_status and "modelyard up" in response.text
        assert it.web.get("/models/nobody/try", headers={"Accept": "text/html"}).status_code == 404
        links = [a["href"] for a in Page(it.web.get("/models/flights").text).all("a")]
        assert "/models/flights/try?stage=production" in links
