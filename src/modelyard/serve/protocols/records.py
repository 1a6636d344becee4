"""JSON bodies: a record, a list of records or of rows, JSON lines, and the envelopes of TensorFlow Serving and MLflow.

    {"age": 3, ...}      [{...}, {...}]      [[3, ...], ...]  (in the signature's order)
    {"instances": [...]}      {"inputs": [...] or {"age": [3, ...], ...}}      {"dataframe_records": [...]}
    {"dataframe_split": {"columns": [...], "data": [[...]]}}

An envelope may have `params` beside it: `{"predictions": "values"}` asks for the bare predictions, as MLflow's own server gives them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec

from modelyard.errors import BadInput
from modelyard.serve.coerce import place
from modelyard.serve.protocols.columns import Given, Wanted

T = TypeVar("T")
ENVELOPES = ("instances", "inputs", "dataframe_records", "dataframe_split")
PARAMS = "params"
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$(?:\[(?P<row>\d+)\])?.*`)?", re.DOTALL)
_AT = re.compile(r"(?P<what>.*) - at `\$(?:\[(?P<row>\d+)\])?(?:\.(?P<name>.*))?`", re.DOTALL)
AWKWARD = re.compile(r'["\\\x00-\x1f]')
"""Characters that msgspec does not take in a field's name."""
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ROWS = re.compile(rb"\s*\[\s*\[")
_SENDABLE = 'Send a record, a list of records, or {"instances": [...]}.'


class _Split(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    columns: list[str]
    data: list[list[Any]]
    index: Any = None  # pandas writes one; it is no data


class Params(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a caller may ask for beside its rows: `predictions`: records (with ids and probabilities) or values."""

    predictions: str = "records"


class Json(NamedTuple):
    """A JSON body of `rows` rows as it came; `values`: the caller asked for bare predictions."""

    columns: dict[str, list[Any]]
    rows: int
    values: bool = False


class RecordReader:
    """Reads the JSON bodies of one signature. Every method raises BadInput and its kinds, and nothing else."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._field = {name: f"f{i}" for i, name in enumerate(wanted.names)}
        self._getters = [(name, attrgetter(field)) for name, field in self._field.items()]
        self._awkward = any(map(AWKWARD.search, wanted.names))
        record: Any = dict[str, Any] if self._awkward else self._record_type()
        self._records, self._record = msgspec.json.Decoder(list[record]), msgspec.json.Decoder(record)
        self._rows, self._row = msgspec.json.Decoder(list[list[Any]]), msgspec.json.Decoder(list[Any])
        self._columns, self._split = msgspec.json.Decoder(dict[str, list[Any]]), msgspec.json.Decoder(_Split)
        self._params = msgspec.json.Decoder(Params)
        keys = [(key, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for key in (*ENVELOPES, PARAMS) if key not in wanted.known]
        self._envelope = msgspec.json.Decoder(msgspec.defstruct("Envelope", keys))
        self._strict_envelope = msgspec.json.Decoder(msgspec.defstruct("Envelope", keys, forbid_unknown_fields=True))

    def _record_type(self) -> Any:
        fields = [(field, Any, msgspec.UNSET) for field in self._field.values()]
        rename = {field: name for name, field in self._field.items()}
        return msgspec.defstruct("Record", fields, rename=rename, forbid_unknown_fields=True, gc=False)

    def read(self, body: bytes) -> Json:
        """A JSON body. NaN, which Python writes for a missing number though JSON has no such word, is one."""
        return nan_is_missing(self._read, body)

    def _read(self, body: bytes) -> Json:
        try:
            if body.lstrip()[:1] != b"{":
                return Json(*self._list(body))
            if not self._awkward:  # what most callers send, and so what is tried first
                try:
                    return Json(*self._by_record([self._record.decode(body)]))
                except msgspec.ValidationError as exc:
                    found = self._enveloped(body)
                    if found is None:
                        raise self._explained(exc) from None
                    return found
            found = self._enveloped(body)
            return Json(*self._by_record([self._record.decode(body)])) if found is None else found
        except NOT_JSON as exc:
            raise self._explained(exc) from None

    def read_lines(self, body: bytes) -> Json:
        """A record, or a row of values in the signature's order, a line."""
        try:
            if body.lstrip()[:1] == b"[":
                return Json(*self.wanted.by_name(self.wanted.features, self._row.decode_lines(body)))
            return Json(*self._by_record(self._record.decode_lines(body)))
        except NOT_JSON as exc:
            raise self._explained(exc) from None

    def _enveloped(self, body: bytes) -> Json | None:
        """What is in the envelope; None where the body is none."""
        envelope = self._envelope.decode(body)
        found = [key for key in envelope.__struct_fields__ if key != PARAMS and getattr(envelope, key) is not msgspec.UNSET]
        if not found:
            return None
        self._strict_envelope.decode(body)
        if len(found) > 1:
            raise BadInput(f"the body has both `{found[0]}` and `{found[1]}`", next="Send one of them.")
        return Json(*self._content(found[0], getattr(envelope, found[0])), self._values(getattr(envelope, PARAMS, msgspec.UNSET)))

    def _content(self, key: str, content: Any) -> Given:
        if key == "dataframe_split":
            split = self._split.decode(content)
            return self.wanted.by_name(split.columns, split.data)
        if key == "inputs" and bytes(content)[:1] == b"{":
            return self.wanted.by_column(self._columns.decode(content))
        return self._list(bytes(content))

    def _values(self, content: Any) -> bool:
        """Whether `params` ask for bare predictions."""
        if content is msgspec.UNSET:
            return False
        hint = "Ask for `predictions`: `records` or `values`."
        try:
            params = self._params.decode(content)
        except msgspec.ValidationError as exc:
            raise BadInput(f"`params` do not fit: {str(exc).partition(' - at ')[0][:200]}", where=PARAMS, next=hint) from None
        if params.predictions not in ("records", "values"):
            raise BadInput(f"`predictions` is {params.predictions[:80]!r}", where=PARAMS, next=hint)
        return params.predictions == "values"

    def _list(self, content: bytes) -> Given:
        if _ROWS.match(content):
            return self.wanted.by_name(self.wanted.features, self._rows.decode(content))
        return self._by_record(self._records.decode(content))

    def _by_record(self, records: list[Any]) -> Given:
        self.wanted.few_rows(len(records))
        if self._awkward:
            for row, record in enumerate(records):
                for name in record.keys() - self.wanted.known:
                    raise self.wanted.unknown(name, row)
            return {name: [r.get(name, msgspec.UNSET) for r in records] for name in self.wanted.names}, len(records)
        if len(records) == 1:
            (record,) = records
            return {name: [get(record)] for name, get in self._getters}, 1
        return {name: list(map(get, records)) for name, get in self._getters}, len(records)

    def _explained(self, exc: Exception) -> BadInput:
        """msgspec's message in our words, with row and column."""
        text = str(exc)
        if isinstance(exc, RecursionError):
            return BadInput("the body is nested too deeply")
        if isinstance(exc, UnicodeDecodeError) or "Invalid UTF-8" in text:  # msgspec says so in its own kind of error from 0.23 on
            return BadInput("the body is not UTF-8")
        if unknown := _UNKNOWN.fullmatch(text):
            return self.wanted.unknown(unknown["name"], int(unknown["row"]) if unknown["row"] else None)
        if at := _AT.fullmatch(text):
            where = place(int(at["row"]), at["name"]) if at["row"] and at["name"] else f"row {at['row']}" if at["row"] else ""
            where = where or (f"column `{at['name']}`" if at["name"] else "")
            return BadInput(f"the body does not fit: {at['what']}", where=where)
        if not isinstance(exc, msgspec.ValidationError):
            return BadInput(f"the body is not JSON: {text.removeprefix('JSON is malformed: ')}")
        return BadInput(f"the body does not fit: {text}", next=_SENDABLE)


def nan_is_missing(read: Callable[[bytes], T], body: bytes) -> T:
    """What `read` makes of a JSON body, with null for NaN where it reads no such word. Raises BadInput, as `read` does."""
    try:
        return read(body)
    except BadInput:
        plain = _without_nan(body) if b"NaN" in body or b"Infinity" in body else None
        if plain is None:
            raise
        return read(plain)


def _without_nan(body: bytes) -> bytes | None:
    """The body with null for NaN; None where it is no JSON all the same. Raises BadInput for an infinite number."""

    def missing(word: str) -> None:
        if word != "NaN":
            raise BadInput("the body has an infinite number", next="Send finite numbers, or null for one that is missing.")

    try:
        return msgspec.json.encode(json.loads(body, parse_constant=missing))
    except (ValueError, RecursionError, UnicodeError, OverflowError):
        return None
