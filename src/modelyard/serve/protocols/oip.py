"""The Open Inference Protocol v2 over REST, as Triton, KServe and their clients speak it, binary tensors included.

An endpoint is a model by its own name or its model's; its versions are the variants. A tensor a column, or one matrix; see `tensors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard import __version__
from modelyard.errors import BadInput, YardError
from modelyard.serve.plane import Answer, Plane, Request, Route
from modelyard.serve.protocols import tensors
from modelyard.serve.protocols.plain import sentence
from modelyard.serve.protocols.reading import plain_encoding
from modelyard.serve.protocols.records import NOT_JSON, nan_is_missing
from modelyard.serve.protocols.tensors import INFERENCE_ID, Tensor
from modelyard.serve.refusals import NoRunner
from modelyard.serve.rows import Rows

if TYPE_CHECKING:
    from modelyard.serve.client import Outputs
    from modelyard.serve.live import Live, LiveVariant

SERVER = {"name": "modelyard", "version": __version__, "extensions": ["binary_tensor_data"]}
PLATFORM = "modelyard"
OWN = {"/v2": msgspec.json.encode(SERVER), "/v2/health/live": b'{"live":true}', "/v2/health/ready": b'{"ready":true}'}
"""What a front of many endpoints says of itself, by path."""
_LENGTH = b"inference-header-content-length"
_OCTETS = b"application/octet-stream"


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    datatype: str
    data: Any = msgspec.UNSET
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, Any] = {}


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Input]
    outputs: list[_Output] = []
    id: str = ""
    parameters: dict[str, Any] = {}


@dataclass(slots=True)
class Inference:
    """A request for an inference, whatever it was written in. `outputs`: which are wanted (none: all), and whether as bytes."""

    id: str
    inputs: list[Tensor]
    outputs: dict[str, bool]
    binary: bool = False

    def wanted(self, variant: LiveVariant) -> dict[str, bool]:
        """The outputs to write. Raises BadInput."""
        known = (*variant.signature.outputs, INFERENCE_ID)
        for name in self.outputs:
            if name not in known:
                raise BadInput(f"there is no output `{name[:80]}`", where="outputs", next=f"The model answers {', '.join(known)}.")
        return self.outputs or dict.fromkeys(variant.signature.outputs, self.binary)


_body = msgspec.json.Decoder(_Body)


def rows(inference: Inference, variant: LiveVariant, received_at: int, header: str | None) -> Rows:
    """The rows of an inference; its id is their inference id where there is no better. Raises BadInput."""
    inference.wanted(variant)
    formats = variant.formats
    given, count = tensors.columns(inference.inputs, formats.wanted)
    own = formats.signature.id_col
    base = header if header is not None or (own is not None and own in given) else (inference.id or None)
    read = formats.rows(given, count, received_at, base, coercers=formats.table)
    read.note = inference
    return read


class Infer:
    """`POST /v2/models/{endpoint}[/versions/{variant}]/infer`; implements `plane.Dialect`."""

    name = "oip"

    def read(self, variant: LiveVariant, request: Request, received_at: int) -> Rows:
        plain_encoding(request.headers)
        return rows(_decoded(request), variant, received_at, request.header(b"x-amzn-sagemaker-inference-id"))

    def write(self, live: Live, variant: LiveVariant, request: Request, rows: Rows, outputs: Outputs) -> Answer:
        inference: Inference = rows.note
        written, blobs = [], []
        for name, binary in inference.wanted(variant).items():
            values = rows.inference_ids if name == INFERENCE_ID else outputs[name]
            tensor: dict[str, Any] = {"name": name, "datatype": tensors.output_type(variant.signature, name), "shape": [rows.count]}
            if binary:
                blob = tensors.to_bytes(tensor["datatype"], values)
                tensor["parameters"] = {"binary_data_size": len(blob)}
                blobs.append(blob)
            else:
                tensor["data"] = [v if v is None else str(v) for v in values] if tensor["datatype"] == "BYTES" else values
            written.append(tensor)
        head: dict[str, Any] = {"model_name": live.table.model, "model_version": variant.version, "outputs": written}
        if inference.id:
            head["id"] = inference.id
        body = msgspec.json.encode(head)
        if not blobs:
            return Answer(200, body)
        return Answer(200, b"".join((body, *blobs)), _OCTETS, [(_LENGTH, b"%d" % len(body))])

    def refuse(self, error: YardError) -> Answer:
        return refuse(error)


def refuse(error: YardError) -> Answer:
    """The protocol's error: `{"error": text}`."""
    return Answer(error.http_status, msgspec.json.encode({"error": sentence(error)}))


def _decoded(request: Request) -> Inference:
    """The inference of a REST request. Raises BadInput."""
    length = request.header(_LENGTH)
    head = len(request.body)
    if length is not None:
        if not (length.isascii() and length.isdigit() and len(length) < 12 and int(length) <= head):
            raise BadInput("the header's length does not lie within the body", where="header Inference-Header-Content-Length")
        head = int(length)
    body = nan_is_missing(_read, request.body[:head])
    if not body.inputs:
        raise BadInput("the body has no inputs", where="inputs")
    _known(body.parameters, ("binary_data_output",), "parameters")
    position, found = head, []
    for given in body.inputs:
        tensor, position = _input(given, request.body, position)
        found.append(tensor)
    if position != len(request.body):
        raise BadInput(f"{len(request.body) - position} bytes follow the last tensor", where="body")
    binary = body.parameters.get("binary_data_output") is True
    wanted = {}
    for output in body.outputs:
        _known(output.parameters, ("binary_data",), f"output `{output.name[:80]}`")
        wanted[output.name] = output.parameters.get("binary_data", binary) is True
    return Inference(body.id, found, wanted, binary)


def _read(head: bytes) -> _Body:
    """The head of a REST request. Raises BadInput."""
    try:
        return _body.decode(head)
    except NOT_JSON as exc:
        hint = 'Send {"inputs": [{"name", "shape", "datatype", "data"}]}.'
        raise BadInput(f"the body is no inference request: {exc}", next=hint) from None


def _input(given: _Input, body: bytes, position: int) -> tuple[Tensor, int]:
    """A tensor, and where the bytes of the next one begin. Raises BadInput."""
    tensor = Tensor(given.name, given.datatype, given.shape)
    _known(given.parameters, ("binary_data_size",), f"input `{given.name[:80]}`")
    size = given.parameters.get("binary_data_size")
    if size is None:
        try:
            tensor.values = tensors.flat([] if given.data is msgspec.UNSET else given.data)
        except ValueError:
            raise tensor.problem("has data that is no list of values") from None
        return tensor, position
    if type(size) is not int or size < 0 or position + size > len(body) or given.data is not msgspec.UNSET:
        raise tensor.problem("has a binary_data_size that does not hold")
    tensor.values = tensors.from_bytes(tensor, body[position : position + size])
    return tensor, position + size


def _known(parameters: dict[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in parameters:
        if name not in names:
            raise BadInput(f"the parameter `{name[:80]}` is not known here", where=where, next=f"Leave it out; known: {', '.join(names)}.")


# -- what there is --------------------------------------------------------------------------------------------------------------


def model(live: Live, version: str | None) -> dict[str, Any]:
    """The metadata of an endpoint, or of one version of it. Raises NoRunner, NotFound."""
    variant = live.choose() if version is None else live.version(version)
    versions = [v.version for v in live.variants] if version is None else [variant.version]
    about = {"name": live.table.model, "versions": versions, "platform": PLATFORM}
    return {**about, "inputs": tensors.inputs(variant.signature), "outputs": tensors.outputs(variant.signature)}


def ready(live: Live, version: str | None) -> bool:
    """Whether an endpoint, or one version of it, answers. Raises NoRunner, NotFound."""
    return live.ready if version is None else live.version(version).ready


async def _server(plane: Plane, request: Request) -> Answer:
    return _json(SERVER)


async def _live(plane: Plane, request: Request) -> Answer:
    return _json({"live": True})


async def _ready(plane: Plane, request: Request) -> Answer:
    if not plane.live().ready:
        raise NoRunner("no version is ready")
    return _json({"ready": True})


async def _model(plane: Plane, request: Request) -> Answer:
    return _json(model(plane.live(request.names["endpoint"]), request.names.get("variant")))


async def _model_ready(plane: Plane, request: Request) -> Answer:
    live = plane.live(request.names["endpoint"])
    if not ready(live, request.names.get("variant")):
        raise NoRunner("the model is not ready")
    return _json({"name": live.table.model, "ready": True})


def _json(content: dict[str, Any]) -> Answer:
    return Answer(200, msgspec.json.encode(content))


_MODEL = "/v2/models/{endpoint}"
_VERSION = _MODEL + "/versions/{variant}"
ROUTES = (
    Route("GET", "/v2", _server, refuse=refuse),
    Route("GET", "/v2/health/live", _live, open=True, refuse=refuse),
    Route("GET", "/v2/health/ready", _ready, open=True, refuse=refuse),
    *(Route("GET", path, _model, refuse=refuse) for path in (_MODEL, _VERSION)),
    *(Route("GET", f"{path}/ready", _model_ready, refuse=refuse) for path in (_MODEL, _VERSION)),
    *(Route("POST", f"{path}/infer", Infer()) for path in (_MODEL, _VERSION)),
)
