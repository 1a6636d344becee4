"""The front's application (raw ASGI): checks, routes, answers, captures, counts. No user code runs here."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from modelyard.errors import NotFound, YardError
from modelyard.serve import stats as counting
from modelyard.serve.client import Outputs
from modelyard.serve.live import Live, LiveVariant, Router
from modelyard.serve.protocols import negotiate
from modelyard.serve.refusals import NoRunner, SlowBody, TimedOut, TooLarge, WrongHost, WrongMethod
from modelyard.serve.rows import Rows

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = dict[bytes, bytes]

log = logging.getLogger("modelyard.front")
BODY_SECONDS = 60.0
_DISCARD_AT_MOST = 64 * 2**20
_HOST = re.compile(r"(?P<name>\[[0-9a-f:]+\]|[^:\[\]]+)(:\d{1,5})?", re.I)
_INVOCATIONS = re.compile(r"/endpoints/[^/]+/invocations")
_JSON, _TEXT = b"application/json", b"text/plain; charset=utf-8"
_METRICS = b"text/plain; version=0.0.4; charset=utf-8"


class Gone(Exception):
    """The caller hung up; there is nobody to answer."""


class Front:
    """One endpoint. `hosts` are the names under which it may be called."""

    def __init__(self, router: Router, hosts: frozenset[str] = frozenset({"localhost", "127.0.0.1", "[::1]"})) -> None:
        self.router, self.hosts = router, hosts
        self._routes = {"/ping": ("GET", self._ping), "/metrics": ("GET", self._metrics), "/": ("GET", self._hint)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: Headers = dict(scope["headers"])
        try:
            self._check_host(headers)
            path: str = scope["path"]
            if path == "/invocations" or _INVOCATIONS.fullmatch(path):
                _only("POST", scope)
                await self._invoke(path, headers, receive, send)
                return
            if path not in self._routes:
                raise NotFound("there is nothing at this path", where=path[:200], next="POST /invocations, GET /ping, GET /metrics.")
            method, handler = self._routes[path]
            _only(method, scope)
            await respond(send, *handler())
        except YardError as exc:
            self.router.stats.unrouted += 1
            await refuse(send, exc)

    def _check_host(self, headers: Headers) -> None:
        raw = headers.get(b"host")
        if raw is None:
            return  # HTTP/1.0 has none; a browser always sends it
        match = _HOST.fullmatch(raw.decode("latin-1"))
        if match is None or match["name"].lower() not in self.hosts:
            raise WrongHost("this endpoint is not called by that name", where="header Host", next="Call it as localhost or 127.0.0.1.")

    def _live(self) -> Live:
        if self.router.live is None:
            raise NoRunner("the endpoint is starting")
        return self.router.live

    def _ping(self) -> tuple[int, bytes, bytes]:
        live = self._live()
        if not live.ready:
            raise NoRunner("no version is ready")
        return 200, b'{"status":"ready"}', _JSON

    def _metrics(self) -> tuple[int, bytes, bytes]:
        live = self._live()
        name = live.table.endpoint
        return 200, counting.prometheus(self.router.refresh_stats(), name).encode(), _METRICS

    def _hint(self) -> tuple[int, bytes, bytes]:
        live = self._live()
        lines = [f"{live.table.endpoint}: model {live.table.model}, stage {live.table.stage}"]
        for variant in live.variants:
            columns = ", ".join(f"{c.name} ({c.type}{', may be missing' if c.nullable else ''})" for c in variant.signature.columns)
            lines.append(f"version {variant.version}, weight {variant.weight:g}: {columns}")
        lines.append("POST /invocations with application/json (a record, or a list of them) or text/csv; GET /ping; GET /metrics")
        return 200, ("\n".join(lines) + "\n").encode(), _TEXT

    async def _invoke(self, path: str, headers: Headers, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(headers, receive, self._live().table.limits.max_body)
        except Gone:
            return
        # Only now is the version chosen: the body may have come slowly, and the table may have changed meanwhile.
        live = self._live()
        if path != "/invocations" and path.split("/")[2] not in (live.table.endpoint, live.table.model):
            raise NotFound("this is another endpoint", where=path[:200], next=f"POST /endpoints/{live.table.endpoint}/invocations")
        variant = live.choose(_text(headers, b"x-amzn-sagemaker-target-variant"))
        start, count, status, latency = time.perf_counter(), 0, 500, 0.0
        variant.stats.in_flight += 1
        try:
            kind = negotiate(_text(headers, b"accept"))
            rows = variant.plan.parse(
                body,
                _text(headers, b"content-type"),
                received_at=time.time_ns() // 1000,
                inference_id=_text(headers, b"x-amzn-sagemaker-inference-id"),
            )
            count = rows.count
            outputs = await predict(variant, rows, live.table.limits.timeout_s)
            data = self._written(live, variant, rows, outputs, kind)
            latency = (time.perf_counter() - start) * 1000  # the version's own: not that of a caller who reads slowly
            if self.router.writer is not None:  # before the answer: what was answered is on file
                self.router.writer.write(variant.version, variant.signature, rows, outputs, latency)
            status = 200
            await respond(send, 200, data, kind.encode(), _who(variant))
        except YardError as exc:
            status = exc.http_status
            await refuse(send, exc, _who(variant))
        except Exception:
            log.exception("a request of version %s failed in the front", variant.version)
            if status != 200:
                await refuse(send, YardError("the endpoint failed", next="See the front's log."), _who(variant))
        finally:
            variant.stats.in_flight -= 1
            variant.stats.finished(status, latency, count)

    def _written(self, live: Live, variant: LiveVariant, rows: Rows, outputs: Outputs, kind: str) -> bytes:
        writer = variant.plan.writer
        if kind == "text/csv":
            return writer.csv(rows.inference_ids, outputs)
        return writer.json(rows.inference_ids, outputs, live.table.model, variant.version)


async def predict(variant: LiveVariant, rows: Rows, timeout: float) -> Outputs:
    """Ask a runner; another one, once, when the first ended before it saw the request. Raises NoRunner, QueueFull, TimedOut,
    ModelFailed."""
    try:
        async with asyncio.timeout(timeout):
            try:
                return await variant.runner().predict(rows)
            except NoRunner as exc:
                if exc.sent:
                    raise
                return await variant.runner().predict(rows)
    except TimeoutError:
        raise TimedOut(f"version {variant.version} did not answer within {timeout:g} s", next="Send fewer rows, or try again.") from None


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The body. Raises TooLarge, before reading where the length is announced; SlowBody; Gone when the caller hangs up."""
    announced = headers.get(b"content-length", b"0")
    length = int(announced) if announced.isdigit() else 0
    too_large = TooLarge(f"the body is larger than {limit} bytes", next="Send smaller bodies.")
    if length > limit and (length > _DISCARD_AT_MOST or headers.get(b"expect")):
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Gone
                size += len(message["body"])
                if size <= limit:
                    parts.append(message["body"])
                elif size > _DISCARD_AT_MOST:
                    raise too_large
                else:
                    parts.clear()  # read on to the end, so that the caller gets the answer and not a reset connection
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise SlowBody(f"the body did not come within {BODY_SECONDS:g} s") from None
    if size > limit:
        raise too_large
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _only(method: str, scope: Scope) -> None:
    if scope["method"] != method:
        raise WrongMethod(f"{scope['method'][:20]} is not taken here", where=scope["path"][:200], next=f"Use {method}.")


def _text(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _who(variant: LiveVariant) -> list[tuple[bytes, bytes]]:
    version = variant.version.encode("latin-1", "replace")
    return [(b"x-modelyard-version", version), (b"x-amzn-invoked-production-variant", version)]


async def respond(send: Send, status: int, body: bytes, kind: bytes, more: list[tuple[bytes, bytes]] | None = None) -> None:
    """Send an answer."""
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, exc: YardError, more: list[tuple[bytes, bytes]] | None = None) -> None:
    """Send an error in the one error shape. After a 408 or 413 the connection ends: the rest of the body may still be coming."""
    headers = list(more or [])
    if exc.http_status in (429, 503):
        headers.append((b"retry-after", b"1"))
    if exc.http_status in (408, 413):
        headers.append((b"connection", b"close"))
    await respond(send, exc.http_status, msgspec.json.encode(exc.to_dict()), _JSON, headers)
