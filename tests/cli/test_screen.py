"""What a script wrote must show on a terminal, and steer nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.cli import pipeline
from modelyard.cli.screen import Ended, Screen, plain
from modelyard.errors import BadInput


@pytest.mark.parametrize(
    ("wrote", "shows"),
    [
        ("epoch 1: \u00e9\u4e2d loss 0.5", "epoch 1: \u00e9\u4e2d loss 0.5"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hcleared", "cleared"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\rb\bc\x00\x7f\x9b31m", "abc31m"),
        ("\x1b", ""),
        ("a\tb", "a\tb"),
    ],
)
def test_what_steers_a_terminal_is_left_out(wrote: str, shows: str) -> None:
    assert plain(wrote) == shows


def test_lines_and_errors_of_a_run_are_plain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)  # as on a terminal
    screen = Screen()
    error: dict[str, Any] = {"code": "step_failed", "what": "it failed", "where": "train", "next": "", "log_tail": ["\x1b]0;two\x07end"]}
    screen.show({"kind": "line", "text": "\x1b]0;one\x07begin"})
    screen.show({"kind": "error", **error})
    said = capsys.readouterr().out
    assert "begin" in said and "end" in said
    assert "\x1b]" not in said and "\x07" not in said


def test_on_a_terminal_a_line_is_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with Screen() as screen:
        screen.show({"kind": "step_started", "step": "train"})
        screen.show({"kind": "line", "text": "[/nothing] opened this"})
        screen._progress.refresh()


def test_of_steps_that_run_at_once_each_line_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    done: dict[str, Any] = {"kind": "step_done", "seconds": 1.0, "summary": "loss 0.5"}
    for item in (
        {"kind": "step_started", "step": "trial 1"},
        {"kind": "line", "step": "trial 1", "text": "alone"},
        {"kind": "step_started", "step": "trial 2"},
        {"kind": "line", "step": "trial 2", "text": "beside"},
        {**done, "step": "trial 1"},
        {"kind": "trials", "done": 1, "total": 2, "sentence": "1 of 2 trials"},
        {"kind": "line", "step": "trial 2", "text": "alone again"},
    ):
        screen.show(item)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if not line.startswith("✓")] == ["| alone", "| trial 2: beside", "1 of 2 trials", "| alone again"]


def test_on_a_terminal_a_search_has_a_bar_until_its_best_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with Screen() as screen:
        for done in (1, 2):
            screen.show({"kind": "trials", "done": done, "total": 8, "sentence": f"{done} of 8 trials"})
        (bar,) = screen._progress.tasks
        assert (bar.completed, bar.total, bar.fields["last"]) == (2, 8, "2 of 8 trials")
        screen.show({"kind": "step_done", "step": "train", "seconds": 0.0, "summary": "trial 2"})
        assert screen._progress.tasks == []


@pytest.mark.parametrize(("error", "named"), [(None, True), (BadInput("no such column"), False)])
def test_a_run_that_failed_without_a_report_names_no_other_versions(
    error: BadInput | None, named: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path))
    status = {"stages": {"production": {"address": "", "live": False}}, "versions": [{"report": "/of/version/1.html"}]}
    told = {"status": [status], "run": {"report": None}}
    caller: Any = SimpleNamespace(call=lambda name, **_: told[name])
    assert pipeline._report(caller, "demo", "build-2", False, Ended(0 if named else 2, error)) == (0 if named else 2)
    assert ("/of/version/1.html" in capsys.readouterr().out) == named
