"""Seconds of the stages of one process and its peak memory, told on the last line of its output."""

from __future__ import annotations

import contextlib
import json
import resource
import time
from collections.abc import Iterator

NUMBERS, CATEGORIES = [f"f.n{i}" for i in range(30)], [f"f.c{i}" for i in range(10)]
TAKEN: dict[str, list[float]] = {}


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    TAKEN.setdefault(name, []).append(time.perf_counter() - began)


def tell(**facts: object) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("RESULT " + json.dumps({"seconds": TAKEN, "peak_mb": peak, **facts}), flush=True)
