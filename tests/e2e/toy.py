"""A small model repository: a table, a logistic regression in plain NumPy, a config. Made in milliseconds, trained within a second."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from tests.e2e.person import commit, git

CONFIG = """\
version: 1
model:
  name: toy
  problem_type: binary_classification
data:
  source: {using: csv, location: rows.csv}
  target_col: late
  positive_class: 1
  id_col: id
  split: {by: random, ratios: [0.6, 0.1, 0.3], seed: 1}
  channel_format: csv
train:
  framework: sklearn
  entry_point: train.py
  requirements: requirements.txt
  hyperparameters: {steps: 200}
  instances: {max_runtime: 5m}
evaluate:
  validation_criteria:
    - {metric: roc_auc, threshold: 0.6}
environments:
  staging: {target: local}
  production:
    target: local
    approval: {required: true, allow_self: true}
monitor:
  performance: {enabled: false}
"""

TRAIN = '''\
"""Fit a logistic regression to train.csv."""
import argparse
import csv
import json
import os
from pathlib import Path


def main():
    import numpy as np

    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    with open(Path(os.environ["SM_CHANNEL_TRAIN"]) / "train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    x = np.array([[1.0, float(r["wind"]), float(r["load"])] for r in rows])
    y = np.array([float(r["late"]) for r in rows])
    weights = np.zeros(3)
    for _ in range(options.steps):
        weights += 0.5 * x.T @ (y - 1 / (1 + np.exp(-x @ weights))) / len(y)
    print(f"trained on {len(rows)} rows", flush=True)
    (Path(os.environ["SM_MODEL_DIR"]) / "weights.json").write_text(json.dumps(weights.tolist()))


def model_fn(folder):
    return json.loads((Path(folder) / "weights.json").read_text())


def predict_fn(rows, weights):
    import numpy as np

    return 1 / (1 + np.exp(-(weights[0] + rows @ np.array(weights[1:]))))


if __name__ == "__main__":
    main()
'''

NAMES = ("id", "at", "wind", "load", "late")
Row = tuple[str, str, float, float, int]


def rows(
    count: int, seed: int = 0, *, start: str = "2026-01-01", days: int = 30, wind: float = 0.0, turned: bool = False, prefix: str = "r"
) -> list[Row]:
    """Rows spread evenly over `days`; `wind` moves that column's mean, and `turned` turns what it says of the target around."""
    rng = np.random.default_rng(seed)
    x = rng.normal([wind, 0.0], 1.0, size=(count, 2)).round(4)
    score = (-2.0 if turned else 2.0) * (x[:, 0] - wind) + x[:, 1]
    late = (rng.random(count) < 1 / (1 + np.exp(-score))).astype(int)
    first, step = datetime.fromisoformat(start).replace(tzinfo=UTC), timedelta(days=days) / count
    return [
        (f"{prefix}{i:05}", (first + i * step).isoformat(timespec="seconds"), float(x[i, 0]), float(x[i, 1]), int(late[i]))
        for i in range(count)
    ]


def write(path: Path, table: list[Row], names: tuple[str, ...] = NAMES) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([value for name, value in zip(NAMES, row, strict=True) if name in names] for row in table)
    return path


def toy(folder: Path, count: int = 200) -> Path:
    """The repository, committed."""
    folder.mkdir(parents=True)
    write(folder / "rows.csv", rows(count), ("id", "wind", "load", "late"))
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "train.py").write_text(TRAIN)
    (folder / "requirements.txt").write_text("joblib>=1.4\nnumpy>=2\n")
    git(folder, "init", "-q")
    commit(folder)
    return folder
