"""Labels over HTTP: what a system that learns the truth sends, as a body of CSV, JSON, JSON lines or Parquet."""

from __future__ import annotations

from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request

from modelyard.errors import BadInput
from modelyard.yard import Yard

PATH = "/api/v1/models/{model}/labels"
LARGEST = 64 * 2**20
"""Bytes of a body at the most; more is for `modelyard labels`, or for several bodies."""
AT_ONCE = 4
"""Bodies that are taken in at the same time, so that many senders hold up nobody who asks for something else."""


def mount(app: FastAPI, yard: Yard) -> None:
    """Add the route. It takes what `Yard.take_labels` takes, and answers what that answers."""
    limiter = CapacityLimiter(AT_ONCE)

    @app.post(PATH, name="send-labels", operation_id="send-labels", openapi_extra={"requestBody": _BODY})
    async def send(model: str, request: Request) -> dict[str, Any]:
        async with limiter:  # before the body is read: those that wait hold no memory
            data = await _body(request)
            return await to_thread.run_sync(yard.take_labels, model, data, request.headers.get("content-type", ""))


_BODY = {
    "required": True,
    "content": {kind: {} for kind in ("text/csv", "application/json", "application/x-ndjson", "application/vnd.apache.parquet")},
}


async def _body(request: Request) -> bytes:
    """Raises BadInput (413) for one that is too large, without reading the rest of it."""
    said = request.headers.get("content-length", "")
    parts, size = [], int(said) if said.isdecimal() else 0
    if size <= LARGEST:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > LARGEST:
                break
            parts.append(part)
    if size > LARGEST:
        error = BadInput(f"the body is larger than {LARGEST // 2**20} MB", next="send it in parts: nothing is counted twice")
        error.http_status = 413
        raise error
    return b"".join(parts)
