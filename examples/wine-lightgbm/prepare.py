"""Write `wine.csv`, which is committed: run this only to make it again.

    uv run --no-project --with scikit-learn python examples/wine-lightgbm/prepare.py

The rows are the wines of M. Forina et al. (1991, UCI Machine Learning Repository, CC BY 4.0),
in the copy that scikit-learn ships. Slashes in names are underscores; the cultivar is left out: `alcohol` is the target.
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
        writer.writerow(["bottle_id", *names])
        for number, (row, _) in enumerate(zip(data.data, data.target, strict=True), start=1):
            writer.writerow([f"b{number:03}", *(repr(float(value)) for value in row)])


if __name__ == "__main__":
    main()
