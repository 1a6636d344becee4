"""The Open Inference Protocol v2 over gRPC: `inference.GRPCInferenceService`, in the front's own process and event loop.

Imports grpcio and protobuf (the extra `grpc`), and is imported itself only where the endpoint has a `grpc_port`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from modelyard.errors import BadInput, NotFound, YardError
from modelyard.serve import tracing
from modelyard.serve.plane import HUNG_UP, Answer, Plane, Request
from modelyard.serve.protocols import oip, tensors
from modelyard.serve.protocols.oip_messages import MESSAGES, SERVICE
from modelyard.serve.protocols.plain import sentence
from modelyard.serve.protocols.tensors import INFERENCE_ID, Tensor
from modelyard.serve.refusals import TooLarge
from modelyard.serve.rows import Rows

if TYPE_CHECKING:
    from modelyard.serve.client import Outputs
    from modelyard.serve.live import Live, LiveVariant
    from modelyard.serve.tls import Certificate

GRACE_SECONDS = 5.0
_AT_ONCE = 1024
"""Calls under way; more are told RESOURCE_EXHAUSTED."""
_LONGEST_MESSAGE = 64 * 2**20
"""Bytes that are taken in at all; what an endpoint reads is its own limit."""
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    424: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
Context = Any  # grpc.aio.ServicerContext, which has no types


class GrpcInfer:
    """`ModelInfer`; implements `plane.Dialect` over the messages' bytes."""

    name = "oip-grpc"

    def read(self, variant: LiveVariant, request: Request, received_at: int) -> Rows:
        return oip.rows(_inference(request.body), variant, received_at, request.header(b"x-amzn-sagemaker-inference-id"))

    def write(self, live: Live, variant: LiveVariant, request: Request, rows: Rows, outputs: Outputs) -> Answer:
        inference: oip.Inference = rows.note
        message = MESSAGES["ModelInferResponse"](model_name=live.table.model, model_version=variant.version, id=inference.id)
        for name in inference.wanted(variant):
            values = rows.inference_ids if name == INFERENCE_ID else outputs[name]
            datatype = tensors.output_type(variant.signature, name)
            tensor = message.outputs.add(name=name, datatype=datatype, shape=[rows.count])
            if inference.binary:
                message.raw_output_contents.append(tensors.to_bytes(datatype, values))
            else:
                getattr(tensor.contents, _CONTENTS[datatype]).extend(_contents(datatype, values))
        return Answer(200, message.SerializeToString())

    def refuse(self, error: YardError) -> Answer:
        return Answer(error.http_status, sentence(error).encode())


def _contents(datatype: str, values: list[Any]) -> list[Any]:
    if datatype == "BYTES":
        return [b"" if v is None else str(v).encode() for v in values]
    return [(float("nan") if datatype == "FP64" else 0) if v is None else v for v in values]


def _inference(body: bytes) -> oip.Inference:
    """The inference of a `ModelInferRequest`. Raises BadInput."""
    message = _message(body)
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise BadInput(f"{len(raw)} raw contents come with {len(message.inputs)} inputs", where="raw_input_contents")
    if not message.inputs:
        raise BadInput("the message has no inputs", where="inputs")
    for holder in (message, *message.inputs, *message.outputs):
        for name in holder.parameters:
            raise BadInput(f"the parameter `{name[:80]}` is not known here", where="parameters", next="Leave it out.")
    found = [_tensor(given, raw[i] if raw else None) for i, given in enumerate(message.inputs)]
    return oip.Inference(message.id, found, {output.name: bool(raw) for output in message.outputs}, bool(raw))


def _message(body: bytes, name: str = "ModelInferRequest") -> Any:
    """The message of that name. Raises BadInput."""
    try:
        return MESSAGES[name].FromString(body)
    except DecodeError:
        raise BadInput(f"the message is no {name}") from None


def _tensor(given: Any, raw: bytes | None) -> Tensor:
    tensor = Tensor(given.name, given.datatype, list(given.shape))
    if raw is not None:
        tensor.values = tensors.from_bytes(tensor, raw)
        return tensor
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise tensor.problem(f"of the datatype {tensor.datatype[:40]!r} does not come as contents", "Send it raw.")
    values = list(getattr(given.contents, field))
    if tensor.datatype == "BYTES":
        values = [tensors.text(tensor, v) for v in values]
    tensor.values = [None if v != v else v for v in values]
    return tensor


class Service:
    """The service's methods over one data plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane, self._dialect = plane, GrpcInfer()

    def handlers(self) -> Any:
        """What grpc takes as a service."""
        calls: dict[str, Callable[[Any, dict[bytes, bytes]], Awaitable[Any]]] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ServerMetadata": self._server,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model,
        }
        made = {
            name: grpc.unary_unary_rpc_method_handler(
                _told(call, f"{name}Request"),
                response_serializer=MESSAGES[f"{name}Response"].SerializeToString,
            )
            for name, call in calls.items()
        }
        made["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self._infer)
        return grpc.method_handlers_generic_handler(SERVICE, made)

    async def _infer(self, body: bytes, context: Context) -> bytes:
        headers, start = _headers(context), time.perf_counter()
        request = Request("POST", f"/{SERVICE}/ModelInfer", headers, body)
        request.trace = self._plane.trace(headers.get(tracing.HEADER))
        try:
            request.caller = self._plane.admit(headers)
            request.names = _asked(body)
            if len(body) > (limit := self._plane.max_body(request)):
                raise TooLarge(f"the message is larger than {limit} bytes", next="Send smaller messages.")
            answer = await self._plane.invoke(request, self._dialect, endpoint=request.names["endpoint"])
        except YardError as exc:
            answer = self._dialect.refuse(exc)
        except asyncio.CancelledError:  # its caller waits no longer
            self._plane.note(request, Answer(HUNG_UP, b""), start)
            raise
        self._plane.note(request, answer, start)
        if answer.status != 200:
            await context.abort(_code(answer.status), answer.body.decode(), _when(answer))
        return answer.body

    async def _live(self, message: Any, headers: dict[bytes, bytes]) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _ready(self, message: Any, headers: dict[bytes, bytes]) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=self._plane.live().ready)

    async def _server(self, message: Any, headers: dict[bytes, bytes]) -> Any:
        self._plane.admit(headers)
        return MESSAGES["ServerMetadataResponse"](**{**oip.SERVER, "extensions": []})

    async def _model_ready(self, message: Any, headers: dict[bytes, bytes]) -> Any:
        self._plane.admit(headers)
        try:
            found = oip.ready(self._plane.live(message.name), message.version or None)
        except (NotFound, BadInput):  # what is not there is not ready, as Triton has it
            found = False
        return MESSAGES["ModelReadyResponse"](ready=found)

    async def _model(self, message: Any, headers: dict[bytes, bytes]) -> Any:
        self._plane.admit(headers)
        about = oip.model(self._plane.live(message.name), message.version or None)
        kind = MESSAGES["ModelMetadataResponse.TensorMetadata"]
        made = {key: [kind(**one) for one in about[key]] for key in ("inputs", "outputs")}
        return MESSAGES["ModelMetadataResponse"](name=about["name"], versions=about["versions"], platform=about["platform"], **made)


def _asked(body: bytes) -> dict[str, str]:
    """The model and the version that a message names. Raises BadInput."""
    message = _message(body)
    names = {"endpoint": message.model_name}
    return names | ({"variant": message.model_version} if message.model_version else {})


def _told(call: Callable[[Any, dict[bytes, bytes]], Awaitable[Any]], given: str) -> Callable[[bytes, Context], Awaitable[Any]]:
    """A method of messages of the name `given`, whose errors become gRPC's."""

    async def method(body: bytes, context: Context) -> Any:
        try:
            return await call(_message(body, given), _headers(context))
        except YardError as exc:
            await context.abort(_code(exc.http_status), sentence(exc))

    return method


def _when(answer: Answer) -> tuple[tuple[str, str], ...]:
    """In how long to come again, as gRPC's own retries take it; nothing where that is of no use."""
    return (("grpc-retry-pushback-ms", str(1000 * answer.retry_after)),) if answer.status in (429, 503) else ()


def _code(status: int) -> grpc.StatusCode:
    return _CODES.get(status, grpc.StatusCode.INVALID_ARGUMENT if 400 <= status < 500 else grpc.StatusCode.INTERNAL)


def _headers(context: Context) -> dict[bytes, bytes]:
    """The call's metadata, as headers."""
    metadata = context.invocation_metadata() or ()
    return {key.encode(): value if isinstance(value, bytes) else value.encode() for key, value in metadata}


class _Shown:
    """What gRPC asks for each new connection: the certificate to show from now on, None where it is the one before."""

    def __init__(self, certificate: Certificate) -> None:
        self._certificate, self._pem = certificate, certificate.pem

    def now(self) -> Any:
        """The certificate as gRPC takes it."""
        chain, key = self._pem
        return grpc.ssl_server_certificate_configuration([(key, chain)])

    def __call__(self) -> Any:
        if self._certificate.pem is self._pem:
            return None
        self._pem = self._certificate.pem
        return self.now()


async def start(plane: Plane, host: str, port: int, certificate: Certificate | None = None, *, shared: bool = False) -> tuple[Any, int]:
    """A running server, and its port (any free one for 0). `shared`: further processes listen there too. Raises BadInput."""
    options = [("grpc.max_receive_message_length", _LONGEST_MESSAGE), ("grpc.so_reuseport", int(shared))]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_AT_ONCE)
    server.add_generic_rpc_handlers((Service(plane).handlers(),))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if certificate is None:
            bound = server.add_insecure_port(address)
        else:
            shown = _Shown(certificate)
            bound = server.add_secure_port(address, grpc.dynamic_ssl_server_credentials(shown.now(), shown))
    except RuntimeError as exc:
        raise BadInput(
            f"the gRPC port {port} cannot be used: {exc}", where=address, next="Set another `grpc_port`, or 0 for any."
        ) from None
    await server.start()
    return server, bound
