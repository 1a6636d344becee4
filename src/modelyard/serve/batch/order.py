"""What a batch is asked to do: told to its job and its workers as JSON, and remembered by its digest."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import msgspec

FORMATS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Formats by the endings of files."""
ENDINGS = ".csv, .parquet, .jsonl"
MISSING = ("", "NA", "NaN", "nan", "null")
"""Cells of a csv that hold no value."""
MOST_WORKERS = 64
PIECE_ROWS = 65_536
PIECE_BYTES = 16 * 2**20


def usual_workers(*, plan: bool) -> int:
    """How many answer where nobody says: by a row plan one less than there are cores, since reading and writing take one too; runners as
    many as there are cores."""
    cores = os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores - 1 if plan else cores))


class Answering(msgspec.Struct, frozen=True):
    """Who answers: the row plan in a file, or the runners that listen at `sockets`."""

    signature: dict[str, Any]
    plan: str | None = None
    sockets: tuple[str, ...] = ()


class Shape(msgspec.Struct, frozen=True):
    """What is taken of a record, what is written of it and its answer, and in which format (None: that of the input).

    `join`: the input's columns are written too; of JSON lines, the record with the answer under SageMakerOutput.
    """

    input_filter: str = "$"
    output_filter: str = "$"
    join: bool = False
    format: str | None = None


class Order(msgspec.Struct, frozen=True):
    """Predict `source` (a file or a folder) into `target` (likewise). `version` names who answers: by it and by `shape` a file that is
    done is known. `suffix` is added to the names in a folder. Up to `max_errors` rows may be refused in all. `may_be_empty`: a folder
    without files is no error."""

    source: str
    target: str
    version: str
    answering: Answering
    shape: Shape = Shape()
    suffix: str = ""
    workers: int = 1
    max_errors: int = 0
    may_be_empty: bool = False

    @property
    def digest(self) -> str:
        """What a file's answers depend on, beside the file."""
        return hashlib.sha256(msgspec.json.encode((self.version, self.shape, self.suffix))).hexdigest()[:32]


class Refusal(msgspec.Struct, frozen=True):
    """A row that was not answered: its number in the file, from 0, and why."""

    row: int
    why: str
