"""The model card of a build: written before its gates can refuse, sealed, and shown with what the journal knows since."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from modelyard import events as e
from modelyard.cli import report as command
from modelyard.durable import Outcome
from modelyard.errors import GateRefused, NotFound
from modelyard.flows import evaluation, reporting
from modelyard.flows.build import _stop_for_the_data
from modelyard.monitor.book import Word
from modelyard.quality.report import render
from tests.flows.test_evaluation import TABLES, Build, build

__all__ = ["build"]

FACTS: dict[str, Any] = {
    "code": {"commit": "c0ffee", "dirty": True, "digest": "0c0de0", "entry": "train.py"},
    "data": {"digest": "da" * 32, "source": "50" * 32, "rows": 600, "captured": 3, "dropped": ["2 rows without y dropped"]},
    "environment": "e0" * 32,
    "rows": {"train": 400, "test": 150},
    "hyperparameters": {"depth": 4},
}


class Reader(HTMLParser):
    """A page's words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def words(page: str) -> str:
    return " ".join(" ".join(Reader(page).found).split())


def judged(site: Any, **facts: Any) -> tuple[dict[str, Any], str]:
    """report.json and the page's words, of a build up to its gates."""
    evaluation.predict(site, "", {})
    found = evaluation.evaluate(site)
    evaluation.judge(site, found.value, FACTS | facts)
    document = json.loads((site.folder / reporting.DOCUMENT).read_text())
    page = (site.folder / reporting.PAGE).read_text()
    assert page == render(document), "the page is the document's"
    return document, words(page)


@pytest.mark.parametrize("kind", TABLES)
def test_every_problem_type_has_its_card(kind: str, build: Build) -> None:
    document, text = judged(build(kind, {"slices": ["shop"]}))
    shown = {
        "binary_classification": ("roc", "pr", "calibration", "scores", "confusion", "threshold"),
        "multiclass_classification": ("roc", "calibration", "scores", "confusion", "by_class"),
        "multilabel_classification": ("by_class", "roc"),
        "regression": ("cloud", "errors", "deciles"),
        "ranking": ("ranking",),
        "forecasting": ("series", "cloud", "errors", "deciles"),
        "anomaly_detection": ("roc", "pr", "scores", "confusion", "threshold"),
    }
    assert tuple(document["curves"]) == shown[kind]
    main = document["headline"]
    assert main["low"] <= main["value"] <= main["high"] and main["value"] == document["evaluation"]["metrics"][main["metric"]]
    assert document["curves"].get("roc", [{}])[0].get("area") is None or len(document["curves"]["roc"][0]["x"]) <= 301
    for said in ("2 rows without y dropped", "c0ffee", "400 train", "Built by alice", "Slices", "Lineage", "4 ms"):
        assert said in text, said
    if kind == "forecasting":
        assert [line["name"] for line in document["curves"]["series"]] == ["all together", "s0", "s1", "s2"]


def test_a_refused_build_has_its_card_with_the_verdicts(build: Build) -> None:
    gates = [{"metric": "roc_auc", "threshold": 0.9999}, {"metric": "accuracy", "threshold": 0.1}]
    site = build("binary_classification", {"validation_criteria": gates})
    site.run.step("expectations", lambda: None)
    document, text = judged(site)
    assert document["verdict"]["state"] == "failed" and "Refused: 1 of 3 gates failed." in text and "nobody can approve it" in text
    assert [gate["ok"] for gate in document["gates"]] == [False, True, True] and "roc_auc ≥ 0.9999" in text
    assert [step["step"] for step in document["lineage"]["steps"]] == ["expectations"]


def test_rows_that_are_refused_have_a_card_before_there_is_a_model(build: Build) -> None:
    site = build("binary_classification")
    refusal = e.GateJudged("demo", site.run.id, "expect min_rows", False, "block", "3 rows, at least 100 wanted: failed")
    site.run.step("expectations", lambda: Outcome([], [refusal]))
    known = {name: FACTS[name] for name in ("code", "data", "environment")}
    _stop_for_the_data(site, [], known)
    assert not (site.folder / reporting.PAGE).exists()
    with pytest.raises(GateRefused, match="3 rows, at least 100 wanted"):
        _stop_for_the_data(site, [refusal.sentence], known)
    document = json.loads((site.folder / reporting.DOCUMENT).read_text())
    assert document["evaluation"] is None and document["headline"] is None and document["model"]["target"] == "y"
    text = words((site.folder / reporting.PAGE).read_text())
    assert text.count("3 rows, at least 100 wanted: failed") == 2 and "Refused for its data" in text


@pytest.fixture
def sealed(build: Build) -> Any:
    """A site whose version 1 is registered, with its card sealed."""
    site = build("binary_classification")
    evaluation.predict(site, "", {})
    found = evaluation.evaluate(site)
    (site.folder / "profile.json").write_text(json.dumps({"rows": 600, "target": "y", "columns": [], "splits": {}}))
    (site.folder / "requirements.lock").write_text(
        "# Python 3.11\nnumpy==2.4.6 ; python_version >= '3'\nscikit-learn==1.9.1\n    # via x\n"
    )
    site.code.mkdir()
    passed = evaluation.judge(site, found.value, FACTS)
    digest = evaluation.seal(site, found.value, {**FACTS, "code": {**FACTS["code"], "inference": ""}}).value
    for version, run in (("1", site.run.id), ("2", "build-2")):
        site.shop.record(
            [
                e.VersionRegistered(
                    "demo", run, version, digest if version == "1" else "ee" * 32, "da" * 32, "c0", "10", "cf", None, False,
                    found.value["metrics"], passed.value["gates"],
                )
            ]
        )  # fmt: skip
    return site


def test_a_sealed_card_is_shown_with_what_came_after(sealed: Any) -> None:
    shop, run = sealed.shop, sealed.run.id
    before = reporting.of_version(shop, "demo", "1")
    assert (
        before["today"]["approvals"] == []
        and before["today"]["serves"] == {}
        and before["lineage"]["packages"]
        == [
            "numpy==2.4.6",
            "scikit-learn==1.9.1",
        ]
    )
    asked = e.ApprovalRequested("demo", run, "1", "production", "d", "c", "alice", "2030-01-01T00:00:00+00:00", False)
    shop.record([asked])
    assert [w["asked_by"] for w in reporting.of_version(shop, "demo", "1")["today"]["waiting"]] == ["alice"]
    start, end = "2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00"
    shop.record(
        [
            e.ApprovalGiven("demo", run, "1", "production", True, "bob", comment="fine"),
            e.Deployed("demo", "production", "http://x", {"1": 100}, "canary"),
            e.Promoted("demo", "production", "1", None, "it passed"),
            e.Deployed("demo", "production", "http://x", {"2": 100}, "another one"),
            e.RolledBack("demo", "production", "2", "1", "errors"),
            e.Deployed("demo", "production", "http://x", {"1": 90, "2": 10}, "back"),
            e.AlertSent("demo", "drift", "noise", 1),
        ]
    )
    shop.book.put(
        [
            Word("demo", "drift", start, end, "1", "violated", "x moved", end, {"much": "evidence"}),
            Word("demo", "drift", end, "2026-03-03T00:00:00+00:00", "2", "healthy", "not of this version", end),
        ]
    )
    found = reporting.of_version(shop, "demo", None)
    today = found["today"]
    assert (found["version"], today["champion"], today["serves"]) == ("1", True, {"production": 90})
    assert [(w["by"], w["approved"], w["kind"]) for w in today["approvals"]] == [("bob", True, "ApprovalGiven")]
    kinds = ["VersionRegistered", "ApprovalRequested", "ApprovalGiven", "Deployed", "Promoted", "RolledBack", "Deployed"]
    assert [event["kind"] for event in today["events"]] == kinds and "another one" not in json.dumps(today)
    assert [(v["status"], v["evidence"]) for v in today["verdicts"]] == [("violated", None)]
    text = words(render(found))
    for said in ("bob approved demo:1 for production: fine", "x moved", "demo:1 promoted in production", "production 90%", today["bundle"]):
        assert said in text, said
    assert {k: v for k, v in found.items() if k != "today"} == {k: v for k, v in before.items() if k != "today"}, "the sealed part stays"
    with pytest.raises(NotFound, match="demo:2 is not in its bundle"):
        reporting.of_version(shop, "demo", "2")


def test_the_command_shows_the_card_and_writes_it(sealed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Caller:
        def __enter__(self) -> Caller:
            return self

        def __exit__(self, *_: object) -> None: ...

        def call(self, verb: str, **given: Any) -> Any:
            assert verb == "report"
            return reporting.of_version(sealed.shop, given["model"], given["version"])

    monkeypatch.setattr(command, "asking", Caller)
    page = tmp_path / "card.html"
    done = CliRunner().invoke(command.report, ["demo:1", "--html", str(page)], catch_exceptions=False)
    assert done.exit_code == 0 and "demo:1  ✓ Good enough: the gate passed." in done.output and "serves  nowhere" in done.output
    assert "ROC AUC" in done.output and "learned nothing 0.5000" in done.output
    text = words(page.read_text())
    assert "registered demo:1" in text and "What became of this version, from the journal" in text
    as_json = CliRunner().invoke(command.report, ["demo:1", "--json"], catch_exceptions=False)
    assert json.loads(as_json.output)["schema"] == "modelyard.report/1"


def test_mlflow_shows_the_card_beside_the_run(sealed: Any) -> None:
    shop = sealed.shop
    version = shop.version("demo", "1")
    run = shop.store.record("demo", version, shop.bundle(version), {}, {})
    there = {a.path: a.file_size for a in shop.store._open().list_artifacts(run)}
    assert set(there) == {"report.html", "report.json"}
    assert there["report.json"] == (shop.bundle(version) / "report.json").stat().st_size
