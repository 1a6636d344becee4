"""A drift report of a window of forty columns, beside Evidently's and NannyML's, and beside a bare scan of the same file, in one run.

See README.md beside this file. Exit code 1 where Modelyard misses a bound; a peer that could not be run is told with the reason, and a
bound that needs it counts as not judged.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import rows

sys.path.append(str(Path(__file__).parent.parent))
import bounds
import environments
from bounds import Bound
from environments import BENCH, version

HERE = Path(__file__).parent
DATA = BENCH / "monitor"
SIZES = (100_000, 1_000_000)
OWN, SCAN, CODED = "modelyard", "scan", "scan, text coded"
MANY, DISTINCT = 1_000_000, 10
"""Rows of a file where windows have very many, and how many such files are different ones: more are these, read again."""


@dataclass(frozen=True)
class Peer:
    name: str
    script: str
    version_of: str
    packages: tuple[str, ...]
    runs: int


PEERS = (
    Peer("evidently", "evidently_drift.py", "evidently", ("evidently", "pandas<3", "pyarrow"), 1),
    Peer("nannyml", "nannyml_drift.py", "nannyml", ("nannyml", "statsmodels", "pandas<3", "pyarrow"), 3),
)
QUIET = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONWARNINGS": "ignore", "MPLBACKEND": "agg"}


@dataclass
class Row:
    """A candidate at one size. Seconds are medians; `window_s` is reading the window and reporting on it, what a scheduled look costs;
    `reference_s` is what a peer does with the reference beside that, once."""

    name: str
    rows: int
    version: str = ""
    import_s: float = 0.0
    reference_s: float = 0.0
    window_s: float = 0.0
    peak_mb: float = 0.0
    moved: int | None = None
    failed: str = ""
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def all_s(self) -> float:
        """From two files to a report: what a peer takes that keeps nothing of the reference."""
        return self.reference_s + self.window_s


def python(peer: Peer) -> Path:
    """The peer's interpreter, its environment made where it is not there. Raises CalledProcessError."""
    return environments.python(f"monitor-{peer.name}", peer.packages)


def told(command: list[str], timeout: float = 3600) -> dict[str, object]:
    """What a task's process says of itself. Raises CalledProcessError, TimeoutExpired."""
    done = subprocess.run(command, env={**environments.kept(), **QUIET}, check=True, capture_output=True, text=True, timeout=timeout)
    line = next(line for line in reversed(done.stdout.splitlines()) if line.startswith("RESULT "))
    found: dict[str, object] = json.loads(line.removeprefix("RESULT "))
    return found


def own(*words: object) -> dict[str, object]:
    return told([sys.executable, str(HERE / "own.py"), *map(str, words)])


def files(size: int) -> tuple[Path, Path, Path]:
    """Reference, window and kept baseline of a size, made where they are not there."""
    reference, window = DATA / f"reference-{size}.parquet", DATA / f"window-{size}.parquet"
    rows.write(reference, size, 1, shifted=False)
    rows.write(window, size, 2, shifted=True)
    return reference, window, DATA / f"baseline-{size}.json"


def measure(name: str, size: int, runs: int) -> Row:
    reference, window, kept = files(size)
    row = Row(name, size)
    print(f"measuring {name}, {size:,} rows", file=sys.stderr, flush=True)
    try:
        if name in (SCAN, CODED):
            found = own("scan" if name == SCAN else "coded", window, runs)
        elif name == OWN:
            row.reference_s = own("baseline", reference, kept)["seconds"]["baseline"][0]  # type: ignore[index]
            found, row.version = own("report", kept, runs, window), version(Path(sys.executable), "modelyard")
        else:
            peer = next(p for p in PEERS if p.name == name)
            interpreter = python(peer)
            row.version = version(interpreter, peer.version_of)
            words = [str(HERE / "peers" / peer.script), str(reference), str(window), str(min(peer.runs, runs))]
            found = told([str(interpreter), *words])
    except (subprocess.SubprocessError, OSError, StopIteration) as exc:
        row.failed = environments.why(exc)
        return row
    taken = {stage: statistics.median(all_) for stage, all_ in found["seconds"].items()}  # type: ignore[attr-defined]
    row.seconds, row.peak_mb, row.moved = found["seconds"], found["peak_mb"], found.get("moved")  # type: ignore[assignment]
    row.import_s, row.reference_s = taken.get("import", 0.0), row.reference_s or taken.get("reference", 0.0)
    row.window_s = taken.get("read", 0.0) + taken.get("report", 0.0)
    return row


def very_many(size: int, runs: int) -> Row:
    """A window of so many rows in files of a million, the same ten again and again: what counts is that memory does not grow."""
    _, _, kept = files(MANY)
    own("baseline", files(MANY)[0], kept)
    paths = [DATA / f"part-{i}.parquet" for i in range(min(DISTINCT, -(-size // MANY)))]
    for i, path in enumerate(paths):
        rows.write(path, MANY, 100 + i, shifted=True)
    chosen = [paths[i % len(paths)] for i in range(-(-size // MANY))]
    print(f"measuring {OWN}, {len(chosen) * MANY:,} rows", file=sys.stderr, flush=True)
    found = own("report", kept, runs, *chosen)
    row = Row(OWN, int(str(found["rows"])), version(Path(sys.executable), "modelyard"), seconds=found["seconds"])  # type: ignore[arg-type]
    row.window_s, row.peak_mb = statistics.median(row.seconds["report"]), float(str(found["peak_mb"]))
    row.import_s, row.moved = row.seconds["import"][0], found["moved"]  # type: ignore[assignment]
    return row


def _ratio(above: tuple[str, str], below: tuple[str, str]) -> Callable[[dict[tuple[str, int], Row]], float | None]:
    """Of two figures, each a candidate's name and its attribute, at a million rows."""

    def ratio(found: dict[tuple[str, int], Row]) -> float | None:
        a, b = (found.get((name, 1_000_000)) for name in (above[0], below[0]))
        return None if a is None or b is None else float(getattr(a, above[1]) / getattr(b, below[1]))

    return ratio


def _peak(found: dict[tuple[str, int], Row]) -> float | None:
    return max((row.peak_mb for (name, size), row in found.items() if name == OWN and size >= 100_000_000), default=None)


OURS = (OWN, "window_s")
BOUNDS = (
    Bound("a million rows: Evidently's seconds over ours", _ratio(("evidently", "window_s"), OURS), 100),
    Bound("a million rows: NannyML's seconds, its reference read and fitted, over ours", _ratio(("nannyml", "all_s"), OURS), 20),
    Bound("a million rows: NannyML's seconds, its reference fitted before, over ours", _ratio(("nannyml", "window_s"), OURS), None),
    Bound("a million rows: our seconds over a bare scan's", _ratio(OURS, (SCAN, "window_s")), 3, at_most=True),
    Bound("a million rows: our seconds over those of a scan that leaves text coded, as ours does", _ratio(OURS, (CODED, "window_s")), None),
    Bound("a million rows: our peak memory over Evidently's", _ratio((OWN, "peak_mb"), ("evidently", "peak_mb")), 0.25, at_most=True),
    Bound("a million rows: our peak memory over NannyML's", _ratio((OWN, "peak_mb"), ("nannyml", "peak_mb")), 0.25, at_most=True),
    Bound("a hundred million rows: peak MB", _peak, 1000, at_most=True),
)


def show(found: list[Row], said: list[dict[str, Any]]) -> None:
    heads = f"{'import s':>9} {'reference s':>12} {'window s':>9} {'x ours':>8} {'MB':>7} {'moved':>6}"
    print(f"{'candidate':<18} {'version':>9} {'rows':>12} {heads}")
    ours = {row.rows: row.window_s for row in found if row.name == OWN and not row.failed}
    for row in found:
        if row.failed:
            print(f"{row.name:<18} {row.version:>9} {row.rows:>12,} not run: {row.failed}")
            continue
        times = f"{row.window_s / ours[row.rows]:.2f}" if row.rows in ours else "-"
        print(
            f"{row.name:<18} {row.version:>9} {row.rows:>12,} {row.import_s:>9.2f} {row.reference_s:>12.2f} {row.window_s:>9.3f} "
            f"{times:>8} {row.peak_mb:>7.0f} {'-' if row.moved is None else row.moved:>6}"
        )
    print(*bounds.lines(said), sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="rows of the windows that all are asked about")
    parser.add_argument("--rows", type=int, default=0, help="one more window, of ours alone, in files of a million rows")
    parser.add_argument("--only", help="names, with commas between; modelyard and the scans are always run")
    parser.add_argument("--runs", type=int, default=5, help="measured runs each; of a slow peer fewer")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    options = parser.parse_args()
    peers = [p.name for p in PEERS if not options.only or p.name in options.only.split(",")]
    sizes = [int(size) for size in options.sizes.split(",") if size]
    found = [measure(name, size, options.runs) for size in sizes for name in (SCAN, CODED, OWN, *peers)]
    found += [very_many(options.rows, 1)] if options.rows else []
    said = bounds.verdicts(BOUNDS, {(row.name, row.rows): row for row in found if not row.failed})
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    show(found, said)
    if options.json:
        options.json.write_text(json.dumps({"rows": [asdict(row) for row in found], "bounds": said}, indent=1))
    return 1 if any(one["ok"] is False for one in said) else 0


if __name__ == "__main__":
    sys.exit(main())
