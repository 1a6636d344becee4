"""What a script wrote must show on a terminal, and steer nothing."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.cli.screen import Screen, plain


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
