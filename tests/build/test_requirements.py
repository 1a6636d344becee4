"""Requirements as read: line by line as pip reads them. What becomes of them is in test_locks.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.build import requirements

PIECES = [
    "alpha==1.0",
    "beta",
    " ",
    "\t",
    "#",
    " # why",
    "\\",
    "\n",
    "\n\n",
    "\r\n",
    "--hash=sha256:00",
    "-r more.txt",
    "x @ https://h/a#egg=x",
    "; ",
]


def _plain(text: str) -> bool:
    """pip drops backslashes at a continued line's beginning too, which is of no use to anybody."""
    return not any(re.match(r"\\.*\\$|.*\\\\$", line) for line in text.splitlines() if line != "\\")


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join).filter(_plain))
@example("\\\nalpha==1.0")
def test_lines_are_those_that_pip_reads(text: str) -> None:
    pip = pytest.importorskip("pip._internal.req.req_file")
    assert list(requirements._lines(text)) == [(number, line) for number, line in pip.preprocess(text)]


def test_the_digest_is_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    def digest(folder: str, main: str, more: str) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "more.txt").write_text(more)
        (tmp_path / folder / "requirements.txt").write_text(main)
        return requirements.read(tmp_path / folder / "requirements.txt", "").digest

    same = digest("a", "-r more.txt\nalpha\n", "beta\n")
    assert digest("b", "-r more.txt\nalpha\n", "beta\n") == same
    others = [
        digest("a", "-r more.txt\nalpha\n", "beta<2\n"),
        digest("a", "-r more.txt\nalpha>1\n", "beta\n"),
        digest("a", "alpha\n", "beta\n"),
    ]
    assert len({same, *others}) == 4


def test_files_that_include_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("-r b.txt\nalpha\n")
    (tmp_path / "b.txt").write_text("-r a.txt\nbeta\n")
    assert [path.name for path in requirements.read(tmp_path / "a.txt", "").files] == ["a.txt", "b.txt"]
