"""Dagster: six ops in one process."""

import clock
import steps
from dagster import DagsterInstance, job, op

load, preprocess, train = op(name="load")(lambda: steps.load()), op(steps.preprocess), op(steps.train)
evaluate, register, postprocess = op(steps.evaluate), op(steps.register), op(steps.postprocess)


@job
def pipeline() -> None:
    data = preprocess(load())
    model = train(data)
    metrics = evaluate(model, data)
    postprocess(register(model, metrics), metrics)


if __name__ == "__main__":
    instance = DagsterInstance.get()
    clock.go(lambda: pipeline.execute_in_process(instance=instance))
