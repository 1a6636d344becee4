"""Write `wine.csv`, which is committed: run this only to make it again.

    uv run --no-project --with scikit-learn python examples/wine-xgboost/prepare.py

The rows are the wines of M. Forina et al. (1991, UCI Machine Learning Repository, CC BY 4.0),
in the copy that scikit-learn ships. Blanks and slashes in names are underscores; `cultivar` is the target (0, 1 or 2).
"""

from __future__ import annotations

import csv
from pathlib import Path

from sklearn.datasets import load_wine


def main() -> None:
    data = load_wine()
    names = [name.replace("/", "_") for name in data.feature_names]
    with (Path(__file__).parent / "wine.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["bottle_id", *names, "cultivar"])
        for number, (row, target) in enumerate(zip(data.data, data.target, strict=True), start=1):
            writer.writerow([f"b{number:03}", *(repr(float(value)) for value in row), int(target)])


if __name__ == "__main__":
    main()
