from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelyard.cli import labels as command
from tests.cli.standin import Caller, standing_in

TOOK = {"new": 1200, "corrected": 2, "repeated": 3, "blank": 0, "matched": 1205, "waiting": 0}
WINDOW = {
    "start": "2026-03-01T00:00:00+00:00",
    "end": "2026-03-02T00:00:00+00:00",
    "rows": 2000,
    "labels": 1000,
    "coverage": 0.5,
    "first_label": "2026-03-02T06:00:00+00:00",
    "last_label": "2026-03-03T07:30:00+00:00",
    "watermark": None,
}
EMPTY = {**WINDOW, "rows": 0, "labels": 0, "coverage": None, "first_label": None, "last_label": None}


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return standing_in(monkeypatch, TOOK, command)


def run(*words: str, typed: bytes = b"") -> Result:
    return CliRunner().invoke(command.labels, list(words), input=typed)


def test_a_file_goes_by_its_path(caller: Caller, tmp_path: Path) -> None:
    done = run("demo", str(tmp_path / "truth.csv"))
    assert caller.calls == [("labels", {"model": "demo", "file": str(tmp_path / "truth.csv")})]
    assert done.stdout == "✓ 1,200 new, 2 corrected, 3 repeated\n  next: modelyard monitor demo --now\n"


def test_it_says_what_waits_and_what_was_left_out(caller: Caller) -> None:
    caller.answer = {**TOOK, "matched": 5, "waiting": 1200, "blank": 7}
    said = run("demo", "truth.csv").stdout
    assert "3 repeated; 5 match a captured prediction, 1,200 wait for theirs, 7 rows without a label left out\n" in said
    assert json.loads(run("demo", "truth.csv", "--json").stdout) == caller.answer


def test_windows_of_seconds_are_shown_to_the_second(caller: Caller) -> None:
    ends = ("2026-03-01T00:00:00+00:00", "2026-03-01T00:00:30+00:00", "2026-03-01T00:01:00+00:00")
    windows = [{**WINDOW, "start": a, "end": b} for a, b in pairwise(ends)]
    caller.answer = {"model": "demo", "usual": 0.5, "watermark": ends[1], "windows": windows}
    lines = run("demo", "--coverage").stdout.splitlines()
    shown = [" ".join(line.split()[:3]) for line in lines]
    assert "2026-03-01T00:00 .. 2026-03-01T00:00:30" in shown and "2026-03-01T00:00:30 .. 2026-03-01T00:01" in shown
    assert lines[-1].endswith("complete until 2026-03-01T00:00:30")


@pytest.mark.parametrize(
    ("words", "kind"), [((), "text/csv"), (("--format", "jsonl"), "application/x-ndjson"), (("--format", "json"), "application/json")]
)
def test_standard_input_is_sent(words: tuple[str, ...], kind: str, caller: Caller) -> None:
    assert run("demo", "-", *words, typed="id,y\ngr\u00fc\u00df,1\n".encode()).exit_code == 0
    assert caller.calls == [("take-labels", {"model": "demo", "body": "id,y\ngr\u00fc\u00df,1\n", "content_type": kind})]


def test_standard_input_that_is_no_text(caller: Caller) -> None:
    done = run("demo", "-", typed=b"PAR1\xff\xfe")
    assert done.exit_code and "not text in UTF-8" in str(done.exception) and caller.calls == []


@pytest.mark.parametrize(
    "words",
    [(), ("x.csv", "--coverage"), ("x.csv", "--since", "2026-01-01"), ("x.csv", "--format", "csv"), ("--coverage", "--format", "csv")],
)
def test_words_that_do_not_go_together(words: tuple[str, ...], caller: Caller) -> None:
    done = run("demo", *words)
    assert done.exit_code == 2 and "give FILE" in done.output and caller.calls == []


def test_coverage_is_a_table_by_window(caller: Caller) -> None:
    caller.answer = {"model": "demo", "usual": 0.5, "watermark": "2026-03-02T00:00:00+00:00", "windows": [WINDOW, EMPTY]}
    done = run("demo", "--coverage", "--since", "2026-03-01")
    assert caller.calls == [("label-coverage", {"model": "demo", "since": "2026-03-01", "until": ""})]
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["WINDOW", "(UTC)", "ROWS", "LABELLED", "COVERAGE", "FIRST", "LABEL", "LAST", "LABEL"]
    assert lines[1].split() == [
        *("2026-03-01T00:00", "..", "2026-03-02T00:00", "2,000", "1,000", "50.0%", "2026-03-02T06:00", "2026-03-03T07:30"),
    ]
    assert lines[2].split()[3:] == ["0", "0", "-", "-", "-"]
    assert lines[3] == "usual coverage 50.0%; complete until 2026-03-02T00:00"
    assert json.loads(run("demo", "--coverage", "--json").stdout) == caller.answer


def test_nothing_to_cover(caller: Caller) -> None:
    caller.answer = {"model": "demo", "usual": None, "watermark": None, "windows": []}
    assert run("demo", "--coverage").stdout == "nothing was captured then\n"
    caller.answer = {"model": "demo", "usual": 1.0, "watermark": None, "windows": [WINDOW]}
    assert run("demo", "--coverage").stdout.endswith("usual coverage 100.0%; complete for no window yet\n")
