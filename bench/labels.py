"""How fast labels are taken in and looked up, in a ledger of many, beside one that is read whole.

`--rows` labels (10 million by default) come in `--imports` files, in no order, of ids that are as long as ours. Then the labels of
windows of several sizes are looked up, twice each, and the second time counts; `whole` is what a ledger without an index does for any
window: read and fold everything.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOWS = (1, 1_000, 10_000, 100_000)


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(rows: int, imports: int, folder: Path) -> dict[str, Any]:
    import numpy as np
    import polars as pl

    from modelyard.monitor import labels
    from modelyard.monitor.labels import segments

    random = np.random.default_rng(0)
    ids = pl.Series("inference_id", [f"{a:016x}{b:016x}" for a, b in random.integers(0, 2**63, (rows, 2))])
    took = []
    for n in range(imports):
        part = ids[n * rows // imports : (n + 1) * rows // imports]
        frame = pl.DataFrame({"inference_id": part, "label": random.integers(0, 2, len(part))})
        took.append(timed(lambda frame=frame, n=n: labels.add(frame, folder, START + n * HOUR)))  # type: ignore[misc]
    found: dict[str, Any] = {"labels": rows, "imports": imports, "import": sum(took), "slowest_import": max(took)}
    found |= {"files": len(list(folder.iterdir())), "bytes": sum(path.stat().st_size for path in folder.iterdir())}
    for size in WINDOWS:
        window = ids.sample(min(size, rows), seed=size)
        found[f"window_{size}"] = [timed(lambda window=window: labels.of(folder, window)) for _ in range(2)][1]  # type: ignore[misc]
    found["received_since"] = timed(lambda: labels.received(folder, START + (imports - 2) * HOUR))
    found["whole"] = timed(lambda: labels.latest(folder))
    segments._KNOWN.clear()
    found["first_look"] = timed(lambda: labels.newest(folder))
    found["later_look"] = timed(lambda: labels.newest(folder))
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--imports", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.rows, given.imports, Path(folder))
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:16}{value:>14,.4f} s" if isinstance(value, float) else f"{name:16}{value:>14,}")


if __name__ == "__main__":
    main()
