"""Tensors of the Open Inference Protocol: their datatypes, as JSON and as bytes; from tensors to columns, from outputs to tensors."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from modelyard.errors import BadInput
from modelyard.serve.protocols.columns import Given, Wanted
from modelyard.signature import Signature

_FORMATS = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
DATATYPES = (*_FORMATS, "BYTES")
_OF_COLUMN = {"int": "INT64", "float": "FP64", "bool": "BOOL", "str": "BYTES", "datetime": "BYTES"}
INFERENCE_ID = "inference_id"
"""An output that may be asked for beside the signature's."""


@dataclass(slots=True)
class Tensor:
    """`values` are flat, row by row. A missing one is None."""

    name: str
    datatype: str
    shape: list[int]
    values: list[Any] = field(default_factory=list)

    def problem(self, what: str, next: str = "") -> BadInput:
        return BadInput(f"`{self.name[:80]}` {what}", where=f"input `{self.name[:80]}`", next=next)

    @property
    def size(self) -> int:
        """How many values the shape says. Raises BadInput."""
        size = 1
        if not 1 <= len(self.shape) <= 2:
            raise self.problem(f"has {len(self.shape)} dimensions", "Send the shape [rows], [rows, 1], or for a matrix [rows, columns].")
        for dimension in self.shape:
            if dimension < 0:
                raise self.problem(f"has the shape {self.shape}")
            size *= dimension
        return size


def check(tensor: Tensor) -> None:
    """Raises BadInput where the values are not as many as the shape says."""
    if tensor.datatype not in DATATYPES:
        raise tensor.problem(f"is of the datatype {tensor.datatype[:40]!r}", f"Send one of {', '.join(DATATYPES)}.")
    if len(tensor.values) != tensor.size:
        raise tensor.problem(f"has {len(tensor.values)} values; its shape {tensor.shape} says {tensor.size}")


def flat(data: Any, depth: int = 2) -> list[Any]:
    """JSON data, nested or flat, as one list. Raises ValueError where it is nested deeper than a tensor is."""
    values: list[Any] = data if isinstance(data, list) else [data]
    while values and all(isinstance(v, list) for v in values):
        if depth == 0:
            raise ValueError
        values, depth = list(chain.from_iterable(values)), depth - 1
    if any(isinstance(v, list | dict) for v in values):
        raise ValueError
    return values


def from_bytes(tensor: Tensor, data: bytes) -> list[Any]:
    """The values of a tensor from its bytes, little-endian; BYTES as text, each after its length. Raises BadInput."""
    if tensor.datatype == "BYTES":
        return _texts(tensor, data)
    letter = _FORMATS.get(tensor.datatype)
    if letter is None:
        raise tensor.problem(f"is of the datatype {tensor.datatype[:40]!r}", f"Send one of {', '.join(DATATYPES)}.")
    width = struct.calcsize("<" + letter)
    if len(data) != tensor.size * width:
        raise tensor.problem(f"has {len(data)} bytes; {tensor.size} values of {tensor.datatype} are {tensor.size * width}")
    return [None if v != v else v for v in struct.unpack(f"<{tensor.size}{letter}", data)]


def _texts(tensor: Tensor, data: bytes) -> list[Any]:
    values: list[Any] = []
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "little")
        end = position + 4 + size
        if position + 4 > len(data) or end > len(data) or len(values) >= tensor.size:
            raise tensor.problem("has bytes that are no texts, each after its length")
        values.append(text(tensor, data[position + 4 : end]))
        position = end
    if len(values) != tensor.size:
        raise tensor.problem(f"has {len(values)} texts; its shape {tensor.shape} says {tensor.size}")
    return values


def text(tensor: Tensor, data: bytes) -> str:
    """An element of BYTES. Raises BadInput."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise tensor.problem("has text that is not UTF-8") from None


def to_bytes(datatype: str, values: list[Any]) -> bytes:
    """The bytes of an output. A missing number is NaN."""
    if datatype == "BYTES":
        texts = ["" if v is None else str(v) for v in values]
        return b"".join(len(t).to_bytes(4, "little") + t for t in (v.encode() for v in texts))
    fill = float("nan") if datatype.startswith("FP") else 0
    return struct.pack(f"<{len(values)}{_FORMATS[datatype]}", *(fill if v is None else v for v in values))


def columns(tensors: list[Tensor], wanted: Wanted) -> Given:
    """Columns: a tensor each of shape [rows] or [rows, 1], or one matrix [rows, columns] in the signature's order. Raises BadInput."""
    names = [tensor.name for tensor in tensors]
    for tensor in tensors:
        check(tensor)
    if len(tensors) == 1 and names[0] not in wanted.known and len(tensors[0].shape) == 2:
        (matrix,), width = tensors, len(wanted.features)
        if matrix.shape[1] != width:
            raise matrix.problem(f"has rows of {matrix.shape[1]} values for {width} columns")
        wanted.few_rows(matrix.shape[0])
        return {name: matrix.values[i::width] for i, name in enumerate(wanted.features)}, matrix.shape[0]
    wanted.check(names)
    for tensor in tensors:
        if len(tensor.shape) == 2 and tensor.shape[1] != 1:
            raise tensor.problem(f"has the shape {tensor.shape}", "Send a column as [rows] or [rows, 1].")
    return wanted.by_column({tensor.name: tensor.values for tensor in tensors})


def inputs(signature: Signature) -> list[dict[str, Any]]:
    """The inputs as metadata has them: -1 stands for any number of rows."""
    return [{"name": c.name, "datatype": _OF_COLUMN[c.type], "shape": [-1]} for c in signature.columns]


def outputs(signature: Signature) -> list[dict[str, Any]]:
    """The outputs as metadata has them."""
    return [{"name": name, "datatype": output_type(signature, name), "shape": [-1]} for name in signature.outputs]


def output_type(signature: Signature, name: str) -> str:
    """The datatype of an output."""
    if name == INFERENCE_ID:
        return "BYTES"
    if name != "prediction" or signature.answer == "number":
        return "FP64"
    kinds = {type(c) for c in signature.classes}
    if signature.answer == "labels" or not kinds <= {int, float, bool}:
        return "BYTES"
    return {frozenset({int}): "INT64", frozenset({bool}): "BOOL"}.get(frozenset(kinds), "FP64")
