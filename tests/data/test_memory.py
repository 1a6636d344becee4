"""A source larger than the memory it is read with: peak memory is measured in a process of its own, by the system."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS, GROUP = 6_000_000, 500_000
CHILD = """
import json, sys
from pathlib import Path

import polars, pyarrow.parquet  # what any process of ours that reads a table has loaded

from modelyard.config.spec import Data
from modelyard.data import expect, features, profile, snapshots, sources, splits

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

home, data, before = Path(sys.argv[1]), Data.model_validate(json.loads(sys.argv[2])), peak()
with sources.reading(data.source, sources.Request(home, home / "spool", str)) as table:
    snapshot = snapshots.take(table, data, "UTC", home)
judged = expect.judge(snapshots.table(snapshot), data.expect)
rows = splits.split(snapshots.table(snapshot), data, lambda name: home / name / f"{name}.parquet")
signed = features.signature(polars.scan_parquet([home / n / f"{n}.parquet" for n in rows]), data, "binary_classification", 0.5, "UTC")
profiled = profile.profile(snapshots.table(snapshot), data.target_col, data.positive_class)
print(json.dumps({"before": before, "peak": peak(), "rows": rows, "judged": [j.sentence for j in judged], "features": len(signed.columns),
                  "profiled": profiled["rows"]}))
"""


def write(path: Path) -> int:
    """A table of 1.5 GB that is small on disk; the bytes of its values. Its times are in no order."""
    writer, size = None, 0
    for start in range(0, ROWS, GROUP):
        at = np.arange(start, start + GROUP)
        columns = {
            "id": pa.array(at),
            "t": pa.array((at * 7_368_787 % ROWS * 1_000_000).astype("datetime64[us]")),
            "y": pa.array(at // 64 % 2),
            "carrier": pa.array(np.array(["United", "American", "Delta"])[at // 64 % 3]),
        }
        columns |= {f"x{i}": pa.array(at // (64 + i) % 1000 / 8) for i in range(26)}
        table = pa.table(columns)
        size += table.nbytes
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", use_dictionary=False)
        writer.write_table(table, row_group_size=GROUP)
    assert writer is not None
    writer.close()
    return size


@pytest.mark.slow
def test_a_large_source_is_never_held_whole(tmp_path: Path) -> None:
    size = write(tmp_path / "large.parquet")
    assert size > 1.4e9 and (tmp_path / "large.parquet").stat().st_size < 0.15 * size
    data: dict[str, Any] = {
        "source": {"using": "parquet", "location": "large.parquet"},
        "target_col": "y",
        "positive_class": 1,
        "time_col": "t",
        "id_col": "id",
        "split": {"by": "time"},
        "expect": {"columns": {"carrier": {"categories": ["United", "American", "Delta"]}, "id": {"unique": True}}},
    }
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), json.dumps(data)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["rows"] == {"train": 4_200_000, "validation": 900_000, "test": 900_000}
    assert (said["profiled"], said["features"]) == (ROWS, 27)
    assert all("passed" in sentence for sentence in said["judged"]) and len(said["judged"]) == 2
    held = said["peak"] - said["before"]
    # some 250 MB whatever the size (batches on their way, what allocators keep), and 10 to 25 bytes a row for the order of the times
    assert held < 0.5 * size, f"{held / 1e6:.0f} MB held of {size / 1e6:.0f} MB"
    subprocess.run(["chmod", "-R", "u+w", str(tmp_path / "snapshots")], check=True)
