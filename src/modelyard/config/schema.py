"""The JSON Schema of config.yaml, for editors and other tools: what `load` accepts, as far as JSON Schema can say it.

It starts from pydantic's and adds what that cannot know: `${NAME}` in place of a value, values by stage, and the rules over
several keys. What stays with `load` alone: sums, orders, files, time zones, schedules, and whether a variable is declared.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any, get_args

from modelyard.config.spec import GOES_WITH, RESERVED, STAGES, Config
from modelyard.config.words import BY_STAGE
from modelyard.signature import ProblemType

_REF = "#/$defs/"
_STAGED = "_by_stage"
_VARIABLE = {"$ref": f"{_REF}Variable"}
_PATH = r"^(?![/~-])(?!(.*/)?\.\.(/|$))[^\\\x00-\x1f\x7f]*[^\\\x00-\x1f\x7f\s][^\\\x00-\x1f\x7f]*$"
_PATHS = ("entry_point", "requirements", "source_dir", "pre", "post", "analysis_config", "constraints")
_WINDOW = r"^[1-9][0-9]{0,3}(s|m|h|d|w|mo)$"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of config.yaml."""
    schema = Config.model_json_schema(by_alias=True)
    defs: dict[str, Any] = schema.pop("$defs")
    _add_rules(schema, defs)
    for part in defs.values():
        _patterns(part)
    for name in (*defs,):
        defs[name] = _with_variables(defs[name])
    properties = {k: _with_variables(v) for k, v in schema["properties"].items()}
    places = [_place(path, properties, defs) for path in BY_STAGE]
    staged = _reachable(defs, [_target(inside[key]) for inside, key in places])
    for name in staged:
        defs[name + _STAGED] = _staged_part(defs[name], staged)
    for inside, key in places:
        inside[key] = _staged(inside[key], staged)
    defs["Variable"] = {
        "type": "string",
        "pattern": r"\$\{[A-Z][A-Z0-9_]*\}",
        "description": "Holds ${NAME}, a variable declared under `variables`.",
    }
    schema["properties"] = properties
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Modelyard's config.yaml",
        "$defs": defs,
    }


def _place(path: str, properties: dict[str, Any], defs: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The properties among which a part stands, and its key there."""
    *parents, key = path.split(".")
    for parent in parents:
        properties = defs[_target(properties[parent])]["properties"]
    return properties, key


def _target(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).removeprefix(_REF)


def _patterns(part: dict[str, Any]) -> None:
    """Gives the text fields whose form pydantic checks in Python a pattern that says the same."""
    for name, field in part.get("properties", {}).items():
        for one in (field, *field.get("anyOf", ())):
            if one.get("type") == "string" and name in _PATHS:
                one["pattern"] = _PATH
            if one.get("type") == "string" and name == "window":
                one["pattern"] = _WINDOW


def _with_variables(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with `${NAME}` allowed wherever a single value stands."""
    if "properties" in schema:
        return {**schema, "properties": {k: _with_variables(v) for k, v in schema["properties"].items()}}
    outer = {k: v for k, v in schema.items() if k in ("title", "description", "default", "examples")}
    inner = {k: v for k, v in schema.items() if k not in outer}
    if "anyOf" in inner:
        return {**outer, "anyOf": [_with_variables(one) for one in inner["anyOf"]]}
    if inner.get("type") == "array":
        if "prefixItems" in inner:
            inner["prefixItems"] = [_with_variables(one) for one in inner["prefixItems"]]
        if "items" in inner:
            inner["items"] = _with_variables(inner["items"])
        return {**outer, **inner}
    if inner.get("type") == "object":
        if isinstance(inner.get("additionalProperties"), dict):
            inner["additionalProperties"] = _with_variables(inner["additionalProperties"])
        if "patternProperties" in inner:
            inner["additionalProperties"] = False
        return {**outer, **inner}
    if not inner or "$ref" in inner or inner == {"type": "null"}:
        return schema
    return {**outer, "anyOf": [inner, _VARIABLE]}


def _reachable(defs: dict[str, Any], names: list[str]) -> list[str]:
    found: list[str] = []
    while names:
        name = names.pop()
        if name not in found:
            found.append(name)
            names += _references(defs[name])
    return [n for n in found if n != "Variable"]


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [n for one in schema for n in _references(one)]
    if not isinstance(schema, dict):
        return []
    own = [_target(schema)] if "$ref" in schema and schema != _VARIABLE else []
    return own + [n for one in schema.values() for n in _references(one)]


def _staged_part(part: dict[str, Any], staged: list[str]) -> dict[str, Any]:
    """The part with values by stage; a rule over several keys then holds stage by stage, which no schema can say."""
    properties = part.get("properties", {})
    new = {**part, "properties": {k: _staged(v, staged) for k, v in properties.items()}}
    if "allOf" in part:
        mapping = {"type": "object", "minProperties": 1, "propertyNames": {"enum": list(STAGES)}}
        differs = [{"required": [k], "properties": {k: mapping}} for k in properties]
        new["allOf"] = [{"anyOf": [{"allOf": part["allOf"]}, *differs]}]
    return new


def _staged(schema: dict[str, Any], staged: list[str]) -> dict[str, Any]:
    """The schema, or a mapping of stages to it; what stands under a stage cannot differ by stage again."""
    outer = {k: v for k, v in schema.items() if k in ("title", "description", "default", "examples")}
    plain = {k: v for k, v in schema.items() if k not in outer}
    by_stage = {
        "type": "object",
        "properties": {stage: copy.deepcopy(plain) for stage in STAGES},
        "additionalProperties": False,
        "minProperties": 1,
    }
    return {**outer, "anyOf": [_inside(plain, staged), by_stage]}


def _inside(schema: dict[str, Any], staged: list[str]) -> dict[str, Any]:
    """The schema whose parts and items may differ by stage."""
    if "$ref" in schema and _target(schema) in staged:
        return {"$ref": schema["$ref"] + _STAGED}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_inside(one, staged) for one in schema["anyOf"]]}
    if isinstance(schema.get("items"), dict):
        return {**schema, "items": _staged(schema["items"], staged)}
    return schema


def _says(key: str, *values: str) -> dict[str, Any]:
    return {"properties": {key: {"enum": list(values)}}, "required": [key]}


def _has(key: str) -> dict[str, Any]:
    """Whether a key holds something; null says nothing."""
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _of_kind(names: Collection[str]) -> dict[str, Any]:
    """Whether the model's problem is one of these; ${NAME} is none."""
    return {"required": ["model"], "properties": {"model": _says("problem_type", *sorted(names))}}


def _within(part: str, key: str) -> dict[str, Any]:
    return {"required": [part], "properties": {part: {"required": [key]}}}


def _only_with(condition: dict[str, Any], otherwise: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """`key` holds something under the condition, and nothing under the other; ${NAME} satisfies neither."""
    return [{"if": condition, "then": _has(key)}, {"if": otherwise, "then": {"not": _has(key)}}]


def _add_rules(schema: dict[str, Any], defs: dict[str, Any]) -> None:
    """The rules over several keys that spec.py checks in Python."""
    kinds = set(get_args(ProblemType))
    with_class = {"binary_classification", "anomaly_detection"}
    one_class, others = (_of_kind(names) for names in (with_class, kinds - with_class))
    ranking, forecasting = _of_kind({"ranking"}), _of_kind({"forecasting"})
    window = {"required": ["window"], "properties": {"window": _says("type", "sliding")}}
    sliding = {"required": ["retrain"], "properties": {"retrain": window}}
    grouped = {"required": ["schema"], "properties": {"schema": _has("group_col")}}
    in_time = {"required": ["split"], "properties": {"split": _says("by", "time")}}
    schema["allOf"] = [
        {"oneOf": [_has("train"), _has("bring")]},
        {"if": one_class, "then": {"properties": {"data": _has("positive_class")}}},
        {"if": others, "then": {"properties": {"data": {"not": _has("positive_class")}}}},
        *({"if": _of_kind(kinds - set(those)), "then": {"not": _within("evaluate", key)}} for key, those in GOES_WITH.items()),
        {"if": _of_kind(kinds - {"multilabel_classification"}), "then": {"properties": {"data": {"not": _has("label_separator")}}}},
        {"if": ranking, "then": {"properties": {"data": grouped}}},
        {"if": forecasting, "then": {"properties": {"data": in_time}}},
        {"if": _has("bring"), "then": {"not": {"anyOf": [_has("preprocess"), _has("postprocess")]}}},
        {"if": sliding, "then": {"properties": {"data": _has("time_col")}}},
    ]
    defs["Source"]["allOf"] = _only_with(_says("using", "sql"), _says("using", "csv", "parquet", "jsonl", "delta", "script"), "query")
    split = _says("by", "time", "random", "group"), {"not": {"required": ["by"]}}
    defs["Split"]["allOf"] = _only_with(_says("by", "provided"), {"anyOf": list(split)}, "column")
    by_group = {"required": ["split"], "properties": {"split": _says("by", "group")}}
    defs["Data"]["allOf"] = [{"if": in_time, "then": _has("time_col")}, {"if": by_group, "then": grouped}]
    expanding = _says("type", "expanding"), {"not": {"required": ["type"]}}
    defs["TrainingWindow"]["allOf"] = _only_with(_says("type", "sliding"), {"anyOf": list(expanding)}, "length")
    changes = [_has("min_absolute_change"), _has("min_relative_change")]
    compared = [{"if": _has("versus"), "then": {"oneOf": changes}}, {"if": {"not": _has("versus")}, "then": {"not": {"anyOf": changes}}}]
    alone = {"if": _has("versus"), "then": {"not": {"anyOf": [_has("slice"), _says("bound", "lower", "upper")]}}}
    defs["Criterion"]["allOf"] = [{"oneOf": [_has("threshold"), _has("versus")]}, *compared, alone]
    defs["Step"]["properties"]["name"]["not"] = {"enum": list(RESERVED)}
    defs["Range"]["allOf"] = [{"oneOf": [_has("int"), _has("float"), _has("choice")]}]
    defs["Bias"]["allOf"] = [{"not": {"allOf": [_has("analysis_config"), _has("facets")]}}]
    defs["PerformanceCriterion"]["allOf"] = [{"oneOf": [_has("threshold"), _has("max_drop")]}]
