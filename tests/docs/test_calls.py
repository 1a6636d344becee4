"""The pages for callers, followed: each program and command of theirs against a real endpoint, in the order of the page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from modelyard.serve import routes, stats
from modelyard.signature import Column, Signature
from tests import environments
from tests.docs.snippets import ROOT, Block, blocks, commands, matches
from tests.serve.world import World

PAGES = sorted((ROOT / "docs" / "how-to").glob("call-from-*.md"))
HERE = "tested by tests/docs/test_calls.py"
SIGNED = Signature(
    "binary_classification",
    (Column("wind", "float"), Column("load", "float", nullable=True)),
    classes=("no", "yes"),
    positive_class="yes",
    decision_threshold=0.5,
    id_col="flight",
)


class Endpoint(World):
    """`late-production`, with everything that the pages speak of."""

    def start(self) -> None:
        x = np.random.default_rng(0).normal(size=(200, 2))
        self.save("1", make_pipeline(SimpleImputer(), LogisticRegression()).fit(x, np.where(x[:, 0] > 0, "yes", "no")))
        self.runner("1", SIGNED)
        pl.DataFrame(x[:50], schema=["wind", "load"], orient="row").write_parquet(self.home / "background.parquet")
        for name in ("in", "out"):
            (self.home / name).mkdir()
        asynchronous = routes.Async((f"{self.home}/in/",), f"{self.home}/out", str(self.home / "queue"))
        table = self.table({"1": 100}, SIGNED, asynchronous=asynchronous)
        variants = tuple(msgspec.structs.replace(v, background=str(self.home / "background.parquet")) for v in table.variants)
        table = msgspec.structs.replace(table, endpoint="late-production", model="late", variants=variants)
        routes.write(self.routes, table)
        self.ready("1")
        self.start_front(arguments=("--grpc-port", "0"))

    def here(self, text: str) -> str:
        """A page's text with this endpoint's places in it."""
        ports = {"8080": self.port, "8081": stats.read(self.stats_path).grpc_port}
        for said, real in ports.items():
            text = text.replace(f"127.0.0.1:{said}", f"127.0.0.1:{real}").replace(f'"127.0.0.1", {said}', f'"127.0.0.1", {real}')
        return text.replace("/data/", f"{self.home}/")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as made:
        made.start()
        yield made


def test_there_is_a_page_for_each_kind_of_caller() -> None:
    assert [p.stem.removeprefix("call-from-") for p in PAGES] == ["boto3", "curl", "mlflow", "triton"]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_true(page: Path, endpoint: Endpoint, tmp_path: Path) -> None:
    found = blocks(page)
    python = environments.python("iris-mlflow") if page.stem.endswith("mlflow") else Path(sys.executable)
    ran = 0
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.directive != HERE:
            assert block.language in ("yaml", "text"), f"{block}: nobody tests it"
            continue
        ran += 1
        if block.language == "python":
            _program(block, following, endpoint, python, tmp_path)
        else:
            _commands(block, endpoint, tmp_path)
    assert ran > 1


def _program(block: Block, following: Block | None, endpoint: Endpoint, python: Path, folder: Path) -> None:
    done = subprocess.run([python, "-c", endpoint.here(block.text)], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    assert following is not None and following.language == "text", f"{block}: what it prints is not shown"
    assert matches(following.text, done.stdout), f"{block} printed\n{done.stdout}"


def _commands(block: Block, endpoint: Endpoint, folder: Path) -> None:
    for command in commands(block):
        line = endpoint.here(command.line)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line], cwd=folder, capture_output=True, text=True, env=os.environ, timeout=60
        )
        assert done.returncode == 0, f"{block}: {line}\n{done.stderr}"
        assert command.output is not None, f"{block}: what `{command.line}` prints is not shown"
        assert matches(command.output, done.stdout), f"{block}: {line} printed\n{done.stdout}"
