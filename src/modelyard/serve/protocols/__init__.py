"""Protocols: how callers write requests and read answers. One core (`serve.plane`) stands behind all of them.

`reading` and `writing` know content types, which mean the same in every protocol; a dialect adds a protocol's headers and error shapes.
"""

from __future__ import annotations

from collections.abc import Callable

from modelyard.errors import YardError
from modelyard.serve.plane import Answer, Route
from modelyard.serve.protocols import asynchronous, mlflow, oip, openapi, sagemaker
from modelyard.serve.protocols.plain import Plain
from modelyard.serve.protocols.reading import Formats
from modelyard.serve.protocols.writing import Writer, negotiate

__all__ = ["ROUTES", "Formats", "Writer", "negotiate", "refusal"]

ROUTES: tuple[Route, ...] = (
    Route("POST", "/invocations", Plain()),
    Route("POST", "/endpoints/{endpoint}/invocations", sagemaker.invocations, refuse=sagemaker.refuse),
    Route("POST", "/endpoints/{endpoint}/invocations-response-stream", sagemaker.stream, refuse=sagemaker.refuse),
    Route("POST", "/endpoints/{endpoint}/async-invocations", asynchronous.invocations, refuse=sagemaker.refuse),
    *mlflow.ROUTES,
    *oip.ROUTES,
    *openapi.ROUTES,
)
"""What the front answers beside its own pages (serve/pages.py), in the order in which paths are matched."""


def refusal(path: str) -> Callable[[YardError], Answer]:
    """How errors are written at a path, whether or not something answers there."""
    if path.startswith("/endpoints/"):
        return sagemaker.refuse
    return oip.refuse if path == "/v2" or path.startswith("/v2/") else Plain().refuse
