"""A profile in two parts: its bins, which all profiles of a baseline share, and what was counted; each is kept once."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_BINS = ("low", "edges")


def pack(profile: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Name of the bins (a hash), the bins, and the rest."""
    shapes: dict[str, Any] = {}
    rest = {**profile, "columns": {}}
    for name, column in profile["columns"].items():
        shapes[name], rest["columns"][name] = _apart(column)
    score, rest["score"] = _apart(profile["score"])
    bins = {"columns": shapes, "score": score}
    return hashlib.sha256(msgspec.msgpack.encode(bins)).hexdigest()[:16], bins, rest


def unpack(bins: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """The profile that was packed."""
    columns = {name: _together(bins["columns"][name], column) for name, column in rest["columns"].items()}
    return {**rest, "columns": columns, "score": _together(bins["score"], rest["score"])}


def _apart(column: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if column["kind"] == "categorical":
        return list(column["counts"]), {**column, "counts": list(column["counts"].values())}
    sketch = column["sketch"]
    shape = {**{what: column[what] for what in _BINS}, "centre": sketch["centre"], "unit": sketch["unit"]}
    steps = [b - a for a, b in zip([0, *sketch["at"]], sketch["at"], strict=False)]
    return shape, {**{k: v for k, v in column.items() if k not in _BINS}, "sketch": [steps, sketch["counts"]]}


def _together(shape: Any, column: dict[str, Any]) -> dict[str, Any]:
    if column["kind"] == "categorical":
        return {**column, "counts": dict(zip(shape, column["counts"], strict=True))}
    at, place = [], 0
    for step in column["sketch"][0]:
        place += step
        at.append(place)
    sketch = {"centre": shape["centre"], "unit": shape["unit"], "at": at, "counts": column["sketch"][1]}
    return {**column, **{what: shape[what] for what in _BINS}, "sketch": sketch}
