"""Metaflow: a flow of six steps, each in a process of its own, as it does it."""

from metaflow import FlowSpec, step


class Bench(FlowSpec):
    @step
    def start(self):
        import steps

        self.rows = steps.load()
        self.next(self.preprocess)

    @step
    def preprocess(self):
        import steps

        self.data = steps.preprocess(self.rows)
        self.next(self.train)

    @step
    def train(self):
        import steps

        self.model = steps.train(self.data)
        self.next(self.evaluate)

    @step
    def evaluate(self):
        import steps

        self.metrics = steps.evaluate(self.model, self.data)
        self.next(self.register)

    @step
    def register(self):
        import steps

        self.version = steps.register(self.model, self.metrics)
        self.next(self.end)

    @step
    def end(self):
        import steps

        steps.postprocess(self.version, self.metrics)


if __name__ == "__main__":
    Bench()
