from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from modelyard.build import envs
from modelyard.errors import BadInput, NotFound, StepFailed


def wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> None:
    """A package of one module, as a wheel made by hand: no test needs the network for it."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {r}\n" for r in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", f"version = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of our own that uv is told of by its environment, as a person's machine would."""
    folder = tmp_path / "wheels"
    wheel(folder, "alpha", "1.0", ("beta>=1",))
    wheel(folder, "alpha", "2.0", ("beta>=2",))
    wheel(folder, "beta", "1.5")
    wheel(folder, "beta", "2.5")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def requirements(folder: Path, text: str) -> Path:
    path = folder / "requirements.txt"
    path.write_text(text)
    return path


def test_a_lock_pins_all_and_names_no_index(index: Path, tmp_path: Path) -> None:
    path = requirements(tmp_path, f"# models need this\n--find-links {index}\nalpha<2\n")
    text = envs.lock(path, "sklearn")
    assert text == "alpha==1.0\nbeta==2.5\n"
    assert envs.lock(path, "onnx") == text


def test_an_environment_is_made_once_and_found_in_no_time(index: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("MODELYARD_SECRET_CANARY", "hunter2")
    env = envs.ensure("alpha==1.0\nbeta==2.5\n", home)
    code = "import alpha, beta, sys; print(alpha.version, beta.version, sys.prefix)"
    said = subprocess.run([str(env.python), "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert said == ["1.0", "2.5", str(home / "envs" / env.digest)]
    assert list((home / "envs" / env.digest).rglob("alpha*.pyc")), "a step cannot write there, so bytecode must be there"
    monkeypatch.setattr(envs, "_uv", lambda *a: pytest.fail("uv ran again"))
    assert envs.ensure("alpha==1.0\nbeta==2.5\n", home) == env


def test_another_lock_or_python_is_another_environment(index: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envs, "_make", lambda env, folder: None)
    first = envs.ensure("beta==1.5\n", home)
    assert envs.ensure("beta==2.5\n", home).digest != first.digest
    monkeypatch.setattr(envs.platform, "python_version", lambda: "3.99.0")
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


def test_requirements_that_conflict_are_explained(index: Path, tmp_path: Path) -> None:
    path = requirements(tmp_path, "alpha==2.0\nbeta<2\n")
    with pytest.raises(StepFailed, match=r"requirements\.txt cannot be resolved") as caught:
        envs.lock(path, "sklearn")
    said = " ".join(caught.value.log_tail)
    assert "depends on beta>=2" in said
    assert "unsatisfiable" in said


def test_bad_requirements(index: Path, tmp_path: Path, home: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no requirements\.txt"):
        envs.lock(tmp_path / "requirements.txt", "sklearn")
    with pytest.raises(StepFailed, match="cannot be resolved"):
        envs.lock(requirements(tmp_path, "not a requirement !!\n"), "sklearn")
    with pytest.raises(StepFailed, match="cannot be resolved"):
        envs.lock(requirements(tmp_path, "no-such-package\n"), "sklearn")
    with pytest.raises(StepFailed, match="the environment cannot be made"):
        envs.ensure("no-such-package==1\n", home)
    assert not list((home / "envs").glob("*/.ready"))


def test_a_password_never_gets_into_a_lock(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(argv: list[str], what: str, cwd: Path, work: Path) -> None:
        Path(argv[argv.index("--output-file") + 1]).write_text("alpha @ https://bob:hunter2@example.com/alpha.whl\n")

    monkeypatch.setattr(envs, "_uv", resolve)
    with pytest.raises(BadInput, match="holds a password") as caught:
        envs.lock(requirements(tmp_path, "alpha\n"), "sklearn")
    assert "hunter2" not in str(caught.value)


def test_packages_that_run_code_to_be_built_see_no_secret(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_SECRET_CANARY", "hunter2")
    seen = {}

    def run(argv: list[str], **options: object) -> object:
        seen.update(options["env"])  # type: ignore[call-overload]
        raise KeyboardInterrupt

    monkeypatch.setattr(envs.processes, "run", run)
    with pytest.raises(KeyboardInterrupt):
        envs.ensure("beta==1.5\n", home)
    assert "PATH" in seen
    assert "hunter2" not in json.dumps(seen)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["sklearn", "onnx"])
def test_the_default_requirements_of_a_framework(framework: str, home: Path) -> None:
    text = envs.lock(None, framework)
    assert all("==" in line and "://" not in line for line in text.splitlines())
    env = envs.ensure(text, home)
    code = {"sklearn": "import sklearn, pandas, pyarrow, joblib", "onnx": "import onnxruntime, numpy"}[framework]
    subprocess.run([str(env.python), "-c", code], check=True)
