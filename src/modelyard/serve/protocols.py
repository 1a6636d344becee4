"""Bytes to rows, outputs to bytes: the endpoint's formats, without any transport.

In: `application/json` (one record; a list of records; `{"instances": [...]}`, `{"dataframe_records": [...]}`,
`{"dataframe_split": {"columns": [...], "data": [[...]]}}`) and `text/csv` (with a header; or without one, in the signature's
order). Out: JSON `{"predictions": [{"inference_id", "prediction", "probabilities": {class: p}}], "model", "version"}`, or CSV
with the header `inference_id,prediction,probability_<class>,...`. A model that scores without probabilities (anomaly detection)
answers `score` in place of `probabilities`.

A `Plan` is built once per signature; its decoders and coercers then run over whole columns.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec

from modelyard.errors import BadInput
from modelyard.serve.coerce import json_coercer, place, scalars, text_coercer
from modelyard.serve.refusals import NotAcceptable, TooLarge, UnknownContentType
from modelyard.serve.rows import Rows, event_times, inference_ids
from modelyard.signature import Signature

ENVELOPES = ("instances", "dataframe_records", "dataframe_split")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$(?:\[(?P<row>\d+)\])?.*`)?", re.DOTALL)
_AT = re.compile(r"(?P<what>.*) - at `\$(?:\[(?P<row>\d+)\])?(?:\.(?P<name>.*))?`", re.DOTALL)
_AWKWARD = re.compile(r'["\\\x00-\x1f]')  # characters that msgspec does not take in a field's name
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Split(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    columns: list[str]
    data: list[list[Any]]
    index: Any = None  # pandas writes one; it is no data


class Plan:
    """How to read rows and write answers for one signature.

    `extras` names further columns that may come along and are kept beside the features (sensitive columns). Raises nothing.
    """

    def __init__(
        self, signature: Signature, extras: Sequence[str] = (), *, max_rows: int = 100_000, max_event_age_days: float = 3653
    ) -> None:
        self.signature, self.max_rows, self.max_event_age_days = signature, max_rows, max_event_age_days
        special = [c for c in (signature.id_col, signature.time_col) if c is not None]
        features = signature.names
        self.extras = tuple(dict.fromkeys(c for c in (*signature.companions, *extras) if c not in (*features, *special)))
        self.names = tuple(dict.fromkeys((*features, *special, *self.extras)))
        self._json = {c.name: json_coercer(c) for c in signature.columns}
        self._text = {c.name: text_coercer(c) for c in signature.columns}
        self._nullable = {c.name: c.nullable for c in signature.columns}
        self._field = {name: f"f{i}" for i, name in enumerate(self.names)}
        self._awkward = any(map(_AWKWARD.search, self.names))
        record = dict[str, Any] if self._awkward else self._record_type()
        self._records = msgspec.json.Decoder(list[record])  # type: ignore[valid-type]
        self._record = msgspec.json.Decoder(record)
        keys = [(key, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for key in ENVELOPES if key not in self.names]
        self._envelope = msgspec.json.Decoder(msgspec.defstruct("Envelope", keys))
        self._strict_envelope = msgspec.json.Decoder(msgspec.defstruct("Envelope", keys, forbid_unknown_fields=True))
        self._split = msgspec.json.Decoder(_Split)
        self.writer = Writer(signature)

    def _record_type(self) -> Any:
        fields = [(field, Any, msgspec.UNSET) for field in self._field.values()]
        rename = {field: name for name, field in self._field.items()}
        return msgspec.defstruct("Record", fields, rename=rename, forbid_unknown_fields=True, gc=False)

    def parse(self, body: bytes, content_type: str | None, *, received_at: int, inference_id: str | None = None) -> Rows:
        """The rows of a body. Raises BadInput (and its kinds: UnknownContentType, TooLarge), never anything else."""
        kind, _, parameters = (content_type or "application/json").partition(";")
        kind = kind.strip().lower()
        if "charset" in parameters.lower() and not re.search(r"charset\s*=\s*\"?(utf-?8|us-ascii)\"?", parameters, re.I):
            raise UnknownContentType(f"the body's character set must be UTF-8, not {parameters.strip()}")
        if kind in ("application/json", "*/*"):
            (columns, count), coercers = self._from_json(body), self._json
        elif kind == "text/csv":
            (columns, count), coercers = self._from_csv(body), self._text
        else:
            raise UnknownContentType(f"the content type `{kind[:80]}` is not read here", next="Send application/json or text/csv.")
        if count == 0:
            raise BadInput("the body has no rows", next="Send at least one record.")
        return self._rows(columns, coercers, count, received_at, inference_id)

    def _rows(self, columns: dict[str, list[Any]], coercers: dict[str, Any], count: int, received_at: int, header: str | None) -> Rows:
        signature = self.signature
        features = {name: coerce(columns[name]) for name, coerce in coercers.items()}
        ids, times = self._given(columns, signature.id_col), self._given(columns, signature.time_col)
        rows = Rows(features, count, inference_ids(count, header, ids, signature.id_col or ""), received_at)
        if times is not None:
            rows.event_times = event_times(times, received_at, signature.time_col or "", self.max_event_age_days)
        for name in self.extras:
            if (values := self._given(columns, name)) is not None:
                rows.extras[name] = scalars(values, name)
        return rows

    def _given(self, columns: dict[str, list[Any]], name: str | None) -> list[Any] | None:
        """The values of an optional column, None for each that is missing; None where no row has it."""
        values = [None if v is msgspec.UNSET or v == "" else v for v in columns.get(name or "", ())]
        return values if any(v is not None for v in values) else None

    def _from_json(self, body: bytes) -> tuple[dict[str, list[Any]], int]:
        try:
            if body.lstrip()[:1] != b"{":
                return self._columns(self._records.decode(body))
            envelope = self._envelope.decode(body)
            found = [key for key in envelope.__struct_fields__ if getattr(envelope, key) is not msgspec.UNSET]
            if not found:
                return self._columns([self._record.decode(body)])
            self._strict_envelope.decode(body)
            if len(found) > 1:
                raise BadInput(f"the body has both `{found[0]}` and `{found[1]}`", next="Send one of them.")
            content = getattr(envelope, found[0])
            if found[0] == "dataframe_split":
                split = self._split.decode(content)
                return self._by_name(split.columns, split.data)
            return self._columns(self._records.decode(content))
        except _NOT_JSON as exc:
            raise self._explained(exc) from None

    def _few_rows(self, count: int) -> None:
        if count > self.max_rows:
            raise TooLarge(f"the body has {count} rows; the endpoint takes {self.max_rows}", next="Send smaller bodies.")

    def _columns(self, records: list[Any]) -> tuple[dict[str, list[Any]], int]:
        self._few_rows(len(records))
        if self._awkward:
            for row, record in enumerate(records):
                for name in record.keys() - self._field.keys():
                    raise self._unknown(name, row)
            return {name: [r.get(name, msgspec.UNSET) for r in records] for name in self._field}, len(records)
        return {name: list(map(attrgetter(field), records)) for name, field in self._field.items()}, len(records)

    def _by_name(self, names: list[str], rows: Sequence[Sequence[Any]]) -> tuple[dict[str, list[Any]], int]:
        """Columns out of rows of values under `names`. Raises BadInput for unknown, repeated or missing columns and ragged
        rows."""
        self._few_rows(len(rows))
        for name in names:
            if name not in self._field:
                raise self._unknown(name, None)
        if len(set(names)) != len(names):
            raise BadInput(f"the column `{next(n for n in names if names.count(n) > 1)}` stands there twice")
        width = len(names)
        if set(map(len, rows)) - {width}:
            row = next(i for i, values in enumerate(rows) if len(values) != width)
            raise BadInput(f"row {row} has {len(rows[row])} values for {width} columns", where=f"row {row}")
        given = dict(zip(names, map(list, zip(*rows, strict=True)), strict=False)) if rows else {}
        for name, nullable in self._nullable.items():
            if name not in given and rows:
                if not nullable:
                    raise BadInput(
                        f"the column `{name}` is missing",
                        where=f"column `{name}`",
                        next=f"The model takes: {', '.join(self._nullable)}.",
                    )
                given[name] = [None] * len(rows)
        return given, len(rows)

    def _from_csv(self, body: bytes) -> tuple[dict[str, list[Any]], int]:
        try:
            text = body.decode("utf-8-sig")
            table = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        except UnicodeDecodeError as exc:
            raise BadInput(f"the body is not UTF-8: byte {exc.start} is wrong") from None
        except csv.Error as exc:
            raise BadInput(f"the body is not CSV: {exc}") from None
        if not table:
            return {}, 0
        first, features = table[0], self.signature.names
        if all(name in self._field for name in first):
            columns, count = self._by_name(first, table[1:])
        elif len(first) == len(features):
            columns, count = self._by_name(list(features), table)
        else:
            unknown = next(name for name in first if name not in self._field)
            raise self._unknown(unknown, None, f"; without a header a row has {len(features)} values")
        for name, values in columns.items():
            if values and values[0] is None:  # a nullable column that the header leaves out
                columns[name] = [""] * len(values)
        return columns, count

    def _unknown(self, name: str, row: int | None, more: str = "") -> BadInput:
        close = difflib.get_close_matches(name[:256], self.names, n=1)
        hint = f"Did you mean `{close[0]}`?" if close else f"The model takes: {', '.join(self._nullable)}."
        shown = name if len(name) <= 80 else name[:77] + "..."
        where = f"column `{shown}`" if row is None else place(row, shown)
        return BadInput(f"the model has no column `{shown}`{more}", where=where, next=hint)

    def _explained(self, exc: Exception) -> BadInput:
        """msgspec's message in our words, with row and column."""
        text = str(exc)
        if isinstance(exc, RecursionError):
            return BadInput("the body is nested too deeply")
        if isinstance(exc, UnicodeDecodeError):
            return BadInput("the body is not UTF-8")
        if unknown := _UNKNOWN.fullmatch(text):
            return self._unknown(unknown["name"], int(unknown["row"]) if unknown["row"] else None)
        if at := _AT.fullmatch(text):
            parts = [f"row {at['row']}" if at["row"] else "", f"column `{at['name']}`" if at["name"] else ""]
            return BadInput(f"the body does not fit: {at['what']}", where=", ".join(p for p in parts if p))
        if not isinstance(exc, msgspec.ValidationError):
            return BadInput(f"the body is not JSON: {text.removeprefix('JSON is malformed: ')}")
        return BadInput(f"the body does not fit: {text}", next='Send a record, a list of records, or {"instances": [...]}.')


class Writer:
    """Writes the answers of one signature."""

    def __init__(self, signature: Signature) -> None:
        self.outputs = signature.outputs
        self._scored = "score" in self.outputs
        classes = [] if self._scored else [str(c) for c in signature.classes]
        fields: list[tuple[str, Any]] = [("inference_id", str), ("prediction", Any)]
        self._probabilities: Any = None
        if any(map(_AWKWARD.search, classes)):
            self._probabilities = lambda *values: dict(zip(classes, values, strict=True))
            fields.append(("probabilities", dict[str, float]))
        elif classes:
            names = [f"p{i}" for i in range(len(classes))]
            self._probabilities = msgspec.defstruct(
                "Probabilities", [(n, float) for n in names], rename=dict(zip(names, classes, strict=True)), gc=False
            )
            fields.append(("probabilities", self._probabilities))
        elif self._scored:
            fields.append(("score", float))
        self._answer = msgspec.defstruct("Answer", fields, gc=False)
        self._encode = msgspec.json.Encoder().encode

    def json(self, ids: list[str], outputs: dict[str, list[Any]], model: str, version: str) -> bytes:
        """`outputs` by name, one list each, in any order."""
        columns = [outputs[name] for name in self.outputs]
        if len(columns) == 1:
            answers = list(map(self._answer, ids, columns[0]))
        elif self._scored:
            answers = list(map(self._answer, ids, *columns))
        else:
            answers = list(map(self._answer, ids, columns[0], map(self._probabilities, *columns[1:])))
        return self._encode({"predictions": answers, "model": model, "version": version})

    def csv(self, ids: list[str], outputs: dict[str, list[Any]]) -> bytes:
        """A header, then a line a row."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("inference_id", *self.outputs))
        writer.writerows(zip(ids, *(outputs[name] for name in self.outputs), strict=True))
        return text.getvalue().encode()


def negotiate(accept: str | None) -> str:
    """The answer's content type: `application/json` or `text/csv`. Raises NotAcceptable."""
    best, kind = 0.0, ""
    for part in (accept or "*/*").split(","):
        name, _, parameters = part.partition(";")
        found = re.search(r"q\s*=\s*([01](?:\.\d{0,3})?)", parameters)
        weight = float(found[1]) if found else 1.0
        offered = {"application/json": "application/json", "*/*": "application/json", "application/*": "application/json", "": ""}
        offer = offered.get(name.strip().lower(), "text/csv" if name.strip().lower() in ("text/csv", "text/*") else "")
        if offer and weight > best:
            best, kind = weight, offer
    if not kind:
        raise NotAcceptable(f"the caller accepts `{(accept or '')[:80]}`; the endpoint writes application/json and text/csv")
    return kind
