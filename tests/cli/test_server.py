"""The background server: it does not start for nothing, and does not outlive its home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def modelyard(home: Path, *words: str) -> subprocess.Popen[str]:
    env = {**os.environ, "MODELYARD_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, "-m", "modelyard.cli", *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_mistyped_model_starts_no_server(tmp_path: Path) -> None:
    for verb in ("deploy", "rollback", "retrain"):
        said = modelyard(tmp_path / "home", verb, "nobody")
        _, err = said.communicate(timeout=60)
        assert said.returncode == 2
        assert "there is no model `nobody`" in err
    assert not (tmp_path / "home" / "server.log").exists()


def test_a_server_ends_with_its_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    server = modelyard(home, "server", "--port", "0", "--json")
    assert server.stdout is not None
    assert '"console"' in server.stdout.readline()
    shutil.rmtree(home)
    began = time.monotonic()
    _, err = server.communicate(timeout=60)
    assert server.returncode == 1, f"it ended after {time.monotonic() - began:.0f} s"
    assert "the home is gone" in err
