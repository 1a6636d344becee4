"""Workers of a job: processes that answer pieces, each one at a time. A piece goes there and back as a file in the job's folder."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec
import pyarrow as pa

from modelyard.errors import BadInput, StepFailed
from modelyard.serve.batch.answers import Answered
from modelyard.serve.batch.order import Order, Refusal
from modelyard.serve.batch.reading import Piece


class Asked(msgspec.Struct):
    """A piece in a file, to be answered into another one."""

    first: int
    given: str
    made: str
    target: str
    named: bool
    text: bool
    is_table: bool


class Told(msgspec.Struct):
    """What came of it; `where` and `next` go with an error."""

    rows: int = 0
    refused: list[Refusal] = []
    is_table: bool = False
    error: str | None = None
    where: str = ""
    next: str = ""


class Crew:
    """`size` workers. `submit` gives a future of a piece's answer."""

    def __init__(self, order: Order, folder: Path, size: int) -> None:
        self._folder = folder
        argv = [sys.executable, "-P", "-m", "modelyard.serve.batch.worker"]
        self._workers: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []
        for number in range(size):
            worker = subprocess.Popen([*argv, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            _send(worker, order)
            self._all.append(worker)
            self._workers.put(worker)
        self._pool = ThreadPoolExecutor(size)
        self._numbers = itertools.count(1)

    def submit(self, piece: Piece, target: str) -> Future[Answered]:
        return self._pool.submit(self._ask, piece, target, next(self._numbers))

    def _ask(self, piece: Piece, target: str, number: int) -> Answered:
        given, made = self._folder / f"piece-{number}", self._folder / f"answer-{number}"
        put(given, piece.table if piece.table is not None else piece.lines)
        worker = self._workers.get()
        try:
            asked = Asked(piece.first, str(given), str(made), target, piece.named, piece.text, piece.table is not None)
            _send(worker, asked)
            line = worker.stdout.readline() if worker.stdout else b""
        finally:
            self._workers.put(worker)
            given.unlink()
        if not line:
            raise StepFailed(f"a worker of the batch ended with exit code {worker.wait()}", where=f"rows from {piece.first} on")
        told = msgspec.json.decode(line, type=Told)
        if told.error is not None:
            raise BadInput(told.error, where=told.where, next=told.next)
        found: Any = take(made, is_table=told.is_table)
        made.unlink()
        return Answered(told.rows, told.refused, **({"table": found} if told.is_table else {"lines": found}))

    def close(self) -> None:
        """End the workers, whatever they do."""
        for worker in self._all:
            worker.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for worker in self._all:
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def _send(worker: subprocess.Popen[bytes], message: Any) -> None:
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended: reading its answer says so
        worker.stdin.write(msgspec.json.encode(message) + b"\n")
        worker.stdin.flush()


def put(path: Path, what: pa.Table | bytes) -> None:
    """A table, or bytes, as a file. Raises OSError."""
    if isinstance(what, bytes):
        path.write_bytes(what)
        return
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, what.schema) as writer:
        writer.write_table(what)


def take(path: Path, *, is_table: bool) -> pa.Table | bytes:
    """What `put` put there; a table stays in the file and is read as it is used, also after the file has gone."""
    if not is_table:
        return path.read_bytes()
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
