"""What clients of MLflow's scoring server ask for beside `POST /invocations` (see `plain` and `records`) and `GET /ping`."""

from __future__ import annotations

from modelyard import __version__
from modelyard.serve.plane import Answer, Plane, Request, Route
from modelyard.serve.refusals import NoRunner

_TEXT = b"text/plain; charset=utf-8"


async def _health(plane: Plane, request: Request) -> Answer:
    if not plane.live().ready:
        raise NoRunner("no version is ready")
    return Answer(200, b"\n", _TEXT)


async def _version(plane: Plane, request: Request) -> Answer:
    return Answer(200, __version__.encode(), _TEXT)


ROUTES = (Route("GET", "/health", _health, open=True), Route("GET", "/version", _version, open=True))
