"""What a person sees of data, by real commands."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from modelyard.cli.data import bars
from tests.e2e.person import Person


@pytest.fixture
def me(home: Path, tmp_path: Path) -> Person:
    return Person(home, tmp_path)


def test_two_files_side_by_side(me: Person) -> None:
    pl.DataFrame({"x": range(100), "c": ["a", "b"] * 50}).write_csv(me.place / "a.csv")
    pl.DataFrame({"x": range(50, 150), "c": ["a", "new\x1b[31m"] * 50}).write_parquet(me.place / "b.parquet")
    said = me.run("data", "diff", "a.csv", "b.parquet").out
    assert "rows  100 -> 100" in said and "49.5 -> 99.5" in said
    assert "new in c  new (50 rows)" in said and "gone in c  b (50 rows)" in said and "\x1b" not in said
    assert "█" in said
    answer = json.loads(me.run("data", "diff", "a.csv", "b.parquet", "--json").out)
    assert [column["column"] for column in answer["columns"]] == ["x", "c"]
    said = me.run("data", "profile", "b.parquet", "--html", "page.html").out
    assert "rows  100" in said and "50  100  149" in said
    assert "<svg" in (me.place / "page.html").read_text()
    assert me.run("data", "list").out == "there are no snapshots yet; a build takes one\n"


def test_bars() -> None:
    assert bars([0, 1, 4, 8]) == " ▁▄█"
    assert bars([1, 1_000_000]) == "▁█"
    assert bars([]) == ""
