"""A worker of a batch: `python -m modelyard.serve.batch.worker NUMBER`. The order, then pieces, come as lines on standard input; a line
goes back for each piece. It ends when its input does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from modelyard.errors import YardError
from modelyard.serve.batch.answers import Piecework, begin
from modelyard.serve.batch.crew import Asked, Told, put, take
from modelyard.serve.batch.order import Order
from modelyard.serve.batch.reading import Piece


def main() -> int:
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    work: Piecework | None = None
    for line in sys.stdin.buffer:
        asked = msgspec.json.decode(line, type=Asked)
        try:
            if work is None:
                work = begin(order, int(sys.argv[1]))
            told = _done(work, asked)
        except YardError as exc:
            told = Told(error=exc.what, where=exc.where, next=exc.next)
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()
    return 0


def _done(work: Piecework, asked: Asked) -> Told:
    given: Any = take(Path(asked.given), is_table=asked.is_table)
    what = {"table": given} if asked.is_table else {"lines": given}
    answered = work(Piece(asked.first, named=asked.named, text=asked.text, **what), asked.target)
    is_table = answered.table is not None
    put(Path(asked.made), answered.table if is_table else answered.lines)
    return Told(answered.rows, answered.refused, is_table)


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    sys.exit(main())
