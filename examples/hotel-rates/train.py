"""Train a regressor of room rates. A plain SageMaker script: nothing here knows of Modelyard."""

import argparse
import os
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["meal", "country", "market_segment", "distribution_channel", "reserved_room_type", "assigned_room_type", "customer_type"]
NUMBERS = [
    "lead_time", "stays_in_weekend_nights", "stays_in_week_nights", "adults", "children", "is_repeated_guest", "previous_cancellations",
    "booking_changes", "required_car_parking_spaces", "total_of_special_requests", "historical_adr",
]  # fmt: skip
TARGET = "price"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-iter", type=int, default=120)
    parser.add_argument("--max-leaf-nodes", type=int, default=12)
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    options = parser.parse_args()

    rows = pd.read_parquet(options.train / "train.parquet")
    print(f"training on {len(rows):,} bookings", flush=True)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    columns = ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", "passthrough", NUMBERS)])
    trees = HistGradientBoostingRegressor(
        max_iter=options.max_iter, max_leaf_nodes=options.max_leaf_nodes, early_stopping=False, random_state=0
    )
    model = Pipeline([("columns", columns), ("trees", trees)]).fit(rows[CATEGORIES + NUMBERS], rows[TARGET])
    joblib.dump(model, options.model_dir / "model.joblib")


if __name__ == "__main__":
    main()
