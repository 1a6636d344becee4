"""Where requests of a version that runners answer wait on the short way (see `quick`): no task, no application, one callback each.

What is usual about a request and what its answer holds is what `desk` does; in between, its rows wait in the version's queue with those of
others. What goes wrong before they do is left to the long way; what goes wrong afterwards is said here, in the words of the path's dialect.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError, Future
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from modelyard.errors import YardError
from modelyard.serve.desk import LONG_WAY, Desk, Values, astuple, clock, now
from modelyard.serve.plane import Request, result_of
from modelyard.serve.protocols import refusal
from modelyard.serve.rows import OneRow, Rows, new_id
from modelyard.serve.stats import Result

if TYPE_CHECKING:
    from modelyard.serve.client import Outputs
    from modelyard.serve.queue import Call
    from modelyard.serve.tracing import Trace

log = logging.getLogger("modelyard.front")


class Waiting:
    """A request whose answer comes later. `then(tell)`, once: `tell` gets the whole answer, head and body. `leave`: its caller is gone."""

    __slots__ = ("_call", "_counter", "_said", "_tell")
    _tell: Callable[[bytes], None]

    def __init__(self, counter: Counter, call: Call, said: tuple[Any, ...]) -> None:
        self._counter, self._call, self._said = counter, call, said

    def then(self, tell: Callable[[bytes], None]) -> None:
        self._tell = tell
        self._call.future.add_done_callback(self._done)

    def _done(self, future: Future[Outputs]) -> None:
        answer, tell = self._counter.finish(self._call, future, *self._said), self._tell
        del self._tell  # who is told holds this
        if answer is not None:
            tell(answer)

    def leave(self) -> None:
        self._call.future.cancel()


class Counter(Desk):
    """A desk whose answers come from runners."""

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
            call = self._variant.runners.begin(rows)
        except LONG_WAY:
            return None
        self._stats.in_flight += 1
        return Waiting(self, call, (url, body, row, start, trace, caller))

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
        call: Call,
        future: Future[Outputs],
        url: bytes,
        body: bytes,
        row: Values | None,
        start: float,
        trace: Trace | None,
        caller: str,
    ) -> bytes | None:
        """The answer to a call that is over, counted, captured and noted; None where its caller is gone. `row` are its values, where it has
        but one row with nothing that came along."""
        self._stats.in_flight -= 1
        rows: Any = call.rows
        try:
            outputs = future.result()
            if row is None:
                content = self._variant.formats.writer.json(rows.inference_ids, outputs, self._model, self._variant.version)
                latency = (clock() - start) * 1000
                self._keep(rows, outputs, latency)
            else:
                answered = [outputs[name][0] for name in self._outputs]
                content = self._write(rows.inference_ids[0], answered)
                latency = (clock() - start) * 1000
                self._keep_one(rows, row, answered, latency)
            if self._variant.mirrors:
                self._reflect(body, rows.count, outputs)
        except CancelledError:
            self._stats.finished(Result.CLIENT_ERROR, 0.0, 0)
            return None
        except YardError as exc:
            return self._refusal(exc, url, start, trace, caller)
        except Exception:
            log.exception("a request of version %s failed in the front", self._variant.version)
            return self._refusal(YardError("the endpoint failed", next="See the front's log."), url, start, trace, caller)
        return self._told(content, latency, rows.count, rows.inference_ids[0], url, trace, caller)

    def _keep(self, rows: Rows, outputs: Outputs, latency: float) -> None:
        if (writer := self._router.writer) is not None:
            writer.write(self._variant.version, self._variant.signature, rows, outputs, latency)

    def _keep_one(self, rows: Rows, row: Values, outputs: list[Any], latency: float) -> None:
        if (writer := self._router.writer) is not self._writer:
            self._take_up(writer)
        if self._lane is not None:
            self._lane.row(rows.received_at, latency, rows.inference_ids[0], row, outputs)

    def _refusal(self, error: YardError, url: bytes, start: float, trace: Trace | None, caller: str) -> bytes:
        """What went wrong, in the words of the path's dialect."""
        path = url.decode("latin-1")
        answer = refusal(path)(error)
        answer.version = self._variant.version
        answer.headers += [*self._variant.headers, *([] if trace is None else [trace.header])]
        self._stats.finished(result_of(error), 0.0, 0)
        self._plane.note(Request("POST", path, {}, caller=caller, trace=trace), answer, start)
        lines = b"".join(b"%b: %b\r\n" % pair for pair in answer.head())
        return b"%b%b\r\n%b" % (STATUS_LINE[answer.status], lines, answer.body)
