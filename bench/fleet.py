"""A thousand small compiled models in one front process: how long it takes to start and to load one at its first request, and its memory.

Each model is a gradient boosting of its own (made here, not trained: random trees) and every answer is checked against a plain walk of its
trees. Three rounds: every model once (each is loaded), every model again in an order in which few are still loaded, and the ones that are
loaded. Exit code 1 where an answer is wrong, more models than `--keep` stay loaded, or the front takes over `--memory` MB.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import random
import statistics
import tempfile
import time
from pathlib import Path

import msgspec

from modelyard.serve import routes, stats
from modelyard.serve.plan.schema import Input, Link, Plan, Trees
from modelyard.serve.processes import spawn_front, wait_front
from modelyard.signature import Column, Signature

COLUMNS, TREES, DEPTH = 12, 30, 3
NAMES = [f"c{i}" for i in range(COLUMNS)]
SIGNED = Signature(
    "binary_classification", tuple(Column(name, "float") for name in NAMES), classes=(0, 1), positive_class=1, decision_threshold=0.5
)


def boosting(seed: int) -> Plan:
    """Random trees as a plan. Each tree is complete; its nodes lie level by level."""
    source = random.Random(seed)
    inner, nodes = 2**DEPTH - 1, 2 ** (DEPTH + 1) - 1
    fields: dict[str, list[float]] = {name: [] for name in ("feature", "threshold", "left", "right", "leaf")}
    for tree in range(TREES):
        for node in range(nodes):
            leaf = node >= inner
            fields["feature"].append(-1 if leaf else source.randrange(COLUMNS))
            fields["threshold"].append(0.0 if leaf else source.gauss(0, 1))
            fields["left"].append(0 if leaf else tree * nodes + 2 * node + 1)
            fields["right"].append(0 if leaf else tree * nodes + 2 * node + 2)
            fields["leaf"].append(source.gauss(0, 0.3) if leaf else 0.0)
    trees = Trees(
        slots=tuple(range(COLUMNS)),
        roots=tuple(range(0, TREES * nodes, nodes)),
        targets=(0,) * TREES,
        width=1,
        init=(0.0,),
        cast="f8",
        scale=1.0,
        **{name: tuple(values) for name, values in fields.items()},  # type: ignore[arg-type]
    )
    steps = (trees, Link((COLUMNS,), "sigmoid"), Link((COLUMNS + 1,), "complement"))
    return Plan(tuple(Input(name, "float") for name in NAMES), steps, (COLUMNS + 2, COLUMNS + 3))


def probability(plan: Plan, row: dict[str, float]) -> float:
    """By a plain walk."""
    trees, values, total = plan.steps[0], list(row.values()), 0.0
    assert isinstance(trees, Trees)
    for node in trees.roots:
        while trees.feature[node] >= 0:
            node = trees.left[node] if values[trees.feature[node]] <= trees.threshold[node] else trees.right[node]
        total += float(trees.leaf[node])  # type: ignore[arg-type]
    return 1 / (1 + math.exp(-total))


def deploy(folder: Path, count: int) -> list[Plan]:
    """Plans and routing tables of so many endpoints."""
    plans = []
    for part in ("tables", "stats", "plans"):
        (folder / part).mkdir()
    for i in range(count):
        plan = boosting(i)
        path = folder / "plans" / f"{i}.json"
        path.write_bytes(msgspec.json.encode(plan))
        variant = routes.Variant("1", 1, (), SIGNED.to_dict(), plan=str(path), sleeps=True)
        table = routes.RoutingTable(name(i), f"m{i}", "production", (variant,), routes.Capture(str(folder / "capture" / str(i))))
        routes.write(folder / "tables" / f"{name(i)}.json", table)
        plans.append(plan)
    return plans


def name(i: int) -> str:
    return f"m{i}-production"


class Caller:
    """One connection; `wrong` counts answers that are not the model's."""

    def __init__(self, port: int, plans: list[Plan]) -> None:
        self._link, self._plans, self.wrong = http.client.HTTPConnection("127.0.0.1", port), plans, 0
        self._random = random.Random(0)

    def ask(self, i: int) -> float:
        """Milliseconds that model `i` took to answer."""
        row = {column: self._random.gauss(0, 1) for column in NAMES}
        began = time.perf_counter()
        self._link.request("POST", f"/{name(i)}/invocations", json.dumps(row), {"Content-Type": "application/json"})
        answer = self._link.getresponse()
        body = answer.read()
        took = (time.perf_counter() - began) * 1000
        given = json.loads(body)["predictions"][0]["probabilities"]["1"] if answer.status == 200 else math.nan
        self.wrong += not abs(given - probability(self._plans[i], row)) < 1e-9
        return took


def summary(times: list[float]) -> str:
    ordered = sorted(times)
    return f"p50 {statistics.median(ordered):.2f} ms, p99 {ordered[int(0.99 * len(ordered))]:.2f} ms, worst {ordered[-1]:.1f} ms"


def resident_mb(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def loaded(folder: Path, count: int) -> int:
    """Endpoints that the front holds, by their stats."""
    return sum(stats.read(folder / "stats" / f"{name(i)}.json").generation > 0 for i in range(count))


def measure(folder: Path, count: int, keep: int) -> tuple[int, int, float]:
    """Prints the figures; returns wrong answers, endpoints that stayed loaded, and megabytes."""
    plans = deploy(folder, count)
    told = folder / "stats" / ".front.json"
    began = time.perf_counter()
    front = spawn_front(routes=folder / "tables", stats_path=told, log=folder / "front.log", arguments=["--keep", str(keep)])
    try:
        port = wait_front(front, told).port
        print(f"start {time.perf_counter() - began:.2f} s, {resident_mb(front.pid):.0f} MB with none of {count} loaded")
        caller = Caller(port, plans)
        print(f"first request, loading: {summary([caller.ask(i) for i in range(count)])}; then {resident_mb(front.pid):.0f} MB")
        shuffled = random.Random(1).sample(range(count), count)
        print(f"again, {keep} of {count} loaded: {summary([caller.ask(i) for i in shuffled])}")
        held = shuffled[-min(keep, count) :]
        print(f"loaded ones: {summary([caller.ask(i) for _ in range(3) for i in held])}")
        time.sleep(1)
        return caller.wrong, loaded(folder, count), resident_mb(front.pid)
    finally:
        front.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--keep", type=int, default=256)
    parser.add_argument("--memory", type=float, default=300, help="most MB that the front may take")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-") as scratch:
        wrong, held, megabytes = measure(Path(scratch), options.models, options.keep)
    print(f"{wrong} wrong answers, {held} loaded, {megabytes:.0f} MB")
    raise SystemExit(wrong > 0 or held > options.keep or megabytes > options.memory)
