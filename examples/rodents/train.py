"""Train a classifier of species. A plain SageMaker script: nothing here knows of Modelyard."""

import argparse
import os
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["plot_type", "sex"]
NUMBERS = ["month", "hindfoot_length", "weight"]
TARGET = "species"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-iter", type=int, default=30)
    parser.add_argument("--max-leaf-nodes", type=int, default=8)
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    options = parser.parse_args()

    rows = pd.read_parquet(options.train / "train.parquet")
    print(f"training on {len(rows):,} animals of {rows[TARGET].nunique()} species", flush=True)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    columns = ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", "passthrough", NUMBERS)])
    trees = HistGradientBoostingClassifier(
        max_iter=options.max_iter, max_leaf_nodes=options.max_leaf_nodes, l2_regularization=5.0, early_stopping=False, random_state=0
    )
    model = Pipeline([("columns", columns), ("trees", trees)]).fit(rows[CATEGORIES + NUMBERS], rows[TARGET])
    joblib.dump(model, options.model_dir / "model.joblib")


if __name__ == "__main__":
    main()
