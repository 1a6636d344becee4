"""Train a logistic regression. A plain SageMaker script: nothing here knows of Modelyard."""

import argparse
import os
from pathlib import Path

import joblib
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TARGET, ID = "diagnosis", "sample_id"


def main() -> None:
    parser = argparse.ArgumentParser()
    # SageMaker passes a one-letter hyperparameter as `-C`, a longer one with two dashes.
    parser.add_argument("-C", type=float, default=1.0, help="inverse of the strength of regularisation")
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    options = parser.parse_args()

    rows = pd.read_csv(options.train / "train.csv")
    features = rows.drop(columns=[TARGET, ID], errors="ignore")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=options.C, max_iter=1000))
    model.fit(features, rows[TARGET])
    print(f"trained on {len(rows)} samples with {features.shape[1]} features", flush=True)
    joblib.dump(model, options.model_dir / "model.joblib")


if __name__ == "__main__":
    main()
