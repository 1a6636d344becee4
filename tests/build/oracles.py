"""SageMaker's own toolkits as oracles: each in an environment of its own, asked many times through one process."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import uv
from hypothesis import strategies as st


@cache
def _folder(package: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="oracle-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def install(package: str, *options: str) -> Path:
    """The interpreter of an environment with `package`, made once; skips where it cannot be had, and fails in CI."""
    folder = _folder(package)
    python = folder / "bin" / "python"
    if (folder / "whole").exists():
        return python
    for words in (
        ["venv", "--python", sys.executable, str(folder), "--allow-existing", "--seed"],
        ["pip", "install", "--python", str(python), package, *options],
    ):
        done = subprocess.run([uv.find_uv_bin(), *words, "--quiet"], capture_output=True, text=True)
        if done.returncode != 0:
            reason = f"{package} cannot be installed here: {done.stderr.strip()[-300:]}"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    (folder / "whole").touch()
    return python


class Oracle:
    """A Python process that answers a JSON line with a JSON line."""

    def __init__(self, python: Path, script: str, env: dict[str, str]) -> None:
        argv = [str(python), "-c", script]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin", **env}
        )

    def ask(self, question: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate("")


_NAMES = st.one_of(
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.sampled_from(["sagemaker_own", "sagemaker_enable_cloudwatch_metrics", "_tuning_objective_metric", "é"]),
)
_TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20),
    st.sampled_from(["1", "true", "null", '"1"', "[1, 2]", '{"a": 1}', "NaN", "1e3", "", "a=b", "$(ls)", "-x", "0x10", "01"]),
)
_PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(10**18), 10**18), st.floats(allow_nan=False), _TEXTS)
VALUES = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc-_", min_size=1, max_size=3), inner, max_size=3)
)
_WORDS = st.from_regex(r"[A-Za-z0-9./_-]{1,12}", fullmatch=True)
_OWN = st.fixed_dictionaries({}, optional={f"sagemaker_{name}": _WORDS for name in ("program", "job_name", "region")})
HYPERPARAMETERS = st.builds(lambda own, others: {**own, **others}, _OWN, st.dictionaries(_NAMES, VALUES, max_size=6))
"""Of SageMaker's own, which its toolkits put into variables as they are, words only: theirs fail on anything else."""
CHANNELS = st.lists(st.from_regex(r"[a-z][A-Za-z0-9_.-]{0,8}", fullmatch=True), unique_by=str.upper, max_size=3)
HOSTS = st.integers(1, 12).map(lambda n: [f"algo-{i + 1}" for i in range(n)])
