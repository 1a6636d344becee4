"""Long life under a steady, mixed load: memory, descriptors and threads of fronts and runners stay flat, and the capture is compacted.

`MODELYARD_SOAK_SECONDS` says how long; `make soak` takes half an hour.
"""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from modelyard.serve import captured, stats

from . import sizes
from .fronts import KINDS, LiveFront
from .gauge import Gauge
from .mixed import Mixed, requests

MOST_GROWTH = 8e6
"""Bytes by which a line through a process's resident memory may rise, after the first quarter of the time."""
COMPACT_SECONDS = 10


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not sizes.SECONDS, reason="takes long: make soak, or MODELYARD_SOAK_SECONDS=120")
def test_a_long_life_is_a_flat_one() -> None:
    fronts = {kind: LiveFront(kind) for kind in KINDS}
    try:
        loads = {kind: Mixed(front.port, sizes.RATE) for kind, front in fronts.items()}
        gauge = Gauge({f"{name} {kind}"[:20]: pid for kind, front in fronts.items() for name, pid in front.pids.items()})
        compacted = dict.fromkeys(KINDS, 0)

        async def run() -> None:
            loading = asyncio.gather(*(load.run(sizes.SECONDS) for load in loads.values()))
            while not loading.done():
                gauge.read()
                if int(time.monotonic() - gauge.began) % COMPACT_SECONDS == 0:  # as the control plane does
                    for kind, front in fronts.items():
                        compacted[kind] += await asyncio.to_thread(captured.compact, front.world.capture)
                await asyncio.sleep(1)
            await loading

        asyncio.run(run())
        print(f"\n{gauge.table()}", file=sys.stderr)
        for kind, load in loads.items():
            counted = stats.read(fronts[kind].stats).variants["7"]
            print(
                f"{kind}: {load.asked.total()} requests in {sizes.SECONDS} s, {len(load.wrong)} wrong; p99 {counted.p99_ms} ms",
                file=sys.stderr,
            )
            assert load.wrong == [] and load.asked.total() > 0.5 * sizes.RATE * sizes.SECONDS
            assert set(load.asked) == set(requests()), "every kind was asked"
        for kind, front in fronts.items():
            time.sleep(1)
            assert front.alive() and front.log() == ""
            counts = stats.read(front.stats).capture
            rows = captured.read(front.world.capture, only=["received_at"]).height
            print(f"{kind}: {counts.captured} rows captured, {compacted[kind]} segments became Parquet", file=sys.stderr)
            assert rows == counts.captured == counts.eligible and compacted[kind] > 0
        for name, readings in gauge.readings.items():
            late = [r for r in readings if r.at >= 0.25 * readings[-1].at]
            assert gauge.grown(name) < MOST_GROWTH, f"{name} grows"
            assert late[-1].threads <= late[0].threads + 1 and late[-1].descriptors <= late[0].descriptors + 4, name
    finally:
        for front in fronts.values():
            front.stop()
