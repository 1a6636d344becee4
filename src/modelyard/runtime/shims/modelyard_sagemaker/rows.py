"""Rows of numbers as CSV, without a header."""

from __future__ import annotations

import csv
import importlib
from typing import Any


def delimiter(line: str) -> str:
    """What separates the cells of a row of numbers."""
    try:
        found = csv.Sniffer().sniff(line[:512]).delimiter if line else ","
    except csv.Error:
        found = ","
    return "," if found.isalnum() or found in ".-+" else found


def numbers(lines: list[str], dtype: Any = None) -> Any:
    """Rows without a header as an array; what is empty is missing."""
    rows = csv.reader(lines, delimiter=delimiter(lines[0] if lines else ""))
    table = [[float(cell) if cell.strip() else float("nan") for cell in row] for row in rows]
    return importlib.import_module("numpy").array(table, dtype=dtype or "float64")
