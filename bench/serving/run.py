"""Requests a second of one model behind Modelyard and behind its peers, side by side in one run; ratios are what counts.

See README.md beside this file. Exit code 1 where Modelyard misses a bound of BOUNDS; a peer that could not be run is told with the
reason, and a bound that needs it counts as not judged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import servers
from peers import HERE, PEERS
from servers import Server, lines, post

sys.path.append(str(HERE.parent))
import bounds
import environments
from bounds import Bound

LOADS = {"c1": (1, 1), "c16": (16, 1), "c64": (64, 1), "b100": (8, 100)}
"""Name of a load: connections, rows a body."""
OWN, PLAIN, LIMIT = "modelyard", "modelyard not compiled", "limit"


@dataclass
class Load:
    """Medians over the rounds."""

    rps: float
    p50_ms: float
    p99_ms: float
    failed: int


@dataclass
class Row:
    """A candidate's figures; `largest_difference` of its probabilities from the reference, over every body."""

    name: str
    version: str = ""
    start_s: float = 0.0
    rss_mb: float = 0.0
    largest_difference: float = 0.0
    failed: str = ""
    loads: dict[str, Load] = field(default_factory=dict)
    kept: list[float] = field(default_factory=list)
    """Requests a second with capture over those without it, a pair of loads of 16 connections each."""


def numbers(found: object) -> Iterator[float]:
    """Every number in an answer, in order."""
    if isinstance(found, dict):
        inner = next((found[k] for k in ("predictions", "outputs", "data", "probabilities") if k in found), None)
        yield from numbers(inner if inner is not None else list(found.values()))
    elif isinstance(found, list):
        for one in found:
            yield from numbers(one)
    elif isinstance(found, int | float) and not isinstance(found, bool):
        yield float(found)


def check(server: Server) -> float:
    """The largest difference of an answer's probability of churn from the reference. Raises RuntimeError for an answer that is none."""
    largest = 0.0
    for size in (1, 100):
        for body, wanted in zip(lines(server.body, size), lines("answers", size), strict=True):
            status, answer = post(server.port, server.path, body)
            pairs, expected = list(numbers(json.loads(answer))), json.loads(wanted)
            if status != 200 or len(pairs) != 2 * len(expected):
                raise RuntimeError(f"answered {status}: {answer[:200]!r}")
            largest = max(largest, *(abs(a - b) for a, b in zip(pairs[1::2], expected, strict=True)))
    return largest


def wrk(server: Server, connections: int, size: int, seconds: float) -> Load:
    bodies = servers.DATA / "bodies" / f"{server.body}.{size}.jsonl"
    url = f"http://127.0.0.1:{server.port}{server.path}"
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s", "-s", str(HERE / "post.lua"), url, "--", str(bodies)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = json.loads(re.search(r"JSON (\{.*\})", said)[1])  # type: ignore[index]
    failed = found["refused"] + found["broken"] + found["timeouts"]
    return Load((found["requests"] - failed) / found["seconds"], found["p50_ms"], found["p99_ms"], failed)


def with_and_without_capture(server: Server, pairs: int, seconds: float) -> list[float]:
    """Requests a second of one version with its capture over those of a front without: the two take turns at going first."""
    found = []
    with servers.uncaptured(server) as other:
        wrk(other, 16, 1, 2.0)  # warm
        for number in range(pairs):
            rates = [wrk(one, 16, 1, seconds).rps for one in ((server, other) if number % 2 else (other, server))]
            found.append(rates[0] / rates[1] if number % 2 else rates[1] / rates[0])
    return found


def candidates() -> dict[str, Callable[[], contextlib.AbstractContextManager[Server]]]:
    own = {
        OWN: lambda: servers.modelyard(OWN, compiled=True),
        PLAIN: lambda: servers.modelyard(PLAIN, compiled=False),
        LIMIT: servers.limit,
    }
    return {**own, **{peer.name: lambda peer=peer: servers.running(peer) for peer in PEERS}}  # type: ignore[misc]


def measure(names: list[str], rounds: int, seconds: float) -> list[Row]:
    """One server at a time on the machine. Modelyard and its limit are measured before and after the peers, so that a machine that
    changes its pace meanwhile is noticed; the medians are over all of it."""
    found: dict[str, Row] = {}
    taken: dict[tuple[str, str], list[Load]] = {}
    own = [name for name in names if name in (OWN, PLAIN, LIMIT)]
    for name in [*own, *(n for n in names if n not in own), *own]:
        row = found.setdefault(name, Row(name))
        if row.failed:
            continue
        print(f"measuring {name}", file=sys.stderr, flush=True)
        try:
            with candidates()[name]() as server:
                row.version, row.start_s = server.version, server.start_s
                row.largest_difference = 0.0 if name == LIMIT else check(server)
                wrk(server, 8, 1, 2.0)  # warm
                for _ in range(rounds):
                    for load, (connections, size) in LOADS.items():
                        taken.setdefault((name, load), []).append(wrk(server, connections, size, seconds))
                row.rss_mb = server.rss_mb()
                if name in (OWN, PLAIN):
                    row.kept += with_and_without_capture(server, 2 * rounds, max(1, round(seconds * 2 / 3)))  # wrk counts in whole ones
        except (subprocess.SubprocessError, OSError, RuntimeError, KeyError, ValueError) as exc:
            row.failed = environments.why(exc)
    for (name, load), loads in taken.items():
        middle = {key: statistics.median(getattr(one, key) for one in loads) for key in ("rps", "p50_ms", "p99_ms")}
        found[name].loads[load] = Load(**middle, failed=sum(one.failed for one in loads))
    return list(found.values())


def _rps(name: str, load: str) -> Callable[[dict[str, Row]], float | None]:
    return lambda rows: rows[name].loads[load].rps if name in rows and load in rows[name].loads else None


def _best(load: str, only: str = "") -> Callable[[dict[str, Row]], float | None]:
    """The best peer's requests a second."""

    def best(rows: dict[str, Row]) -> float | None:
        peers = {peer.name for peer in PEERS if only in peer.name}
        figures = [row.loads[load].rps for row in rows.values() if row.name in peers and load in row.loads]
        return max(figures, default=None)

    return best


def _p99(rows: dict[str, Row]) -> float | None:
    """The best peer's p99 over ours, at 16 connections."""
    peers = [row.loads["c16"].p99_ms for row in rows.values() if row.name in {p.name for p in PEERS} and "c16" in row.loads]
    return min(peers) / rows[OWN].loads["c16"].p99_ms if peers and OWN in rows and rows[OWN].loads else None


def _capture(name: str) -> Callable[[dict[str, Row]], float | None]:
    """The share of its throughput that capture costs."""
    return lambda rows: 1 - statistics.median(rows[name].kept) if name in rows and rows[name].kept else None


def _ratio(ours: Callable[[dict[str, Row]], float | None], theirs: Callable[[dict[str, Row]], float | None]) -> Callable[..., float | None]:
    def ratio(rows: dict[str, Row]) -> float | None:
        a, b = ours(rows), theirs(rows)
        return a / b if a and b else None

    return ratio


BOUNDS = (
    Bound("compiled, 16 connections: times mlflow", _ratio(_rps(OWN, "c16"), _rps("mlflow", "c16")), 200),
    Bound("compiled, 16 connections: times the best peer, batching on", _ratio(_rps(OWN, "c16"), _best("c16")), 25),
    Bound("compiled, 16 connections: share of a constant answer", _ratio(_rps(OWN, "c16"), _rps(LIMIT, "c16")), 0.6),
    Bound("compiled, 16 connections: best peer's p99 over ours", _p99, 20),
    Bound("compiled, bodies of 100 rows: times the best peer", _ratio(_rps(OWN, "b100"), _best("b100")), 9),
    Bound("not compiled, 16 connections: times mlflow", _ratio(_rps(PLAIN, "c16"), _rps("mlflow", "c16")), 20),
    Bound("not compiled, 16 connections: times the best batching", _ratio(_rps(PLAIN, "c16"), _best("c16", "batching")), 2),
    Bound("not compiled, 64 connections: times the best batching", _ratio(_rps(PLAIN, "c64"), _best("c64", "batching")), 8),
    Bound("not compiled, 1 connection: times the best peer", _ratio(_rps(PLAIN, "c1"), _best("c1")), 0.9),
    Bound("compiled: seconds from start to first answer", lambda rows: rows[OWN].start_s if OWN in rows else None, 0.5, at_most=True),
    Bound("compiled, 16 connections: capture's share of throughput", _capture(OWN), 0.05, at_most=True),
    Bound("not compiled, 16 connections: capture's share of throughput", _capture(PLAIN), 0.05, at_most=True),
    Bound("compiled: MB of the front", lambda rows: rows[OWN].rss_mb if OWN in rows else None, 100, at_most=True),
)


def show(rows: list[Row], said: list[dict[str, Any]]) -> None:
    heads = ("c1", "c16", "c64", "100 rows")
    print(f"{'candidate':<32} {'version':>9} {heads[0]:>8} {heads[1]:>8} {heads[2]:>8} {heads[3]:>9}", end=" ")
    print(f"{'p50/p99 ms @16':>16} {'MB':>6} {'start s':>8} {'largest diff.':>14}")
    for row in rows:
        if row.failed:
            print(f"{row.name:<32} not run: {row.failed}")
            continue
        figures = " ".join(f"{row.loads[load].rps:>8,.0f}" for load in ("c1", "c16", "c64"))
        at = row.loads["c16"]
        failed = sum(load.failed for load in row.loads.values())
        print(
            f"{row.name:<32} {row.version:>9} {figures} {row.loads['b100'].rps:>9,.0f} {f'{at.p50_ms:.2f}/{at.p99_ms:.2f}':>16} "
            f"{row.rss_mb:>6.0f} {row.start_s:>8.2f} {row.largest_difference:>14.1e}" + (f"  {failed} FAILED" if failed else "")
        )
    print(*bounds.lines(said), sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="names, with commas between; modelyard is always run")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds a candidate")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds a load")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed (Debian: apt-get install wrk)", file=sys.stderr)
        return 2
    only = {name.strip() for name in options.only.split(",")} | {OWN} if options.only else None
    if only and (unknown := only - candidates().keys()):
        parser.error(f"no candidates: {', '.join(sorted(unknown))}; there are {', '.join(candidates())}")
    servers.prepare()
    rows = measure([name for name in candidates() if only is None or name in only], options.rounds, options.seconds)
    said = bounds.verdicts(BOUNDS, {row.name: row for row in rows if not row.failed})
    print(f"{os.cpu_count()} CPUs shared with the load, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    show(rows, said)
    if options.json:
        options.json.write_text(json.dumps({"rows": [asdict(row) for row in rows], "bounds": said}, indent=1))
    return 1 if any(one["ok"] is False for one in said) else 0


if __name__ == "__main__":
    sys.exit(main())
