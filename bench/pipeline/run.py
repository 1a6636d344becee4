"""Cold and warm seconds of the same six steps as a plain script, in each peer, and as a Modelyard build; ratios to the plain script.

See README.md beside this file for what is measured. Exit code 1 where Modelyard is over its bound (1.5 times the plain script, cold)
or behind a peer; what could not be run is told, and counts as neither.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import rows

sys.path.append(str(Path(__file__).parent.parent))
import environments
from environments import BENCH, why

HERE = Path(__file__).parent
BOUND = 1.5
SKLEARN = ("scikit-learn", "pandas", "pyarrow", "joblib")


@dataclass(frozen=True)
class Candidate:
    """A way to run the six steps. `packages` make its environment; none means Modelyard's own."""

    name: str
    script: str
    packages: tuple[str, ...]
    version_of: str
    warm: bool = True
    words: tuple[str, ...] = ()


CANDIDATES = (
    Candidate("plain", "plain.py", SKLEARN, "scikit-learn"),
    Candidate("modelyard", "modelyard_yard.py", (), "modelyard"),
    Candidate("kedro + mlflow", "kedro_mlflow.py", ("kedro", "mlflow", *SKLEARN), "kedro"),
    Candidate("mlflow script", "mlflow_script.py", ("mlflow", *SKLEARN), "mlflow"),
    Candidate("dagster", "dagster_job.py", ("dagster", *SKLEARN), "dagster"),
    Candidate("zenml", "zenml_pipeline.py", ("zenml[server]", *SKLEARN), "zenml"),
    Candidate("metaflow", "metaflow_flow.py", ("metaflow", *SKLEARN), "metaflow", False, ("run",)),
    Candidate("prefect", "prefect_flow.py", ("prefect", *SKLEARN), "prefect"),
)


def environment(work: Path) -> dict[str, str]:
    """One BLAS thread, no telemetry, and a state folder of each peer's own below `work`."""
    state = {name: str(work / name.lower()) for name in ("ZENML_CONFIG_PATH", "PREFECT_HOME", "DAGSTER_HOME", "METAFLOW_HOME")}
    for folder in state.values():
        Path(folder).mkdir(parents=True, exist_ok=True)
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "ZENML_ANALYTICS_OPT_IN": "false", "AUTO_OPEN_DASHBOARD": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "KEDRO_DISABLE_TELEMETRY": "1", "METAFLOW_USER": "bench",
        "GIT_PYTHON_REFRESH": "quiet", "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(work / "metaflow"), "DAGSTER_DISABLE_TELEMETRY": "1",
        "USERNAME": "bench",
    }  # fmt: skip
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    told = {"PYTHONPATH": str(HERE), "BENCH_WORK": str(work), "PYTHONWARNINGS": "ignore"}
    return {**environments.kept(), **state, **quiet, **threads, **told}


def python(candidate: Candidate) -> Path:
    """The candidate's interpreter, its environment made where it is not there. Raises CalledProcessError."""
    if not candidate.packages:
        return Path(sys.executable)
    return environments.python(candidate.name.replace(" ", "-"), candidate.packages)


def prepare(work: Path, candidate: Candidate) -> None:
    """A folder of its own with the rows, and for Modelyard the model's repository."""
    work.mkdir(parents=True)
    subprocess.run([str(python(CANDIDATES[0])), "-c", rows.WRITE, str(work / "rows.csv")], check=True)
    if candidate.name == "modelyard":
        shutil.copytree(HERE / "model", work / "model")
        shutil.copy(work / "rows.csv", work / "model" / "rows.csv")


def cold(candidate: Candidate, work: Path) -> float:
    """Seconds of one whole process. Raises CalledProcessError, TimeoutExpired."""
    env = environment(work)
    if candidate.name == "modelyard":
        rows.change(work / "model" / "rows.csv")
        env["MODELYARD_HOME"] = str(work / "home")
        command = [str(Path(sys.executable).with_name("modelyard")), "build", str(work / "model" / "config.yaml")]
    else:
        command = [str(python(candidate)), str(HERE / "peers" / candidate.script), *candidate.words]
    began = time.perf_counter()
    subprocess.run(command, cwd=work, env=env, check=True, capture_output=True, text=True, timeout=600)
    return time.perf_counter() - began


def warm(candidate: Candidate, work: Path, runs: int) -> float | None:
    """Median seconds of further runs in one process."""
    if not candidate.warm or not runs:
        return None
    command = [str(python(candidate)), str(HERE / "peers" / candidate.script), str(runs)]
    done = subprocess.run(command, cwd=work, env=environment(work), check=True, capture_output=True, text=True, timeout=1200)
    line = next(line for line in done.stdout.splitlines() if line.startswith("SECONDS "))
    return statistics.median(json.loads(line.removeprefix("SECONDS "))[1:])


def measure(candidates: list[Candidate], runs: int, warm_runs: int) -> list[dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    works = {c.name: BENCH / "work" / c.name.replace(" ", "-") for c in candidates}
    shutil.rmtree(BENCH / "work", ignore_errors=True)
    taken: dict[str, list[float]] = {}
    for candidate in candidates:
        try:
            found[candidate.name] = {"name": candidate.name, "version": environments.version(python(candidate), candidate.version_of)}
            prepare(works[candidate.name], candidate)
            cold(candidate, works[candidate.name])  # unmeasured: makes databases, writes bytecode, fills the page cache
            taken[candidate.name] = []
        except (subprocess.SubprocessError, OSError) as exc:
            found[candidate.name] = {"name": candidate.name, "failed": why(exc)}
    for _ in range(runs):
        for candidate in candidates:
            if candidate.name in taken:
                taken[candidate.name].append(cold(candidate, works[candidate.name]))
    for candidate in candidates:
        if candidate.name in taken:
            again = warm(candidate, works[candidate.name], warm_runs)
            median = statistics.median(taken[candidate.name])
            found[candidate.name] |= {
                "cold_s": median,
                "cold_all_s": taken[candidate.name],
                "warm_ms": None if again is None else 1000 * again,
            }
    plain = found.get("plain", {}).get("cold_s")
    for row in found.values():
        if "cold_s" in row and isinstance(plain, float):
            row["ratio"] = row["cold_s"] / plain  # type: ignore[operator]
    return list(found.values())


def verdict(found: list[dict[str, object]]) -> list[str]:
    """What the figures say of Modelyard, a sentence each; those that begin with OVER or BEHIND fail the bench."""
    by_name = {str(row["name"]): row for row in found}
    own = by_name.get("modelyard", {})
    if "ratio" not in own:
        return [f"modelyard was not measured: {own.get('failed', 'left out')}"]
    ratio = float(str(own["ratio"]))
    said = [f"{'OVER' if ratio > BOUND else 'within'} the bound: {ratio:.2f} times the plain script, cold ({BOUND} at most)"]
    for name, row in by_name.items():
        if name not in ("plain", "modelyard") and "ratio" in row:
            times = float(str(row["ratio"])) / ratio
            said.append(f"{'ahead of' if times > 1 else 'BEHIND'} {name}: it takes {times:.2f} times as long, cold")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="names, with commas between; plain is always run")
    parser.add_argument("--runs", type=int, default=5, help="measured cold runs each")
    parser.add_argument("--warm", type=int, default=5, help="measured warm runs each; 0 leaves them out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    only = set(options.only.split(",")) | {"plain"} if options.only else None
    chosen = [c for c in CANDIDATES if only is None or c.name in only]
    found = measure(chosen, options.runs, options.warm)
    said = verdict(found)
    facts = {"runs": options.runs, "cpus": os.cpu_count(), "python": sys.version.split()[0], "load": os.getloadavg()[0]}
    if options.json:
        print(json.dumps({**facts, "rows": found, "verdict": said}, indent=2))
    else:
        print(f"six steps, {options.runs} cold runs each, {os.cpu_count()} CPUs, Python {facts['python']}, load {facts['load']:.1f}")
        print(f"{'candidate':<16} {'version':>10} {'cold':>9} {'x plain':>8} {'warm':>10}")
        for row in found:
            if "failed" in row:
                print(f"{row['name']:<16} not run: {row['failed']}")
                continue
            again = f"{row['warm_ms']:.0f} ms" if row["warm_ms"] is not None else "-"
            print(f"{row['name']:<16} {row['version']:>10} {row['cold_s']:>7.2f} s {row.get('ratio', 0):>8.2f} {again:>10}")
        print(*said, sep="\n")
    return 1 if any(line.startswith(("OVER", "BEHIND")) for line in said) else 0


if __name__ == "__main__":
    sys.exit(main())
