"""Train boosted trees with XGBoost. A plain SageMaker script: nothing here knows of Modelyard."""

import argparse
import csv
import os
from pathlib import Path

import numpy as np
import xgboost

TARGET, ID = "cultivar", "bottle_id"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--max_depth", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    options = parser.parse_args()

    with (options.train / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in (TARGET, ID)]
    x = np.array([[float(row[name]) for name in names] for row in rows])
    y = np.array([float(row[TARGET]) for row in rows])
    parameters = {"objective": "multi:softprob", "num_class": 3, "max_depth": options.max_depth, "seed": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(x, label=y), num_boost_round=options.rounds)
    booster.save_model(options.model_dir / "model.json")


if __name__ == "__main__":
    main()
