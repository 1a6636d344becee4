"""NPY bodies: one array of numbers, a row each, columns in the signature's order; answers are the predictions as one array."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np

from modelyard.errors import BadInput
from modelyard.serve.protocols.columns import Given, Wanted
from modelyard.serve.refusals import TooLarge

_LENGTHS = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}
"""Bytes that say how long the header is, by what a file of a version begins with."""
_LONGEST_HEADER = 10_000
_HEADER = re.compile(
    r"\{(?:'descr':'(?P<kind>[<>|=]?[a-zA-Z?]\d{0,9}(?:\[\w{1,9}\])?)',?|'fortran_order':(?P<fortran>True|False),?|"
    r"'shape':\((?P<shape>(?:\d{1,18}L?,){0,9}(?:\d{1,18}L?)?)\),?){3}\}",
    re.ASCII,
)
"""A header without its spaces. It is a Python literal, but nobody writes others than this, and to parse any takes NumPy very long."""


def read(body: bytes, wanted: Wanted, max_decoded: int) -> Given:
    """Columns of an array of shape (rows, columns), or (columns,) for one row; NaN is missing. Raises BadInput, TooLarge."""
    array = _array(body)
    if array.ndim == 1:
        array = array.reshape(1, -1)
    if array.ndim != 2:
        raise BadInput(f"the array has {array.ndim} dimensions, not 2", next="Send rows of columns in the signature's order.")
    wanted.few_rows(len(array))
    if array.shape[1] != len(wanted.features):
        raise BadInput(f"row 0 has {array.shape[1]} values for {len(wanted.features)} columns", where="row 0")
    if array.size * 8 > max_decoded:
        raise TooLarge(f"the array has {array.size} values; the endpoint takes {max_decoded // 8}", next="Send smaller bodies.")
    return {name: values(array[:, i]) for i, name in enumerate(wanted.features)}, len(array)


def _array(body: bytes) -> np.ndarray[Any, Any]:
    """The array, as it lies in the body: nothing is allocated by what the header says. Raises BadInput."""
    start = 8 + _LENGTHS.get(body[:8], 0)
    end = start + int.from_bytes(body[8:start], "little")
    header = body[start:end].decode("latin-1") if start < end <= min(len(body), start + _LONGEST_HEADER) else ""
    found = _HEADER.fullmatch("".join(header.split()))
    try:
        if found is None or None in found.groups():
            raise ValueError
        shape, dtype = tuple(int(size.rstrip("L")) for size in found["shape"].split(",") if size), np.dtype(found["kind"])
    except (ValueError, TypeError):
        raise BadInput("the body is not NPY: its header cannot be read") from None
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise BadInput(f"an array of {dtype} is not read here", next="Send numbers or booleans.")
    count, rest = 1, len(body) - end
    for size in shape:
        count *= size
    if count * dtype.itemsize != rest or count <= 0:
        raise BadInput(f"the array's header says {count} values of {dtype.itemsize} bytes; {rest} bytes follow")
    return np.frombuffer(body, dtype, count, end).reshape(shape, order="F" if found["fortran"] == "True" else "C")


def values(array: np.ndarray[Any, Any]) -> list[Any]:
    """The values of a column, as JSON has them: NaN is None."""
    if array.dtype.kind == "f":
        found: list[Any] = array.astype(np.float64).tolist()
        return [None if v != v else v for v in found] if np.isnan(array).any() else found
    return array.tolist()  # type: ignore[no-any-return]


def write(predictions: list[Any]) -> bytes:
    """The predictions as an NPY array: numbers, booleans, or text."""
    stream = io.BytesIO()
    array = np.array([float("nan") if p is None else p for p in predictions])
    np.lib.format.write_array(stream, array if array.dtype.kind in "biufU" else array.astype(str), allow_pickle=False)
    return stream.getvalue()
