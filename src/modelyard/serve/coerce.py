"""Strict coercion of whole columns to the signature's types: what JSON gave, or what CSV wrote.

A column is judged by the set of its values' types, at C speed; only a column that is not clean is walked to name the row.
Datetimes become integers: microseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelyard import zones
from modelyard.errors import BadInput
from modelyard.signature import Column

Coercer = Callable[[list[Any]], list[Any]]
_NONE, _UNSET = type(None), type(msgspec.UNSET)
_MISSING = frozenset({_NONE, _UNSET})
_NUMBERS = frozenset({int, float})
_LOW, _HIGH = -(2**63), 2**63 - 1
_INT = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_ABSENT = frozenset({"", "nan", "NaN"})
_TRUE, _FALSE = frozenset({"true", "True", "TRUE", "1"}), frozenset({"false", "False", "FALSE", "0"})


def micros(value: str) -> int:
    """Microseconds since the epoch of an ISO 8601 instant; naive means UTC. Raises ValueError."""
    return zones.micros(datetime.fromisoformat(value), UTC)


def reader(timezone: str) -> Callable[[str], int]:
    """`micros`, with naive times in a zone, as a build reads them there."""
    if timezone == zones.DEFAULT:
        return micros  # Python's own UTC is quicker than the zone of that name
    zone = zones.of(timezone)
    return lambda value: zones.micros(datetime.fromisoformat(value), zone)


def _float(value: Any) -> float:
    if type(value) is int:
        value = float(value)
    if type(value) is not float or value != value or value in (float("inf"), float("-inf")):
        raise ValueError
    return value


def _int(value: Any) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not _LOW <= value <= _HIGH:
        raise ValueError
    return value


def _str(value: Any) -> str:
    if type(value) is not str:
        raise ValueError
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _text_float(value: str) -> float:
    if not _FLOAT.fullmatch(value.strip()):
        raise ValueError
    return _float(float(value))


def _text_int(value: str) -> int:
    if _INT.fullmatch(value.strip()):
        return _int(int(value))
    return _int(_text_float(value))


def _text_bool(value: str) -> bool:
    if value.strip() in _TRUE:
        return True
    if value.strip() in _FALSE:
        return False
    raise ValueError


_WANTED = {
    "float": "a finite number",
    "int": "a whole number of 64 bits",
    "str": "text",
    "bool": "true or false",
    "datetime": "an ISO 8601 time such as 2026-01-31T12:00:00Z",
}
_CLEAN = {"float": frozenset({float}), "str": frozenset({str}), "bool": frozenset({bool})}
_JSON: dict[str, Callable[[Any], Any]] = {"float": _float, "int": _int, "str": _str, "bool": _bool}
_TEXT: dict[str, Callable[[str], Any]] = {"float": _text_float, "int": _text_int, "str": _str, "bool": _text_bool}


def _json(column: Column) -> Callable[[Any], Any]:
    """What reads a decoded value of JSON."""
    if column.type != "datetime":
        return _JSON[column.type]
    read = reader(column.timezone)
    return lambda value: read(_str(value))


def _text(column: Column) -> Callable[[str], Any]:
    """What reads a cell of CSV."""
    if column.type != "datetime":
        return _TEXT[column.type]
    read = reader(column.timezone)
    return lambda value: read(value.strip())


def place(row: int, column: str) -> str:
    """Where a value stands, as errors say it."""
    return f"row {row}, column `{column}`"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def json_coercer(column: Column, *, finite: bool = True) -> Coercer:
    """A coercer of decoded JSON values (msgspec.UNSET where a record lacks the column). It raises BadInput, naming row and
    column.

    A float column takes whole numbers too; an int column takes 2.0 but not 2.5; nothing takes text for a number. `finite`: infinite
    numbers cannot come, as in JSON; binary tables have them.
    """
    clean, one = _CLEAN.get(column.type, frozenset()), _json(column)
    name, nullable, kind = column.name, column.nullable, column.type
    finite = finite or kind != "float"

    def coerce(values: list[Any]) -> list[Any]:
        types = set(map(type, values))
        if types <= clean and (finite or math.isfinite(sum(values))):
            return values
        if kind == "int" and types == {int} and min(values) >= _LOW and max(values) <= _HIGH:
            return values
        if kind == "float" and types <= _NUMBERS and finite:
            with contextlib.suppress(OverflowError):
                return list(map(float, values))
        result: list[Any] = []
        for row, value in enumerate(values):
            if type(value) in _MISSING:
                if not nullable:
                    raise BadInput(
                        f"`{name}` is missing; training never saw it missing",
                        where=place(row, name),
                        next=f"Send {_WANTED[kind]}.",
                    )
                result.append(None)
                continue
            try:
                result.append(one(value))
            except (ValueError, OverflowError):
                raise BadInput(f"`{name}` must be {_WANTED[kind]}, not {_shown(value)}", where=place(row, name)) from None
        return result

    return coerce


def text_coercer(column: Column) -> Coercer:
    """A coercer of CSV cells; an empty cell is a missing value (in a text column that is never missing: empty text), and so is the NaN
    that NumPy writes in a column of numbers."""
    one, name, kind = _text(column), column.name, column.type
    absent = _ABSENT if kind in ("float", "int") else frozenset({""})
    empty_is_text = kind == "str" and not column.nullable

    def coerce(values: list[Any]) -> list[Any]:
        if empty_is_text:
            return values
        result: list[Any] = []
        for row, value in enumerate(values):
            if value in absent:
                if not column.nullable:
                    raise BadInput(
                        f"`{name}` is missing; training never saw it missing",
                        where=place(row, name),
                        next=f"Send {_WANTED[kind]}.",
                    )
                result.append(None)
                continue
            try:
                result.append(one(value))
            except (ValueError, OverflowError):
                raise BadInput(f"`{name}` must be {_WANTED[kind]}, not {_shown(value)}", where=place(row, name)) from None
        return result

    return coerce


def scalars(values: list[Any], name: str) -> list[Any]:
    """Values of a column that is no feature: kept as they come, if they are text, numbers, booleans or null. Raises BadInput."""
    for row, value in enumerate(values):
        kind = type(value)
        if kind in (str, float, bool, _NONE) or (kind is int and _LOW <= value <= _HIGH):
            continue
        raise BadInput(f"`{name}` must be text, a number, true, false or null, not {_shown(value)}", where=place(row, name))
    return values
