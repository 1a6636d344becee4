"""One environment with every framework of the examples: made once a session, for all tests that need a framework."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from modelyard.build import envs, locks
from tests.conftest import ROOT

FRAMEWORKS = ("iris-catboost", "iris-mlflow", "wine-lightgbm", "wine-pytorch", "wine-xgboost")
"""Examples of frameworks that come as Python packages."""


def requirements() -> str:
    """What these examples require, all together."""
    texts = [(ROOT / "examples" / name / "requirements.txt").read_text() for name in FRAMEWORKS]
    return "".join(f"{line}\n" for line in sorted({line for text in texts for line in text.splitlines() if line}))


@functools.cache
def home() -> Path:
    """The yard's home that keeps it, once somebody needs it."""
    folder = Path(tempfile.mkdtemp(prefix="yard-frameworks-"))
    atexit.register(_remove, folder)
    (folder / "all.txt").write_text(requirements())
    return folder


def python(example: str = "") -> Path:
    """The interpreter of that environment, or of an example's own in the same home."""
    wanted = ROOT / "examples" / example / "requirements.txt" if example else home() / "all.txt"
    return envs.ensure(locks.lock(wanted, "sklearn", home()).text, home()).python


needs_tensorflow = pytest.mark.skipif(
    os.environ.get("MODELYARD_TEST_TENSORFLOW") != "1", reason="1.5 GB of packages: only with MODELYARD_TEST_TENSORFLOW=1"
)


def _remove(folder: Path) -> None:
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)  # snapshots and bundles are read-only
    shutil.rmtree(folder, ignore_errors=True)
