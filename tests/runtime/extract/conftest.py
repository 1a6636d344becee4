"""Environments in which models are fitted: the tests' own, where tables are arrays, and ones with pandas, where they are frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.runtime.extract.oracle import Fitted
from tests.runtime.test_environments import environment


@pytest.fixture(scope="package")
def arrays() -> Iterator[Fitted]:
    process = Fitted(sys.executable)
    yield process
    process.close()


@pytest.fixture(scope="package")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fitted]:
    process = Fitted(environment(tmp_path_factory.mktemp("frames") / "env", "scikit-learn", "pandas"))
    yield process
    process.close()


@pytest.fixture(scope="package")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fitted]:
    """Frames with releases of 2023, in which much had another name and trees held counts."""
    wanted = ("scikit-learn==1.3.*", "pandas==2.0.*", "numpy<2")
    process = Fitted(environment(tmp_path_factory.mktemp("old") / "env", *wanted, version="3.11"))
    yield process
    process.close()
