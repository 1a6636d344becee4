"""Ray Serve, plain and with batching (BENCH_BATCH)."""

import os
import sys
import time

import joblib
import pandas as pd
import ray
from ray import serve

BATCH = os.environ.get("BENCH_BATCH") == "1"
ray.init(
    num_cpus=4, include_dashboard=False, object_store_memory=200 * 2**20, log_to_driver=False, logging_level="warning",
    _node_ip_address="127.0.0.1",
)  # fmt: skip
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})


@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=100)
class Churn:
    def __init__(self):
        self.model = joblib.load(os.environ["BENCH_MODEL"] + "/model.joblib")

    @serve.batch(max_batch_size=64 if BATCH else 1, batch_wait_timeout_s=0.002 if BATCH else 0.0)
    async def infer(self, bodies):
        frames = [pd.DataFrame(body) for body in bodies]
        scores, start, answers = self.model.predict_proba(pd.concat(frames, ignore_index=True)).tolist(), 0, []
        for frame in frames:
            answers.append({"predictions": scores[start : start + len(frame)]})
            start += len(frame)
        return answers

    async def __call__(self, request):
        rows = (await request.json())["instances"]
        if BATCH:
            return await self.infer(rows)
        return {"predictions": self.model.predict_proba(pd.DataFrame(rows)).tolist()}


serve.run(Churn.bind(), name="churn", route_prefix="/predict")
while True:
    time.sleep(3600)
