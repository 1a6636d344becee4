"""Train CatBoost. A plain SageMaker script: nothing here knows of Modelyard."""

import argparse
import os
from pathlib import Path

import pandas as pd
from catboost import CatBoostClassifier

TARGET, ID = "species", "flower_id"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    options = parser.parse_args()

    rows = pd.read_csv(options.train / "train.csv")
    features = rows.drop(columns=[TARGET, ID], errors="ignore")
    model = CatBoostClassifier(iterations=options.iterations, depth=4, random_seed=1, verbose=20, allow_writing_files=False)
    model.fit(features, rows[TARGET])
    model.save_model(str(options.model_dir / "model.cbm"))


if __name__ == "__main__":
    main()
