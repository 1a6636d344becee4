"""BentoML, plain and with its adaptive batching (BENCH_BATCH).

With batching the rows come as a list: version 1.4.40 cannot batch DataFrames (it adds their shape to a number, and every call waits 60 s).
"""

import os

import bentoml
import joblib
import numpy as np
import pandas as pd

if os.environ.get("BENCH_BATCH") == "1":

    @bentoml.service(workers=1)
    class Churn:
        def __init__(self) -> None:
            self.model = joblib.load(os.environ["BENCH_MODEL"] + "/model.joblib")

        @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=2000)
        def predict(self, df: list[dict]) -> np.ndarray:
            return self.model.predict_proba(pd.DataFrame(df))

else:

    @bentoml.service(workers=1)
    class Churn:
        def __init__(self) -> None:
            self.model = joblib.load(os.environ["BENCH_MODEL"] + "/model.joblib")

        @bentoml.api
        def predict(self, df: pd.DataFrame) -> np.ndarray:
            return self.model.predict_proba(df)
