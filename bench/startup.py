"""How long the quick commands take as whole processes, beside what they may take.

Each command runs once unmeasured (it fills the page cache and writes bytecode), then `--runs` times; the median counts, since other
work on the machine only ever adds time. Exit code 1 where a median is over its bound.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
BOUNDS = {
    ("--help",): 0.3,
    ("check", "examples/breast-cancer/config.yaml"): 0.6,
}
"""Arguments of `modelyard`, and the most seconds that issue 2 allows on two cores."""


def seconds(command: list[str]) -> float:
    # As a person's shell would: bytecode may be written, and is there the next time.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(runs: int) -> list[dict[str, object]]:
    script = Path(sys.executable).with_name("modelyard")
    rows: list[dict[str, object]] = []
    for arguments, bound in BOUNDS.items():
        command = [str(script), *arguments]
        seconds(command)
        taken = [seconds(command) for _ in range(runs)]
        median = statistics.median(taken)
        rows.append(
            {
                "command": " ".join(("modelyard", *arguments)),
                "median_s": round(median, 3),
                "min_s": round(min(taken), 3),
                "max_s": round(max(taken), 3),
                "bound_s": bound,
                "ok": median < bound,
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11, help="measured runs a command")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = measure(options.runs)
    if options.json:
        print(json.dumps({"runs": options.runs, "cpus": os.cpu_count(), "python": sys.version.split()[0], "rows": rows}, indent=2))
    else:
        print(f"start-up, {options.runs} runs each, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
        print(f"{'command':<52} {'median':>8} {'min':>8} {'max':>8} {'bound':>8}")
        for row in rows:
            mark = "" if row["ok"] else "  OVER"
            print(f"{row['command']:<52} {row['median_s']:>6} s {row['min_s']:>6} s {row['max_s']:>6} s {row['bound_s']:>6} s{mark}")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
