"""Where one version's requests are answered on the short way (see `quick`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from modelyard.errors import YardError
from modelyard.serve.coerce import reader
from modelyard.serve.live import INLINE_ROWS
from modelyard.serve.rows import MAX_ID, header_id, new_id

if TYPE_CHECKING:
    from modelyard.serve.capture import Lane, Writer
    from modelyard.serve.counter import Waiting
    from modelyard.serve.live import LiveVariant
    from modelyard.serve.plane import Plane
    from modelyard.serve.rows import Rows
    from modelyard.serve.tracing import Trace

_SHORT = 4096
Values = tuple[Any, ...]
Decode = Callable[[bytes], Any]
Done = tuple[bytes, float, int, str]
"""The body of an answer, the version's own time in milliseconds, the rows, the first one's inference id."""
_INT = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_TYPES: dict[str, Any] = {"float": float, "int": _INT, "str": str, "bool": bool, "datetime": str}
_ENVELOPES = ("instances", "dataframe_records")
LONG_WAY = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, YardError)
clock, now = time.perf_counter, time.time_ns
_UNSET, astuple = msgspec.UNSET, msgspec.structs.astuple


class Desk:
    """Typed decoders, the head of the answer and a lane into the capture, made once for a version in force. `final`: what `plain` leaves
    is nothing for `answer` either."""

    final = False

    def __init__(self, plane: Plane, variant: LiveVariant, model: str) -> None:
        self._plane, self._router, self.variant, self._model = plane, plane.router, variant, model
        self._plan: Any = variant.plan
        self._writer: Writer | None = None
        self._lane: Lane | None = None
        self._required = False
        self._stats, self._write = variant.stats, variant.formats.writer.one_row(model, variant.version)
        self._heads: dict[int, bytes] = {}
        self.outputs = variant.signature.outputs
        signature, self._names = variant.signature, variant.formats.wanted.names
        self._width = len(signature.columns)
        self._instants = [(i, reader(c.timezone)) for i, c in enumerate(signature.columns) if c.type == "datetime"]
        self._special = range(self._width, len(self._names))
        self._id = next((i for i in self._special if self._names[i] == signature.id_col), None)
        self._others = [i for i in self._special if i != self._id]
        texts = {} if variant.plan is None else variant.plan.texts
        self._usual = _typed(variant, texts)[0]
        self._decode, self._decode_list, self._decode_envelope = _decoders(variant, texts)
        self._coercers = [(c.name, _instants(reader(c.timezone)) if c.type == "datetime" else _as_is) for c in signature.columns]
        who = b"".join(b"%b: %b\r\n" % pair for pair in variant.headers)
        self._head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + who
        self.plain: Callable[[bytes, float, bytes, str], bytes | Waiting | None] = _nothing
        self._take_up(plane.router.writer)

    def answer(
        self, url: bytes, body: bytes, header: bytes | None, start: float, trace: Trace | None, caller: str
    ) -> bytes | Waiting | None:
        """A whole answer, or one that comes later; None where the long way must answer.

        `header` is the inference id that came in one, `start` when the request came, `caller` whose key it has.
        """
        try:
            values = astuple(self._decode(body)) if body[:1] == b"{" else None
        except msgspec.ValidationError:
            values = None
        except LONG_WAY:
            return None
        try:
            done = self._single(values, header, start, body) if values is not None else None
            done = done or self._several(body, header, start)
        except LONG_WAY:
            return None
        if done is None:
            return None
        content, latency, count, name = done
        return self._told(content, latency, count, name, url, trace, caller)

    def _told(self, content: bytes, latency: float, count: int, name: str, url: bytes, trace: Trace | None, caller: str) -> bytes:
        """Head and body; counted, and noted in the access log."""
        self._stats.answer(latency, count)
        head = self._heads.get(len(content)) or self._head_for(len(content))
        if trace is not None:
            head = b"%b%b: %b\r\n\r\n" % (head[:-2], *trace.header)
        if self._plane.access_log is not None:
            self._plane.access_log.add("POST", url.decode(), 200, latency, count, self.variant.version, name, trace, caller)
        return head + content

    def _head_for(self, length: int) -> bytes:
        """The head of an answer of so many bytes; those of short answers are kept."""
        head = b"%bcontent-length: %d\r\n\r\n" % (self._head, length)
        if length < _SHORT:
            self._heads[length] = head
        return head

    def _single(self, values: Values, header: bytes | None, start: float, body: bytes) -> Done | None:
        """One record; None where something comes along that is no feature and no id."""
        row: Any = values
        if self._special or header is not None:
            name = self._name(values, header)
            row = values[: self._width]
        else:
            name = new_id()
        if name is None:
            return None
        if self._instants:
            row = self._with_instants(row)
        writer = self._router.writer
        if writer is not self._writer:
            self._take_up(writer)
        if self._required:
            return None
        outputs = self._plan.row(row)
        content = self._write(name, outputs)
        latency = (clock() - start) * 1000
        if self._lane is not None:
            self._lane.row(now() // 1000, latency, name, row, outputs)
        if self.variant.mirrors:
            self._reflect(body, 1, {n: [v] for n, v in zip(self.variant.signature.outputs, outputs, strict=True)})
        return content, latency, 1, name

    def _take_up(self, writer: Writer | None) -> None:
        self._writer, self._required = writer, writer is not None and writer.required
        self._lane = None if writer is None else writer.lane(self.variant.version, self.variant.signature)
        unusual = self._required or self._special or self._instants or self.variant.mirrors or self._plan is None
        self.plain = _nothing if unusual else self._plain(writer)

    def _plain(self, writer: Writer | None) -> Callable[[bytes, float, bytes, str], bytes | None]:
        """What answers a record that has nothing but features, of a request whose headers say nothing of it; None where `answer` must. It
        does what that does, in one function, since a front calls it tens of thousands of times a second."""
        router, decode, predict, write, count = self._router, self._usual, self._plan.row, self._write, self._stats.answer
        keep, heads, head_for = None if self._lane is None else self._lane.row, self._heads, self._head_for

        def plain(body: bytes, start: float, url: bytes, caller: str) -> bytes | None:
            try:
                row = astuple(decode(body))
                outputs = predict(row)
            except LONG_WAY:
                return None
            if router.writer is not writer:
                return None
            name = new_id()
            content = write(name, outputs)
            latency = (clock() - start) * 1000
            if keep is not None:
                keep(now() // 1000, latency, name, row, outputs)
            count(latency, 1)
            return (heads.get(len(content)) or head_for(len(content))) + content

        return plain

    def _name(self, values: Values, header: bytes | None) -> str | None:
        """The inference id of a record; None where something else that is no feature came along as well."""
        for i in self._others:
            if values[i] is not _UNSET:
                return None
        if header is not None:
            return header_id(header.decode("latin-1"))
        if self._id is None or (given := values[self._id]) is _UNSET:
            return new_id()
        return given if type(given) is str and 0 < len(given) <= MAX_ID else None

    def _with_instants(self, row: Values) -> list[Any]:
        values = list(row)
        for i, read in self._instants:
            if values[i] is not None:
                values[i] = read(values[i])
        return values

    def _several(self, body: bytes, header: bytes | None, start: float) -> Done | None:
        """A list of records, alone or in an envelope; or one record with whatever may come along."""
        variant, writer = self.variant, self._router.writer
        records = self._records(body)
        if not 0 < len(records) <= INLINE_ROWS or (writer is not None and writer.required):
            return None
        rows = self._read(records, header, now() // 1000)
        outputs = self._plan.predict(rows.columns, rows.count)
        content = variant.formats.writer.json(rows.inference_ids, outputs, self._model, variant.version)
        latency = (clock() - start) * 1000
        if writer is not None:
            writer.write(variant.version, variant.signature, rows, outputs, latency)
        if variant.mirrors:
            self._reflect(body, rows.count, outputs)
        return content, latency, rows.count, rows.inference_ids[0]

    def _read(self, records: list[Values], header: bytes | None, received_at: int) -> Rows:
        values, width = list(chain.from_iterable(records)), len(self._names)
        columns = {name: values[i::width] for i, name in enumerate(self._names)}
        given = None if header is None else header.decode("latin-1")
        return self.variant.formats.rows(columns, len(records), received_at, given, coercers=self._coercers)

    def _records(self, body: bytes) -> list[Values]:
        if body[:1] != b"{":
            return list(map(astuple, self._decode_list(body)))
        try:
            found = [records for records in astuple(self._decode_envelope(body)) if records is not _UNSET]
        except msgspec.ValidationError:
            return [astuple(self._decode(body))]
        return list(map(astuple, found[0])) if len(found) == 1 else []

    def _reflect(self, body: bytes, count: int, outputs: dict[str, list[Any]]) -> None:
        def read(other: LiveVariant) -> Rows:
            return other.formats.parse(body, "application/json", received_at=now() // 1000)

        self._plane.mirrors.reflect(self.variant, read, count, outputs)


def _nothing(body: bytes, start: float, url: bytes, caller: str) -> None:
    """Nothing is plain about this version."""


def _as_is(values: list[Any]) -> list[Any]:
    return values


def _instants(read: Callable[[str], int]) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [None if value is None else read(value) for value in values]


def _decoders(variant: LiveVariant, texts: Mapping[str, Iterable[str]]) -> tuple[Decode, Decode, Decode]:
    """Of one record, of a list of them, of an envelope with such a list.

    Features have the signature's types; a nullable one that is missing is None. What else may come along is taken as it is. Columns of
    `texts` mostly have one of these: a decoder that takes no other finds them without making new ones, whose hashes nobody knows yet.
    """
    plain = _typed(variant, {})
    return tuple(map(_one_of, _typed(variant, texts), plain)) if texts else plain  # type: ignore[return-value]


def _one_of(usual: Decode, any_other: Decode) -> Decode:
    def decode(body: bytes) -> Any:
        try:
            return usual(body)
        except msgspec.ValidationError:
            return any_other(body)

    return decode


def _typed(variant: LiveVariant, texts: Mapping[str, Iterable[str]]) -> tuple[Decode, Decode, Decode]:
    columns = {c.name: c for c in variant.signature.columns}
    fields: list[Any] = []
    for i, name in enumerate(variant.formats.wanted.names):
        column = columns.get(name)
        if column is None:
            fields.append((f"f{i}", Any, _UNSET))
        else:
            kind = Literal[tuple(texts[name])] if name in texts else _TYPES[column.type]
            fields.append((f"f{i}", kind | None, None) if column.nullable else (f"f{i}", kind))
    rename = {f"f{i}": name for i, name in enumerate(variant.formats.wanted.names)}
    record = msgspec.defstruct("Record", fields, rename=rename, forbid_unknown_fields=True, gc=False, kw_only=True)
    lists: list[Any] = [(name, list[record] | msgspec.UnsetType, _UNSET) for name in _ENVELOPES]  # type: ignore[valid-type]
    envelope = msgspec.defstruct("Envelope", lists, forbid_unknown_fields=True, gc=False)
    of = msgspec.json.Decoder
    return of(record).decode, of(list[record]).decode, of(envelope).decode  # type: ignore[valid-type]
