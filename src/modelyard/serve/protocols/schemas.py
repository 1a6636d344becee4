"""JSON Schemas of what one version reads and answers, from its signature."""

from __future__ import annotations

from typing import Any

from modelyard.serve.rows import MAX_ID
from modelyard.signature import Column, Signature
from modelyard.zones import DEFAULT

Schema = dict[str, Any]
_TYPES: dict[str, Schema] = {
    "int": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
}
_SCALAR: Schema = {"type": ["string", "number", "boolean", "null"], "minimum": -(2**63), "maximum": 2**63 - 1}
ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "what", "where", "next"],
            "properties": {
                "code": {"type": "string", "description": "A stable word for machines."},
                "what": {"type": "string", "description": "What is wrong."},
                "where": {"type": "string", "description": "The place: a row and a column, a header."},
                "next": {"type": "string", "description": "What to do now."},
            },
        }
    },
}
AWS_ERROR: Schema = {
    "type": "object",
    "required": ["Message"],
    "properties": {
        "Message": {"type": "string"},
        "OriginalStatusCode": {"type": "integer"},
        "OriginalMessage": {"type": "string"},
        "LogStreamArn": {"type": "string"},
    },
}
OIP_ERROR: Schema = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def column(one: Column) -> Schema:
    """A feature's schema; one that training saw missing may be null."""
    schema = dict(_TYPES[one.type])
    if one.type == "datetime":
        schema["description"] = f"An ISO 8601 time; {_without_offset(one.timezone)}."
    return {**schema, "type": [schema["type"], "null"]} if one.nullable else schema


def _without_offset(timezone: str) -> str:
    return f"without an offset it is {'in ' if timezone != DEFAULT else ''}{timezone}"


def record(signature: Signature, extras: tuple[str, ...], example: dict[str, Any] | None) -> Schema:
    """A row as an object: the features, and what may come beside them."""
    properties: dict[str, Schema] = {c.name: column(c) for c in signature.columns}
    if signature.id_col is not None:
        about = "The row's inference id."
        properties.setdefault(signature.id_col, {"type": ["string", "integer", "null"], "maxLength": MAX_ID, "description": about})
    if signature.time_col is not None:
        about = f"When the row happened: not more than a day ahead, and not long ago; {_without_offset(signature.timezone)}."
        properties.setdefault(signature.time_col, {"type": ["string", "null"], "format": "date-time", "description": about})
    for name in extras:
        properties.setdefault(name, {**_SCALAR, "description": "Kept beside the row; no feature."})
    needed = [c.name for c in signature.columns if not c.nullable]
    schema: Schema = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    return {**schema, "examples": [example]} if example is not None else schema


def row(signature: Signature) -> Schema:
    """A row as a list of values in the signature's order."""
    values = [column(c) for c in signature.columns]
    return {"type": "array", "prefixItems": values, "items": False, "minItems": len(values), "maxItems": len(values)}


def body(signature: Signature, max_rows: int) -> Schema:
    """A JSON body: a record, a list of rows, or one of these in an envelope."""
    bounds = {"type": "array", "minItems": 1, "maxItems": max_rows}
    rows: Schema = {"anyOf": [{**bounds, "items": {"$ref": "#/components/schemas/Record"}}, {**bounds, "items": row(signature)}]}
    columns: Schema = {
        "type": "object",
        "properties": {c.name: {**bounds, "items": column(c)} for c in signature.columns},
        "required": [c.name for c in signature.columns if not c.nullable],
        "description": "A list of values a column, all of one length.",
    }
    split: Schema = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {"columns": {"const": list(signature.names)}, "data": {**bounds, "items": row(signature)}, "index": {}},
        "additionalProperties": False,
        "description": "The columns may stand in any order; values follow it.",
    }
    envelopes = {"instances": rows, "inputs": {"anyOf": [rows, columns]}, "dataframe_records": rows, "dataframe_split": split}
    return {
        "anyOf": [
            {"$ref": "#/components/schemas/Record"},
            rows,
            *(_envelope(name, content) for name, content in envelopes.items()),
        ]
    }


def _envelope(name: str, content: Schema) -> Schema:
    params = {
        "type": "object",
        "properties": {"predictions": {"enum": ["records", "values"]}},
        "additionalProperties": False,
    }
    return {"type": "object", "required": [name], "properties": {name: content, "params": params}, "additionalProperties": False}


def prediction(signature: Signature) -> Schema:
    """What `prediction` is."""
    if signature.answer == "number":
        return {"type": ["number", "null"]}
    return {"type": "string"} if signature.answer == "labels" else {"enum": list(signature.classes)}


def answer(signature: Signature) -> Schema:
    """The answer to a JSON body."""
    properties: dict[str, Schema] = {"inference_id": {"type": "string"}, "prediction": prediction(signature)}
    if "score" in signature.outputs:
        properties["score"] = {"type": ["number", "null"], "description": "Greater is stranger."}
    elif signature.classes:
        each = {str(c): {"type": "number"} for c in signature.classes}
        properties["probabilities"] = {"type": "object", "properties": each, "required": list(each), "additionalProperties": False}
    one: Schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {
        "type": "object",
        "required": ["predictions", "model", "version"],
        "properties": {
            "predictions": {"type": "array", "items": {"anyOf": [one, prediction(signature)]}},
            "model": {"type": "string"},
            "version": {"type": "string"},
            "explanations": {"$ref": "#/components/schemas/Explanations"},
        },
    }


def explanations(signature: Signature) -> Schema:
    """How each answer came about."""
    each = {c.name: {"type": "number"} for c in signature.columns}
    return {
        "type": "object",
        "required": ["output", "unit", "base", "method", "why", "attributions"],
        "properties": {
            "output": {"type": "string", "description": "The output that is explained."},
            "unit": {"type": "string", "description": "What base and attributions sum to."},
            "base": {"type": "number"},
            "method": {"type": "string"},
            "why": {"type": "string"},
            "attributions": {"type": "array", "items": {"type": "object", "properties": each, "required": list(each)}},
        },
    }
