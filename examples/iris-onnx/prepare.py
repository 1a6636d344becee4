"""Write `logreg_iris.onnx` and `iris.csv`, which are committed: run this only to make them again.

    uv run --no-project --with onnxruntime --with scikit-learn python examples/iris-onnx/prepare.py

The model is somebody else's: `datasets/logreg_iris.onnx` of the package onnxruntime (Copyright Microsoft Corporation, MIT;
see LICENSE-onnxruntime), a logistic regression trained on the four columns of iris. Its declared input, [3, 2], contradicts
its twelve coefficients (three classes of four features), and as declared it answers class 0 for every flower. So one byte is
corrected: the input is [3, 4]. The batch of three rows stays fixed, as published. The rows are R. A. Fisher's iris (1936;
UCI Machine Learning Repository, CC BY 4.0) in scikit-learn's copy.
"""

from __future__ import annotations

import csv
import hashlib
from importlib.resources import files
from pathlib import Path

from sklearn.datasets import load_iris

PUBLISHED = "8224784c98d73412d9fd99abcd57a38568bd590980d0fbe5916464531c52e8fc"
THREE_BY_TWO = bytes([0x0A, 0x02, 0x08, 3, 0x0A, 0x02, 0x08, 2])  # two `dim` fields of an ONNX TensorShapeProto
THREE_BY_FOUR = bytes([0x0A, 0x02, 0x08, 3, 0x0A, 0x02, 0x08, 4])
HERE = Path(__file__).parent


def model() -> bytes:
    published = files("onnxruntime.datasets").joinpath("logreg_iris.onnx").read_bytes()
    if hashlib.sha256(published).hexdigest() != PUBLISHED or published.count(THREE_BY_TWO) != 1:
        raise SystemExit("this onnxruntime ships another logreg_iris.onnx than this example was written for")
    return published.replace(THREE_BY_TWO, THREE_BY_FOUR)


def main() -> None:
    (HERE / "logreg_iris.onnx").write_bytes(model())
    data = load_iris()
    names = [name.removesuffix(" (cm)").replace(" ", "_") for name in data.feature_names]
    with (HERE / "iris.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["flower_id", *names, "species"])
        for number, (row, target) in enumerate(zip(data.data, data.target, strict=True), start=1):
            writer.writerow([f"f{number:03}", *(repr(float(value)) for value in row), int(target)])


if __name__ == "__main__":
    main()
