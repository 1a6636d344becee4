"""Kedro with MLflow: six nodes run sequentially, parameters, metrics and the model logged by hooks of kedro-mlflow's kind.

kedro-mlflow wants a project on disk; this is Kedro's runner with a catalog in memory, and MLflow's own calls in the nodes that
kedro-mlflow would make, so that no more is counted against Kedro than it needs.
"""

import clock
import mlflow
import mlflow.sklearn
import steps
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner

mlflow.set_tracking_uri(f"sqlite:///{steps.WORK}/mlflow.db")


def evaluate(model, data):
    metrics = steps.evaluate(model, data)
    mlflow.log_metrics(metrics)
    return metrics


def register(model, metrics):
    mlflow.log_params({"max_iter": 500})
    mlflow.sklearn.log_model(model, name="model", registered_model_name="bench", pip_requirements=["scikit-learn"])
    return steps.register(model, metrics)


BENCH = pipeline(
    [
        node(steps.load, None, "rows", name="load"),
        node(steps.preprocess, "rows", "data", name="preprocess"),
        node(steps.train, "data", "model", name="train"),
        node(evaluate, ["model", "data"], "metrics", name="evaluate"),
        node(register, ["model", "metrics"], "version", name="register"),
        node(steps.postprocess, ["version", "metrics"], "done", name="postprocess"),
    ]
)


def run() -> None:
    mlflow.set_experiment("bench")
    with mlflow.start_run():
        names = ("rows", "data", "model", "metrics", "version", "done")
        SequentialRunner().run(BENCH, DataCatalog({name: MemoryDataset() for name in names}))


if __name__ == "__main__":
    clock.go(run)
