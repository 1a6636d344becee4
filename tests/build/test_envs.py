"""Environments: made once, shared, found whole or made anew."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.build import envs, locks
from modelyard.errors import StepFailed


def test_an_environment_is_made_once_and_found_in_no_time(index: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("MODELYARD_SECRET_CANARY", "hunter2")
    env = envs.ensure("alpha==1.0\nbeta==2.5\n", home)
    code = "import alpha, beta, sys; print(alpha.version, beta.version, sys.prefix)"
    said = subprocess.run([str(env.python), "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert said == ["1.0", "2.5", str(home / "envs" / env.digest)]
    assert list((home / "envs" / env.digest).rglob("alpha*.pyc")), "a step cannot write there, so bytecode must be there"
    monkeypatch.setattr(envs.installer, "uv", lambda *a: pytest.fail("uv ran again"))
    assert envs.ensure("alpha==1.0\nbeta==2.5\n", home) == env


def test_another_lock_or_python_is_another_environment(index: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envs, "_make", lambda *a: None)
    first = envs.ensure("beta==1.5\n", home)
    assert envs.ensure("beta==2.5\n", home).digest != first.digest
    there = envs.pythons.own()
    monkeypatch.setattr(envs.pythons, "own", lambda: replace(there, version="3.99.0"))
    assert envs.ensure("beta==1.5\n", home).digest != first.digest


def test_one_half_made_is_made_anew(index: Path, home: Path) -> None:
    env = envs.ensure("beta==1.5\n", home)
    folder = home / "envs" / env.digest
    before = (folder / ".ready").stat().st_mtime_ns
    (folder / ".ready").unlink()  # as a kill before the last step leaves it
    (folder / "half").touch()
    assert envs.ensure("beta==1.5\n", home) == env
    assert not (folder / "half").exists()
    assert (folder / ".ready").stat().st_mtime_ns != before
    assert json.loads((folder / ".ready").read_text())["python"] == sys.version.split()[0]
    env.python.unlink()  # the installation that it was made from is gone
    env.python.symlink_to("/nowhere/python")
    assert os.access(envs.ensure("beta==1.5\n", home).python, os.X_OK)


def _ensure(home: Path, at: float) -> str:
    time.sleep(max(0, at - time.time()))
    return str(envs.ensure("beta==1.5\n", home).python)


def test_many_at_once_make_one(index: Path, home: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.starmap(_ensure, [(home, time.time() + 0.5)] * 4)
    assert len(set(found)) == 1
    subprocess.run([found[0], "-c", "import beta"], check=True)
    assert sorted(p.suffix for p in (home / "envs").iterdir()) == ["", ".lock"]


@pytest.mark.parametrize("how", ["deleted", "cut", "rewritten", "added"])
def test_a_damaged_environment_is_found_and_made_anew(index: Path, home: Path, how: str) -> None:
    lock = "beta==1.5\n"
    env = envs.ensure(lock, home)
    module = next((home / "envs" / env.digest).rglob("beta.py"))
    if how == "deleted":
        module.unlink()
    elif how == "added":
        module.with_name("beta_plus.py").write_text("")
    else:
        module.unlink()  # the file in uv's own cache is the same one, a hard link
        module.write_text("" if how == "cut" else "version = '1.6'\n")
    envs.ensure(lock, home, afresh=True)
    assert module.read_text() == "version = '1.5'\n"
    assert not module.with_name("beta_plus.py").exists()


def test_bytecode_that_comes_with_use_is_no_damage(index: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = envs.ensure("beta==1.5\n", home)
    subprocess.run([str(env.python), "-O", "-c", "import beta"], check=True)
    monkeypatch.setattr(envs.installer, "uv", lambda *a: pytest.fail("uv ran again"))
    envs.ensure("beta==1.5\n", home, afresh=True)


def test_what_the_index_does_not_have_is_explained(index: Path, home: Path) -> None:
    with pytest.raises(StepFailed, match="the environment cannot be made"):
        envs.ensure("no-such-package==1\n", home)
    assert not list((home / "envs").glob("*/.ready"))


def test_packages_that_run_code_to_be_built_see_no_secret(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_SECRET_CANARY", "hunter2")
    seen = {}

    def run(argv: list[str], **options: object) -> object:
        seen.update(options["env"])  # type: ignore[call-overload]
        raise KeyboardInterrupt

    monkeypatch.setattr(envs.installer.processes, "run", run)
    with pytest.raises(KeyboardInterrupt):
        envs.ensure("beta==1.5\n", home)
    assert "PATH" in seen
    assert "hunter2" not in json.dumps(seen)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["sklearn", "onnx"])
def test_the_default_requirements_of_a_framework(framework: str, home: Path) -> None:
    text = locks.lock(None, framework, home).text
    assert all("==" in line and "://" not in line for line in text.splitlines()[1:])
    env = envs.ensure(text, home)
    code = {"sklearn": "import sklearn, pandas, pyarrow, joblib", "onnx": "import onnxruntime, numpy"}[framework]
    subprocess.run([str(env.python), "-c", code], check=True)
