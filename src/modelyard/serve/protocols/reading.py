"""Bodies to rows. What a content type means is the same in every protocol; columns are judged the same in every content type.

A `Formats` is built once per signature; its decoders and coercers then run over whole columns. What reads tables (Parquet, Arrow, NPY) is
imported when such a body comes.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from modelyard.errors import BadInput
from modelyard.serve.coerce import json_coercer, reader, scalars, text_coercer
from modelyard.serve.protocols import csvs
from modelyard.serve.protocols.columns import Given, Wanted
from modelyard.serve.protocols.records import RecordReader
from modelyard.serve.protocols.writing import CSV, JSON, Writer
from modelyard.serve.refusals import UnknownContentType
from modelyard.serve.rows import Rows, event_times, inference_ids
from modelyard.signature import Signature

LINES = ("application/jsonlines", "application/x-ndjson", "application/jsonl", "application/x-jsonlines")
TABLES = {
    "application/vnd.apache.parquet": ("arrow", "read_parquet"),
    "application/x-parquet": ("arrow", "read_parquet"),
    "application/vnd.apache.arrow.stream": ("arrow", "read"),
    "application/vnd.apache.arrow.file": ("arrow", "read"),
    "application/x-npy": ("npy", "read"),
}
"""Content types that a function of another module reads, which is imported then."""
_CHARSET = re.compile(r"charset\s*=\s*\"?(utf-?8|us-ascii)\"?", re.I)
_READ = f"{JSON}, {CSV}, {LINES[0]}, {', '.join(dict.fromkeys(k for k in TABLES if 'x-parquet' not in k))}"
_JSON_KINDS = frozenset({None, "", JSON, "*/*"})


class Formats:
    """How to read the rows of one signature; its `writer` writes the answers.

    `extras` names further columns that may come along and are kept beside the features (sensitive columns). `max_decoded` is how many
    bytes the values of a body may take once a compressed body is unpacked. Raises nothing.
    """

    def __init__(
        self,
        signature: Signature,
        extras: Sequence[str] = (),
        *,
        max_rows: int = 100_000,
        max_event_age_days: float = 3653,
        max_decoded: int = 16 * 6_291_456,
    ) -> None:
        self.signature, self.max_event_age_days, self.max_decoded = signature, max_event_age_days, max_decoded
        self.wanted = Wanted(signature, extras, max_rows)
        self.records, self.writer = RecordReader(self.wanted), Writer(signature)
        self._json = [(c.name, json_coercer(c)) for c in signature.columns]
        self.table = [(c.name, json_coercer(c, finite=False)) for c in signature.columns]
        self._text = [(c.name, text_coercer(c)) for c in signature.columns]
        self._instant = reader(signature.timezone)

    def parse(
        self, body: bytes, content_type: str | None, *, received_at: int, inference_id: str | None = None, ours: str | None = None
    ) -> Rows:
        """The rows of a body; their ids are the caller's `inference_id`, else the body's, else `ours`. Raises BadInput (and its kinds:
        UnknownContentType, TooLarge), never anything else."""
        kind = content_type if content_type in _JSON_KINDS else _plain(content_type or "")
        values = False
        if kind in _JSON_KINDS:
            columns, count, values = self.records.read(body)
            coercers = self._json
        elif kind == CSV:
            (columns, count), coercers = csvs.read(body, self.wanted), self._text
        elif kind in LINES:
            columns, count, values = self.records.read_lines(body)
            coercers = self._json
        elif kind is not None and kind in TABLES:
            (columns, count), coercers = self._table(kind, body), self.table
        else:
            raise UnknownContentType(f"the content type `{str(kind)[:80]}` is not read here", next=f"Send {_READ}.")
        return self.rows(columns, count, received_at, inference_id, coercers=coercers, values=values, ours=ours)

    def _table(self, kind: str, body: bytes) -> Given:
        module, function = TABLES[kind]
        read: Callable[[bytes, Wanted, int], Given] = getattr(importlib.import_module(f"modelyard.serve.protocols.{module}"), function)
        return read(body, self.wanted, self.max_decoded)

    def rows(
        self,
        columns: dict[str, list[Any]],
        count: int,
        received_at: int,
        header: str | None = None,
        *,
        coercers: list[tuple[str, Any]] | None = None,
        values: bool = False,
        ours: str | None = None,
    ) -> Rows:
        """Rows of columns as they came (by default as JSON has them). Raises BadInput."""
        if count == 0:
            raise BadInput("the body has no rows", next="Send at least one record.")
        signature = self.signature
        features = {name: coerce(columns[name]) for name, coerce in coercers or self._json}
        ids, times = _given(columns, signature.id_col), _given(columns, signature.time_col)
        rows = Rows(features, count, inference_ids(count, header, ids, signature.id_col or "", ours), received_at, values=values)
        if times is not None:
            rows.event_times = event_times(times, received_at, signature.time_col or "", self.max_event_age_days, self._instant)
        for name in self.wanted.extras:
            if (given := _given(columns, name)) is not None:
                rows.extras[name] = scalars(given, name)
        return rows


def plain_encoding(headers: dict[bytes, bytes]) -> None:
    """Raises UnknownContentType for a body that came compressed."""
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1")
    if encoding.strip().lower() not in ("identity", ""):
        what = f"the body's encoding `{encoding[:80]}` is not read here"
        raise UnknownContentType(what, where="header Content-Encoding", next="Send the body as it is; Parquet and Arrow are compact.")


def _given(columns: dict[str, list[Any]], name: str | None) -> list[Any] | None:
    """The values of an optional column, None for each that is missing; None where no row has it."""
    if name is None:
        return None
    values = [None if v is msgspec.UNSET or v == "" else v for v in columns.get(name, ())]
    return values if any(v is not None for v in values) else None


def _plain(content_type: str) -> str:
    """A content type without its parameters. Raises UnknownContentType for a character set that is not read."""
    kind, _, parameters = content_type.partition(";")
    if "charset" in parameters.lower() and not _CHARSET.search(parameters):
        raise UnknownContentType(f"the body's character set must be UTF-8, not {parameters.strip()[:80]}")
    return kind.strip().lower()
