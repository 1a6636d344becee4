"""Bad requests of every kind against live fronts: each is refused or cut off in time, never by a 5xx, and a good one is always right.

`make fuzz` sends 100,000. A finding prints the bytes that did it; the seed (`MODELYARD_SOAK_SEED`) draws the same ones again.
"""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from modelyard.serve import stats

from . import sizes
from .fronts import KINDS, LiveFront, right
from .fuzzer import STALLS, Fuzzer
from .gauge import Gauge
from .shots import Shots

MOST_GROWTH = 40e6
"""Bytes by which a front or a runner may seem to grow: the rise of a line through its resident memory after a quarter of the time."""


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_no_bad_request_is_a_5xx_or_a_hang(kind: str) -> None:
    front = LiveFront(kind)
    try:
        fuzzer, gauge, shots = Fuzzer(front.port, right), Gauge(front.pids), Shots(sizes.SEED)
        began = time.monotonic()

        async def run() -> None:
            silent = [asyncio.ensure_future(fuzzer.stall(*STALLS[i % len(STALLS)])) for i in range(24)]
            await fuzzer.run(shots.any, sizes.SHOTS // len(KINDS), watch=gauge.read)
            await asyncio.gather(*silent)
            await fuzzer.ask()

        asyncio.run(run())
        took = time.monotonic() - began
        gauge.read()
        print(
            f"\n{kind}: {fuzzer.bad} bad requests of {sum(fuzzer.kinds.values())} shots, {fuzzer.good} good ones, in {took:.0f} s",
            file=sys.stderr,
        )
        print(f"answers: {dict(fuzzer.statuses.most_common())}; longest {fuzzer.longest:.2f} s\n{gauge.table()}", file=sys.stderr)
        assert fuzzer.findings == [], "\n".join(fuzzer.findings) + front.log()
        assert front.alive(), "one front and one runner all the time"
        assert fuzzer.bad >= sizes.SHOTS // len(KINDS) and fuzzer.good > fuzzer.bad // 40
        assert {"400", "404", "413", "415", "closed", "ended in silence"} <= set(fuzzer.statuses), "the faults fired"
        time.sleep(1)
        counted = stats.read(front.stats)
        capture = counted.capture
        assert capture.captured + capture.dropped + capture.failed == capture.eligible > 0
        assert counted.variants["7"].in_flight == 0 and front.log() == ""
        assert max(gauge.grown(name) for name in gauge.readings) < MOST_GROWTH, gauge.table()
        assert gauge.readings["front"][-1].descriptors < 100
    finally:
        front.stop()
