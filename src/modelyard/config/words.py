"""pydantic's complaints in plain words, and the known names nearest to a wrong one."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Union, get_args, get_origin

from modelyard.config.spec import NOTED, PLANNED, STAGES, Config, Part

Path = tuple[str | int, ...]

BY_STAGE = ("deploy.realtime", "deploy.capture")
"""The parts whose values may differ by stage. What is built does not, and only production has traffic that moves and is watched."""

_PATTERNS = {
    "name": "must be lower-case letters, digits and dashes, such as flight-delay (63 characters at most)",
    "metric": "must be a metric's name, such as roc_auc",
    "secret": "must be letters, digits and underscores, beginning with a letter",
    "hyperparameters": "is no hyperparameter's name: letters, digits, '_', '.' and '-' (256 at most), none of the last two first",
    "variables": "must be upper-case letters, digits and underscores, such as DATA_FOLDER",
}
_FIXED = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def dotted(path: Path) -> str:
    """`data.split.ratios[1]`."""
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """A value as a sentence names it, short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = str(value) if isinstance(value, str) else f"{value}"
    text = text if len(text) <= 40 else text[:39] + "…"
    return f"'{text}'" if isinstance(value, str) else text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `name` was probably meant to be."""
    lower = {k.lower(): k for k in known}
    # An enormous name cannot be a slip of the fingers, and difflib would take its time over it.
    match = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6) if len(name) <= 100 else []
    return lower[match[0]] if match else None


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    items = list(words)
    return f"{', '.join(items[:-1])} {last} {items[-1]}" if len(items) > 1 else "".join(items)


def _annotations(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, without Annotated and unions."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _annotations(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [a for arg in get_args(annotation) for a in _annotations(arg)]
    return [annotation]


def _step(annotation: Any, segment: str | int) -> list[Any]:
    for one in _annotations(annotation):
        if isinstance(one, type) and issubclass(one, Part):
            for field_name, info in one.model_fields.items():
                if segment == (info.alias or field_name):
                    return [info.annotation]
        elif get_origin(one) is dict:
            return [get_args(one)[1]]
        elif get_origin(one) is tuple and isinstance(segment, int):
            return [get_args(one)[0]]
    return []


def known_keys(path: Path) -> list[str]:
    """The keys that may stand in the mapping at `path`; none where it is free or there is no such place."""
    found: list[Any] = [Config]
    for segment in path:
        found = _step(found[0], segment) if found else []
    parts = [a for one in found for a in _annotations(one) if isinstance(a, type) and issubclass(a, Part)]
    return [info.alias or name for part in parts for name, info in part.model_fields.items() if NOTED not in info.metadata]


def all_stages(value: Any) -> bool:
    """Whether a value of the file is a mapping of stages."""
    return isinstance(value, dict) and bool(value) and value.keys() <= set(STAGES)


def _same_everywhere(path: Path) -> tuple[str, str]:
    where = f"`{dotted(path)}`" if path else "the whole file"
    return f"{where} cannot differ by stage; values under {listed(BY_STAGE, 'and')} can", ""


def _unknown(path: Path) -> tuple[str, str]:
    key, name = str(path[-1]), dotted(path)
    plain = dotted(tuple(p for p in path if not isinstance(p, int)))
    if plain in PLANNED:
        return f"`{key}` ({PLANNED[plain]}) is not honoured by this release", ""
    if key in STAGES and any(f"{plain}.".startswith(f"{part}.") for part in BY_STAGE):
        return f"`{key}` stands beside other keys; a value that differs by stage holds staging and production alone", ""
    if key in STAGES:
        return _same_everywhere(path[:-1])
    known = known_keys(path[:-1])
    near = nearest(key, known)
    hint = f"; did you mean `{near}`?" if near else ""
    elsewhere = "" if near or not known else f"known here: {', '.join(known)}"
    return f"unknown key `{name if len(name) <= 80 else key[:80]}`{hint}", elsewhere


def _literal(name: str, value: Any, expected: str) -> str:
    choices = re.findall(r"'([^']*)'", expected) or [expected]
    near = nearest(value, choices) if isinstance(value, str) else None
    return f"`{name}` must be {listed(choices)}, not {shown(value)}" + (f"; did you mean {near}?" if near else "")


def explain(path: Path, error: dict[str, Any]) -> tuple[str, str]:
    """One of pydantic's errors at `path` (without its union tags) as a message and, where there is one, what to do next."""
    kind, value, ctx = error["type"], error.get("input"), error.get("ctx", {})
    name = dotted(path[-2:] if path and isinstance(path[-1], int) else path[-1:]) or "the file"
    if kind == "extra_forbidden":
        return _unknown(path)
    if all_stages(value) and not known_keys(path):
        return _same_everywhere(path)
    if kind == "missing":
        return (f"`{dotted(path[:-1])}` needs more values" if isinstance(path[-1], int) else f"`{dotted(path)}` is missing"), ""
    if kind == "literal_error":
        return _literal(name, value, ctx["expected"]), ""
    if kind == "value_error":
        return str(ctx["error"]), ""
    if kind in _FIXED:
        hint = "put it in quotes" if kind == "string_type" and isinstance(value, int | float) else ""
        return f"`{name}` {_FIXED[kind]}, not {shown(value)}", hint
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"`{name}` must be {word} {ctx[key]:g}, not {shown(value)}", ""
    if kind == "string_pattern_mismatch":
        rules = [_PATTERNS[str(p)] for p in reversed(path[-2:]) if str(p) in _PATTERNS]
        rule = rules[0] if rules else f"must match {ctx['pattern']}"
        return f"`{name}` {rule}", ""
    if kind in ("too_long", "too_short", "string_too_long", "string_too_short"):
        bound = ctx.get("max_length", ctx.get("min_length"))
        unit = "characters" if kind.startswith("string") else "values"
        return f"`{name}` must have at {'most' if kind.endswith('long') else 'least'} {bound} {unit}", ""
    return f"`{name}`: {error['msg']}", ""


def explain_union(path: Path, tags: Iterable[str], value: Any) -> str:
    """The message where none of a field's alternatives fits."""
    name = dotted(path[-2:] if path and isinstance(path[-1], int) else path[-1:])
    pairs = {"Secret": "text, or {secret: NAME}", "Slice": "a column, `worst`, or {column: NAME, value: VALUE}"}
    what = next((said for tag, said in pairs.items() if tag in tags), "one value: text, a number, or true or false")
    return f"`{name}` must be {what}, not {shown(value)}"
