"""Write `iris.csv`, which is committed: run this only to make it again.

    uv run --no-project --with scikit-learn python examples/iris-catboost/prepare.py

The rows are R. A. Fisher's iris (1936; UCI Machine Learning Repository, CC BY 4.0),
in the copy that scikit-learn ships. The target is written out as `species`.
"""

from __future__ import annotations

import csv
from pathlib import Path

from sklearn.datasets import load_iris


def main() -> None:
    data = load_iris()
    names = [name.removesuffix(" (cm)").replace(" ", "_") for name in data.feature_names]
    with (Path(__file__).parent / "iris.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["flower_id", *names, "species"])
        for number, (row, target) in enumerate(zip(data.data, data.target, strict=True), start=1):
            writer.writerow([f"f{number:03}", *(repr(float(value)) for value in row), data.target_names[target]])


if __name__ == "__main__":
    main()
