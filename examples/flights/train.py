"""Train a classifier of late arrivals. A plain SageMaker script: nothing here knows of Modelyard."""

import argparse
import os
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["carrier", "origin", "dest"]
NUMBERS = ["sched_dep_time", "sched_arr_time", "distance", "weekday", "dep_hour"]
TARGET = "late"


def pipeline(options: argparse.Namespace) -> Pipeline:
    # A destination that training never saw is encoded as -1, which the trees take for a missing category.
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", "passthrough", NUMBERS)])
    trees = HistGradientBoostingClassifier(
        max_iter=options.max_iter,
        learning_rate=options.learning_rate,
        max_leaf_nodes=options.max_leaf_nodes,
        l2_regularization=options.l2,
        categorical_features=list(range(len(CATEGORIES))),
        early_stopping=False,
        random_state=options.seed,
    )
    return Pipeline([("columns", columns), ("trees", trees)])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-iter", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--max-leaf-nodes", type=int, default=31)
    parser.add_argument("--l2", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    parser.add_argument("--validation", type=Path, default=os.environ.get("SM_CHANNEL_VALIDATION"))
    options = parser.parse_args()

    rows = pd.read_parquet(options.train / "train.parquet")
    print(f"training on {len(rows):,} flights, {rows[TARGET].mean():.1%} of them late", flush=True)
    model = pipeline(options).fit(rows[CATEGORIES + NUMBERS], rows[TARGET])
    if options.validation is not None:
        held = pd.read_parquet(options.validation / "validation.parquet")
        auc = roc_auc_score(held[TARGET], model.predict_proba(held[CATEGORIES + NUMBERS])[:, 1])
        print(f"validation roc_auc {auc:.4f}", flush=True)
    joblib.dump(model, options.model_dir / "model.joblib")


if __name__ == "__main__":
    main()
