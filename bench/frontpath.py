"""What the front's short way costs, step by step: requests a second by wrk on the same cores.

    python bench/frontpath.py [--seconds 4]

constant: the front's protocol answers a constant. parsed: it decodes the record first. plan: it answers by a row plan. capture: and keeps
every row. The record is the churn table's (4 numbers, 11 texts), the plan a stand-in of about its cost: what is measured is the front.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from modelyard.serve import routes, server, sockets, stats
from modelyard.serve.app import Front
from modelyard.serve.capture import Unwritten
from modelyard.serve.live import Live, Router
from modelyard.serve.plane import Plane
from modelyard.serve.quick import Quick
from modelyard.signature import Column, Signature

NUMBERS, TEXTS = [f"n{i}" for i in range(4)], [f"t{i}" for i in range(11)]
SIGNED = Signature(
    "binary_classification",
    (*(Column(n, "float") for n in NUMBERS), *(Column(t, "str") for t in TEXTS)),
    classes=("No", "Yes"),
    positive_class="Yes",
    decision_threshold=0.5,
)
RECORD = {**{n: 3.25 * i for i, n in enumerate(NUMBERS)}, **dict.fromkeys(TEXTS, "Fiber optic")}
MODES = ("constant", "parsed", "plan", "capture", "log", "long")
CONNECTIONS = (1, 16, 64)


class StandIn:
    """A row plan of about 7 us: a hundred dictionary look-ups and comparisons."""

    texts = dict.fromkeys(TEXTS, ("DSL", "Fiber optic", "No"))

    def row(self, values: Any) -> tuple[Any, ...]:
        total = 0.0
        for i in range(100):
            if values[i % 4] > 2.5 * i:
                total += 0.01 * i
        p = 1 / (1 + total)
        return ("Yes" if p > 0.5 else "No", 1 - p, p)

    def predict(self, columns: dict[str, list[Any]], count: int) -> dict[str, list[Any]]:
        answers = [self.row(values) for values in zip(*columns.values(), strict=True)]
        return dict(zip(SIGNED.outputs, map(list, zip(*answers, strict=True)), strict=True))


async def serve(mode: str, folder: Path) -> None:
    capture = routes.Capture(str(folder / "capture"), mode="off" if mode == "plan" else "buffered")
    variant = routes.Variant("7", 100, (), SIGNED.to_dict())
    log = str(folder / "access.log") if mode == "log" else None
    table = routes.RoutingTable("churn-production", "churn", "production", (variant,), capture, access_log=log)
    routes.write(folder / "routes.json", table)
    unwritten = Unwritten()
    router = Router(folder / "routes.json", stats.Stats(pid=0, started_at=time.time()), unwritten)
    await router.look()
    assert router.live is not None
    router.live.variants[0].plan = StandIn()  # type: ignore[assignment]
    router.live = Live(table, router.live.variants)
    plane = Plane(router)
    hosts = frozenset({"127.0.0.1"})
    quick: Any = Quick(plane, hosts)
    answer = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"predictions":'
    if mode == "constant":
        quick = lambda *_: answer  # noqa: E731
    elif mode == "parsed":
        quick._take_up(router.live)
        decode = quick._desks[router.live.variants[0]]._decode

        def quick(url: bytes, steady: Any, varying: Any, body: bytes) -> bytes:
            decode(body)
            return answer

    elif mode == "long":
        quick = None
    listener = sockets.listen("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.25)
            plane.tick()

    ticking = asyncio.ensure_future(tick())
    await server.run(Front(plane, hosts), quick, listener, unwritten=unwritten)
    ticking.cancel()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(mode: str, seconds: int) -> dict[int, tuple[float, str, float]]:
    """By connections: requests a second, p99, and microseconds of the front's CPU a request (which other work disturbs less)."""
    with tempfile.TemporaryDirectory() as name:
        script = Path(name) / "post.lua"
        body = json.dumps(RECORD).replace("\\", "\\\\").replace("'", "\\'")
        script.write_text(f"wrk.method='POST'\nwrk.body='{body}'\nwrk.headers['Content-Type']='application/json'\n")
        argv = [sys.executable, __file__, "--serve", mode, "--folder", name]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as front:
            assert front.stdin is not None and front.stdout is not None
            port = int(front.stdout.readline())
            found = {}
            for connections in CONNECTIONS:
                wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
                before = cpu(front.pid)
                said = subprocess.run([*wrk, f"http://127.0.0.1:{port}/invocations"], capture_output=True, text=True, check=True).stdout
                assert "Non-2xx" not in said, said
                rate, p99, total = (re.search(p, said) for p in (r"Requests/sec:\s+([\d.]+)", r" 99% +(\S+)", r"(\d+) requests in"))
                assert rate and p99 and total
                found[connections] = (float(rate[1]), p99[1], (cpu(front.pid) - before) / int(total[1]) * 1e6)
            front.stdin.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--serve", choices=MODES)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve, options.folder))
        return
    parsed: dict[int, tuple[float, str, float]] = {}
    for mode in options.modes:
        found = measure(mode, options.seconds)
        if mode == "parsed":
            parsed = found
        print(f"{mode:10}", end="")
        for connections, (rate, p99, us) in found.items():
            share = f"{rate / parsed[connections][0]:4.0%}" if parsed else "    "
            print(f"  c{connections}: {rate:7,.0f}/s {share} p99 {p99:>8} {us:5.1f} us", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
