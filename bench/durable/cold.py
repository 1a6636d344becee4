"""Cold whole processes: import, launch, one run of six no-op steps, shutdown. Usage: cold.py [ROUNDS] [SCRATCH]

The variants alternate, so that a busy machine is busy for all; the table gives medians and the ratio to the plain journal.
"""

# os and open on purpose: imports are part of what is timed
# ruff: noqa: E501

import importlib.metadata
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 9
SCRATCH = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="durable-cold-"))
ENV = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
# name: (script, environment, new home each time, steps)
VARIANTS = {
    "own": ("own_run.py", {}, False, 6),
    "own + events in the receipt": ("own_run.py", {"EVENTS": "1"}, False, 6),
    "dbos": ("dbos_run.py", {}, False, 6),
    "dbos, 20 ms poll": ("dbos_run.py", {"TUNED": "1"}, False, 6),
    "own, new home": ("own_run.py", {}, True, 6),
    "dbos, new home": ("dbos_run.py", {}, True, 6),
    "dbos, 20 ms poll, new home": ("dbos_run.py", {"TUNED": "1"}, True, 6),
    "own, 300 steps": ("own_run.py", {}, False, 300),
    "own + events, 300 steps": ("own_run.py", {"EVENTS": "1"}, False, 300),
    "dbos, 300 steps": ("dbos_run.py", {"TUNED": "1"}, False, 300),
    "dbos + event in its own transaction, 300 steps": ("dbos_run.py", {"TUNED": "1", "EVENTS": "own"}, False, 300),
    "dbos + event by its datasource, 300 steps": ("dbos_run.py", {"TUNED": "1", "EVENTS": "datasource"}, False, 300),
}
BASES = {"python -c pass": "pass", "import sqlalchemy": "import sqlalchemy", "import dbos": "import dbos"}
KEYS = ("import_s", "launch_s", "run_s", "ms_a_step", "close_s", "threads", "connections", "rss_mb", "modules")


def once(name: str) -> dict:
    if name in BASES:
        command, env = [sys.executable, "-c", BASES[name]], ENV
    else:
        script, extra, new, n = VARIANTS[name]
        home = SCRATCH / name.replace(" ", "-")
        if new:
            shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, exist_ok=True)
        command, env = [sys.executable, str(HERE / script), str(home), "noop", str(n)], ENV | extra
    t = time.perf_counter()
    out = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    wall = time.perf_counter() - t
    figures = json.loads(out.splitlines()[-1]) if out else {}
    assert figures.get("pragmas", ["delete", 2]) == ["delete", 2], figures  # rollback journal, synchronous FULL: in both engines
    return {"wall_s": wall, **figures}


if __name__ == "__main__":
    names = [*BASES, *VARIANTS]
    rows: dict = {n: [] for n in names}
    for n in names:
        once(n)  # bytecode and databases exist before anything is timed
    for _ in range(ROUNDS):
        for n in names:
            rows[n].append(once(n))
    packages = {p: importlib.metadata.version(p) for p in ("dbos", "sqlalchemy")}
    print(
        f"CPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {packages}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{ROUNDS} alternating rounds, medians\n"
    )
    print("| variant | wall s (min-max) | x own | " + " | ".join(KEYS) + " |\n|" + "---|" * (3 + len(KEYS)))
    base = statistics.median(r["wall_s"] for r in rows["own"])
    for n in names:
        walls = [r["wall_s"] for r in rows[n]]
        mid = [f"{statistics.median(r[k] for r in rows[n]):.3g}" if k in rows[n][0] else "" for k in KEYS]
        print(
            f"| {n} | {statistics.median(walls):.2f} ({min(walls):.2f}-{max(walls):.2f}) | {statistics.median(walls) / base:.1f} | "
            + " | ".join(mid)
            + " |"
        )
