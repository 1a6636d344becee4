"""The wheel, in a fresh environment: what a person gets who types `uv pip install modelyard`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import uv

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def run(*words: str, cwd: Path) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(uv.find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(out), str(ROOT), cwd=out)
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"modelyard", next(n for n in names if n.endswith("METADATA")).split("/")[0]}
    packaged = {name for name in names if name.startswith("modelyard/") and not name.endswith(".py")}
    here = {f"modelyard/{p.relative_to(ROOT / 'src' / 'modelyard')}" for p in (ROOT / "src" / "modelyard").rglob("*") if p.is_file()}
    data = {name for name in here if not name.endswith((".py", ".pyc"))}
    assert packaged == data
    for needed in ("control/templates/base.html.j2", "control/templates/live.js", "quality/templates/report.html.j2", "py.typed"):
        assert f"modelyard/{needed}" in packaged
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_installs_and_runs_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    run(uv.find_uv_bin(), "venv", "--quiet", "--python", sys.executable, str(tmp_path / "env"), cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    run(uv.find_uv_bin(), "pip", "install", "--quiet", "--python", str(python), str(wheel), cwd=tmp_path)
    modelyard = str(python.with_name("modelyard"))
    assert "Usage: modelyard" in run(modelyard, "--help", cwd=tmp_path)
    assert json.loads(run(modelyard, "schema", cwd=tmp_path))["title"]
    found = run(str(python), "-c", "import modelyard; print(modelyard.__file__)", cwd=tmp_path)
    assert found.startswith(str(tmp_path / "env")), "not the checkout's"
    pages = "import modelyard.control.app, modelyard.quality.report, modelyard.yard, modelyard.serve.front, modelyard.runtime.runner"
    run(str(python), "-c", pages, cwd=tmp_path)
    os.environ["MODELYARD_HOME"], before = str(tmp_path / "home"), os.environ["MODELYARD_HOME"]
    try:
        assert json.loads(run(modelyard, "status", "--json", cwd=tmp_path)) == []
        (tmp_path / "rows.csv").write_text("a,b,late\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(60)))
        run(modelyard, "init", "--data", "rows.csv", "--target", "late", "--name", "fresh", cwd=tmp_path)
        assert json.loads(run(modelyard, "check", "--json", cwd=tmp_path))["ok"]
    finally:
        os.environ["MODELYARD_HOME"] = before
