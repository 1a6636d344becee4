"""Bodies that are wrong in every way that a body can be: good ones of every content type, broken by a seeded generator."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .fronts import GOOD

PLACES = (
    b"/invocations",
    b"/endpoints/demo-production/invocations",
    b"/endpoints/demo/invocations-response-stream",
    b"/endpoints/demo-production/async-invocations",
)
INFER = (b"/v2/models/demo/infer", b"/v2/models/demo-production/versions/7/infer")
_WORDS: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**31, 2**63, -(2**63) - 1, 10**30, 1e308, -0.0, 5e-324, "", " ", "a", "c", "\0", "\u202e"),
    *("é" * 300, "2026-13-45", "9999-12-31T23:59:59.999999+14:00", "0001-01-01", "NaN", "1e999", [], {}, [[]], [None], {"x": 1}),
    "x" * 5000,
)
_TOKENS = (
    *(b"NaN", b"-Infinity", b"1e999", b"-1e-999", b"0x10", b"1" * 5000, b"1." + b"0" * 5000 + b"1", b"\\ud800", b'"\\ud800"'),
    *(b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\0", b"[" * 2000, b'{"a":' * 2000, b"]", b"}", b",", b":"),
    *(b'"', b"\\", b"\\u12", b"\xef\xbb\xbf", b"/*", b"undefined", b"'", b"\r", b"\n", b'"x":1,'),
    *(b'"params":{"predictions":"values"},', b"\x1a\x1b", b"e+"),
)


class Body(NamedTuple):
    """A body and the path it is meant for; `headers` stand beside its Content-Type."""

    path: bytes
    kind: bytes
    data: bytes
    headers: tuple[bytes, ...] = ()


def broken(rng: random.Random, data: bytes, tokens: tuple[bytes, ...] = _TOKENS) -> bytes:
    """`data` with one to four faults: bits flipped, pieces lost, doubled, moved or put in."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 50)))
        piece = data[at:to]
        fault = rng.randrange(7)
        if fault == 0 and piece:
            piece = bytes([piece[0] ^ 1 << rng.randrange(8)]) + piece[1:]
        elif fault == 1:
            piece = b""
        elif fault == 2:
            piece *= rng.choice((2, 3, 100))
        elif fault == 3:
            piece = rng.choice(tokens) + piece
        elif fault == 4:
            piece = rng.randbytes(len(piece))
        elif (fault == 5 and to == len(data)) or rng.random() < 0.1:
            return data[:at]
        else:
            piece = rng.choice((b"\xff" * 4, b"\0" * 4, b"\xff" * 7 + b"\x7f", b"\x80" * 9, b"-1")) + piece[4:]
        data = data[:at] + piece + data[to:]
    return data


class Bodies:
    """Draws bodies from `rng`; the same seed gives the same ones."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        table = _table(40)
        self._binary = {
            b"application/vnd.apache.parquet": [_parquet(table, how) for how in ("none", "snappy", "zstd", "gzip")],
            b"application/vnd.apache.arrow.stream": [_arrow(table, how, stream=True) for how in (None, "zstd", "lz4")],
            b"application/vnd.apache.arrow.file": [_arrow(table, None, stream=False)],
            b"application/x-npy": [_npy(np.ones((4, 6))), _npy(np.arange(6)), _npy(np.asfortranarray(np.ones((3, 6), np.float32)))],
        }
        self._kinds: tuple[tuple[int, Callable[[], Body]], ...] = (
            (30, self.json_text),
            (25, self.json_values),
            (10, self.csv),
            (15, self.binary),
            (6, self.odd_table),
            (4, self.odd_npy),
            (10, self.infer),
            (8, self.infer_binary),
            (2, self.large),
        )

    def any(self) -> Body:
        """A body of any kind."""
        (make,) = self._rng.choices([m for _, m in self._kinds], [w for w, _ in self._kinds])
        return make()

    def _place(self) -> bytes:
        return self._rng.choice(PLACES[:2]) if self._rng.random() < 0.85 else self._rng.choice(PLACES)

    def _json(self) -> Any:
        """A good JSON body: every envelope."""
        rows = [dict(GOOD) for _ in range(self._rng.choice((1, 1, 2, 5)))]
        lists = [list(row.values()) for row in rows]
        columns = {name: [row[name] for row in rows] for name in GOOD}
        split = {"columns": list(GOOD), "data": lists, "index": list(range(len(rows)))}
        envelopes = ({"instances": rows}, {"inputs": columns}, {"inputs": lists}, {"dataframe_records": rows}, {"dataframe_split": split})
        return self._rng.choice((rows[0], rows, lists, *envelopes, {**envelopes[0], "params": {"predictions": "values"}}))

    def json_text(self) -> Body:
        """JSON broken as text."""
        kind = self._rng.choice((b"application/json",) * 6 + (b"application/jsonlines", b"application/x-ndjson"))
        data = broken(self._rng, json.dumps(self._json()).encode())
        return Body(self._place(), kind, data if self._rng.random() < 0.95 else data.decode("utf-8", "replace").encode("utf-16"))

    def json_values(self) -> Body:
        """JSON that holds as text, with values, keys and shapes that do not."""
        value = self._json()
        for _ in range(self._rng.randint(1, 3)):
            value = self._changed(value, 0)
        return Body(self._place(), b"application/json", json.dumps(value).encode())

    def _changed(self, value: Any, depth: int) -> Any:
        rng = self._rng
        if isinstance(value, dict) and value and (depth == 0 or rng.random() < 0.8):
            name = rng.choice(list(value))
            fault = rng.random()
            if fault < 0.1:
                return {k: v for k, v in value.items() if k != name}
            if fault < 0.2:
                return {**value, str(rng.choice(_WORDS)): value[name]}
            return {**value, name: self._changed(value[name], depth + 1)}
        if isinstance(value, list) and value and rng.random() < 0.8:
            at = rng.randrange(len(value))
            return value[:at] + rng.choice(([], [value[at]] * 2, [self._changed(value[at], depth + 1)])) + value[at + 1 :]
        return rng.choice(_WORDS)

    def csv(self) -> Body:
        lines = [",".join(GOOD), *(",".join(map(str, GOOD.values())) for _ in range(self._rng.choice((0, 1, 3))))]
        tokens = (
            *_TOKENS,
            b'"',
            b'""',
            b"\r\n\r\n",
            b"," * 100,
            b'"' + b"x" * 140_000 + b'"',
            b";",
            b"\t",
            b"\r",
            b"nan",
            b"inf",
            b"1_000",
        )
        return Body(
            self._place(), self._rng.choice((b"text/csv", b"text/csv; header=absent")), broken(self._rng, "\n".join(lines).encode(), tokens)
        )

    def binary(self) -> Body:
        """A table broken as bytes."""
        kind = self._rng.choice(list(self._binary))
        return Body(self._place(), kind, broken(self._rng, self._rng.choice(self._binary[kind])))

    def odd_table(self) -> Body:
        """A table that holds, of columns and types that do not fit."""
        rng, table = self._rng, _table(rng_rows(self._rng))
        names = list(GOOD)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(names))
            column = _odd_column(rng, table.num_rows)
            table = rng.choice((table.set_column(at, names[at], column), table.append_column(names[at], column), table))
        if rng.random() < 0.2:
            table = table.select(list(range(rng.randrange(3))))
        if rng.random() < 0.5:
            try:
                return Body(self._place(), b"application/vnd.apache.parquet", _parquet(table, "snappy"))
            except (pa.ArrowException, OSError):  # (Parquet has not all of Arrow's types)
                pass
        return Body(self._place(), b"application/vnd.apache.arrow.stream", _arrow(table, None, stream=True))

    def odd_npy(self) -> Body:
        shape = self._rng.choice(
            ("(4, 6)", "(-1, 6)", "(99999999999, 99999999999)", "()", "(0, 6)", "(4, 6, 1)", "(1e3,)", "((" * 90, "None", "(4L, 6)")
        )
        kind = self._rng.choice(("<f8", "|O", "<U999999999", "<c16", "[('a','<f8')]", "<f2", ">i8", "|V1", "<M8[ns]", "nonsense", "<f16"))
        text = f"{{'descr': {kind if kind[0] == '[' else repr(kind)}, 'fortran_order': False, 'shape': {shape}, }}"
        header = self._rng.choice((text, text[: len(text) // 2], text + "__import__('os')", "[" * 3000)).encode() + b"\n"
        version = self._rng.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\xff\xff"))
        size = struct.pack("<H" if version[0] == 1 else "<I", self._rng.choice((len(header), len(header), 0, 65535)))
        return Body(self._place(), b"application/x-npy", b"\x93NUMPY" + version + size + header + bytes(8 * 24))

    def infer(self) -> Body:
        """The Open Inference Protocol in JSON."""
        kinds = {"x": "FP64", "k": "INT64", "t": "BYTES", "b": "BOOL", "at": "BYTES", "y": "FP64"}
        value: Any = {"id": "1", "inputs": [{"name": n, "shape": [1], "datatype": kinds[n], "data": [v]} for n, v in GOOD.items()]}
        value["outputs"] = [{"name": "prediction"}]
        for _ in range(self._rng.randint(1, 3)):
            value = self._changed(value, 0)
        data = json.dumps(value).encode()
        return Body(self._rng.choice(INFER), b"application/json", broken(self._rng, data) if self._rng.random() < 0.3 else data)

    def infer_binary(self) -> Body:
        """The Open Inference Protocol with tensors as bytes."""
        rng = self._rng
        texts = b"".join(struct.pack("<I", n) + b"a" for n in (1, 1))
        shape = rng.choice(([2], [-1], [2**40], [0], [2, 1], [], [1] * 50, [2**62, 4]))
        kind = rng.choice(("BYTES", "FP64", "INT8", "BOOL", "FP16", "NOTHING", ""))
        size = rng.choice((len(texts), -1, 2**40, 3, True, "10", 0))
        head = {"inputs": [{"name": rng.choice(("t", "x")), "shape": shape, "datatype": kind, "parameters": {"binary_data_size": size}}]}
        text = json.dumps(head).encode()
        length = rng.choice((str(len(text)), str(len(text) - 1), "-1", "99999999999", "", "1e3", "0", "\u00b2".encode().decode("latin-1")))
        data = text + (broken(rng, texts) if rng.random() < 0.5 else texts)
        return Body(
            rng.choice(INFER), b"application/octet-stream", data, (b"Inference-Header-Content-Length: " + length.encode("latin-1"),)
        )

    def large(self) -> Body:
        """More rows, or more of anything, than is taken."""
        many = self._rng.choice(
            (b'{"x":1},' * 20_000, b"[1]," * 100_000, b"[" * 200_000, b'"' + b"a" * 900_000 + b'",', b" " * 1_048_570, b"x" * 1_200_000)
        )
        return Body(self._place(), self._rng.choice((b"application/json", b"text/csv", b"application/jsonlines")), b"[" + many + b"1]")


def rng_rows(rng: random.Random) -> int:
    return rng.choice((0, 1, 3, 20))


def _table(rows: int) -> pa.Table:
    return pa.table({name: pa.array([value] * rows, pa.string() if isinstance(value, str) else None) for name, value in GOOD.items()})


def _odd_column(rng: random.Random, rows: int) -> pa.Array:
    made: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.array([[1, 2]] * rows, pa.list_(pa.int64())),
        lambda: pa.array([{"a": 1}] * rows, pa.struct([("a", pa.int8())])),
        lambda: pa.array([b"\xff\0"] * rows, pa.binary()),
        lambda: pa.array([None] * rows, pa.null()),
        lambda: pa.array([2**63 - 1] * rows, pa.int64()).cast(pa.timestamp("ns", "UTC")),
        lambda: pa.array([-(2**63)] * rows, pa.int64()).cast(pa.timestamp("s")),
        lambda: pa.array([2**64 - 1] * rows, pa.uint64()),
        lambda: pa.array([10**37] * rows, pa.decimal128(38)),
        lambda: pa.array([float("inf")] * rows, pa.float64()),
        lambda: pa.array(np.full(rows, np.nan, np.float16)),
        lambda: pa.array(["c"] * rows).dictionary_encode(),
        lambda: pa.array([1.5] * rows).dictionary_encode(),
        lambda: pa.array([2**31 - 1] * rows, pa.int32()).cast(pa.date32()),
        lambda: pa.array([86_399_999] * rows, pa.int32()).cast(pa.time32("ms")),
        lambda: pa.array([-1] * rows, pa.duration("ns")),
        lambda: pa.array(["\0" * 3000] * rows, pa.large_string()),
    )
    return rng.choice(made)()


def _parquet(table: pa.Table, compression: str) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, compression=compression)
    return stream.getvalue()


def _arrow(table: pa.Table, compression: str | None, *, stream: bool) -> bytes:
    sink = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(
        sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
    ) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
