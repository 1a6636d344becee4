"""The job of a batch: `python -m modelyard.serve.batch.job`, told its order as a line on standard input.

It says in lines of JSON on standard output what it has done: {"output", "rows", "refused", "kept"} for each file, and at the end {"done"}
or {"error"}. It ends when its input does, and can be killed anywhere: what is finished stays, the rest is done again by the next job.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import msgspec

from modelyard.errors import BadInput, YardError, no_room
from modelyard.serve.batch import ledger, reading
from modelyard.serve.batch.answers import Answered, Piecework, begin
from modelyard.serve.batch.crew import Crew
from modelyard.serve.batch.files import File, files
from modelyard.serve.batch.order import Order
from modelyard.serve.batch.writing import Output
from modelyard.signature import Signature

HIDDEN = ".modelyard-batch"
"""The folder, in that of the outputs, where a batch keeps its ledger and its pieces."""


Tell = Callable[[dict[str, Any]], None]


class _Open(NamedTuple):
    """A file that is being answered: its state and digest as they are at the beginning."""

    output: Output
    state: os.stat_result
    digest: Future[str]


class Job:
    """One order. `run` does it; `tell` is told of each file."""

    def __init__(self, order: Order, mode: int | None = None) -> None:
        self._order, self._mode = order, mode
        self._signature = Signature.from_dict(order.answering.signature)
        self._rows = self._refused = 0
        self._hashing = ThreadPoolExecutor(1)
        self._open: _Open | None = None

    def run(self, tell: Tell) -> dict[str, Any]:
        """Raises NotFound, BadInput, NoRoom (OSError), StepFailed."""
        found, others = files(self._order)
        whole = Path(self._order.source).is_dir()
        target = Path(self._order.target)
        folder = target / HIDDEN if whole else found[0].target.with_name(f".{found[0].target.name}.batch")
        with ledger.held(folder, keep=whole):
            for left in folder.glob("*-*"):
                left.unlink()  # pieces of a job that was killed
            done = ledger.Ledger(folder)
            wanted = []
            for file in found:
                known = done.known(file.source, file.name, self._order.digest, file.target, self._named(file)) if whole else None
                if known is None:
                    wanted.append(file)
                    continue
                self._count(known.rows, known.refused)
                tell({"output": str(file.target), "rows": known.rows, "refused": known.refused, "kept": True})
            self._answer(wanted, folder, done, tell)
        return {"files": len(found), "kept": len(found) - len(wanted), "rows": self._rows, "refused": self._refused, "skipped": others}

    def _named(self, file: File) -> str:
        return os.path.relpath(file.target, self._order.target)

    def _count(self, rows: int, refused: int) -> None:
        self._rows, self._refused = self._rows + rows, self._refused + refused
        if self._refused > self._order.max_errors:
            raise BadInput(
                f"{self._refused:,} rows were refused, and {self._order.max_errors:,} may be", next="see the files *.errors.jsonl"
            )

    def _answer(self, wanted: list[File], folder: Path, done: ledger.Ledger, tell: Tell) -> None:
        """Some pieces ahead of what is written, whatever file they are of."""
        if not wanted:
            return
        answers = _Answers(self._order, folder)
        ahead: deque[tuple[File, Future[Answered] | None, bool]] = deque()
        try:
            for file, piece in self._pieces(wanted):
                ahead.append((file, answers.submit(piece, file.kind) if piece else None, piece.named if piece else True))
                while len(ahead) > answers.ahead:
                    self._take(*ahead.popleft(), done, tell)
            while ahead:
                self._take(*ahead.popleft(), done, tell)
        except BaseException:
            if self._open is not None:
                self._open.output.drop()
            raise
        finally:
            answers.close()

    def _pieces(self, wanted: list[File]) -> Iterator[tuple[File, reading.Piece | None]]:
        """Each file's pieces, and None at its end."""
        for file in wanted:
            for piece in reading.pieces(file.source, self._signature):
                yield file, piece
            yield file, None

    def _take(self, file: File, future: Future[Answered] | None, named: bool, done: ledger.Ledger, tell: Tell) -> None:
        """The next piece of a file, or its end."""
        if self._open is None:
            hashing = self._hashing.submit(ledger.digest, file.source)
            self._open = _Open(Output(file.target, file.kind, header=named), file.source.stat(), hashing)
        output = self._open.output
        if future is not None:
            try:
                answered = future.result()
            except YardError as exc:
                exc.where = f"{file.name}, {exc.where}" if exc.where else file.name
                raise
            output.add(answered)
            self._count(answered.rows, len(answered.refused))
            return
        done.add(self._finished(file, self._open))
        self._open = None
        tell({"output": str(file.target), "rows": output.rows, "refused": len(output.refused), "kept": False})

    def _finished(self, file: File, opened: _Open) -> ledger.Done:
        """Show the file, if what it answers is still there as it was."""
        before, now, output = opened.state, file.source.stat(), opened.output
        if (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
            raise BadInput("the file was changed while it was read", where=file.name, next="run the batch again")
        output.finish(self._mode)
        return ledger.Done(
            file.name,
            now.st_size,
            now.st_mtime_ns,
            opened.digest.result(),
            self._order.digest,
            self._named(file),
            output.rows,
            len(output.refused),
        )


class _Answers:
    """Who answers the pieces of a job: processes, where a row plan is to be done by several; else threads of this one, two a runner, so
    that a piece is made ready while the runner is at another."""

    def __init__(self, order: Order, folder: Path) -> None:
        by_plan = order.answering.plan is not None
        self._crew = Crew(order, folder, order.workers) if by_plan and order.workers > 1 else None
        self._order = order
        count = 1 if by_plan else 2 * len(order.answering.sockets)
        self.ahead = 2 * max(order.workers, count)
        self._threads = ThreadPoolExecutor(count)
        self._free: SimpleQueue[int] = SimpleQueue()
        for number in range(count):
            self._free.put(number)
        self._works: dict[int, Piecework] = {}

    def submit(self, piece: reading.Piece, target: str) -> Future[Answered]:
        if self._crew is not None:
            return self._crew.submit(piece, target)
        return self._threads.submit(self._answer, piece, target)

    def _answer(self, piece: reading.Piece, target: str) -> Answered:
        number = self._free.get()
        try:
            if number not in self._works:
                self._works[number] = begin(self._order, number)
            return self._works[number](piece, target)
        finally:
            self._free.put(number)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._crew is not None:
            self._crew.close()


def _say(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_input() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os.killpg(0, 9)  # its owner is gone: and so go its workers


def main() -> int:
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    mode = int(sys.argv[1], 8) if len(sys.argv) > 1 else None
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        _say({"done": Job(order, mode).run(_say)})
    except (YardError, OSError) as exc:
        full = no_room(exc, Path(order.target).parent)
        known = full or (exc if isinstance(exc, YardError) else YardError(str(exc), where=order.target))
        _say({"error": known.to_dict()["error"]})
        return known.exit_code
    return 0


if __name__ == "__main__":
    code = main()
    os._exit(code)  # the thread that watches standard input is in the middle of reading it
