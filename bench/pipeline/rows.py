"""The rows of the bench: written once, and changed a little so that a build is one."""

from __future__ import annotations

import secrets
from pathlib import Path


def change(path: Path) -> None:
    """Give the first row another value of its last digits, so that the content is new."""
    head, first, rest = path.read_text().split("\n", 2)
    row, value, *others = first.split(",")
    path.write_text("\n".join([head, ",".join([row, f"{float(value):.2f}{secrets.randbelow(10**6):06}", *others]), rest]))


WRITE = """
import sys
from sklearn.datasets import load_breast_cancer
rows = load_breast_cancer(as_frame=True).frame
rows.columns = [c.replace(" ", "_") for c in rows.columns]
rows.insert(0, "row", range(len(rows)))
rows.to_csv(sys.argv[1], index=False)
"""
