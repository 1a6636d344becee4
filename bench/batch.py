"""Batch predictions beside the loop that a person writes by hand, Parquet to Parquet, in one run.

Makes a throwaway environment with pandas and scikit-learn (the model's environment), trains three pipelines there on mixed columns (numbers
with gaps, texts), and lets each predict the same file in three ways, in turn, round by round:

- by hand: pandas reads the file, `predict_proba`, pandas writes; one process, the model loaded before the clock runs;
- plan: `modelyard batch`'s job by the row plan;
- runner: the same by the model's own runners, over buffers.

Ours take as many workers as `modelyard batch` does where nobody says.

Ours are timed from the start of the job's process, its end included (digest, fsync). Answers are compared: a runner's must be the same to
the last bit, a plan's within 1e-9. Exit code 1 where a way of ours makes less than 90% of the rows a second by hand. Compare ratios:
other work on the machine slows all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
import uv

from modelyard.serve import runner
from modelyard.serve.batch import launch
from modelyard.serve.batch.order import Answering, Order, usual_workers

PACKAGES = ("pandas>=2.2", "pyarrow>=18", "scikit-learn", "joblib")
MODELS = ("logistic regression", "gradient boosting", "histogram boosting")
BOUND, CLOSE = 0.9, 1e-9

TRAIN = """
import json, sys
from pathlib import Path
import joblib, numpy as np, pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from modelyard.runtime.extract import extract
from modelyard.runtime.loading import load

folder, rows = Path(sys.argv[1]), int(sys.argv[2])
random = np.random.default_rng(0)
numbers, texts = [f"x{i}" for i in range(8)], [f"c{i}" for i in range(4)]
table = pd.DataFrame({name: random.normal(size=rows).round(3) for name in numbers})
table.loc[random.random(rows) < 0.05, "x3"] = np.nan
words = np.array([f"value {i}" for i in range(12)], dtype=object)
for name in texts:
    table[name] = words[random.integers(0, 12, rows)]
late = ((table.x0 + table.x1 + (table.c0 == "value 3")) > 0).astype(int)
columns = [{"name": n, "type": "float", "nullable": n == "x3"} for n in numbers]
columns += [{"name": n, "type": "str", "nullable": False} for n in texts]
signature = {"problem_type": "binary_classification", "columns": columns, "classes": [0, 1], "positive_class": 1, "decision_threshold": 0.5,
             "target_col": "late", "id_col": "id"}
(folder / "signature.json").write_text(json.dumps(signature))
makers = {"logistic regression": LogisticRegression(), "gradient boosting": GradientBoostingClassifier(random_state=0),
          "histogram boosting": HistGradientBoostingClassifier(random_state=0)}
for name, model in makers.items():
    encode = ColumnTransformer([
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
    ])
    few = min(rows, 20000)
    place = folder / name
    (place / "model").mkdir(parents=True)
    (place / "code").mkdir()
    joblib.dump(make_pipeline(encode, model).fit(table[:few], late[:few]), place / "model" / "model.joblib")
    served = load(str(place / "model"), str(place / "code"), "", signature, "sklearn")
    (place / "plan.json").write_text(json.dumps(extract(served, signature)))
table.insert(0, "id", np.arange(rows))
table.to_parquet(folder / "rows.parquet", index=False)
"""

BY_HAND = """
import sys, time
import joblib, pandas as pd

model = joblib.load(sys.argv[1])
start = time.perf_counter()
table = pd.read_parquet(sys.argv[2])
shares = model.predict_proba(table)
answers = {"id": table["id"], "prediction": (shares[:, 1] >= 0.5).astype(int), "probability_0": shares[:, 0], "probability_1": shares[:, 1]}
pd.DataFrame(answers).to_parquet(sys.argv[3], index=False)
print(len(table) / (time.perf_counter() - start))
"""


def environment(folder: Path) -> Path:
    """The model's environment; its Python."""
    python = folder / "env" / "bin" / "python"
    subprocess.run([uv.find_uv_bin(), "venv", "-q", "-p", sys.executable, str(folder / "env")], check=True)
    subprocess.run([uv.find_uv_bin(), "pip", "install", "-q", "-p", str(python), *PACKAGES], check=True)
    return python


def by_hand(python: Path, folder: Path, model: str) -> float:
    words = [str(folder / model / "model" / "model.joblib"), str(folder / "rows.parquet"), str(folder / model / "by hand.parquet")]
    return float(subprocess.run([str(python), "-c", BY_HAND, *words], check=True, capture_output=True, text=True).stdout)


def ours(folder: Path, model: str, way: str, answering: Answering) -> float:
    order = Order(
        str(folder / "rows.parquet"),
        str(folder / model / f"{way}.parquet"),
        way,
        answering,
        workers=usual_workers(plan=answering.plan is not None),
    )
    start = time.perf_counter()
    done = launch.run(order, folder / "job.log")
    return float(done["rows"]) / (time.perf_counter() - start)


def furthest(folder: Path, model: str, way: str) -> float:
    """The largest difference from the answers by hand; infinite where an id or a label is another."""
    hand, found = (pl.read_parquet(folder / model / f"{name}.parquet", glob=False) for name in ("by hand", way))
    if hand.columns != found.columns or not hand.select("id", "prediction").equals(found.select("id", "prediction")):
        return float("inf")
    return max(float((hand[name] - found[name]).abs().to_numpy().max()) for name in hand.columns[2:])


def measure(folder: Path, python: Path, model: str, rounds: int) -> dict[str, Any]:
    """Rows a second of each way (the median of the rounds), and how far its answers are off."""
    signature = json.loads((folder / "signature.json").read_text())
    home, sockets, children = folder / "home", list[str](), []
    for number in range(usual_workers(plan=False)):
        socket = folder / f"r{number}" / "runner.sock"
        child = runner.spawn_runner(
            python=python,
            runtime=runner.install_runtime(home),
            model_dir=folder / model / "model",
            code_dir=folder / model / "code",
            entry_point=None,
            signature=folder / "signature.json",
            framework="sklearn",
            socket_path=socket,
            log=folder / "runner.log",
        )
        sockets.append(str(socket))
        children.append(child)
    try:
        for place, child in zip(sockets, children, strict=True):
            runner.wait_ready(Path(place), 120.0, child)
        ways = {
            "plan": Answering(signature, plan=str(folder / model / "plan.json")),
            "runner": Answering(signature, sockets=tuple(sockets)),
        }
        speeds: dict[str, list[float]] = {"by hand": [], **{way: [] for way in ways}}
        for _ in range(rounds):
            speeds["by hand"].append(by_hand(python, folder, model))
            for way, answering in ways.items():
                speeds[way].append(ours(folder, model, way, answering))
    finally:
        for child in children:
            child.stop()
    medians = {way: statistics.median(found) for way, found in speeds.items()}
    off = {way: furthest(folder, model, way) for way in ways}
    return {"model": model, "rows_per_second": medians, "off": off, "ratio": {way: medians[way] / medians["by hand"] for way in ways}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=MODELS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as made:
        folder = Path(made)
        python = environment(folder)
        runtime = runner.install_runtime(folder / "home")
        subprocess.run([str(python), "-c", TRAIN, str(folder), str(options.rows)], check=True, cwd=runtime)
        models = [options.only] if options.only else MODELS
        found = [measure(folder, python, model, options.rounds) for model in models]
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{options.rows:,} rows; rows a second, as a multiple of by hand, largest difference")
        for each in found:
            speed, ratio, off = each["rows_per_second"], each["ratio"], each["off"]
            ways = "".join(f"   {way} {speed[way]:>9,.0f} ({ratio[way]:.2f}x, {off[way]:.1g})" for way in ratio)
            print(f"{each['model']:<20} by hand {speed['by hand']:>9,.0f}{ways}")
    good = all(each["off"]["runner"] == 0 and each["off"]["plan"] <= CLOSE and min(each["ratio"].values()) >= BOUND for each in found)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
