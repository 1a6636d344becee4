"""What is ours, a process a task: the baseline of a file, the drift report of a window against it, bare scans, and windows without end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from timing import CATEGORIES, NUMBERS, stage, tell

COLUMNS = [*NUMBERS, *CATEGORIES]


def scan(path: Path, runs: int, *, coded: bool) -> None:
    """What no report can beat that looks at the rows: PyArrow reads the file and does nothing with it."""
    with stage("import"):
        import pyarrow.parquet as pq
    for _ in range(runs):
        with stage("read"):
            pq.read_table(path, columns=COLUMNS, read_dictionary=CATEGORIES if coded else None)
    tell()


def baseline(reference: Path, kept: Path) -> None:
    import polars as pl

    from modelyard.monitor import profile

    with stage("baseline"):
        made = profile.baseline(pl.scan_parquet(reference), _signature())
    kept.write_text(json.dumps(made), encoding="utf-8")
    tell()


def report(kept: Path, paths: list[Path], runs: int) -> None:
    """Read the baseline and the window's files, profile them, judge drift; as one stage, since rows are counted while they are read."""
    with stage("import"):
        import polars as pl  # noqa: F401  what the others import when they are called
        import pyarrow.parquet as pq  # noqa: F401
        import scipy.special  # noqa: F401

        from modelyard.config.spec import Drift
        from modelyard.monitor import drift, profile
    for _ in range(runs):
        with stage("report"):
            usual = json.loads(kept.read_text(encoding="utf-8"))
            counted = profile.profile_batches(profile.parquet(paths), usual)
            found = drift.judge(counted, usual, Drift(), _signature())
    tell(rows=counted["rows"], status=found.verdict.status, moved=sum(bool(c["moved"]) for c in found.columns))


def _signature():  # type: ignore[no-untyped-def]
    from modelyard.signature import Column, Signature

    return Signature("regression", (*(Column(n[2:], "float") for n in NUMBERS), *(Column(n[2:], "str") for n in CATEGORIES)))


def main(task: str, *words: str) -> None:
    if task in ("scan", "coded"):
        scan(Path(words[0]), int(words[1]), coded=task == "coded")
    elif task == "baseline":
        baseline(Path(words[0]), Path(words[1]))
    else:
        report(Path(words[0]), [Path(w) for w in words[2:]], int(words[1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
