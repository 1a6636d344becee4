"""Runs a candidate's pipeline: once, or with a number as argument so many further times, and prints the seconds of each."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


def go(run: Callable[[], object]) -> None:
    taken = []
    for _ in range(1 + (int(sys.argv[1]) if len(sys.argv) > 1 else 0)):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    print("SECONDS " + json.dumps(taken), flush=True)
