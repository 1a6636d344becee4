"""The front's own pages: whether it lives and is ready, what it counted, what it is."""

from __future__ import annotations

import contextlib

from modelyard.errors import BadInput, NotFound
from modelyard.serve import prometheus, stats
from modelyard.serve.plane import Answer, Plane, Request, Route
from modelyard.serve.refusals import NoRunner

_TEXT = b"text/plain; charset=utf-8"


async def _ready(plane: Plane, request: Request) -> Answer:
    if not plane.live().ready:
        raise NoRunner("no version is ready")
    return Answer(200, b'{"status":"ready"}')


async def _alive(plane: Plane, request: Request) -> Answer:
    return Answer(200, b'{"status":"live"}')


async def _metrics(plane: Plane, request: Request) -> Answer:
    name = plane.live().table.endpoint
    said = [prometheus.Said(name, plane.number, plane.router.refresh_stats())]
    for number, path in plane.siblings.items():
        with contextlib.suppress(NotFound, BadInput):  # it is just being started
            said.append(prometheus.Said(name, number, stats.read(path)))
    return Answer(200, prometheus.text(said).encode(), prometheus.KIND)


async def _hint(plane: Plane, request: Request) -> Answer:
    live = plane.live()
    lines = [f"{live.table.endpoint}: model {live.table.model}, stage {live.table.stage}"]
    for variant in live.variants:
        columns = ", ".join(f"{c.name} ({c.type}{', may be missing' if c.nullable else ''})" for c in variant.signature.columns)
        lines.append(f"version {variant.version}, weight {variant.weight:g}: {columns}")
    if plane.router.stats.grpc_port:
        lines.append(f"Open Inference Protocol over gRPC: port {plane.router.stats.grpc_port}")
    lines.append("POST /invocations with application/json (a record, or a list of them) or text/csv; GET /ping; GET /metrics")
    lines.append("GET /openapi.json says what else is taken here")
    return Answer(200, ("\n".join(lines) + "\n").encode(), _TEXT)


PAGES = (
    Route("GET", "/ping", _ready, open=True),
    Route("GET", "/health/ready", _ready, open=True),
    Route("GET", "/health/live", _alive, open=True),
    Route("GET", "/metrics", _metrics),
    Route("GET", "/", _hint),
)
