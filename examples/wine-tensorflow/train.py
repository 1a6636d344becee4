"""Train a small network with Keras on TensorFlow. A plain SageMaker script: nothing here knows of Modelyard."""

import argparse
import csv
import os
from pathlib import Path

import keras
import numpy as np

TARGET, ID = "cultivar", "bottle_id"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    options = parser.parse_args()

    with (options.train / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in (TARGET, ID)]
    x = np.array([[float(row[name]) for name in names] for row in rows])
    y = np.array([float(row[TARGET]) for row in rows])
    keras.utils.set_random_seed(1)
    scaled = keras.layers.Normalization()
    scaled.adapt(x.astype("float32"))
    layers = [keras.Input((x.shape[1],)), scaled, keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3, activation="softmax")]
    network = keras.Sequential(layers)
    network.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(x.astype("float32"), y.astype("int64"), epochs=options.epochs, verbose=2)
    network.save(options.model_dir / "model.keras")


if __name__ == "__main__":
    main()
