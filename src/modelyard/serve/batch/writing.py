"""A file of answers: written beside its place, and shown there when it is whole and on the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet

from modelyard.errors import BadInput
from modelyard.files import sync
from modelyard.serve.batch.answers import Answered
from modelyard.serve.batch.files import errors_of, make
from modelyard.serve.batch.order import Refusal

_encode = msgspec.json.Encoder().encode


class Output:
    """One file that is being written, by nobody else meanwhile: batches into different folders may have it in common. `kind` is its format;
    `header`: a CSV file begins with the names of its columns. `mode` is that of the file, and of its folder where there is none (None: as
    the umask says). Raises BadInput where another batch writes it."""

    def __init__(self, path: Path, kind: str, *, header: bool = True, mode: int | None = None) -> None:
        make(path.parent, mode)
        self.path, self.rows, self._mode = path, 0, mode
        self.refused: list[Refusal] = []
        self._kind, self._header = kind, header
        self._work = path.with_name(f".{path.name}.part")
        self._file: Any = _alone(self._work)
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
        try:
            frame.with_columns(pl.col(pl.String).replace("", None)).write_csv(self._file, include_header=self._header)
        except pl.exceptions.PolarsError as exc:
            hint = "leave such columns out (--output-filter), or end the output with .parquet"
            raise BadInput(f"a column cannot be written as CSV: {str(exc).splitlines()[0]}", where=str(self.path), next=hint) from exc
        self._header = False

    def finish(self) -> os.stat_result:
        """Show it, in one step; returns its state. Refused rows lie beside it. Raises OSError."""
        if self._writer is not None:
            self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._mode is not None:
            self._work.chmod(self._mode)
        self._tell_refused()
        self._work.replace(self.path)
        made = os.fstat(self._file.fileno())
        self._file.close()
        sync(self.path.parent)
        return made

    def _tell_refused(self) -> None:
        beside = errors_of(self.path)
        if not self.refused:
            beside.unlink(missing_ok=True)
            return
        work = beside.with_name(f".{beside.name}.part")
        work.write_bytes(b"".join(_encode({"row": refusal.row, "error": refusal.why}) + b"\n" for refusal in self.refused))
        if self._mode is not None:
            work.chmod(self._mode)
        work.replace(beside)

    def drop(self) -> None:
        """It comes to nothing."""
        self._work.unlink(missing_ok=True)
        for one in (self._writer, self._file):
            with contextlib.suppress(Exception):
                one.close()


def _alone(path: Path) -> Any:
    """An empty file to write, held until it is closed. Raises BadInput where somebody else holds it."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate()
                return file
        except BlockingIOError:
            file.close()
            raise BadInput("another batch writes there now", where=str(path.parent), next="wait for its end") from None
        except FileNotFoundError:
            pass
        file.close()  # whoever held it has just put it in its place, or removed it
