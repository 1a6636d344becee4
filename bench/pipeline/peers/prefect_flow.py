"""Prefect: a flow of six tasks, with the server that it starts for itself."""

import clock
import steps
from prefect import flow, task

load, preprocess, train, evaluate, register, postprocess = (
    task(f) for f in (steps.load, steps.preprocess, steps.train, steps.evaluate, steps.register, steps.postprocess)
)


@flow
def pipeline() -> None:
    data = preprocess(load())
    model = train(data)
    metrics = evaluate(model, data)
    postprocess(register(model, metrics), metrics)


if __name__ == "__main__":
    clock.go(pipeline)
