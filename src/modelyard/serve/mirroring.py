"""Mirrors: a share of what one version answered is asked of another as well, afterwards, and the two answers are compared.

Nobody waits for it: a comparison that finds too many others under way, or no runner, is left out, and counts nowhere. A shadow that does
not answer in time has failed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from modelyard.errors import BadInput, YardError
from modelyard.serve.comparing import disagrees
from modelyard.serve.refusals import ModelFailed, TimedOut
from modelyard.serve.stats import Result

if TYPE_CHECKING:
    from modelyard.serve.client import Outputs
    from modelyard.serve.live import LiveMirror, LiveVariant
    from modelyard.serve.rows import Rows

log = logging.getLogger("modelyard.front")
AT_ONCE = 32
FEW = 128
"""Rows up to which a request is read again in the event loop."""
Read = Callable[["LiveVariant"], "Rows"]


class Mirrors:
    """Comparisons under way, at most `AT_ONCE` of them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def reflect(self, variant: LiveVariant, read: Read, count: int, outputs: Outputs) -> None:
        """Ask the mirrors of `variant` what it has just answered, later. `read` reads the request's rows for another version."""
        for mirror in variant.mirrors:
            if len(self._tasks) < AT_ONCE and (mirror.share >= 1 or random.random() < mirror.share):  # noqa: S311  (a sample, no secret)
                task = asyncio.get_running_loop().create_task(_compare(variant, mirror, read, count, outputs))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Let what is under way go."""
        for task in self._tasks:
            task.cancel()


async def _compare(variant: LiveVariant, mirror: LiveMirror, read: Read, count: int, outputs: Outputs) -> None:
    other, start, result = mirror.to, time.perf_counter(), None
    try:
        rows = read(other) if count <= FEW else await asyncio.to_thread(read, other)
        theirs = await other.predict(rows)
        different, result = sum(disagrees(outputs, theirs, variant.signature, mirror.scale)), Result.ANSWERED
    except BadInput:
        different, result = count, Result.CLIENT_ERROR  # it refuses what the other one answers
    except ModelFailed:
        different, result = count, Result.ERROR
    except TimedOut:
        if other.role == "shadow":  # what it would have kept callers waiting for
            other.stats.finished(Result.ERROR, (time.perf_counter() - start) * 1000, count)
        return
    except YardError:
        return  # no runner, no room: nothing was learnt about the model
    except Exception:
        log.exception("a comparison of versions %s and %s failed", variant.version, other.version)
        return
    mirror.judged.compared += count
    mirror.judged.disagreed += different
    if other.role == "shadow":  # nothing but mirrored requests reaches it: these are the ones by which it is judged
        other.stats.finished(result, (time.perf_counter() - start) * 1000, count)
