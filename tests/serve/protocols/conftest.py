"""One endpoint for the real clients of all protocols: two versions, a background to explain against, HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import polars as pl
import pytest
from sklearn.neighbors import KNeighborsClassifier

from modelyard.serve import routes, stats
from modelyard.signature import Column, Signature
from tests.serve.world import NAMES, World, data, logistic, signature

SCRIPT = """
import joblib, pathlib

def model_fn(folder):
    return joblib.load(pathlib.Path(folder) / "model.joblib")

def predict_fn(data, model):
    if (data[:, 0] == 666).any():
        raise ValueError("the beast")
    return model.predict_proba(data)
"""
"""A model that raises where c0 is 666, and whose structure nobody sees: it is not explained."""
RECORD = dict.fromkeys(NAMES, 0.5)
SIGNED: Signature = replace(
    signature(), columns=(Column("c0", "float"), *(Column(n, "float", nullable=True) for n in NAMES[1:])), time_col=None
)


class Endpoint(World):
    """`demo-production`: version 1 has all the traffic and a background, 2 fails by request, `gone` has no runner."""

    grpc_port = 0

    def start(self) -> None:
        self.save("1", logistic())
        self.save("2", KNeighborsClassifier().fit(*data(seed=1)), SCRIPT)
        for version in ("1", "2"):
            self.runner(version, SIGNED)
        self.background = self.home / "background.parquet"
        pl.DataFrame(data(30)[0], schema=list(NAMES), orient="row").write_parquet(self.background)
        for version in ("1", "2"):
            self.ready(version)
        self.put()
        self.start_front(arguments=("--grpc-port", "0"))
        self.grpc_port = stats.read(self.stats_path).grpc_port

    def put(self, **more: Any) -> None:
        """Put a routing table in force."""
        table = self.table({"1": 100, "2": 0, "gone": 0}, SIGNED, **more)
        variants = tuple(msgspec.structs.replace(v, background=str(self.background), example=RECORD) for v in table.variants)
        table = msgspec.structs.replace(table, variants=variants)
        routes.write(self.routes, table)
        if self.front is not None:
            stats.wait_generation(self.stats_path, table.generation)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as made:
        made.start()
        yield made
