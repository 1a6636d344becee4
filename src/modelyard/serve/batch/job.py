"""The job of a batch: `python -m modelyard.serve.batch.job`, told its order as a line on standard input.

It says in lines of JSON on standard output what it has done: {"output", "rows", "refused", "kept"} for each file, and at the end {"done"}
or {"error"}. It ends when its input does, and can be killed anywhere: what is finished stays, the rest is done again by the next job.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
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
from modelyard.serve.batch.files import File, files, make
from modelyard.serve.batch.order import Order
from modelyard.serve.batch.writing import Output
from modelyard.signature import Signature

HIDDEN = ".modelyard-batch"
"""The folder, in that of the outputs, where a batch keeps its ledger and its pieces."""
MOST_FAILED = 100
"""Files of a folder that may fail before the rest is not even tried."""
Tell = Callable[[dict[str, Any]], None]


class _Open(NamedTuple):
    """A file that is being answered, and its digest."""

    output: Output
    digest: Future[str]


class _Step(NamedTuple):
    """What comes next of a file: a piece's answer, its end where there is none, or why it cannot be read. `state` is the file's before it
    was read; `named`: the piece has a header."""

    file: File
    state: os.stat_result | None = None
    answer: Future[Answered] | None = None
    named: bool = True
    failed: BadInput | None = None


class Job:
    """One order. `run` does it; `tell` is told of each file."""

    def __init__(self, order: Order, mode: int | None = None) -> None:
        self._order, self._mode = order, mode
        self._signature = Signature.from_dict(order.answering.signature)
        self._whole = Path(order.source).is_dir()
        self._rows = self._refused = 0
        self._failed: dict[str, BadInput] = {}
        self._hashing = ThreadPoolExecutor(1)
        self._open: _Open | None = None

    def run(self, tell: Tell) -> dict[str, Any]:
        """Raises NotFound, BadInput, NoRoom (OSError), StepFailed."""
        found, others = files(self._order)
        target = Path(self._order.target)
        folder = target / HIDDEN if self._whole else found[0].target.with_name(f".{found[0].target.name}.batch")
        make(folder.parent, self._mode)
        with ledger.held(folder, keep=self._whole):
            for left in folder.glob("*-*"):
                left.unlink()  # pieces of a job that was killed
            done = ledger.Ledger(folder)
            wanted = []
            for file in found:
                known = done.known(file.source, file.name, self._order.digest, file.target, self._named(file)) if self._whole else None
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
        self._bear(refused)
        self._rows, self._refused = self._rows + rows, self._refused + refused

    def _bear(self, more: int) -> None:
        """Raises BadInput where more rows are refused than may be."""
        if self._refused + more > self._order.max_errors:
            said = f"{self._refused + more:,} rows were refused, and {self._order.max_errors:,} may be"
            raise BadInput(said, next="see the files *.errors.jsonl")

    def _answer(self, wanted: list[File], folder: Path, done: ledger.Ledger, tell: Tell) -> None:
        """Some pieces ahead of what is written, whatever file they are of. Of a folder, a file that cannot be answered keeps no other one
        from it, and is told of at the end."""
        if not wanted:
            return
        answers = _Answers(self._order, folder)
        ahead: deque[_Step] = deque()
        try:
            for step in self._steps(wanted, answers):
                ahead.append(step)
                while len(ahead) > answers.ahead:
                    self._take(ahead.popleft(), done, tell)
            while ahead:
                self._take(ahead.popleft(), done, tell)
        except BaseException:
            self._drop()
            raise
        finally:
            answers.close()
        if self._failed:
            raise self._failure()

    def _steps(self, wanted: list[File], answers: _Answers) -> Iterator[_Step]:
        """Each file's pieces, and its end; or why it cannot be read."""
        for file in wanted:
            try:
                state = _state(file)  # before it is read: what changes it from then on is seen at its end
                for piece in reading.pieces(file.source, self._signature):
                    if file.name in self._failed:
                        break
                    yield _Step(file, state, answers.submit(piece, file.kind), piece.named)
                yield _Step(file, state)
            except BadInput as exc:
                yield _Step(file, failed=exc)

    def _take(self, step: _Step, done: ledger.Ledger, tell: Tell) -> None:
        """The next piece of a file, or its end; nothing more of one that has failed."""
        if step.file.name in self._failed:
            return
        try:
            if step.failed is not None:
                raise step.failed
            if self._open is None:
                output = Output(step.file.target, step.file.kind, header=step.named, mode=self._mode)
                self._open = _Open(output, self._hashing.submit(ledger.digest, step.file.source))
            if step.answer is not None:
                self._add(step.file, step.answer, self._open.output)
            else:
                self._finish(step, self._open, done, tell)
        except BadInput as exc:
            self._failed[step.file.name] = exc
            self._drop()
            if not self._whole or len(self._failed) >= MOST_FAILED:
                raise self._failure() from None

    def _add(self, file: File, answer: Future[Answered], output: Output) -> None:
        try:
            answered = answer.result()
        except YardError as exc:
            exc.where = f"{file.name}, {exc.where}" if exc.where else file.name
            raise
        output.add(answered)
        self._bear(len(output.refused))

    def _finish(self, step: _Step, opened: _Open, done: ledger.Ledger, tell: Tell) -> None:
        """Show the file, if what it answers is still there as it was."""
        file, before, output = step.file, step.state, opened.output
        try:
            digest = opened.digest.result()
        except FileNotFoundError as exc:
            raise _gone(file) from exc
        now = _state(file)  # after it was read for the digest, too
        if before is None or (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
            raise BadInput("the file was changed while it was read", where=file.name, next="run the batch again")
        made = output.finish()
        rows, refused, order = output.rows, len(output.refused), self._order.digest
        read, wrote = (now.st_size, now.st_mtime_ns), (made.st_size, made.st_mtime_ns)
        done.add(ledger.Done(file.name, *read, digest, order, self._named(file), rows, refused, *wrote))
        self._open = None
        self._count(rows, refused)
        tell({"output": str(file.target), "rows": rows, "refused": refused, "kept": False})

    def _drop(self) -> None:
        """What is open comes to nothing."""
        if self._open is not None:
            self._open.output.drop()
            self._open = None

    def _failure(self) -> BadInput:
        """The first file that failed, and how many others did."""
        (name, failure), *others = self._failed.items()
        failure.where = failure.where or name
        if others:
            named = ", ".join(other for other, _ in others[:3]) + (", ..." if len(others) > 3 else "")
            failure.what = f"{failure.what}; {len(others):,} more of the files fail: {named}"
        return failure


def _state(file: File) -> os.stat_result:
    """Raises BadInput where the file is gone."""
    try:
        return file.source.stat()
    except FileNotFoundError as exc:
        raise _gone(file) from exc


def _gone(file: File) -> BadInput:
    return BadInput("the file is gone", where=file.name, next="run the batch again")


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
    code = 1
    try:
        code = main()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # the thread that watches standard input is in the middle of reading it
