"""LitServe, plain and with batching (BENCH_BATCH)."""

import os
import sys

import joblib
import litserve
import numpy as np
import pandas as pd


class Churn(litserve.LitAPI):
    def setup(self, device):
        self.model = joblib.load(os.environ["BENCH_MODEL"] + "/model.joblib")

    def decode_request(self, request):
        return pd.DataFrame(request["instances"])

    def batch(self, inputs):
        self.sizes = [len(rows) for rows in inputs]
        return pd.concat(inputs, ignore_index=True)

    def predict(self, rows):
        return self.model.predict_proba(rows)

    def unbatch(self, output):
        return np.split(output, np.cumsum(self.sizes)[:-1])

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    batching = {"max_batch_size": 64, "batch_timeout": 0.002} if os.environ.get("BENCH_BATCH") == "1" else {}
    server = litserve.LitServer(Churn(**batching), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning")
