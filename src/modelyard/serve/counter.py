"""Where requests of a version that runners answer wait on the short way (see `quick`): no task, no application, one callback each.

What is usual about a request and what its answer holds is what `desk` does; in between, its rows wait in the version's queue with those of
others. What goes wrong before they do is left to the long way; what goes wrong afterwards is said here, in the words of the path's dialect.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from modelyard.errors import YardError
from modelyard.serve.desk import LONG_WAY, Desk, Values, astuple, clock, now
from modelyard.serve.plane import HUNG_UP, Answer, Request, result_of
from modelyard.serve.protocols import refusal
from modelyard.serve.queue import Call
from modelyard.serve.rows import OneRow, Rows, new_id
from modelyard.serve.stats import Result

if TYPE_CHECKING:
    from modelyard.serve.capture import Writer
    from modelyard.serve.client import Outputs
    from modelyard.serve.tracing import Trace

log = logging.getLogger("modelyard.front")


class Waiting(Call):
    """A request whose answer comes later. `then(tell)`, once: `tell` gets the whole answer, head and body. `leave`: its caller is gone.

    `row` are its values, where it has but one row with nothing that came along.
    """

    __slots__ = ("_answer", "_counter", "_row", "_said", "_tell")

    def __init__(self, counter: Counter, rows: Rows, row: Values | None, said: tuple[Any, ...]) -> None:
        super().__init__(rows, rows.count)
        self._counter, self._row, self._said = counter, row, said
        self._tell: Callable[[bytes], None] | None = None
        self._answer: bytes | None = None  # while nobody is told

    def then(self, tell: Callable[[bytes], None]) -> None:
        self._tell = tell
        if self._answer is not None:
            self._say(self._answer)

    def answer(self, start: int, stop: int, outputs: Outputs) -> None:
        if self._row is None:
            super().answer(start, stop, outputs)
        else:
            self.finish([outputs[name][0] for name in self._counter.outputs])

    def answer_row(self, row: int, names: Sequence[str], values: tuple[Any, ...]) -> None:
        if self._row is None:
            super().answer_row(row, names, values)
        else:
            self.finish(values)

    def end(self, outputs: Any, exc: BaseException | None) -> None:
        try:
            answer = self._counter.finish(self.rows, self._row, outputs, exc, *self._said)
            if answer is None:
                self._tell = None
            else:
                self._say(answer)
        except Exception:  # those who were asked for with it are to be told all the same
            log.exception("an answer could not be written")

    def _say(self, answer: bytes) -> None:
        tell, self._tell = self._tell, None  # who is told holds this
        if tell is None:
            self._answer = answer
        else:
            tell(answer)

    def leave(self) -> None:
        self.fail(CancelledError())


class Counter(Desk):
    """A desk whose answers come from runners."""

    final = True

    def _take_up(self, writer: Writer | None) -> None:
        super()._take_up(writer)
        self.plain = self._begin

    def _begin(self, body: bytes, start: float, url: bytes, caller: str) -> Waiting | None:
        return self.answer(url, body, None, start, None, caller)

    def answer(self, url: bytes, body: bytes, header: bytes | None, start: float, trace: Trace | None, caller: str) -> Waiting | None:
        """The request under way; None where the long way must answer. The words are those of `Desk.answer`."""
        writer = self._router.writer
        if writer is not None and writer.required:
            return None
        try:
            row = self._one(body) if header is None else None
            if row is not None:
                rows: Rows = OneRow(self._names, row, new_id(), now() // 1000)
            elif records := self._records(body):
                rows = self._read(records, header, now() // 1000)
            else:
                return None
            call = Waiting(self, rows, row, (url, body, start, trace, caller))
            self.variant.runners.begin(call, rows)
        except LONG_WAY:
            return None
        self._stats.in_flight += 1
        return call

    def _one(self, body: bytes) -> Values | None:
        """A record of nothing but features, whose values are taken as they are; None for anything else."""
        if self._special or self._instants or body[:1] != b"{":
            return None
        try:
            return astuple(self._decode(body))
        except msgspec.ValidationError:
            return None

    def finish(
        self,
        rows: Any,
        row: Values | None,
        outputs: Any,
        exc: BaseException | None,
        url: bytes,
        body: bytes,
        start: float,
        trace: Trace | None,
        caller: str,
    ) -> bytes | None:
        """The answer to a call that is over, counted, captured and noted; None where its caller is gone. `row` are its values, where it has
        but one row with nothing that came along: then `outputs` are in the signature's order, else by name."""
        self._stats.in_flight -= 1
        try:
            if exc is not None:
                raise exc
            if row is None:
                content = self.variant.formats.writer.json(rows.inference_ids, outputs, self._model, self.variant.version)
                latency = (clock() - start) * 1000
                self._keep(rows, outputs, latency)
            else:
                content = self._write(rows.inference_ids[0], outputs)
                latency = (clock() - start) * 1000
                self._keep_one(rows, row, outputs, latency)
            if self.variant.mirrors:
                by_name = outputs if row is None else {name: [value] for name, value in zip(self.outputs, outputs, strict=True)}
                self._reflect(body, rows.count, by_name)
        except CancelledError:
            self._stats.finished(Result.CLIENT_ERROR, 0.0, 0)
            request = Request("POST", url.decode("latin-1"), {}, caller=caller, trace=trace)
            self._plane.note(request, Answer(HUNG_UP, b"", version=self.variant.version), start)
            return None
        except YardError as exc:
            return self._refusal(exc, url, start, trace, caller)
        except Exception:
            log.exception("a request of version %s failed in the front", self.variant.version)
            return self._refusal(YardError("the endpoint failed", next="See the front's log."), url, start, trace, caller)
        return self._told(content, latency, rows.count, rows.inference_ids[0], url, trace, caller)

    def _keep(self, rows: Rows, outputs: Outputs, latency: float) -> None:
        if (writer := self._router.writer) is not None:
            writer.write(self.variant.version, self.variant.signature, rows, outputs, latency)

    def _keep_one(self, rows: Rows, row: Values, outputs: Values, latency: float) -> None:
        if (writer := self._router.writer) is not self._writer:
            self._take_up(writer)
        if self._lane is not None:
            self._lane.row(rows.received_at, latency, rows.inference_ids[0], row, outputs)

    def _refusal(self, error: YardError, url: bytes, start: float, trace: Trace | None, caller: str) -> bytes:
        """What went wrong, in the words of the path's dialect."""
        path = url.decode("latin-1")
        answer = refusal(path)(error)
        answer.version = self.variant.version
        answer.headers += [*self.variant.headers, *([] if trace is None else [trace.header])]
        self._stats.finished(result_of(error), 0.0, 0)
        self._plane.note(Request("POST", path, {}, caller=caller, trace=trace), answer, start)
        lines = b"".join(b"%b: %b\r\n" % pair for pair in answer.head())
        return b"%b%b\r\n%b" % (STATUS_LINE[answer.status], lines, answer.body)
