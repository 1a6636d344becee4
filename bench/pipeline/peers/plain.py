"""The plain script: what all others are measured against."""

import clock
import steps


def run() -> None:
    data = steps.preprocess(steps.load())
    model = steps.train(data)
    metrics = steps.evaluate(model, data)
    steps.postprocess(steps.register(model, metrics), metrics)


clock.go(run)
