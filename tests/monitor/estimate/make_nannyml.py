"""How nannyml.json was made: what NannyML 0.13.1 estimates of the worlds in worlds.py.

It is no dependency (it brings 1.8 GB). To make the file again, in an environment of its own with Python 3.11:
`pip install nannyml==0.13.1 "pandas<3" statsmodels`, then `python make_nannyml.py` in this folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nannyml  # type: ignore[import-not-found]
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import worlds  # type: ignore[import-not-found]

REFERENCE, WINDOW, SHIFT = 4000, 2000, 0.5
BINARY = ["roc_auc", "average_precision", "f1", "precision", "recall", "specificity", "accuracy"]
SEVERAL = ["roc_auc", "f1", "precision", "recall", "accuracy"]


def table(made: Any) -> pd.DataFrame:
    k = made.scores.shape[1]
    frame = pd.DataFrame({"truth": made.truth, "answer": made.answers})
    for c in range(k):
        frame[f"p{c}"] = made.scores[:, c]
    return frame


def of_classes(k: int) -> dict[str, float]:
    several = k > 2
    estimator = nannyml.CBPE(
        y_pred_proba={c: f"p{c}" for c in range(k)} if several else "p1",
        y_pred="answer",
        y_true="truth",
        problem_type="classification_multiclass" if several else "classification_binary",
        metrics=SEVERAL if several else BINARY,
        chunk_size=WINDOW,
    )
    estimator.fit(table(worlds.classes(REFERENCE, k, 1)))
    found = estimator.estimate(table(worlds.classes(WINDOW, k, 2, SHIFT)))
    data = found.filter(period="analysis").to_df()
    return {name: float(data[(name, "value")].iloc[0]) for name in (SEVERAL if several else BINARY)}


def of_numbers() -> dict[str, float]:
    def frame(made: Any) -> pd.DataFrame:
        columns = {"first": made.x[:, 0], "second": made.x[:, 1], "group": made.x[:, 2].astype(int).astype(str)}
        return pd.DataFrame({**columns, "truth": made.truth, "answer": made.answer})

    estimator = nannyml.DLE(
        feature_column_names=["first", "second", "group"], y_pred="answer", y_true="truth", metrics=["mae", "rmse"], chunk_size=WINDOW
    )
    estimator.fit(frame(worlds.numbers(REFERENCE, 1)))
    data = estimator.estimate(frame(worlds.numbers(WINDOW, 2, 1.0))).filter(period="analysis").to_df()
    return {name: float(data[(name, "estimated" if (name, "estimated") in data else "value")].iloc[0]) for name in ("mae", "rmse")}


if __name__ == "__main__":
    np.random.seed(0)
    made = {"nannyml": nannyml.__version__, "binary": of_classes(2), "several": of_classes(4), "numbers": of_numbers()}
    Path("nannyml.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
