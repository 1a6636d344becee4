"""Train a logistic regression. A plain SageMaker script."""

import argparse
import os
from pathlib import Path

import joblib
import pandas as pd
from sklearn.linear_model import LogisticRegression

parser = argparse.ArgumentParser()
parser.add_argument("--max_iter", type=int, default=100)
options = parser.parse_args()
rows = pd.read_parquet(Path(os.environ["SM_CHANNEL_TRAIN"]) / "train.parquet")
model = LogisticRegression(max_iter=options.max_iter).fit(rows.drop(columns=["target", "row"]), rows["target"])
joblib.dump(model, Path(os.environ["SM_MODEL_DIR"]) / "model.joblib")
