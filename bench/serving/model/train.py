"""The bench's model: one-hot encoding and scaling before gradient boosting."""

import argparse
import os
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["tenure", "senior_citizen", "monthly_charges", "total_charges"]

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--n_estimators", type=int, default=100)
    options = parser.parse_args()
    rows = pd.concat([pd.read_csv(path) for path in sorted(Path(os.environ["SM_CHANNEL_TRAIN"]).glob("*.csv"))])
    labels, features = rows.pop("churn"), rows.drop(columns=["part"])
    texts = [name for name in features.columns if name not in NUMBERS]
    encode = ColumnTransformer(
        [("numbers", StandardScaler(), NUMBERS), ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts)]
    )
    model = Pipeline(
        [("encode", encode), ("boost", GradientBoostingClassifier(n_estimators=options.n_estimators, max_depth=3, random_state=0))]
    )
    joblib.dump(model.fit(features, labels), Path(os.environ["SM_MODEL_DIR"]) / "model.joblib")
