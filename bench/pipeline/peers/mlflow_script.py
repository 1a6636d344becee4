"""A script that logs to MLflow by its defaults: parameters, metrics, the model, registered."""

import clock
import mlflow
import mlflow.sklearn
import steps

mlflow.set_tracking_uri(f"sqlite:///{steps.WORK}/mlflow.db")


def run() -> None:
    mlflow.set_experiment("bench")
    with mlflow.start_run():
        data = steps.preprocess(steps.load())
        model = steps.train(data)
        metrics = steps.evaluate(model, data)
        mlflow.log_params({"max_iter": 500})
        mlflow.log_metrics(metrics)
        mlflow.sklearn.log_model(model, name="model", registered_model_name="bench")
        steps.postprocess("latest", metrics)


clock.go(run)
