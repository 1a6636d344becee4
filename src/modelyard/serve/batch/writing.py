"""A file of answers: written beside its place, and shown there when it is whole and on the disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet

from modelyard.errors import BadInput
from modelyard.files import sync
from modelyard.serve.batch.answers import Answered
from modelyard.serve.batch.order import Refusal

_encode = msgspec.json.Encoder().encode


class Output:
    """One file that is being written. `kind` is its format; `header`: a CSV file begins with the names of its columns."""

    def __init__(self, path: Path, kind: str, *, header: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.rows = path, 0
        self.refused: list[Refusal] = []
        self._kind, self._header = kind, header
        self._work = path.with_name(f".{path.name}.part")
        self._file: Any = self._work.open("wb")
        self._writer: Any = None

    def add(self, answered: Answered) -> None:
        """Write a piece, the next in order. Raises OSError, BadInput."""
        self.rows += answered.rows
        self.refused += answered.refused
        if answered.table is None:
            self._file.write(answered.lines)
            return
        if self._kind == "csv":
            self._add_csv(answered.table)
            return
        if self._writer is None:
            self._writer = pa.parquet.ParquetWriter(self._file, answered.table.schema.remove_metadata(), compression="zstd")
        try:
            self._writer.write_table(answered.table.cast(self._writer.schema))
        except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as exc:
            raise BadInput(f"a column changes its type within the file: {exc}", where=str(self.path)) from exc

    def _add_csv(self, table: pa.Table) -> None:
        """Cells in quotes only where they need them; an empty text is an empty cell."""
        import polars as pl

        frame: Any = pl.from_arrow(table)
        frame.with_columns(pl.col(pl.String).replace("", None)).write_csv(self._file, include_header=self._header)
        self._header = False

    def finish(self, mode: int | None) -> None:
        """Show it, in one step, with the given mode. Refused rows lie beside it. Raises OSError."""
        if self._writer is not None:
            self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if mode is not None:
            self._work.chmod(mode)
        self._tell_refused(mode)
        self._work.replace(self.path)
        sync(self.path.parent)

    def _tell_refused(self, mode: int | None) -> None:
        beside = errors_of(self.path)
        if not self.refused:
            beside.unlink(missing_ok=True)
            return
        work = beside.with_name(f".{beside.name}.part")
        work.write_bytes(b"".join(_encode({"row": refusal.row, "error": refusal.why}) + b"\n" for refusal in self.refused))
        if mode is not None:
            work.chmod(mode)
        work.replace(beside)

    def drop(self) -> None:
        """It comes to nothing."""
        with contextlib.suppress(Exception):
            self._file.close()
        self._work.unlink(missing_ok=True)


def errors_of(path: Path) -> Path:
    """Where the refused rows of a file of answers are listed."""
    return path.with_name(f"{path.name}.errors.jsonl")
