"""Model environments are made once a session: a home's `envs` is a link to the session's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def environments() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="yard-envs-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
