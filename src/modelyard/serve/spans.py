"""OpenTelemetry spans, sent to a collector by OTLP over HTTP in its JSON form, in the background.

A request has a span of its own, and one each for reading its rows, predicting, writing and capturing. It needs no library: the JSON form
is part of OTLP since 1.0, and a front stays small without one.
"""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.serve.tracing import span_id

if TYPE_CHECKING:
    from modelyard.serve.plane import Answer, Request
    from modelyard.serve.routes import Traces
    from modelyard.serve.tracing import Trace

log = logging.getLogger("modelyard.front")
MOST_WAITING = 10_000
"""Spans that wait for the collector; those of further requests are dropped and counted."""
_AT_ONCE = 512
_SEND_SECONDS = 5.0
_SERVER, _INTERNAL, _ERROR = 2, 1, 2


class Tracer:
    """Spans of one endpoint. `share` of the requests are traced where the caller does not say."""

    def __init__(self, traces: Traces, service: str) -> None:
        self.endpoint, self.share, self.service, self.dropped = traces.endpoint, traces.sample, service, 0
        self._spans: list[dict[str, Any]] = []
        self._sending: asyncio.Future[None] | None = None
        self._complained = 0.0

    def finished(self, trace: Trace, request: Request, answer: Answer, begin: int) -> None:
        """Keep the spans of an answered request, which came at `begin` (nanoseconds since the epoch)."""
        if len(self._spans) >= MOST_WAITING:
            self.dropped += 1
            return
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "url.path": request.target[:500],
            "http.response.status_code": answer.status,
            "modelyard.version": answer.version,
            "modelyard.rows": answer.rows,
            "modelyard.inference_id": answer.inference_id,
        }
        span = _span(trace.trace_id, trace.span_id, trace.parent, f"{request.method} {request.target[:200]}", begin, time.time_ns())
        span |= {"kind": _SERVER, "attributes": [_attribute(name, value) for name, value in attributes.items() if value != ""]}
        if answer.status >= 500:
            span["status"] = {"code": _ERROR}
        self._spans.append(span)
        self._spans += [_span(trace.trace_id, span_id(), trace.span_id, *stage) for stage in trace.stages]

    def flush(self) -> None:
        """Hand spans to a thread that sends them, unless it is still at work. Call it a few times a second."""
        if self._spans and (self._sending is None or self._sending.done()):
            spans, self._spans = self._spans[:_AT_ONCE], self._spans[_AT_ONCE:]
            self._sending = asyncio.get_running_loop().run_in_executor(None, self._send, spans)

    async def close(self) -> None:
        """Send what is left, once."""
        if self._sending is not None:
            await self._sending
        if self._spans:
            spans, self._spans = self._spans, []
            await asyncio.get_running_loop().run_in_executor(None, self._send, spans)

    def _send(self, spans: list[dict[str, Any]]) -> None:
        service = [_attribute("service.name", self.service), _attribute("service.namespace", "modelyard")]
        scope = {"scope": {"name": "modelyard.front"}, "spans": spans}
        body = msgspec.json.encode({"resourceSpans": [{"resource": {"attributes": service}, "scopeSpans": [scope]}]})
        message = urllib.request.Request(self.endpoint, body, {"Content-Type": "application/json"})  # noqa: S310  (checked with the config)
        try:
            with urllib.request.urlopen(message, timeout=_SEND_SECONDS) as answer:  # noqa: S310
                answer.read()
        except (OSError, ValueError) as exc:
            self.dropped += len(spans)
            if time.monotonic() - self._complained > 60 or not self._complained:
                self._complained = time.monotonic()
                log.error("traces cannot be sent to %s: %s", self.endpoint, exc)


def _span(trace_id: str, span: str, parent: str, name: str, begin: int, end: int) -> dict[str, Any]:
    found: dict[str, Any] = {"traceId": trace_id, "spanId": span, "name": name, "kind": _INTERNAL}
    if parent:
        found["parentSpanId"] = parent
    return found | {"startTimeUnixNano": str(begin), "endTimeUnixNano": str(end)}


def _attribute(name: str, value: str | int) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}}
