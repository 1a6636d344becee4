"""The job of a batch, from outside: started, followed, ended with whoever started it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from modelyard.errors import BadInput, Halted, NoRoom, NotFound, StepFailed, Unavailable, YardError
from modelyard.serve.batch.order import Order
from modelyard.serve.processes import environment, last_word, log_tail
from modelyard.serve.runner import ONE_THREAD

KINDS: dict[str, type[YardError]] = {kind.code: kind for kind in (BadInput, NotFound, NoRoom, StepFailed, Unavailable)}


class Stop:
    """Ends a job from another thread, whether it is at work already or is yet to begin."""

    def __init__(self) -> None:
        self.asked = False
        self._end: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def ask(self) -> None:
        with self._lock:
            self.asked = True
            self._end()

    def of(self, end: Callable[[], None]) -> None:
        """From now on `end` is what ends it."""
        with self._lock:
            self._end = end
            if self.asked:
                end()


def run(
    order: Order,
    log: Path,
    mode: int | None = None,
    on_file: Callable[[dict[str, Any]], None] | None = None,
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Do it, in a process of its own; `mode` is that of the outputs, `on_file` is told of each. See `job.Job.run` for what it gives.

    Raises NotFound, BadInput, NoRoom, StepFailed (the job was killed, say), Unavailable; Halted where `stop` was asked before its end.
    """
    stop = stop or Stop()
    if stop.asked:
        raise Halted("the batch was stopped")
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-P", "-m", "modelyard.serve.batch.job", *([f"{mode:o}"] if mode is not None else [])]
    paths = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    with log.open("ab") as errors:
        job = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment({**ONE_THREAD, **paths}),
            start_new_session=True,
        )
    assert job.stdin is not None and job.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            job.stdin.write(msgspec.json.encode(order) + b"\n")
            job.stdin.flush()
        stop.of(lambda: _close(job))
        said: dict[str, Any] = {}
        for line in job.stdout:
            said = msgspec.json.decode(line)
            if "output" in said and on_file is not None:
                on_file(said)
    finally:
        _close(job)
        code = job.wait()
        job.stdout.close()
    if "error" in said:
        error = said["error"]
        raise KINDS.get(error["code"], YardError)(error["what"], where=error["where"], next=error["next"])
    if "done" not in said and stop.asked:
        raise Halted("the batch was stopped")
    if "done" not in said:
        tail = log_tail(log)
        raise StepFailed(last_word(tail, f"the batch ended with exit code {code}"), where=str(log), log_tail=tail)
    return dict(said["done"])


def _close(job: subprocess.Popen[bytes]) -> None:
    """Have it end, with its workers, if it has not."""
    assert job.stdin is not None
    with contextlib.suppress(OSError):
        job.stdin.close()
