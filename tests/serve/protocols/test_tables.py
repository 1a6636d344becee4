"""Parquet, Arrow and NPY bodies: the same rows and the same refusals as JSON, and no small body becomes a large one."""

from __future__ import annotations

import io
import json
import math
import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.serve.protocols import Formats
from modelyard.serve.protocols.writing import ARROW, CSV, JSON, LINES, NPY, PARQUET
from modelyard.serve.refusals import TooLarge
from modelyard.serve.rows import Rows
from modelyard.signature import Column, Signature

MICROS = int(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp() * 1_000_000)
SIGNED = Signature(
    "binary_classification",
    (
        Column("age", "int"),
        Column("fare", "float", nullable=True),
        Column("arr delay", "str"),
        Column("vip", "bool", nullable=True),
        Column("seen", "datetime", nullable=True),
    ),
    classes=("no", "yes"),
    positive_class="yes",
    decision_threshold=0.5,
    id_col="flight",
    time_col="at",
)
FORMATS = Formats(SIGNED, max_rows=1000)
GOOD: dict[str, list[Any]] = {
    "age": [3, 4],
    "fare": [1.5, None],
    "arr delay": ["x", "y"],
    "vip": [True, None],
    "seen": [datetime(2026, 1, 1, tzinfo=UTC), None],
}
STREAM, FILE = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"


def written(table: pa.Table, kind: str, **more: Any) -> bytes:
    stream = io.BytesIO()
    if kind == PARQUET:
        pq.write_table(table, stream, **more)
    else:
        options = pa.ipc.IpcWriteOptions(**more)
        with (pa.ipc.new_stream if kind == STREAM else pa.ipc.new_file)(stream, table.schema, options=options) as writer:
            writer.write_table(table)
    return stream.getvalue()


def parse(body: bytes, kind: str, formats: Formats = FORMATS) -> Rows:
    return formats.parse(body, kind, received_at=MICROS)


def npy(array: Any, **more: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **more)
    return stream.getvalue()


@pytest.mark.parametrize("kind", [PARQUET, STREAM, FILE])
@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_tables_give_the_same_rows_as_json(kind: str, compression: str | None) -> None:
    rows = parse(written(pa.table(GOOD), kind, compression=compression or ("none" if kind == PARQUET else None)), kind)
    sent = [{k: v[i].isoformat() if isinstance(v[i], datetime) else v[i] for k, v in GOOD.items()} for i in range(2)]
    assert rows.columns == parse(json.dumps(sent).encode(), JSON).columns


@pytest.mark.parametrize("kind", [PARQUET, STREAM, FILE])
def test_types_that_stand_for_others(kind: str) -> None:
    columns = {
        "age": pa.array([3.0, 4.0], pa.float32()),
        "fare": pa.array([float("nan"), 2.0], pa.float64()),
        "arr delay": pa.array(["x", "x"]).dictionary_encode(),
        "seen": pa.array([1_767_225_600_000_000_001, None], pa.timestamp("ns")),
        "flight": pa.array([7, 8], pa.int16()),
        "at": pa.array([datetime(2026, 11, 22), None], pa.timestamp("s")),
    }
    rows = parse(written(pa.table(columns), kind), kind)
    assert rows.columns == {
        "age": [3, 4],
        "fare": [None, 2.0],
        "arr delay": ["x", "x"],
        "vip": [None, None],
        "seen": [1767225600_000000, None],
    }
    assert rows.inference_ids == ["7", "8"] and rows.event_times == [MICROS - 129600_000000, MICROS]


@pytest.mark.parametrize("text", [pa.string_view(), pa.dictionary(pa.uint32(), pa.string_view())])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_polars_writes_text_as_views(text: pa.DataType, compression: str | None) -> None:
    words = ["a text of more than twelve bytes, which lies elsewhere", "x", "é" * 9, "x"]
    plain = pa.array(words, pa.string_view())
    long = plain if text == pa.string_view() else pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3], pa.uint32()), plain)
    table = pa.table({"age": [1, 2, 3, 4], "arr delay": long}).slice(1)
    assert parse(written(table, STREAM, compression=compression), STREAM).columns["arr delay"] == words[1:]
    frame = pl.DataFrame({"age": [1, 2], "arr delay": words[:2], "vip": [None, True]})
    for column in (pl.col("arr delay"), pl.col("arr delay").cast(pl.Categorical)):
        stream = io.BytesIO()
        frame.with_columns(column).write_ipc_stream(stream)
        assert parse(stream.getvalue(), STREAM).columns["arr delay"] == words[:2]


def test_a_file_that_holds_no_stream_is_refused_and_what_to_send_is_said() -> None:
    stream = io.BytesIO()
    pl.DataFrame({"age": [1], "arr delay": ["x"]}).write_ipc(stream)
    with pytest.raises(BadInput, match="Send a stream"):
        parse(stream.getvalue(), FILE)


def test_views_of_one_long_text_are_refused_before_they_are_texts() -> None:
    rows, size = 50_000, 100_000
    view = struct.pack("<i4sii", size, b"xxxx", 0, 0)
    views = pa.Array.from_buffers(pa.string_view(), rows, [None, pa.py_buffer(view * rows), pa.py_buffer(b"x" * size)])
    named = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size], pa.string_view()))
    for column in (views, named):
        body = written(pa.table({"age": np.zeros(rows, np.int64), "arr delay": column}), STREAM)
        assert len(body) < 2 * 2**20
        with pytest.raises(TooLarge, match="unpacks"):
            parse(body, STREAM, Formats(SIGNED, max_rows=rows))


@pytest.mark.parametrize("kind", [PARQUET, STREAM, FILE])
def test_the_index_that_pandas_writes_is_no_column(kind: str) -> None:
    assert parse(written(change(__index_level_0__=[7, 9]), kind), kind).columns == parse(written(pa.table(GOOD), kind), kind).columns


def change(**columns: Any) -> pa.Table:
    return pa.table({**GOOD, **columns})


@pytest.mark.parametrize("kind", [PARQUET, STREAM])
@pytest.mark.parametrize(
    ("table", "where", "what"),
    [
        (change(age=[1, None]), "row 1, column `age`", "is missing"),
        (change(age=[1.5, 2.0]), "row 0, column `age`", "whole number"),
        (change(age=["1", "2"]), "row 0, column `age`", "whole number"),
        (change(age=pa.array([1, 2**64 - 1], pa.uint64())), "row 1, column `age`", "64 bits"),
        (change(fare=[1.0, math.inf]), "row 1, column `fare`", "finite"),
        (change(vip=[1, 0]), "row 0, column `vip`", "true or false"),
        (change(fares=[1, 2]), "column `fares`", "no column `fares`"),
        (change(age=[[1], [2]]), "column `age`", "list<"),
        (change(age=[{"a": 1}, {"a": 2}]), "column `age`", "struct<"),
        (pa.table({"arr delay": ["x"]}), "column `age`", "is missing"),
        (pa.table(GOOD).slice(0, 0), "", "no rows"),
    ],
)
def test_what_does_not_fit_is_said_as_for_json(kind: str, table: pa.Table, where: str, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(written(table, kind), kind)
    assert where in caught.value.where and what in caught.value.what, caught.value.what


def test_times_beyond_all_calendars_are_refused() -> None:
    for kind, when in ((STREAM, pa.array([2**60, None], pa.timestamp("s"))), (PARQUET, pa.array([2**62, None], pa.timestamp("us")))):
        with pytest.raises(BadInput):
            parse(written(change(seen=when), kind), kind)


def test_a_column_that_stands_there_twice() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array(["x"])], names=["age", "age", "arr delay"])
    with pytest.raises(BadInput, match="twice"):
        parse(written(table, STREAM), STREAM)


BOMBS = {
    "a dictionary's long text": lambda: pa.table({"age": [1] * 900, "arr delay": pa.array(["x" * 1_000_000] * 900).dictionary_encode()}),
    "zeros": lambda: pa.table({"age": [1] * 900, "arr delay": ["x" * 1_000_000] * 900}),
    "a great dictionary": lambda: pa.table(
        {"age": [1], "arr delay": pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["x" * 200_000] * 1000))}
    ),
}


@pytest.mark.parametrize("kind", [PARQUET, STREAM])
@pytest.mark.parametrize("bomb", BOMBS)
def test_small_bodies_that_unpack_to_large_ones_are_refused(kind: str, bomb: str) -> None:
    body = written(BOMBS[bomb](), kind, compression="zstd")
    if len(body) > 6_291_456:
        pytest.skip("larger than any body")
    with pytest.raises(TooLarge, match="unpacks to"):
        parse(body, kind)


def test_a_page_that_lies_in_the_footer_is_refused() -> None:
    """pyarrow would allocate what the page says: here 1.9 GB, of a body of a few hundred bytes."""
    body = bytearray(written(pa.table({"age": [1], "arr delay": ["x" * 300]}), PARQUET, compression="zstd", use_dictionary=False))
    start = pq.ParquetFile(io.BytesIO(bytes(body))).metadata.row_group(0).column(1).data_page_offset
    assert body[start : start + 3] == bytes([0x15, 0x00, 0x15])  # PageHeader: type, then the unpacked size, two bytes long
    lie = bytes([0x80, 0xA8, 0xD6, 0xB9, 0x07])  # zigzag of 993,700,... as five bytes
    size = int.from_bytes(body[-8:-4], "little")
    footer = bytes(body[-8 - size : -8])
    longer = bytes(body[: start + 3]) + lie + bytes(body[start + 5 : -8 - size])
    moved = longer + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(BadInput) as caught:
        parse(moved, PARQUET)
    assert caught.value.http_status == 413 or "page" in caught.value.what


def test_statistics_that_contradict_the_schema_are_refused() -> None:
    """pyarrow's own metadata would end the process: a histogram of levels has more of them than the column."""
    body = written(pa.table(GOOD), PARQUET)
    broken = body.replace(b"%\x02\x18\x09arr delay", b"%\x00\x18\x09arr delay")
    assert broken != body
    with pytest.raises(BadInput, match="not Parquet that can be read"):
        FORMATS.parse(broken, PARQUET, received_at=MICROS)


def test_too_many_rows() -> None:
    for kind in (PARQUET, STREAM):
        with pytest.raises(TooLarge, match="1001 rows; the endpoint takes 1000"):
            parse(written(pa.table({"age": [1] * 1001, "arr delay": ["x"] * 1001}), kind), kind)


NUMBERS = Formats(Signature("regression", (Column("a", "float", nullable=True), Column("b", "int"))))


def test_npy_rows_come_in_the_order_of_the_signature() -> None:
    for array in (
        np.array([[1.5, 2], [math.nan, 3]]),
        np.asfortranarray([[1.5, 2], [math.nan, 3]]),
        np.array([[1.5, 2], [math.nan, 3]], ">f4"),
    ):
        assert parse(npy(array), NPY, NUMBERS).columns == {"a": [1.5, None], "b": [2, 3]}
    assert parse(npy(np.array([7, 8], np.uint8)), NPY, NUMBERS).columns == {"a": [7.0], "b": [8]}


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (npy(np.array([[1.5, 2.5]])), "`b` must be a whole number"),
        (npy(np.array([[1.5, math.nan]])), "`b` is missing"),
        (npy(np.array([[math.inf, 1]])), "finite"),
        (npy(np.array([[1.0, 2, 3]])), "3 values for 2 columns"),
        (npy(np.zeros((2, 2, 2))), "3 dimensions"),
        (npy(np.zeros((0, 2))), "0 values"),
        (npy(np.array(["a"])), "not read here"),
        (npy(np.array([{}]), allow_pickle=True), "not read here"),
        (npy(np.zeros((2, 2)))[:-1], "31 bytes follow"),
        (npy(np.zeros((2, 2))) + b"x", "33 bytes follow"),
        (b"\x93NUMPY\x01\x00\x10\x00{'shape': (9" + b" " * 5, "header"),
        (b"\x93NUMPY\x01\x00\x10\x27" + b"[" * 10_000, "header"),
        (npy(np.zeros((1, 2))).replace(b"<f8", b",i8"), "header"),
        (npy(np.zeros((1, 2))).replace(b"'shape'", b"'descr'"), "header"),
        (b"", "header"),
    ],
)
def test_npy_that_does_not_fit(body: bytes, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(body, NPY, NUMBERS)
    assert what in caught.value.what


def test_an_array_that_claims_to_be_huge_allocates_nothing() -> None:
    body = npy(np.zeros((1, 2))).replace(b"(1, 2)", b"(999999999999999, 2)").replace(b" " * 14 + b"\n", b"\n")
    with pytest.raises(BadInput, match="says 1999999999999998 values"):
        parse(body, NPY, NUMBERS)


OUTPUTS: dict[str, list[Any]] = {"prediction": ["yes", "no"], "probability_no": [0.25, 1.0], "probability_yes": [0.75, 0.0]}


def test_answers_as_tables() -> None:
    rows = Rows({}, 2, ["a", "b"], MICROS)
    answers = {kind: FORMATS.writer.write(kind, rows, OUTPUTS, "m", "1") for kind in (JSON, CSV, LINES, ARROW, PARQUET, NPY)}
    wanted = {"inference_id": ["a", "b"], **OUTPUTS}
    with pa.ipc.open_stream(answers[ARROW]) as stream:
        assert stream.read_all().to_pydict() == wanted
    assert pq.read_table(io.BytesIO(answers[PARQUET])).to_pydict() == wanted
    assert np.load(io.BytesIO(answers[NPY])).tolist() == ["yes", "no"]
    assert [json.loads(line) for line in answers[LINES].splitlines()] == json.loads(answers[JSON])["predictions"]
    assert len(answers[CSV].splitlines()) == 3
    numbers = NUMBERS.writer.write(NPY, rows, {"prediction": [1.5, None]}, "m", "1")
    assert np.array_equal(np.load(io.BytesIO(numbers)), [1.5, math.nan], equal_nan=True)


def test_json_lines() -> None:
    lines = b'{"age": 3, "arr delay": "x"}\n{"age": 4, "arr delay": "y", "fare": 2}\n'
    for kind in ("application/jsonlines", "application/x-ndjson", "application/jsonlines; charset=utf-8"):
        assert parse(lines, kind).columns["fare"] == [None, 2.0]
    assert parse(b'[3, 1.5, "x", true, null]\n[4, null, "", null, null]\n', LINES).columns["age"] == [3, 4]
    for body in (b"", b"nonsense", b'{"age": 3, "arr delay": "x"}\nno', b"[1]", b'{"ages": 3}'):
        with pytest.raises(BadInput):
            parse(body, LINES)


VIEWS = {"arr delay": pa.array(["a text of more than twelve bytes", "x"], pa.string_view())}
SEEDS = {
    PARQUET: [written(pa.table(GOOD), PARQUET, compression=c) for c in ("none", "zstd")],
    STREAM: [written(change(**views), STREAM, compression=c) for c in (None, "zstd") for views in ({}, VIEWS)]
    + [written(pa.table({"age": [1, 2], "arr delay": pa.array(["x", "y"]).dictionary_encode()}), STREAM)],
    NPY: [npy(np.zeros((2, 5)))],
}


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300)
@given(st.data())
def test_damaged_bodies_are_rows_or_a_refusal(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(SEEDS)))
    body = bytearray(data.draw(st.sampled_from(SEEDS[kind])))
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)) | st.just(len(body)))]
    try:
        rows = parse(bytes(body), kind)
    except BadInput as exc:
        assert exc.http_status in (400, 413)
        json.dumps(exc.to_dict()).encode()
        return
    assert all(len(values) == rows.count for values in rows.columns.values())
    assert json.loads(bytes(rows.encoded())) == rows.columns
