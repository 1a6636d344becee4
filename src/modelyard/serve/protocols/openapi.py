"""`GET /openapi.json`: what this endpoint reads and answers, with the columns of the version that has most of the traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.serve.plane import Answer, Plane, Request, Route
from modelyard.serve.protocols import schemas, tensors
from modelyard.serve.protocols.reading import LINES, TABLES
from modelyard.serve.protocols.writing import ARROW, CSV, JSON, KINDS, NPY, PARQUET
from modelyard.serve.refusals import NoRunner

if TYPE_CHECKING:
    from modelyard.serve.live import Live, LiveVariant

Part = dict[str, Any]
_READ = (JSON, CSV, *LINES, *TABLES)
_BINARY = frozenset({ARROW, PARQUET, NPY, *TABLES})
_ERRORS = {
    "400": "The body, a header or the query does not fit; `where` names the row and the column.",
    "401": "The endpoint wants an API key.",
    "403": "The endpoint is not called by that name.",
    "404": "There is no such path, endpoint or model.",
    "405": "The path is there, for another method.",
    "406": "The caller accepts nothing that the endpoint writes.",
    "408": "The body did not come in time.",
    "413": "The body has more bytes or rows than the endpoint takes.",
    "415": "A content type or an encoding that is not read here.",
    "422": "Explanations are asked for, and this version's answers cannot be explained.",
    "424": "The model raised an exception.",
    "429": "Too many requests wait; try again after Retry-After.",
    "503": "No version answers now; try again after Retry-After.",
    "504": "The model took too long.",
}
_ALWAYS = ("401", "403", "405")
_INVOKED = tuple(_ERRORS)


async def _openapi(plane: Plane, request: Request) -> Answer:
    return Answer(200, msgspec.json.encode(document(plane.live())))


def document(live: Live) -> Part:
    """The document. Raises NoRunner where no version is deployed."""
    if not live.variants:
        raise NoRunner("no version is deployed here", next="Deploy a version first.")
    variant = max(live.variants, key=lambda v: v.weight)
    table = live.table
    example = next((v.example for v in table.variants if v.version == variant.version), None)
    extras = variant.formats.wanted.extras
    made: Part = {
        "openapi": "3.1.0",
        "info": {
            "title": f"{table.model}, {table.stage}",
            "version": variant.version,
            "description": f"Predictions of {table.model}. Versions here: {', '.join(v.version for v in live.variants)}.",
        },
        "paths": {**_plain(variant, example), **_sagemaker(live), **_oip(live, variant), **_pages()},
        "components": {
            "schemas": {
                "Record": schemas.record(variant.signature, extras, example),
                "Body": schemas.body(variant.signature, table.limits.max_rows),
                "Answer": schemas.answer(variant.signature),
                "Explanations": schemas.explanations(variant.signature),
                "Error": schemas.ERROR,
                "AwsError": schemas.AWS_ERROR,
                "OipError": schemas.OIP_ERROR,
            }
        },
    }
    if table.access.keys is not None:
        made["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
        made["security"] = [{"bearer": []}, {"key": []}]
    return made


def _ref(name: str) -> Part:
    return {"$ref": f"#/components/schemas/{name}"}


def _errors(schema: str, codes: tuple[str, ...]) -> Part:
    return {code: {"description": _ERRORS[code], "content": {JSON: {"schema": _ref(schema)}}} for code in codes}


def _content(kinds: tuple[str, ...], schema: Part, example: Any = None) -> Part:
    """A body in each of these content types; those that are no JSON are only named."""
    found: Part = {}
    for kind in kinds:
        found[kind] = {"schema": {} if kind in _BINARY else {"type": "string"}}
    found[JSON] = {"schema": schema} | ({"example": example} if example is not None else {})
    return found


def _parameter(place: str, name: str, schema: Part, description: str) -> Part:
    return {"in": place, "name": name, "schema": schema, "description": description, "required": place == "path"}


_ID = _parameter(
    "header",
    "X-Amzn-SageMaker-Inference-Id",
    {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[!-~]+$"},
    "The inference id; rows of a larger body get `-0`, `-1`, ... after it.",
)
_HEADERS = {"x-modelyard-version": {"description": "The version that answered.", "schema": {"type": "string"}}}


def _target(live: Live) -> Part:
    return _parameter(
        "header", "X-Amzn-SageMaker-Target-Variant", {"enum": [v.version for v in live.variants]}, "The version that is to answer."
    )


def _plain(variant: LiveVariant, example: Any) -> Part:
    choices = [
        _parameter("query", "explain", {"enum": ["true", "false"]}, "Have `explanations` in the answer."),
        _parameter(
            "query", "predictions", {"enum": ["records", "values"]}, "`values`: the bare predictions, without ids and probabilities."
        ),
    ]
    operation = {
        "operationId": "invoke",
        "summary": "Predict.",
        "parameters": [*choices, _ID],
        "requestBody": {"required": True, "content": _content(_READ, _ref("Body"), example)},
        "responses": {
            "200": {"description": "A prediction a row.", "headers": _HEADERS, "content": _content(KINDS, _ref("Answer"))},
            **_errors("Error", _INVOKED),
        },
    }
    return {"/invocations": {"post": operation}}


def _sagemaker(live: Live) -> Part:
    where = _parameter("path", "endpoint", {"enum": [live.table.endpoint, live.table.model]}, "The endpoint, or its model.")
    explain = _parameter(
        "header", "X-Amzn-SageMaker-Enable-Explanations", {"enum": ["true", "false"]}, "Answer in the shape of SageMaker Clarify."
    )
    attributes = _parameter(
        "header", "X-Amzn-SageMaker-Custom-Attributes", {"type": "string", "pattern": "^[!-~]*$", "maxLength": 1024}, "Comes back as it is."
    )
    errors = _errors("AwsError", tuple(c for c in _INVOKED if c not in ("404", "406", "415", "422", "504")))

    def operation(name: str, summary: str, content: Part, more: list[Part]) -> Part:
        ok = {"description": "A prediction a row.", "headers": _HEADERS, "content": content}
        return {
            "operationId": name,
            "summary": summary,
            "parameters": [where, _ID, _target(live), attributes, *more],
            "requestBody": {"required": True, "content": _content(_READ, _ref("Body"))},
            "responses": {"200": ok, **errors},
        }

    events: Part = {"application/vnd.amazon.eventstream": {"schema": {}}}
    anything = _content(KINDS, {"type": "object"})
    path = "/endpoints/{endpoint}"
    found: Part = {
        f"{path}/invocations": {"post": operation("invokeEndpoint", "Predict, as SageMaker Runtime does.", anything, [explain])},
        f"{path}/invocations-response-stream": {
            "post": operation("invokeEndpointWithResponseStream", "Predict; the answer comes as an AWS event stream.", events, [])
        },
    }
    if live.table.asynchronous is not None:
        found[f"{path}/async-invocations"] = {"post": _later(where)}
    return found


def _later(where: Part) -> Part:
    """The operation of an asynchronous invocation."""
    address = _parameter("header", "X-Amzn-SageMaker-InputLocation", {"type": "string"}, "Where the input is; else it is the body.")
    kind = _parameter("header", "X-Amzn-SageMaker-Content-Type", {"type": "string"}, "The input's content type.")
    places = {f"x-amzn-sagemaker-{name}": {"schema": {"type": "string"}} for name in ("outputlocation", "failurelocation")}
    said: Part = {"type": "object", "required": ["InferenceId"]}
    ok = {"description": "The request is kept; look where the headers say.", "headers": places, "content": {JSON: {"schema": said}}}
    return {
        "operationId": "invokeEndpointAsync",
        "summary": "Predict later.",
        "parameters": [where, _ID, address, kind],
        "requestBody": {"required": False, "content": {"*/*": {"schema": {}}}},
        "responses": {"202": ok, **_errors("AwsError", ("400", "401", "403", "405", "408", "413", "429", "503"))},
    }


def _oip(live: Live, variant: LiveVariant) -> Part:
    model = _parameter("path", "endpoint", {"enum": [live.table.model, live.table.endpoint]}, "The model, or its endpoint.")
    version = _parameter("path", "variant", {"enum": [v.version for v in live.variants]}, "The version.")
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"enum": list(tensors.DATATYPES)},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
            "data": {},
            "parameters": {"type": "object"},
        },
    }
    asked = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": tensor, "minItems": 1, "description": _columns(variant)},
            "outputs": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
            "parameters": {"type": "object"},
        },
    }
    infer = {
        "requestBody": {"required": True, "content": {JSON: {"schema": asked}, "application/octet-stream": {"schema": {}}}},
        "responses": {
            "200": {
                "description": "A tensor an output.",
                "headers": _HEADERS,
                "content": {JSON: {"schema": {"type": "object", "required": ["outputs"]}}, "application/octet-stream": {"schema": {}}},
            },
            **_errors("OipError", _INVOKED),
        },
    }
    found: Part = {}
    for path, names, end in (
        ("/v2/models/{endpoint}", [model], ""),
        ("/v2/models/{endpoint}/versions/{variant}", [model, version], "Version"),
    ):
        found[path] = {"get": _looked(f"model{end}", "The model's tensors.", names)}
        found[f"{path}/ready"] = {"get": _looked(f"modelReady{end}", "Whether the model answers.", names)}
        found[f"{path}/infer"] = {"post": {"operationId": f"infer{end}", "summary": "Predict.", "parameters": [*names, _ID], **infer}}
    for path, name in (("/v2", "server"), ("/v2/health/live", "serverLive"), ("/v2/health/ready", "serverReady")):
        found[path] = {"get": _looked(name, "Of the server.", [])}
    return found


def _columns(variant: LiveVariant) -> str:
    return "A tensor a column: " + ", ".join(f"{one['name']} ({one['datatype']})" for one in tensors.inputs(variant.signature))


def _looked(name: str, summary: str, parameters: list[Part]) -> Part:
    ok = {"description": "It does.", "content": {JSON: {"schema": {"type": "object"}}}}
    errors = _errors("OipError", ("400", "404", "503", *_ALWAYS))
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": {"200": ok, **errors}}


def _pages() -> Part:
    def page(name: str, summary: str, kind: str) -> Part:
        schema: Part = {"type": "object"} if kind == JSON else {"type": "string"}
        ok = {"description": summary, "content": {kind: {"schema": schema}}}
        return {"get": {"operationId": name, "summary": summary, "responses": {"200": ok, **_errors("Error", (*_ALWAYS, "503"))}}}

    return {
        "/ping": page("ping", "Whether a version answers.", JSON),
        "/health": page("health", "Whether a version answers.", "text/plain"),
        "/health/ready": page("ready", "Whether a version answers.", JSON),
        "/health/live": page("alive", "Whether the front lives.", JSON),
        "/version": page("platformVersion", "Modelyard's version.", "text/plain"),
        "/metrics": page("metrics", "Counters in Prometheus' format.", "text/plain"),
        "/openapi.json": page("openapi", "This document.", JSON),
        "/": page("hint", "What the endpoint is.", "text/plain"),
    }


ROUTES = (Route("GET", "/openapi.json", _openapi),)
