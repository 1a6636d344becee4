"""Scale the features by what training shows. A plain SageMaker processing script."""

from pathlib import Path

import pandas as pd
from sklearn.preprocessing import StandardScaler

HERE = Path("/opt/ml/processing")
rows = {name: pd.read_parquet(HERE / "input" / name / f"{name}.parquet") for name in ("train", "validation", "test")}
features = [name for name in rows["train"].columns if name not in ("target", "row")]
scaler = StandardScaler().fit(rows["train"][features])
for name, part in rows.items():
    part[features] = scaler.transform(part[features])
    part.to_parquet(HERE / "output" / name / f"{name}.parquet")
