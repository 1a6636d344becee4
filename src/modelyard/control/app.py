"""The control plane's HTTP: the verbs under /api/v1, the console at /, and who may ask.

Over the home's Unix socket the kernel says who asks. Over TCP a token does, as `Authorization: Bearer` or the console's cookie. Every
route needs one of the two but those in `OPEN`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.base import RequestResponseEndpoint

from modelyard import __version__
from modelyard.control import console, feedback
from modelyard.control.verbs import VERBS, Verb
from modelyard.errors import BadInput, NoRoom, NotAllowed, NotFound, YardError, no_room
from modelyard.home import user_name
from modelyard.yard import Yard

OPEN = frozenset({"/healthz", "/login"})
COOKIE = "modelyard"
"""Start of the cookie's name; the console's port follows, since a browser sends the cookies of one port to every port of a host."""
LOOK, LONGEST_LOOK = 0.05, 0.5
"""Seconds between two looks at a feed: when something has just come, and at the most."""
WATCHERS_AT_ONCE = 8
"""Threads that read feeds. They are not those of the verbs, so that many watchers hold up nobody who asks for something."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
PRIVATE = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class _Keys:
    """What lets in over TCP: the token, which is in a file, and the cookie's value, which is in this process's memory alone."""

    token: str
    port: int
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def cookie(self) -> str:
        return f"{COOKIE}_{self.port}"

    def fit(self, request: Request) -> bool:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _same(bearer, self.token)
        return _same(request.cookies.get(self.cookie, ""), self.session)


def create_app(yard: Yard, token: str, owner: int, stop: Callable[[], None], stays: bool = True, port: int = 0) -> FastAPI:
    """The app for one yard. `owner`: the user id the home belongs to; `stop` ends the process that serves; `stays`: it serves until
    then, and not just for as long as one command lasts; `port`: the console's."""
    keys, reading = _Keys(token, port), CapacityLimiter(WATCHERS_AT_ONCE)
    app = FastAPI(title="Modelyard", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json")

    @app.middleware("http")
    async def guard(request: Request, following: RequestResponseEndpoint) -> Response:
        try:
            request.state.by, request.state.is_owner = _caller(request, keys, owner)
        except NotAllowed as exc:
            response = _told(request, exc, 401 if exc.code == "not_allowed" else exc.http_status)
        else:
            response = await following(request)
        response.headers.update(PRIVATE)
        return response

    @app.exception_handler(YardError)
    async def told(request: Request, exc: YardError) -> Response:
        return _told(request, exc, exc.http_status)

    @app.exception_handler(Exception)
    async def broken(request: Request, exc: Exception) -> Response:
        error = no_room(exc, yard.home.path) or YardError(
            f"{type(exc).__name__}: {exc}", next="this is a fault of Modelyard; its log has the details"
        )
        error.code = error.code if isinstance(error, NoRoom) else "internal"
        return _told(request, error, error.http_status)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, exc: HTTPException) -> Response:
        what = {404: f"there is no {request.url.path}", 405: f"{request.url.path} does not take {request.method}"}
        kind = NotFound if exc.status_code == 404 else BadInput
        response = _told(request, kind(what.get(exc.status_code, str(exc.detail))), exc.status_code)
        response.headers.update(exc.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def refused(request: Request, exc: RequestValidationError) -> JSONResponse:
        first = exc.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse(BadInput(f"{place}: {first['msg']}" if place else first["msg"]).to_dict(), 400)

    for name, verb in VERBS.items():
        app.add_api_route(f"/api/v1/{name}", _endpoint(yard, verb), methods=["POST"], name=name, operation_id=name)

    feedback.mount(app, yard)

    @app.get("/api/v1/runs/{run}/feed")
    async def feed(run: str, request: Request, offset: int = 0) -> StreamingResponse:
        yard.run(run)
        return StreamingResponse(_lines(yard, run, offset, request, reading), media_type="application/x-ndjson")

    @app.post("/api/v1/down")
    async def down(request: Request) -> dict[str, bool]:
        if not request.state.is_owner:
            raise NotAllowed("only the owner of the home may stop it")
        stop()
        return {"stopping": True}

    @app.get("/healthz")
    async def healthz() -> dict[str, str | bool]:
        return {"status": "ok" if yard.opened or not stays else "starting", "stays": stays}

    @app.get("/login")
    def login(request: Request, token_given: str = "") -> Response:
        if not _same(token_given, token):
            return _told(request, NotAllowed("this link is not valid", next="`modelyard server` prints the current one"), 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(keys.cookie, keys.session, httponly=True, samesite="strict")
        return answer

    console.mount(app, yard)
    return app


def _told(request: Request, exc: YardError, status: int) -> Response:
    """An error: a page for a person's browser, the one error shape for everything else."""
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
        return console.error(exc, status)
    return JSONResponse(exc.to_dict(), status)


async def _lines(yard: Yard, run: str, offset: int, request: Request, reading: CapacityLimiter) -> AsyncIterator[str]:
    """A run's feed, until nothing more comes or nobody listens any more. While it waits it holds no thread."""
    over, pause = False, LOOK
    while not over and not await request.is_disconnected():
        items, offset, over = await to_thread.run_sync(yard.news, run, offset, limiter=reading)
        for item in items:
            yield json.dumps(item) + "\n"
        if not over:
            pause = LOOK if items else min(pause * 1.5, LONGEST_LOOK)
            await asyncio.sleep(pause)


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())


def _endpoint(yard: Yard, verb: Verb) -> Callable[..., Any]:
    def endpoint(words: Any, request: Request) -> Any:
        if verb.of_owner and not request.state.is_owner:
            raise NotAllowed("this reads or writes files as the owner of the home, and is for that user only")
        return verb.call(yard, words, request.state.by)

    endpoint.__annotations__ = {"words": verb.words, "request": Request, "return": Any}
    return endpoint


def _caller(request: Request, keys: _Keys, owner: int) -> tuple[str, bool]:
    """Who asks, and whether that is the owner. Raises NotAllowed for a stranger, a strange host or a cross-site request."""
    uid = request.scope.get("state", {}).get("peer_uid")
    if uid is not None:
        return user_name(uid), uid in (owner, 0)
    host = request.headers.get("host", "").rsplit(":", 1)[0]
    if host not in LOOPBACK:
        raise _forbidden("the console answers to loopback names only")
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise _forbidden("requests from other sites are refused")
    if request.url.path in OPEN:
        return "", False
    if not keys.fit(request):
        how = "open the link that `modelyard server` printed, or send `Authorization: Bearer TOKEN`: it lies in console.token in the home"
        raise NotAllowed("a token is needed", next=how)
    return user_name(owner), True


class _Forbidden(NotAllowed):
    code = "forbidden"


def _forbidden(what: str) -> NotAllowed:
    return _Forbidden(what)
