"""How fast a large Parquet source becomes a snapshot, splits and a profile, and in how much memory, beside a bare copy by Polars.

Each stage runs in a process of its own, one after the other, on the same file: `--gigabytes` of values (2 by default) in row groups of
64 MB. `copy` is Polars' streaming engine from scan to sink and does nothing else: what a machine can do at the least. The ratio to it is
what counts; other work on the machine slows both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CONFIG = {
    "source": {"using": "parquet", "location": "source.parquet"},
    "target_col": "late",
    "positive_class": 1,
    "time_col": "at",
    "id_col": "id",
    "split": {"by": "time"},
}
STAGES = ("copy", "take", "split", "profile")


def write(path: Path, gigabytes: float) -> tuple[int, int]:
    """The source; its rows and the bytes of its values."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    group, size, rows, writer = 320_000, 0, 0, None
    while size < gigabytes * 1e9:
        at = np.arange(rows, rows + group)
        columns = {"id": at, "at": (at * 1_000_000).astype("datetime64[us]"), "late": random.integers(0, 2, group)}
        columns |= {f"x{i}": random.normal(size=group).round(2) for i in range(16)}
        columns |= {"carrier": np.array(["United", "American", "Delta", "JetBlue"])[random.integers(0, 4, group)]}
        columns |= {"flight": np.char.add("flight ", random.integers(0, 5000, group).astype(str))}
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=group)
        rows, size = rows + group, size + table.nbytes
    assert writer is not None
    writer.close()
    return rows, size


def stage(name: str, folder: Path) -> dict[str, Any]:
    """One stage, measured in this process: seconds, and the most memory it had (bytes)."""
    import polars as pl
    import pyarrow.parquet

    from modelyard.config.spec import Data
    from modelyard.data import profile, snapshots, sources, splits

    assert pyarrow.parquet
    data = Data.model_validate(CONFIG)
    start = time.perf_counter()
    if name == "copy":
        pl.scan_parquet(folder / "source.parquet").sink_parquet(folder / "copy.parquet")
    elif name == "take":
        with sources.reading(data.source, sources.Request(folder, folder / "spool", str)) as table:
            snapshots.take(table, data, "UTC", folder)
    else:
        (kept,) = snapshots.kept(folder)
        if name == "split":
            splits.split(snapshots.table(kept), data, lambda part: folder / part / f"{part}.parquet")
        else:
            profile.profile(snapshots.table(kept), data.target_col, data.positive_class)
    seconds = time.perf_counter() - start
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"stage": name, "seconds": seconds, "peak": int(peak.split()[1]) * 1024}


def measure(gigabytes: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as place:
        folder, found = Path(place), []
        rows, size = write(folder / "source.parquet", gigabytes)
        for name in STAGES:
            done = subprocess.run([sys.executable, __file__, "--stage", name, place], check=True, capture_output=True, text=True)
            row = json.loads(done.stdout)
            base = found[0]["seconds"] if found else row["seconds"]
            found.append(
                {**row, "rows_per_second": rows / row["seconds"], "times_copy": row["seconds"] / base, "of_size": row["peak"] / size}
            )
        subprocess.run(["chmod", "-R", "u+w", place], check=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the values, uncompressed")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--stage", nargs=2, metavar=("NAME", "DIR"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        print(json.dumps(stage(given.stage[0], Path(given.stage[1]))))
        return
    rows = measure(given.gigabytes)
    if given.json:
        print(json.dumps(rows))
        return
    print(f"{'stage':10}{'seconds':>9}{'rows/s':>14}{'x copy':>8}{'peak MB':>9}{'of size':>9}")
    for row in rows:
        speed, times = f"{row['rows_per_second']:,.0f}", f"{row['times_copy']:.1f}"
        print(f"{row['stage']:10}{row['seconds']:9.1f}{speed:>14}{times:>8}{row['peak'] / 1e6:9.0f}{row['of_size']:9.0%}")


if __name__ == "__main__":
    main()
