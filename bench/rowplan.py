"""Row plans beside the scikit-learn models that they were made of, in one run: microseconds a row for one row, 100 and 100,000.

Makes a throwaway environment with scikit-learn and pandas (the model's environment), fits and extracts in it, and measures the native model
there, called as the runner calls it. The plans are folded and measured here, in a process of their own each, as the front has them: `ready`
is from the file to the first answer, `numpy` says that many rows went by NumPy. All answers of both ways are compared with the native ones.
Symmetric trees as CatBoost's are drawn here, and compared with the plan done step by step.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uv

from modelyard.serve.plan.answers import finish_for
from modelyard.serve.plan.compiled import RowPlan
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.interpret import interpret
from modelyard.serve.plan.reading import read
from modelyard.serve.plan.schema import Input, Plan, Require, Trees
from modelyard.serve.runner import install_runtime
from modelyard.signature import Column, Signature

PACKAGES = ("scikit-learn>=1.6", "pandas>=2.2")
MANY, TABLE = 100, 100_000
TOLERANCE = 1e-9
SYMMETRIC = "1,000 symmetric trees of depth 6, 12 numbers"

INSIDE = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np, pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from modelyard.runtime import extract, frameworks
from modelyard.runtime.inputs import Inputs
from modelyard.runtime.loading import Served
from modelyard.runtime.outputs import Outputs

folder, many, table = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
r = np.random.default_rng(0)

def mixed(count):
    numbers = {f"n{i}": r.normal(40, 20, count).round(2) for i in range(4)}
    texts = {f"t{i}": np.array([f"value {i} {k}" for k in range(2 + i % 4)], object)[r.integers(0, 2 + i % 4, count)] for i in range(11)}
    return {**numbers, **texts}

def plain(width):
    return lambda count: {f"x{i}": r.normal(size=count) for i in range(width)}

encode = make_column_transformer((StandardScaler(), [f"n{i}" for i in range(4)]),
                                 (OneHotEncoder(handle_unknown="ignore"), [f"t{i}" for i in range(11)]))
cases = {
    "gradient boosting 100x3, 4 numbers + 11 texts": (mixed, make_pipeline(encode, GradientBoostingClassifier(random_state=0)), 7000),
    "forest of 100 trees, 15 numbers": (plain(15), RandomForestClassifier(100, min_samples_leaf=12, random_state=0), 7000),
    "logistic regression, 30 numbers": (plain(30), make_pipeline(StandardScaler(), LogisticRegression()), 5000),
}

def best(work, seconds):
    work()
    least, until = 1e9, time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - start)
        if time.perf_counter() > until:
            return least

found = {}
for number, (name, (make, model, count)) in enumerate(cases.items()):
    data = make(count)
    names = list(data)
    raw = data[names[0]] + 20 * (data[names[-1]] == "value 10 0") if "t0" in data else data[names[0]] + data[names[1]] * data[names[2]]
    y = np.where(raw + r.normal(0, 2 if "t0" not in data else 20, count) > np.median(raw), "yes", "no")
    columns = [{"name": n, "type": "str" if data[n].dtype == object else "float", "nullable": False} for n in names]
    signed = {"problem_type": "binary_classification", "columns": columns, "classes": ["no", "yes"], "positive_class": "yes",
              "target_col": "y"}
    model.fit(Inputs(columns)({n: data[n].tolist() for n in names}), y)
    predictor, order = frameworks.predictor(model, signed)
    served = Served(predictor, Inputs(columns), Outputs(signed, order), model, set())
    served.signature = signed
    plan = extract.extract(served, signed)
    rows = {n: v.tolist() for n, v in make(table).items()}
    def ask(k):
        part = {n: v[:k] for n, v in rows.items()}
        return lambda: served.predict(part, k)
    times = [best(ask(1), 0.5), best(ask(many), 0.5), best(ask(table), 0.0)]
    json.dump([rows, served.predict(rows, table)], open(f"{folder}/{number}.rows.json", "w"))
    json.dump({"plan": plan, "signature": signed}, open(f"{folder}/{number}.json", "w"))
    found[name] = times
print("FOUND", json.dumps(found))
"""


def environment(folder: Path) -> Path:
    """An interpreter with PACKAGES."""
    clean = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    python = folder / "bin" / "python"
    for words in (["venv", "-q", "--python", sys.executable, str(folder)], ["pip", "install", "-q", "--python", str(python), *PACKAGES]):
        subprocess.run([uv.find_uv_bin(), *words], check=True, env=clean)
    return python


def best(work: Callable[[], object], seconds: float) -> float:
    """The shortest of the runs that a time has room for, at least one, after one that does not count."""
    work()
    least, until = math.inf, time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - start)
        if time.perf_counter() > until:
            return least


def largest_difference(found: dict[str, list[Any]], wanted: dict[str, list[Any]]) -> float:
    """The largest difference of scores. Raises ValueError where a prediction differs."""
    if found["prediction"] != wanted["prediction"]:
        raise ValueError("a prediction differs from the native model's")
    scores = [name for name in wanted if name != "prediction"]
    return max((abs(a - b) for name in scores for a, b in zip(found[name], wanted[name], strict=True)), default=0.0)


def measured(path: Path, signature: Signature, kept: Path) -> dict[str, Any]:
    """What one plan does, in this process."""
    rows, wanted = msgspec.json.decode(kept.read_bytes())
    names = signature.names
    one = tuple(rows[name][0] for name in names)
    part = {name: values[:MANY] for name, values in rows.items()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    plan = RowPlan.load(path, signature)
    plan.row(one)
    ready = time.perf_counter() - start
    listed = list(zip(*(rows[name] for name in names), strict=True))
    singles = list(map(plan.row, listed[:5000]))
    by_row = dict(zip(signature.outputs, map(list, zip(*singles, strict=True)), strict=True))
    found = {
        "ready_s": ready,
        "rss_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "one_s": best(lambda: plan.row(one), 0.5),
        "each_s": best(lambda: list(map(plan.row, listed[:500])), 0.5) / 500,
        "many_s": best(lambda: plan.predict(part, MANY), 0.5),
        "table_s": best(lambda: plan.predict(rows, TABLE), 0.0),
        "difference_row": largest_difference(by_row, {name: values[:5000] for name, values in wanted.items()}),
        "difference": max(largest_difference(plan.predict(rows, TABLE), wanted), largest_difference(plan.many(rows, TABLE), wanted)),
    }
    if max(found["difference"], found["difference_row"]) > TOLERANCE:
        raise ValueError(f"scores differ by {found['difference']:g}")
    return found


def drawn(folder: Path, number: int) -> None:
    """The files of a plan with CatBoost's default shape, and of rows with their answers."""
    r, wide, depth = random.Random(0), 12, 6
    borders = [[math.ldexp(r.randrange(-(2**22), 2**22), -20) for _ in range(254)] for _ in range(wide)]
    nodes: dict[str, list[Any]] = {name: [] for name in ("roots", "feature", "threshold", "left", "right", "leaf")}
    for _ in range(1000):
        tests = [(f, r.choice(borders[f])) for f in r.choices(range(wide), k=depth)]
        first = len(nodes["feature"])
        nodes["roots"].append(first)
        for node in range(2 ** (depth + 1) - 1):
            level = (node + 1).bit_length() - 1
            feature, threshold = tests[level] if level < depth else (-1, 0.0)
            left = first + 2 * node + 1 if level < depth else 0
            row = (feature, threshold, left, left + 1 if left else 0, r.gauss(0, 0.05))
            for name, value in zip(("feature", "threshold", "left", "right", "leaf"), row, strict=True):
                nodes[name].append(value)
    lists = {name: tuple(values) for name, values in nodes.items()}
    count = len(nodes["feature"])
    step = Trees(tuple(range(wide)), **lists, targets=(0,) * 1000, width=1, init=(0.0,), missing_left=(True,) * count)
    columns = tuple(Column(f"x{i}", "float") for i in range(wide))
    guard = Require(tuple(range(wide)), "finite", "it is not finite")
    plan = Plan(tuple(Input(c.name, c.type) for c in columns), (guard, step), (wide,))
    signature = Signature("regression", columns)
    how = finish_for(plan, signature)
    rows = [tuple(r.uniform(-4, 4) for _ in range(wide)) for _ in range(200)]
    answers = [interpret(plan, how, row)[0] for row in rows]
    times = TABLE // len(rows)
    values = {c.name: [row[i] for row in rows] * times for i, c in enumerate(columns)}
    (folder / f"{number}.rows.json").write_text(json.dumps([values, {"prediction": answers * times}]))
    document = {"plan": msgspec.to_builtins(plan), "signature": signature.to_dict()}
    (folder / f"{number}.json").write_text(json.dumps(document))


def measure() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bench-rowplan-") as name:
        folder = Path(name)
        python, runtime = environment(folder / "env"), install_runtime(folder / "home")
        env = {**os.environ, "PYTHONPATH": str(runtime), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [str(python), "-c", INSIDE, str(folder), str(MANY), str(TABLE)], env=env, check=True, stdout=subprocess.PIPE, text=True
        )
        native: dict[str, list[float | None]] = json.loads(done.stdout.split("FOUND", 1)[1])
        drawn(folder, len(native))
        return [one(folder, number, case, times) for number, (case, times) in enumerate({**native, SYMMETRIC: [None] * 3}.items())]


def one(folder: Path, number: int, case: str, native: list[float | None]) -> dict[str, Any]:
    """A case by its files, in a process of its own."""
    kept = json.loads((folder / f"{number}.json").read_text())
    start = time.perf_counter()
    plan = fold(read(json.dumps(kept["plan"]).encode()))
    folding = time.perf_counter() - start
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
    (folder / "signature.json").write_text(json.dumps(kept["signature"]))
    files = [folder / "plan.json", folder / "signature.json", folder / f"{number}.rows.json"]
    words = [sys.executable, __file__, "--one", *map(str, files)]
    ours = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
    keys = ("native_one_s", "native_many_s", "native_table_s")
    return {"case": case, "fold_s": folding, **dict(zip(keys, native, strict=True)), **ours}


def shown(native: float | None, ours: float, digits: tuple[int, int]) -> str:
    """Microseconds of both."""
    return f"{'-' if native is None else f'{native * 1e6:,.{digits[0]}f}'} {ours * 1e6:.{digits[1]}f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--one", nargs=3, type=Path, metavar=("PLAN", "SIGNATURE", "ROWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        plan, signature, kept = options.one
        print(json.dumps(measured(plan, Signature.from_dict(json.loads(signature.read_text())), kept)))
        return 0
    found = measure()
    if options.json:
        print(json.dumps({"cpus": os.cpu_count(), "load": os.getloadavg()[0], "cases": found}, indent=2))
        return 0
    print(f"microseconds a row, native beside the plan's; load {os.getloadavg()[0]:.1f}; all answers compared")
    print(f"{'':<46} {'1 row':>16} {f'{MANY} rows':>15} {f'{TABLE:,} rows':>15} {'ready':>8} {'fold':>7} {'differ by':>10}")
    for row in found:
        alone = shown(row["native_one_s"], row["each_s"], (0, 1))
        many = shown(row["native_many_s"] and row["native_many_s"] / MANY, row["many_s"] / MANY, (1, 2))
        table = shown(row["native_table_s"] and row["native_table_s"] / TABLE, row["table_s"] / TABLE, (2, 2))
        difference = max(row["difference"], row["difference_row"])
        print(f"{row['case']:<46} {alone:>16} {many:>15} {table:>15} {row['ready_s']:>6.2f} s {row['fold_s']:>5.2f} s {difference:>10.1e}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
