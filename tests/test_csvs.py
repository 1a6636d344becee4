"""Names of a csv's columns, with quotes in them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest

from modelyard import csvs


@pytest.mark.parametrize(
    "header",
    [
        *('k,"q ""x"".y"', '"a"" ""b",k', '"a,""b","c\nd"', '"""",k', '"""a""","""b"""', 'a""b,k'),
        *('\ufeff"a""b",k', '\n"a""b",k', '"a""b",k\r', "k,l"),
    ],
)  # fmt: skip
def test_columns_are_called_as_everybody_calls_them(header: str, tmp_path: Path) -> None:
    """Python's csv reads the header of rows that an endpoint is sent."""
    text = f"{header}\n007,2\n"
    names = next(csv.reader(io.StringIO(text.lstrip("\n\ufeff"), newline="")))
    (tmp_path / "a.csv").write_text(text, newline="")
    for file in (text.encode(), tmp_path / "a.csv"):
        assert csvs.frame(file).columns == names
        assert csvs.frame(file, {names[0]: pl.String})[names[0]].to_list() == ["007"]
