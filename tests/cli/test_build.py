"""`modelyard build` as a process of its own: the second of a config finds its interpreter begun, and neither leaves anything behind."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from modelyard.build import sandbox
from modelyard.home import scratch_prefix

TINY = Path(__file__).parent.parent / "fixtures" / "tiny"
TELLING = """
import sys
from modelyard.build import early
own = early.taken
def taken(run, asked):
    warm = own(run, asked)
    print("asked for", run, "and had" if warm else "and began", file=sys.stderr)
    return warm
early.taken = taken
from modelyard.cli import main
main()
print("never here: the command leaves")
"""

pytestmark = [pytest.mark.needs("bwrap"), pytest.mark.skipif(not sandbox.namespaces(), reason="users may not make namespaces here")]


def build(home: Path, repository: Path, seed: int) -> tuple[str, str]:
    """What it said, and what it said of its interpreter; on rows that nothing was built of before."""
    numbers = random.Random(seed)
    rows = [f"{numbers.gauss(2 * (n % 2), 0.7):.4f},{numbers.random():.4f},{n % 2}" for n in range(120)]
    (repository / "rows.csv").write_text("\n".join(["x,noise,label", *rows]) + "\n")
    command = [sys.executable, "-c", TELLING, "build", str(repository / "config.yaml")]
    variables = {**os.environ, "MODELYARD_HOME": str(home)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_the_second_build_finds_its_interpreter_begun(home: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(TINY, repository)
    told = [build(home, repository, seed) for seed in range(3)]
    assert ["and had" in of_it for _, of_it in told] == [False, True, True]
    for number, (said, of_it) in enumerate(told, 1):
        assert f"built tiny:{number}" in said and "forked from a warm interpreter" in said
        assert (home / "runs" / of_it.split()[2] / "report.html").exists(), "the run has the id that was settled"
    assert len(list((home / "runs").iterdir())) == 3
    assert list(Path(tempfile.gettempdir()).glob(f"{scratch_prefix(home)}*")) == []

    (repository / "config.yaml").write_text("version: 1\nmodel: {name: tiny")
    failed = subprocess.run(
        [sys.executable, "-m", "modelyard.cli", "build", str(repository / "config.yaml")],
        env={**os.environ, "MODELYARD_HOME": str(home)}, capture_output=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert failed.returncode == 2
    assert len(list((home / "runs").iterdir())) == 3, "what was begun for a build that never began is gone"
    assert list(Path(tempfile.gettempdir()).glob(f"{scratch_prefix(home)}*")) == []
