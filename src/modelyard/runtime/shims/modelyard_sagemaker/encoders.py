"""Arrays to bodies and back: CSV, JSON, NPY. NumPy is the script's own. A pickle in an NPY body is refused; SageMaker takes it."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable
from typing import Any

from modelyard_sagemaker import content_types
from modelyard_sagemaker.errors import ClientError, UnsupportedFormatError


def _numpy() -> Any:
    return importlib.import_module("numpy")


def _text(body: Any) -> str:
    return body.decode("utf-8") if isinstance(body, (bytes, bytearray)) else str(body)


def array_to_npy(array_like: Any) -> bytes:
    buffer = io.BytesIO()
    _numpy().save(buffer, array_like)
    return buffer.getvalue()


def npy_to_numpy(npy_array: bytes) -> Any:
    return _numpy().load(io.BytesIO(npy_array), allow_pickle=False)


def array_to_json(array_like: Any) -> str:
    def default(value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else json.JSONEncoder().default(value)

    return json.dumps(array_like, default=default)


def json_to_numpy(string_like: Any, dtype: Any = None) -> Any:
    return _numpy().array(json.loads(_text(string_like)), dtype=dtype)


def csv_to_numpy(string_like: Any, dtype: Any = None) -> Any:
    """Without a type, numbers where all are numbers, else text. A single row comes out flat."""
    try:
        rows = list(csv.reader(io.StringIO(_text(string_like)), delimiter=",", quotechar='"', doublequote=True, strict=True))
        array = _numpy().array(rows).squeeze()
    except Exception as exc:
        raise ClientError(f"Error while decoding csv: {exc}") from exc
    try:
        return array.astype(dtype)
    except ValueError as exc:
        if dtype is not None:
            raise ClientError(f"Error while writing numpy array: {exc}. dtype is: {dtype}") from exc
    return array


def array_to_csv(array_like: Any) -> str:
    """A row a line; what has one dimension is a column."""
    array = _numpy().array(array_like)
    if len(array.shape) == 1:
        array = array.reshape(array.shape[0], 1)
    stream = io.StringIO()
    try:
        csv.writer(stream, lineterminator="\n", delimiter=",", quotechar='"', doublequote=True, strict=True).writerows(array)
    except csv.Error as exc:
        raise ClientError(f"Error while encoding csv: {exc}") from exc
    return stream.getvalue()


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    content_types.NPY: array_to_npy,
    content_types.CSV: array_to_csv,
    content_types.JSON: array_to_json,
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    content_types.NPY: npy_to_numpy,
    content_types.CSV: csv_to_numpy,
    content_types.JSON: json_to_numpy,
}


def decode(obj: Any, content_type: str) -> Any:
    """Raises UnsupportedFormatError for other types."""
    if content_type not in _DECODERS:
        raise UnsupportedFormatError(content_type)
    return _DECODERS[content_type](obj)


def encode(array_like: Any, content_type: str) -> Any:
    """Raises UnsupportedFormatError for other types."""
    if content_type not in _ENCODERS:
        raise UnsupportedFormatError(content_type)
    return _ENCODERS[content_type](array_like)
