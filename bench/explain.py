"""Explanations beside the `shap` package, in one run: exact ones of trees, and model-agnostic ones by way of the runner.

Makes a throwaway environment with scikit-learn and shap (the model's environment), trains in it, and measures there what runs there. The
model-agnostic part asks a real runner over its socket from this process; shap asks the model in its own. Both put about as many rows to the
model: each background row with one order of the features and its reverse. `rmse` is the distance from the exact values.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import uv

from modelyard.quality.explain import Game
from modelyard.quality.explain.permutation import permutation
from modelyard.serve.runner import install_runtime, predict, spawn_runner, wait_ready
from modelyard.signature import Column, Signature

PACKAGES = ("shap>=0.48,<0.52", "scikit-learn", "joblib")
FEATURES, ROWS, BACKGROUND = 30, 1000, 100
AGNOSTIC_ROWS, AGNOSTIC_BACKGROUND = 100, 50

INSIDE = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import joblib, numpy as np, shap
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from modelyard.runtime import explain_trees

folder, features, rows, usual, few, fewer = sys.argv[1], *map(int, sys.argv[2:])
x, y = make_classification(6000, features, n_informative=10, random_state=0)
some, z, owner = x[:rows], x[rows : rows + usual], np.arange(features)
models = {
    "gradient boosting, 100 trees of depth 3": GradientBoostingClassifier(n_estimators=100, random_state=0),
    "random forest, 100 trees of depth 6": RandomForestClassifier(100, max_depth=6, random_state=0),
    "histogram boosting, 100 trees of 31 leaves": HistGradientBoostingClassifier(random_state=0),
}

def timed(work):
    start = time.perf_counter()
    return work(), time.perf_counter() - start

found = []
for name, model in models.items():
    model.fit(x, y)
    column, single = (1, True) if "forest" in name else (0, "histogram" not in name)
    cast = (lambda t: t.astype("f4").astype("f8")) if single else (lambda t: t)
    own = lambda: explain_trees.shap(explain_trees.sklearn_trees(model, column), cast(some), cast(z), owner)
    own()
    (values, base), ours = timed(own)
    _, path = timed(lambda: shap.TreeExplainer(model).shap_values(some, check_additivity=False))
    shap_way = lambda: shap.TreeExplainer(model, z, feature_perturbation="interventional").shap_values(some, check_additivity=False)
    _, same = timed(shap_way)
    found.append({"case": name, "ours_s": ours, "shap_same_values_s": same, "shap_path_dependent_s": path})

model = RandomForestClassifier(20, max_depth=6, random_state=0).fit(x, y)
joblib.dump(model, folder + "/model/model.joblib")
few_x, few_z = x[:few].astype("f4").astype("f8"), x[few : few + fewer].astype("f4").astype("f8")
exact, _ = explain_trees.shap(explain_trees.sklearn_trees(model, 1), few_x, few_z, owner)
asked = [0]
def ask(t):
    asked[0] += len(t)
    return model.predict_proba(t)[:, 1]
explainer = shap.explainers.Permutation(ask, shap.maskers.Independent(few_z, max_samples=fewer), seed=0)
values, taken = timed(lambda: explainer(few_x, max_evals=2 * features + 1, silent=True).values)
np.savez(folder + "/data.npz", x=few_x, z=few_z, exact=exact.T)
print("FOUND", json.dumps({"trees": found, "asked": asked[0], "seconds": taken, "rmse": float(np.sqrt(np.mean((values - exact.T) ** 2)))}))
"""


def environment(folder: Path) -> Path:
    """An interpreter with PACKAGES."""
    clean = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    python = folder / "bin" / "python"
    for words in (["venv", "-q", "--python", sys.executable, str(folder)], ["pip", "install", "-q", "--python", str(python), *PACKAGES]):
        subprocess.run([uv.find_uv_bin(), *words], check=True, env=clean)
    return python


def through_the_runner(folder: Path, python: Path, runtime: Path) -> dict[str, Any]:
    kept = np.load(folder / "data.npz")
    names = [f"x{i}" for i in range(FEATURES)]
    signature = Signature("binary_classification", tuple(Column(n, "float") for n in names), classes=(0, 1), positive_class=1)
    (folder / "signature.json").write_text(json.dumps(signature.to_dict()))
    (folder / "code").mkdir()
    socket = folder / "runner.sock"
    child = spawn_runner(
        python=python,
        runtime=runtime,
        model_dir=folder / "model",
        code_dir=folder / "code",
        entry_point=None,
        signature=folder / "signature.json",
        framework="sklearn",
        socket_path=socket,
        log=folder / "log",
    )
    try:
        wait_ready(socket, 60, child)
        start = time.perf_counter()
        tables = [pl.DataFrame(kept[part], schema=names) for part in ("x", "z")]
        game = Game(lambda t: predict(socket, t, signature)["y.probability_1"].to_numpy(), *tables)
        values = permutation(game, 0)
        taken = time.perf_counter() - start
    finally:
        child.stop()
    return {"asked": game.asked, "seconds": taken, "rmse": float(np.sqrt(np.mean((values - kept["exact"]) ** 2)))}


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-explain-") as name:
        folder = Path(name)
        (folder / "model").mkdir()
        python, runtime = environment(folder / "env"), install_runtime(folder / "home")
        sizes = [str(n) for n in (FEATURES, ROWS, BACKGROUND, AGNOSTIC_ROWS, AGNOSTIC_BACKGROUND)]
        env = {**os.environ, "PYTHONPATH": str(runtime), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([str(python), "-c", INSIDE, str(folder), *sizes], env=env, check=True, capture_output=True, text=True)
        inside = json.loads(done.stdout.split("FOUND", 1)[1])
        runner = through_the_runner(folder, python, runtime)
    native = {key: inside[key] for key in ("asked", "seconds", "rmse")}
    ratio = (runner["seconds"] / runner["asked"]) / (native["seconds"] / native["asked"])
    return {"trees": inside["trees"], "agnostic": {"through_the_runner": runner, "shap_natively": native, "ratio_per_row_asked": ratio}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = measure()
    if options.json:
        print(json.dumps({"cpus": os.cpu_count(), "load": os.getloadavg()[0], **found}, indent=2))
        return 0
    print(f"{ROWS} rows of {FEATURES} features, {BACKGROUND} background rows, load {os.getloadavg()[0]:.1f}")
    print(f"{'exact, trees':<44} {'ours':>9} {'shap, same':>11} {'shap, by counts':>16}")
    for row in found["trees"]:
        print(f"{row['case']:<44} {row['ours_s']:>7.2f} s {row['shap_same_values_s']:>9.2f} s {row['shap_path_dependent_s']:>14.2f} s")
    print(f"\n{'model-agnostic, ' + str(AGNOSTIC_ROWS) + ' rows':<44} {'seconds':>9} {'rows asked':>11} {'rmse':>9}")
    for name, row in list(found["agnostic"].items())[:2]:
        print(f"{name.replace('_', ' '):<44} {row['seconds']:>7.2f} s {row['asked']:>11,} {row['rmse']:>9.5f}")
    print(f"time a row asked, runner over native: {found['agnostic']['ratio_per_row_asked']:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
