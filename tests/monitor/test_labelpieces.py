"""Files of labels in pieces: whatever their size, they say what the whole file says; and what is wrong is named with its line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.monitor import labelfiles, labelpieces
from modelyard.monitor.labelfiles import LINE, Names
from modelyard.monitor.labelpieces import Pieces

NAMES = Names("id", "y", "America/New_York")
TIMES = ["", "2013-03-01T06:00:00", "2013-03-01", "2013-03-01T06:00:00Z"]


@contextmanager
def small(block: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelpieces, "BLOCK", block)
        patch.setattr(labelpieces, "ROWS", block)
        yield


def read(data: bytes, kind: str, block: int, names: Names = NAMES) -> tuple[pl.DataFrame, list[int]]:
    """All rows, and how many each piece had."""
    with small(block):
        pieces = Pieces(io.BytesIO(data), kind, names, "l.csv")
        found = list(pieces)
        return pl.concat([pieces.typed(piece) for piece in found]), [piece.height for piece in found]


# what a csv may hold, kind by kind and mixed; Polars reads it whole, as labels were read before there were pieces
WORDS = st.sampled_from(["1", "0", "2.5", "1e5", "007", "true", "False", "a", "", "x y", 'say "so"', "two\nlines", "a,b", "7.0", "ü"])
KIND = st.sampled_from([["1", "0", "22", ""], ["1", "2.5", "-0.1", ""], ["true", "False", ""], ["7.0", "8", "-9"], ["007", "1"]])
CELLS = st.one_of(WORDS, KIND.flatmap(st.sampled_from))
COLUMN = st.one_of(st.lists(CELLS, max_size=12), KIND.flatmap(lambda words: st.lists(st.sampled_from(words), max_size=12)))


def quoted(word: str, always: bool) -> str:
    return '"' + word.replace('"', '""') + '"' if always or set(word) & set('",\n') else word


def before(text: pl.Series, name: str) -> pl.Series:
    """As a column was typed when files were read whole."""
    if name == "id":
        whole = text.str.contains(r"^-?\d+(\.0)?$").all()
        return text.str.strip_suffix(".0") if whole else text
    return labelfiles.typed(text)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=6), COLUMN, st.booleans(), st.integers(1, 200), st.booleans())
def test_a_csv_says_the_same_in_pieces_of_any_size(rows: Any, column: list[str], always: bool, block: int, feed: bool) -> None:
    rows = [*rows, *(("k", word) for word in column)]
    lines = [",".join(quoted(word, always) for word in ("note", *row)) for row in rows]
    data = ("other,id,y\n" + "\n".join(lines) + ("\n" if feed and rows else "")).encode()
    text = pl.read_csv(io.BytesIO(data), infer_schema=False)
    if text.is_empty():
        with pytest.raises(BadInput, match="the file has no rows"):
            read(data, "csv", block)
        return
    found, heights = read(data, "csv", block)
    assert found["inference_id"].to_list() == before(text["id"], "id").to_list()
    if text["y"].null_count() < text.height:  # else of no type
        assert found["label"].rename("y").equals(before(text["y"], "y")) and found["label"].dtype == before(text["y"], "y").dtype
    begun = [data.decode().splitlines(keepends=True)[line - 1] for line in found[LINE]]
    assert all(line.lstrip('"').startswith("note") for line in begun), "each record begins in its line"
    assert block > 60 or len(data) < 3 * block + 60 or len(heights) > 1


VALUES = st.sampled_from([None, 1, 0, 2.5, 1.0, True, "a", "1", "ü", 10**25])


ROW = st.fixed_dictionaries({"id": st.sampled_from(["a", 7, 7.0, 10**25])}, optional={"y": VALUES, "z": VALUES})


@given(st.lists(ROW, min_size=1, max_size=12), st.integers(1, 200))
def test_json_lines_say_the_same_in_pieces_of_any_size(rows: list[dict[str, Any]], block: int) -> None:
    data = "".join(json.dumps(row) + "\n\n" for row in rows).encode()
    if not any("y" in row for row in rows):
        with pytest.raises(BadInput, match="there is no column 'y'"):
            read(data, "jsonl", block)
        return
    found, _ = read(data, "jsonl", block)
    whole, [_] = read(data, "jsonl", 10**6)
    assert found.equals(whole) and found.schema == whole.schema and found[LINE].to_list() == [2 * i + 1 for i in range(len(rows))]
    assert found["inference_id"].to_list() == [str(int(row["id"])) if isinstance(row["id"], float) else str(row["id"]) for row in rows]
    kinds = {type(row.get("y")) for row in rows} - {type(None)}
    if kinds <= {int, float} and 10**25 not in [row.get("y") for row in rows]:
        assert found["label"].to_list() == [row.get("y") for row in rows]
        assert not kinds or found["label"].dtype == (pl.Float64 if float in kinds else pl.Int64)
    if kinds in ({bool}, {str}):
        assert found["label"].to_list() == [row.get("y") for row in rows]


def test_what_an_integer_is_beside_truths_and_words() -> None:
    def labels(*values: Any) -> list[Any]:
        return read("".join(json.dumps({"id": "a", "y": v}) + "\n" for v in values).encode(), "jsonl", 1)[0]["label"].to_list()

    assert labels(True, 2) == [1, 2] and labels(True, 0.5) == [1.0, 0.5] and labels(True, "x") == ["true", "x"]
    assert labels(1, "a") == labels(1.0, "a") == ["1", "a"] and labels(None, None) == [None, None]


@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from([None, 0.5, 1.0])), min_size=1, max_size=20), st.integers(1, 9))
def test_parquet_says_the_same_in_pieces_of_any_size(rows: list[tuple[int, Any]], block: int) -> None:
    file, table = io.BytesIO(), pl.DataFrame(rows, schema={"id": pl.Int64, "y": pl.Float64}, orient="row")
    table.with_columns(pl.lit("x").alias("other")).write_parquet(file)
    found, heights = read(file.getvalue(), "parquet", block)
    assert found.rows() == [(*row, i) for i, row in enumerate(rows, 1)] and len(heights) == -(-len(rows) // block)


def test_times_and_entities_in_pieces() -> None:
    names = Names(None, "y", "America/New_York", ("tail", "leg"), "at")
    lines = [f"N{i},{i % 2},{TIMES[1 + i % 3]},{i},{TIMES[i % 4]}" for i in range(40)]
    data = ("tail,leg,at,y,labelled_at\n" + "\n".join(lines)).encode()
    found, heights = read(data, "csv", 100, names)
    whole, [_] = read(data, "csv", 10**6, names)
    assert found.equals(whole) and len(heights) > 5 and found.columns[:5] == ["tail", "leg", "event_time", "label", "labelled_at"]
    assert found["event_time"][0].isoformat() == "2013-03-01T11:00:00+00:00" and found["labelled_at"].null_count() == 10


def test_quotes_in_a_name_are_those_of_the_header() -> None:
    found, _ = read(b'"my ""id""","the ""y"""\n007,1\nb,2\n', "csv", 4, Names('my "id"', 'the "y"'))
    assert found.select("inference_id", "label").rows() == [("007", 1), ("b", 2)]


def csv(*cells: str, many: int = 500) -> bytes:
    return "\n".join(["id,y,labelled_at", *(f"a{i},1," for i in range(many)), *cells, *["b,0,"] * many]).encode()


@pytest.mark.parametrize(
    ("kind", "data", "said", "where"),
    [
        ("csv", csv("c,1,2,3"), "not a readable csv file", "l.csv:502"),
        ("csv", csv("c,1,yesterday"), "'yesterday' is not a time", "l.csv:502, labelled_at"),
        ("csv", csv('c,"two\nlines",', "c,1,soon"), "'soon' is not a time", "l.csv:504, labelled_at"),
        ("csv", csv("c,#,").replace(b"#", b"\xff"), "not a readable csv", "l.csv:502"),
        ("jsonl", b'{"id": "a", "y": 1}\n' * 300 + b'{"id": "b"', "not JSON", "l.csv:301"),
        ("jsonl", b'{"id": "a", "y": 1}\n' * 300 + b"[1]\n", "not an object", "l.csv:301"),
        ("jsonl", b'{"id": "a", "y": 1}\n' * 300 + b'{"id": "a", "y": [1, 2]}\n', "`y` is [1, 2], and no single value", "l.csv:301"),
        ("jsonl", b'{"id": "a", "y": 1}\n' * 300 + b'{"id": "\xff"}\n', "not JSON", "l.csv:301"),
        ("jsonl", b'{"id": "a", "y": 1, "labelled_at": "x"}\n', "'x' is not a time", "l.csv:1, labelled_at"),
        ("json", b'[{"id": "a", "y": 1}, {"id": "a", "y": {}}]', "`y` is {}", "l.csv, row 2"),
        ("json", b"{", "not JSON", "l.csv"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(kind: str, data: bytes, said: str, where: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(data, kind, 64)
    assert said in caught.value.what and caught.value.where == where


def test_a_missing_column_is_told_before_the_file_is_read(tmp_path: Path) -> None:
    data = b"id,z\n" + b"a,1\n" * 10_000
    file = io.BytesIO(data)
    with small(64), pytest.raises(BadInput, match="there is no column 'y'"):
        list(Pieces(file, "csv", NAMES, "l.csv"))
    assert file.tell() < 1000


def test_blank_lines_before_the_header_and_marks_are_skipped() -> None:
    found, _ = read(b"\xef\xbb\xbf\n\r\nid,y\na,1\n", "csv", 4)
    assert found.rows() == [("a", 1, 4)]
    assert read(b'\xef\xbb\xbf{"id": "a", "y": 1}', "jsonl", 4)[0].rows() == [("a", 1, 1)]


def test_a_quote_that_nothing_closes_ends_in_time() -> None:
    data = b'id,y\n"a,1\n' + b"b,2\n" * 200_000
    with small(1000):
        pieces = list(labelpieces.blocks(io.BytesIO(data)))
    assert len(pieces) == 1 and b"".join(piece[1] for piece in pieces) == data.partition(b"\n")[2]
