"""Write `tumours.csv`, which is committed: run this only to make it again.

    uv run --no-project --with scikit-learn python examples/tumours-r/prepare.py

The rows are the Breast Cancer Wisconsin (Diagnostic) data set of W. H. Wolberg, W. N. Street and O. L. Mangasarian
(1995, UCI Machine Learning Repository, CC BY 4.0),
in the copy that scikit-learn ships. Ten mean measurements of thirty are kept; the target is
`malignant` (1) or benign (0).
"""

from __future__ import annotations

import csv
from pathlib import Path

from sklearn.datasets import load_breast_cancer


def main() -> None:
    data = load_breast_cancer()
    names = [name.replace(" ", "_") for name in data.feature_names[:10]]
    with (Path(__file__).parent / "tumours.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sample_id", *names, "malignant"])
        for number, (row, target) in enumerate(zip(data.data, data.target, strict=True), start=1):
            writer.writerow([f"s{number:03}", *(repr(float(value)) for value in row[:10]), int(target == 0)])


if __name__ == "__main__":
    main()
