"""Shifts of known size put into real data: how soon drift is noticed, and how often where there is none, beside Evidently and alibi-detect.

See README.md beside this file and docs/explanation/detection.md, whose tables and pictures this writes (`--page`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from detection import own, sets, telling, windows
from detection.windows import SHIFTED, SIZES, Drawn
from run import BENCH, HERE, Peer, python, told, version

from modelyard.monitor import profile

PEERS = (
    Peer("evidently", "evidently_windows.py", "evidently", ("evidently", "pandas<3", "pyarrow"), 1),
    Peer("alibi", "alibi_windows.py", "alibi-detect", ("alibi-detect", "pyarrow<20"), 1),
)
TIMES = {"flights": "scheduled_at", "hotel-rates": "arrives_at"}
"""Sets of which real weeks have 200 rows and more."""
WEEKS = -1
"""Stands for a cut where real weeks are judged."""
KEPT, DONE = BENCH / "monitor" / "study.json", BENCH / "monitor" / "study"
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One cut of one set. `peers`: who is asked, too."""

    name: str
    cut: int
    sizes: tuple[int, ...]
    shifts: tuple[str, ...] | None
    peers: tuple[Peer, ...] = ()

    @property
    def file(self) -> Path:
        asked = "+".join(["own", *(p.name for p in self.peers)])
        cut = "weeks" if self.cut == WEEKS else f"cut-{self.cut}"
        return DONE / f"{self.name}-{cut}-{asked}-{zlib.crc32(repr((self.sizes, self.shifts)).encode()):08x}.json"


def work(job: Job) -> list[Record]:
    """What everybody said of the windows of a job; what is in its file, where it was done before."""
    if not job.file.exists():
        said = _said(job)
        job.file.parent.mkdir(parents=True, exist_ok=True)
        job.file.with_suffix(".work").write_text(json.dumps(said), encoding="utf-8")
        job.file.with_suffix(".work").replace(job.file)
    found: list[Record] = json.loads(job.file.read_text(encoding="utf-8"))
    return found


def _said(job: Job) -> list[Record]:
    real = sets.load(job.name)
    usual: dict[int, dict[str, Any]] = {}
    said: list[Record] = []
    shown: list[Drawn] = []
    references: dict[int, pl.DataFrame] = {}
    for reference, window in _windows(job, real):
        if window.part not in usual:
            usual[window.part], references[window.part] = profile.baseline(reference, real.signature), reference
        said.append({**_named("modelyard", job, window), **own.judged(window.rows, usual[window.part], real.signature)})
        if job.peers and (window.shift in ("stable", "real week") or window.size == SHIFTED):
            shown.append(window)
    for peer in job.peers:
        few = [w for w in shown if w.stream == 0] if peer.name == "evidently" else shown
        said += [{**_named(peer.name, job, w), **found} for w, found in zip(few, _asked(peer, real, references, few), strict=True)]
    return said


def _windows(job: Job, real: sets.Real) -> Iterable[tuple[pl.DataFrame, Drawn]]:
    if job.cut == WEEKS:
        return windows.weeks(real, sets.SETS[job.name]().rows[TIMES[job.name]], seed=0)
    cut = sets.cut(real, seed=job.cut)
    return ((cut.reference, window) for window in windows.drawn(cut, job.cut, job.sizes, job.shifts))


def _named(tool: str, job: Job, window: Drawn) -> Record:
    size = window.size or window.rows.height
    return {"tool": tool, "set": job.name, "cut": job.cut, "shift": window.shift, "size": size, "stream": window.stream, "k": window.k}


def _asked(peer: Peer, real: sets.Real, references: dict[int, pl.DataFrame], shown: list[Drawn]) -> list[Record]:
    """A peer's words, in the order of the windows. Raises CalledProcessError."""
    if not shown:
        return []
    numeric = shown[0].rows[real.score].dtype.is_numeric()
    numbers = [*(f"f.{n}" for n in real.numbers), *([real.score] if numeric else [])]
    words = [*(f"f.{n}" for n in real.words), *([] if numeric else [real.score])]
    with tempfile.TemporaryDirectory(dir=BENCH) as folder:
        before, now = Path(folder) / "references.parquet", Path(folder) / "windows.parquet"
        pl.concat([rows.with_columns(pl.lit(part).alias("part")) for part, rows in references.items()]).write_parquet(before)
        marked = [w.rows.with_columns(pl.lit(i).alias("id"), pl.lit(w.part).alias("part")) for i, w in enumerate(shown)]
        pl.concat(marked).write_parquet(now)
        command = [python(peer), HERE / "peers" / peer.script, before, now, ",".join(numbers), ",".join(words)]
        found: dict[str, Any] = told([str(word) for word in command])
    return [found[str(i)] for i in range(len(shown))]


def jobs(options: argparse.Namespace) -> list[Job]:
    """All cuts of the sets with shifts; of sklearn's small sets only windows that were not shifted."""
    found = []
    peers = tuple(p for p in PEERS if not options.own and p.name in options.only.split(","))
    few = {"evidently": options.evidently, "alibi": options.alibi}
    names = options.sets.split(",")
    for cut in range(max(options.cuts, options.stable)):
        asked = tuple(p for p in peers if cut < few[p.name])
        for name in names:
            shifted = cut < options.cuts and name in windows.SHIFTED_SETS
            found.append(Job(name, cut, SIZES, None if shifted else ("stable",), asked))
    return [Job(name, WEEKS, (), None, peers) for name in names if name in TIMES] + found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=",".join(sets.SETS), help="names, with commas between")
    parser.add_argument("--cuts", type=int, default=5, help="how often each set is cut anew for shifts")
    parser.add_argument("--stable", type=int, default=20, help="and how often in all, for windows that are not shifted")
    parser.add_argument("--evidently", type=int, default=2, help="cuts that Evidently is shown, a tenth of a second a window")
    parser.add_argument("--alibi", type=int, default=2, help="cuts that alibi-detect is shown")
    parser.add_argument("--only", default="evidently,alibi", help="peers that are asked")
    parser.add_argument("--own", action="store_true", help="ask no peer")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where all words are written to, and read from with --again")
    parser.add_argument("--again", action="store_true", help="judge nothing, only tell what is kept")
    parser.add_argument("--page", action="store_true", help="write the tables and pictures of docs/explanation/detection.md")
    options = parser.parse_args()
    if not options.again:
        _run(options)
    kept = json.loads(options.kept.read_text(encoding="utf-8"))
    print(telling.told(kept))
    if options.page:
        telling.write(kept)
    return 0 if telling.quiet(kept["records"]) else 1


def _run(options: argparse.Namespace) -> None:
    planned = jobs(options)
    versions = {p.name: version(python(p), p.version_of) for p in {p for job in planned for p in job.peers}}
    versions |= {"modelyard": version(Path(sys.executable), "modelyard")}
    os.environ |= ONE_THREAD
    records: list[Record] = []
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for i, found in enumerate(pool.map(work, planned), 1):
            print(f"{i} of {len(planned)}: {planned[i - 1].name}, cut {planned[i - 1].cut}", file=sys.stderr, flush=True)
            records += found
    options.kept.parent.mkdir(parents=True, exist_ok=True)
    options.kept.write_text(json.dumps({"versions": versions, "records": records}), encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as exc:
        sys.exit(f"{exc.cmd[1]}: {(exc.stderr or '').strip()[-2000:]}")
