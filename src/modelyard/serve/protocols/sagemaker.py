"""SageMaker Runtime's dialect, as boto3's `sagemaker-runtime` client speaks it: its headers, its errors, its explanations, its streams.

Rows and answers are as in `plain`; what SageMaker leaves to the container (the content) is the same there and here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from modelyard.errors import BadInput, YardError
from modelyard.serve.plane import Answer, Plane, Request
from modelyard.serve.protocols import event_stream
from modelyard.serve.protocols.plain import Plain, placed, sentence
from modelyard.serve.refusals import ModelFailed, QueueFull, TimedOut
from modelyard.serve.rows import Rows

if TYPE_CHECKING:
    from modelyard.serve.client import Outputs
    from modelyard.serve.live import Live, LiveVariant

PREFIX = b"x-amzn-sagemaker-"
_UNKNOWN = ("target-container-hostname", "inference-component")
"""Headers that ask for what an endpoint here does not have."""
_KEPT = frozenset({401, 403, 408, 413})
"""Statuses that stay: those of them that end the connection are told apart by it."""


class SageMaker(Plain):
    """`POST /endpoints/{endpoint}/invocations`."""

    name = "sagemaker"

    def read(self, variant: LiveVariant, request: Request, received_at: int) -> Rows:
        for name in _UNKNOWN:
            if PREFIX + name.encode() in request.headers:
                raise BadInput("an endpoint has neither containers nor components to choose from", where=f"header X-Amzn-SageMaker-{name}")
        return super().read(variant, request, received_at)

    def write(self, live: Live, variant: LiveVariant, request: Request, rows: Rows, outputs: Outputs) -> Answer:
        answer = super().write(live, variant, request, rows, outputs)
        if rows.explained is not None:
            body = variant.formats.writer.json(rows.inference_ids, outputs, live.table.model, variant.version)
            answer.body = msgspec.json.encode(rows.explained.clarify(variant.signature, body))
        return answer

    def refuse(self, error: YardError) -> Answer:
        return refuse(error)


def refuse(error: YardError) -> Answer:
    """AWS's shape: the header x-amzn-ErrorType names the exception that boto3 raises."""
    status, kind = _kind(error)
    body: dict[str, str | int] = {"Message": sentence(error)}
    if kind == "ModelError":
        body |= {"OriginalStatusCode": error.http_status if isinstance(error, TimedOut) else 500, "OriginalMessage": placed(error)}
        body["LogStreamArn"] = ""  # the log is the endpoint's own, on its machine
    return Answer(status, msgspec.json.encode(body), headers=[(b"x-amzn-errortype", kind.encode())])


def _kind(error: YardError) -> tuple[int, str]:
    """The status and the name of AWS's exception."""
    if isinstance(error, ModelFailed | TimedOut):
        return 424, "ModelError"
    if isinstance(error, QueueFull):
        return 429, "ModelNotReadyException"
    if isinstance(error, BadInput) or 400 <= error.http_status < 500:
        name = "AccessDeniedException" if error.http_status in (401, 403) else "ValidationError"
        return (error.http_status if error.http_status in _KEPT else 400), name
    return (503, "ServiceUnavailable") if error.http_status == 503 else (500, "InternalFailure")


class Stream(SageMaker):
    """`POST /endpoints/{endpoint}/invocations-response-stream`: the answer in parts, as an AWS event stream."""

    name = "sagemaker-stream"

    def read(self, variant: LiveVariant, request: Request, received_at: int) -> Rows:
        return super().read(variant, _accepting(request), received_at)

    def write(self, live: Live, variant: LiveVariant, request: Request, rows: Rows, outputs: Outputs) -> Answer:
        answer = super().write(live, variant, _accepting(request), rows, outputs)
        answer.headers.append((b"x-amzn-sagemaker-content-type", answer.kind))
        cut = event_stream.whole_lines if answer.kind.startswith((b"text/", b"application/jsonl")) else None
        answer.body, answer.kind = event_stream.encode(answer.body, cut), event_stream.KIND
        return answer


def _accepting(request: Request) -> Request:
    """The request with what a caller of streams accepts where others say it."""
    headers = {name: value for name, value in request.headers.items() if name != b"accept"}
    if (accept := request.headers.get(PREFIX + b"accept")) is not None:
        headers[b"accept"] = accept
    return Request(request.method, request.target, headers, request.body, request.query, request.names, request.caller)


DIALECT, _STREAM = SageMaker(), Stream()


async def invocations(plane: Plane, request: Request) -> Answer:
    """The endpoint is the path's, or of many models in one front the one of the header X-Amzn-SageMaker-Target-Model."""
    return await plane.invoke(request, DIALECT, endpoint=endpoint_of(request))


async def stream(plane: Plane, request: Request) -> Answer:
    """As `invocations`, answered as an event stream."""
    return await plane.invoke(request, _STREAM, endpoint=endpoint_of(request))


def endpoint_of(request: Request) -> str:
    """Which endpoint, or model, is asked."""
    return target_model(request.headers) or request.names["endpoint"]


def target_model(headers: Mapping[bytes, bytes]) -> str | None:
    """The model that a caller names among many, None where none is named."""
    target = headers.get(PREFIX + b"target-model")
    return None if target is None else target.decode("latin-1").strip("/").removesuffix(".tar.gz")
