"""Channels as XGBoost's matrices. XGBoost, NumPy and pandas are the script's own."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable
from typing import Any

from modelyard_sagemaker.aside import lacking
from modelyard_sagemaker.errors import UnsupportedFormatError
from modelyard_sagemaker.rows import delimiter, numbers

CSV, LIBSVM, PARQUET = "csv", "libsvm", "parquet"
VALID_CONTENT_TYPES = [
    CSV, LIBSVM, PARQUET, "text/csv", "text/libsvm", "text/x-libsvm", "application/x-parquet",
]  # fmt: skip


def get_content_type(content_type: str | None) -> str:
    """`csv`, `libsvm` or `parquet`; libsvm where there is none. Raises UnsupportedFormatError for other types."""
    media = (content_type or LIBSVM).partition(";")[0].strip().lower()
    if media not in VALID_CONTENT_TYPES:
        raise UnsupportedFormatError(content_type)
    return media.rpartition("/")[2].replace("x-", "")


def get_dmatrix(data_path: str, content_type: str, csv_weights: int = 0, is_pipe: bool = False) -> Any:
    """All files of a channel (a file, or a folder and those in it) as one matrix; None where there is none.

    CSV has no header, the label first, and weights second where `csv_weights` is 1. Of Parquet the first column is the label.
    Raises UnsupportedFormatError for other types, and ValueError for a pipe.
    """
    if is_pipe:
        raise ValueError("channels are files here: set the input mode to File")
    kind, files = get_content_type(content_type), _files(data_path)
    return _READERS[kind](files, int(csv_weights)) if files else None


def _files(path: str) -> list[str]:
    if os.path.isfile(path):
        return [path]
    found = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sorted(file for file in found if not os.path.basename(file).startswith((".", "_")))


def _csv(files: list[str], weights: int) -> Any:
    return _of_rows([_table(file) for file in files], weights)


def _table(file: str) -> Any:
    with open(file, encoding="utf-8") as text:
        first = text.readline()
        text.seek(0)
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            return numbers(text.read().splitlines())
        return pandas.read_csv(text, header=None, sep=delimiter(first), dtype="float64").to_numpy()


def _parquet(files: list[str], weights: int) -> Any:
    pandas = importlib.import_module("pandas")
    return _of_rows([pandas.read_parquet(file).to_numpy().astype("float64") for file in files], 0)


def _of_rows(tables: list[Any], weights: int) -> Any:
    rows = importlib.import_module("numpy").concatenate(tables)
    weight = rows[:, 1] if weights else None
    return importlib.import_module("xgboost").DMatrix(rows[:, 1 + weights :], label=rows[:, 0], weight=weight)


def _libsvm(files: list[str], weights: int) -> Any:
    """XGBoost reads a file; where there are several, they become one."""
    matrix = importlib.import_module("xgboost").DMatrix
    if len(files) == 1:
        return matrix(f"{files[0]}?format=libsvm")
    with tempfile.NamedTemporaryFile("w", suffix=".libsvm") as whole:
        for file in files:
            with open(file, encoding="utf-8") as text:
                whole.writelines(line if line.endswith("\n") else f"{line}\n" for line in text)
        whole.flush()
        return matrix(f"{whole.name}?format=libsvm")


_READERS: dict[str, Callable[[list[str], int], Any]] = {CSV: _csv, LIBSVM: _libsvm, PARQUET: _parquet}


def __getattr__(name: str) -> Any:
    lacking("sagemaker_xgboost_container", f"data_utils.{name}")
