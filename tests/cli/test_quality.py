from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from modelyard.cli import quality, requests
from modelyard.errors import BadInput, YardError
from tests.cli.standin import Caller, standing_in

HELD = {
    "model": "demo",
    "version": "3",
    "tolerance": 0.01,
    "columns": [
        {"name": "wind", "type": "float", "completeness": 0.97, "min": 0.0, "max": 9.5, "range_match": 0.9, "written": ["max"]},
        {"name": "gate", "type": "str", "categories": ["a", "b", "c", "d", "e"], "distance": 0.2, "written": []},
        {"name": "\x1b[2Jevil", "non_negative": True, "written": []},
    ],
    "unjudged": ["tail"],
    "constraints": {"features": []},
    "statistics": {"dataset": {"item_count": 1}},
}
BROKEN = {
    "model": "demo",
    "version": "3",
    "window": ["2026-03-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00"],
    "rows": 1200,
    "verdict": {"status": "violated", "reason": "data_quality: ..."},
    "violations": [{"feature_name": "wind", "constraint_check_type": "completeness_check", "description": "60% missing", "share": 0.6}],
    "constraint_violations": {"violations": []},
    "statistics": {"dataset": {"item_count": 1200}},
}
REQUEST = {
    "model": "demo",
    "asked": 2,
    "unlabelled": 90,
    "asked_before": 10,
    "file": "/t.json",
    "interface": "/t.xml",
    "chosen": {},
    "first": [{"inference_id": "r1", "reason": "1 is 0.502 likely, 0.5 decides"}],
}


def answer(verb: str, **words: Any) -> Any:
    if verb == "request-labels":
        return REQUEST
    return dict(HELD if words.get("window") is None and words.get("judge") is None else BROKEN)


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return standing_in(monkeypatch, answer, quality, requests)


def run(*words: str, command: click.Command = quality.constraints) -> Result:
    done = CliRunner().invoke(command, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_what_holds_as_a_table_and_as_a_file(caller: Caller, tmp_path: Path) -> None:
    done = run("demo:3", "-o", str(tmp_path / "c.json"), "--statistics", str(tmp_path / "s.json"))
    lines = done.stdout.splitlines()
    assert lines[2].split() == ["wind", "float", ">=", "97%", "0..9.5", "range", "90%", "max"]
    assert "a, b, c, d and 1 more distance <= 0.2" in lines[3] and "\x1b[2J" not in done.stdout and "not judged" in done.stdout
    assert json.loads((tmp_path / "c.json").read_text()) == HELD["constraints"]
    assert json.loads((tmp_path / "s.json").read_text()) == HELD["statistics"]
    assert caller.calls == [("constraints", {"model": "demo", "version": "3", "window": None, "judge": None})]


def test_what_a_window_breaks(caller: Caller, tmp_path: Path) -> None:
    theirs = [{"feature_name": n, "constraint_check_type": "completeness_check", "description": ""} for n in ("wind", "load")]
    (tmp_path / "v.json").write_text(json.dumps({"violations": theirs}))
    done = run("demo", "--window", "2026-03-01", "--against", str(tmp_path / "v.json"), "--violations", str(tmp_path / "w.json"))
    assert "2026-03-01T00:00 .. 2026-03-02T00:00  1,200 rows  violated" in done.stdout
    assert "wind    completeness_check  60% missing" in done.stdout
    assert "seen by both: wind completeness_check\nseen there alone: load completeness_check" in done.stdout
    assert json.loads((tmp_path / "w.json").read_text()) == {"violations": []}
    told = json.loads(run("demo", "--window", "2026-03-01", "--against", str(tmp_path / "v.json"), "--json").stdout)
    assert told["against"] == {"both": ["wind completeness_check"], "ours": [], "theirs": ["load completeness_check"]}


@pytest.mark.parametrize("how", [("--window", "2026-03-01"), ("--judge", "s.json")])
@pytest.mark.parametrize(("status", "code"), [("violated", 3), ("warning", 0), ("unknown", 0), ("healthy", 0)])
def test_the_exit_code_says_whether_they_are_violated(
    how: tuple[str, str], status: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {**BROKEN, "verdict": {"status": status, "reason": "data_quality: ..."}}
    standing_in(monkeypatch, lambda verb, **words: dict(said if words.get("window") or words.get("judge") else HELD), quality)
    for format in ((), ("--json",)):
        assert quality.constraints.main(["demo", *how, *format], standalone_mode=False) == code
        shown = capsys.readouterr().out
        assert status in shown
    assert json.loads(shown)["violations"] == BROKEN["violations"], "the report is printed all the same"
    assert quality.constraints.main(["demo"], standalone_mode=False) == 0


def test_windows_of_seconds_are_shown_to_the_second(caller: Caller) -> None:
    ends = ["2026-03-01T00:00:30+00:00", "2026-03-01T00:01:00+00:00"]
    caller.answer = {**BROKEN, "window": ends}
    assert "2026-03-01T00:00:30 .. 2026-03-01T00:01  1,200 rows" in run("demo", "--window", ends[0]).stdout


@pytest.mark.parametrize(
    "words",
    [["--violations", "v.json"], ["--against", "v.json"], ["--window", "a", "--judge", "b"], ["--judge", "b", "--statistics", "s.json"]],
)
def test_options_that_do_not_go_together(caller: Caller, words: list[str]) -> None:
    with pytest.raises(BadInput):
        run("demo", *words)
    assert caller.calls == []


def test_files_that_cannot_be_read(caller: Caller, tmp_path: Path) -> None:
    for text in (None, "{", "{}"):
        if text is not None:
            (tmp_path / "v.json").write_text(text)
        with pytest.raises(YardError):
            run("demo", "--window", "2026-03-01", "--against", str(tmp_path / "v.json"))


def test_label_requests(caller: Caller, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    done = run("demo", "-o", str(file), "--count", "2", "--since", "7d", command=requests.request_labels)
    assert "2 of 90 unlabelled predictions" in done.stdout and "10 more were asked about before" in done.stdout
    assert "r1  1 is 0.502 likely" in done.stdout and "/t.xml" in done.stdout and "modelyard labels demo EXPORT" in done.stdout
    words = {"count": 2, "format": "label-studio", "since": "7d", "window": None, "by_chance": 0.1, "blind": False, "again": False}
    assert caller.calls == [("request-labels", {"model": "demo", "target": str(file.resolve()), **words})]
    run("demo", "-o", str(tmp_path / "t.csv"), "--json", command=requests.request_labels)
    assert caller.calls[-1][1]["format"] == "csv"
