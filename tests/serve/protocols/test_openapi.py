"""The OpenAPI document is one, and says of records what the endpoint says of them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate

from modelyard.errors import BadInput
from modelyard.serve.protocols import ROUTES, Formats, schemas
from modelyard.signature import Column, Signature
from tests.serve.protocols.conftest import RECORD, Endpoint

SIGNED = Signature(
    "multiclass_classification",
    (Column("age", "int"), Column("fare", "float", nullable=True), Column("port", "str"), Column("vip", "bool", nullable=True)),
    classes=("a", "b"),
    id_col="id",
    entity_cols=("who",),
)
FORMATS = Formats(SIGNED, max_rows=3)
DOCUMENT = {
    "$ref": "#/components/schemas/Body",
    "components": {
        "schemas": {"Record": schemas.record(SIGNED, FORMATS.wanted.extras, None), "Body": schemas.body(SIGNED, 3)},
    },
}
VALIDATOR = jsonschema.Draft202012Validator(DOCUMENT)
SCALARS = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(-1e15, 1e15) | st.text(max_size=3)
GOOD = st.fixed_dictionaries(
    {"age": st.integers(-5, 5), "port": st.text(st.characters(codec="utf-8"), max_size=3)},
    optional={"fare": st.none() | st.floats(allow_nan=False, allow_infinity=False), "vip": st.none() | st.booleans(), "who": SCALARS},
)
RECORDS = GOOD | st.dictionaries(st.sampled_from([*FORMATS.wanted.names, "other"]), SCALARS, max_size=6)
LISTS = st.lists(RECORDS, max_size=4) | st.lists(st.tuples(st.integers(), SCALARS, st.text(max_size=2), SCALARS), max_size=4)
BODIES = (
    RECORDS
    | LISTS
    | st.builds(lambda key, rows: {key: rows}, st.sampled_from(["instances", "inputs", "dataframe_records", "other"]), LISTS)
    | st.builds(lambda rows: {"instances": rows, "params": {"predictions": "values"}}, LISTS)
    | st.builds(
        lambda data: {"dataframe_split": {"columns": list(SIGNED.names), "data": data}}, st.lists(st.lists(SCALARS, max_size=5), max_size=2)
    )
)


def ask(endpoint: Endpoint, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{endpoint.port}{path}", data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read() or b"null") if "json" in answer.headers["Content-Type"] else None
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def test_it_is_an_openapi_document_of_all_paths(endpoint: Endpoint) -> None:
    status, document = ask(endpoint, "GET", "/openapi.json")
    assert status == 200 and document["info"]["version"] == "1"
    validate(document)
    assert {(r.path, r.method.lower()) for r in ROUTES} - {("/endpoints/{endpoint}/async-invocations", "post")} <= {
        (path, method) for path, methods in document["paths"].items() for method in methods
    }
    assert document["components"]["schemas"]["Record"]["examples"] == [RECORD]


def test_answers_and_errors_are_as_it_says(endpoint: Endpoint) -> None:
    document = ask(endpoint, "GET", "/openapi.json")[1]
    body = document["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]["example"]
    cases = [
        ("/invocations", body, "Answer"),
        ("/invocations?predictions=values", [body], "Answer"),
        ("/invocations?explain=true", [body, body], "Answer"),
        ("/invocations", {}, "Error"),
        ("/endpoints/demo/invocations", {}, "AwsError"),
        ("/v2/models/demo/infer", {}, "OipError"),
    ]
    for path, sent, name in cases:
        status, said = ask(endpoint, "POST", path, sent)
        operation = document["paths"][path.partition("?")[0].replace("/demo/", "/{endpoint}/")]["post"]
        assert str(status) in operation["responses"], path
        jsonschema.validate(said, {**document, "$ref": f"#/components/schemas/{name}"})
        assert ("explanations" in said) == ("explain" in path)
    for path in ("/ping", "/health", "/version", "/v2", "/v2/models/demo", "/v2/models/demo/ready", "/metrics", "/"):
        assert ask(endpoint, "GET", path)[0] == 200


@given(BODIES)
def test_a_body_that_fits_the_schema_is_read_and_another_is_not(body: Any) -> None:
    sent = json.dumps(body).encode()
    fits = VALIDATOR.is_valid(json.loads(sent))
    try:
        FORMATS.parse(sent, None, received_at=0)
        read = True
    except BadInput:
        read = False
    assert read == fits
