"""Bodies as XGBoost's matrices. XGBoost and NumPy are the script's own."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable
from typing import Any

from modelyard_sagemaker import content_types
from modelyard_sagemaker.aside import lacking
from modelyard_sagemaker.errors import UnsupportedFormatError
from modelyard_sagemaker.rows import numbers


def _text(body: Any) -> str:
    return body.decode("utf-8") if isinstance(body, (bytes, bytearray)) else str(body)


def csv_to_dmatrix(input: Any, dtype: Any = None) -> Any:
    """Rows without a header; what is empty is missing."""
    return importlib.import_module("xgboost").DMatrix(numbers(_text(input).strip("\n").splitlines(), dtype))


def libsvm_to_dmatrix(string_like: Any) -> Any:
    """XGBoost reads LIBSVM from a file only."""
    with tempfile.NamedTemporaryFile("w", suffix=".libsvm", delete=False) as file:
        file.write(_text(string_like))
    try:
        return importlib.import_module("xgboost").DMatrix(f"{file.name}?format=libsvm")
    finally:
        os.unlink(file.name)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    content_types.CSV: csv_to_dmatrix,
    "text/libsvm": libsvm_to_dmatrix,
    "text/x-libsvm": libsvm_to_dmatrix,
}


def decode(obj: Any, content_type: str) -> Any:
    """Raises UnsupportedFormatError for other types."""
    media = content_type.partition(";")[0].strip().lower()
    if media not in _DECODERS:
        raise UnsupportedFormatError(content_type)
    return _DECODERS[media](obj)


def __getattr__(name: str) -> Any:
    lacking("sagemaker_xgboost_container", f"encoder.{name}")
