"""Train with scikit-learn, and save as MLflow does: any flavor would do. A plain SageMaker script: nothing here knows of Modelyard."""

import argparse
import os
from pathlib import Path

import mlflow.sklearn
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

TARGET, ID = "species", "flower_id"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    options = parser.parse_args()

    rows = pd.read_csv(options.train / "train.csv")
    features = rows.drop(columns=[TARGET, ID], errors="ignore")
    model = RandomForestClassifier(n_estimators=50, random_state=1).fit(features, rows[TARGET])
    mlflow.sklearn.save_model(model, options.model_dir / "model", serialization_format="cloudpickle", pip_requirements=[])


if __name__ == "__main__":
    main()
