"""The front's application (raw ASGI): checks what came, finds who answers, sends the answer. No user code runs here."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from modelyard.errors import NotFound, YardError
from modelyard.serve import tracing
from modelyard.serve.hosts import LOOPBACK, check_host
from modelyard.serve.pages import PAGES
from modelyard.serve.plane import HUNG_UP, Answer, Plane, Request, Route
from modelyard.serve.protocols import ROUTES, refusal
from modelyard.serve.refusals import NoRunner, SlowBody, TooLarge, WrongMethod

log = logging.getLogger("modelyard.front")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = dict[bytes, bytes]

BODY_SECONDS = 60.0
_DISCARD_AT_MOST = 64 * 2**20
_PLACE = re.compile(r"\{(\w+)\}")


class Gone(Exception):
    """The caller hung up; there is nobody to answer."""


class Routing:
    """Which route a path belongs to."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, Route]]] = {}
        for route in routes:
            if "{" in route.path:
                pattern = re.compile(_PLACE.sub(r"(?P<\1>[^/]+)", re.escape(route.path).replace(r"\{", "{").replace(r"\}", "}")))
                self._patterns.setdefault(route.path, (pattern, {}))[1][route.method] = route
            else:
                self._exact.setdefault(route.path, {})[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route, and what its placeholders stand for; HEAD is GET, of which the server sends the head. Raises NotFound, WrongMethod."""
        method = "GET" if method == "HEAD" else method
        names: dict[str, str] = {}
        methods = self._exact.get(path)
        if methods is None:
            for pattern, candidates in self._patterns.values():
                if (match := pattern.fullmatch(path)) is not None:
                    methods, names = candidates, match.groupdict()
                    break
            else:
                raise NotFound("there is nothing at this path", where=path[:200], next="POST /invocations, GET /ping, GET /metrics.")
        if method not in methods:
            raise WrongMethod(method, path, methods)
        return methods[method], names


class Front:
    """One data plane over HTTP. `hosts` are the names under which it may be called."""

    def __init__(self, plane: Plane, hosts: frozenset[str] = LOOPBACK) -> None:
        self.plane, self.hosts = plane, hosts
        self._routing = Routing((*PAGES, *ROUTES))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        plane, start = self.plane, time.perf_counter()
        request = Request(scope["method"], scope["path"], dict(scope["headers"]), query=scope["query_string"])
        request.variant, request.trace = scope.get("modelyard.passed") or (None, None)
        given = request.headers.get(tracing.HEADER)
        if request.trace is None and (plane.tracer is not None or plane.access_log is not None or given is not None):
            request.trace = plane.trace(given)
        try:
            answer = await self._answer(request, receive)
        except Gone:
            plane.note(request, Answer(HUNG_UP, b""), start)
            return
        except YardError as exc:
            plane.router.stats.unrouted += 1
            answer = refused(request.target, exc)
        except Exception:
            plane.router.stats.unrouted += 1
            answer = failed(request.target)
        except asyncio.CancelledError:  # the caller hung up, or the front must end now
            if await _gone(receive):
                plane.note(request, Answer(HUNG_UP, b""), start)
                return
            answer = refusal(request.target)(NoRunner("the endpoint is ending"))
        if request.trace is not None:
            answer.headers.append(request.trace.header)
        await respond(send, answer)
        plane.note(request, answer, start)

    async def _answer(self, request: Request, receive: Receive) -> Answer:
        check_host(request.headers.get(b"host"), self.hosts)
        route, request.names = self._routing.find(request.method, request.target)
        try:
            return await self._handled(route, request, receive)
        except YardError as exc:
            refuse = route.refuse if callable(route.to) else route.to.refuse
            if refuse is None:
                raise
            self.plane.router.stats.unrouted += 1
            return refuse(exc)

    async def _handled(self, route: Route, request: Request, receive: Receive) -> Answer:
        if not route.open:
            request.caller = self.plane.admit(request.headers)
        if route.method in ("POST", "PUT"):
            request.body = await read_body(request.headers, receive, self.plane.max_body(request))
        # Only now is the version chosen: the body may have come slowly, and the table may have changed meanwhile.
        if callable(route.to):
            return await route.to(self.plane, request)
        return await self.plane.invoke(request, route.to, endpoint=request.names.get("endpoint"))


async def _gone(receive: Receive) -> bool:
    """Whether the caller hung up, as far as the server knows by now."""
    asked = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    gone = asked.done() and asked.result()["type"] == "http.disconnect"
    asked.cancel()
    return gone


def refused(path: str, error: YardError) -> Answer:
    """The answer to what was refused before a route had it."""
    answer = refusal(path)(error)
    if isinstance(error, WrongMethod):
        answer.headers.append((b"allow", ", ".join(error.methods).encode()))
    return answer


def failed(path: str) -> Answer:
    """The answer where the front has a defect, which is being handled: its log has it."""
    log.exception("a request failed in the front")
    return refusal(path)(YardError("the endpoint failed", next="See the front's log."))


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


async def respond(send: Send, answer: Answer) -> None:
    """Send an answer."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.head()})
    if answer.parts is not None:
        async for part in answer.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": answer.body if answer.parts is None else b""})
