"""Train boosted trees with LightGBM. A plain SageMaker script: nothing here knows of Modelyard."""

import argparse
import csv
import os
from pathlib import Path

import lightgbm
import numpy as np

TARGET, ID = "alcohol", "bottle_id"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    options = parser.parse_args()

    with (options.train / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in (TARGET, ID)]
    x = np.array([[float(row[name]) for name in names] for row in rows])
    y = np.array([float(row[TARGET]) for row in rows])
    parameters = {"objective": "regression", "num_leaves": 4, "min_data_in_leaf": 5, "learning_rate": 0.03, "seed": 1, "verbose": -1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(x, label=y), num_boost_round=options.rounds)
    booster.save_model(options.model_dir / "model.txt")


if __name__ == "__main__":
    main()
