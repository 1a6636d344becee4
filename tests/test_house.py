"""The house's rules that a linter cannot see, on the running code, and the foundations themselves."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

HEAVY = {"polars", "pyarrow", "pandas", "sklearn", "scipy", "matplotlib", "mlflow", "optuna", "sqlalchemy", "duckdb"}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules of a fresh process after `statement`."""
    code = f"import sys\n{statement}\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_probe_sees_what_is_loaded() -> None:
    assert "polars" in loaded_by("import polars")


@pytest.mark.parametrize("module", ["modelyard.serve.front", "modelyard.cli", "modelyard.config.load"])
def test_quick_or_exposed_modules_load_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") & HEAVY == set()


def test_the_runtime_loads_only_the_standard_library_and_itself() -> None:
    modules = loaded_by("import modelyard.runtime.runner") - set(sys.stdlib_module_names)
    assert {m for m in modules if not m.startswith(("_", "__"))} <= {"modelyard", "sitecustomize", "usercustomize"}


def test_no_shell_true_in_the_product() -> None:
    sources = list((ROOT / "src").rglob("*.py"))
    assert len(sources) > 10
    assert [str(p) for p in sources if "shell=True" in p.read_text()] == []


def test_version_and_licence_are_stated_once_and_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    code = "import modelyard; print(modelyard.__version__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == project["version"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]


def test_setup_has_nothing_to_do_twice(tmp_path: Path) -> None:
    """Where the stamps are there, setup.sh neither makes nor installs anything; where pyproject.toml changed, it does."""
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / "scripts" / "setup.sh").write_bytes((ROOT / "scripts" / "setup.sh").read_bytes())
    (checkout / "pyproject.toml").write_text("# one\n")
    # A stand-in for uv notes that it was called, and with what.
    uv = checkout / ".venv" / "bin" / "uv"
    uv.write_text('#!/bin/sh\necho "$@" >>"$(dirname "$0")/calls"\n')
    uv.chmod(0o755)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    calls = checkout / ".venv" / "bin" / "calls"

    def setup(*groups: str) -> list[str]:
        subprocess.run(["sh", str(checkout / "scripts" / "setup.sh"), *groups], check=True, capture_output=True)
        return calls.read_text().splitlines()

    assert len(setup("dev")) == 1
    assert len(setup("dev")) == 1, "nothing changed"
    assert len(setup()) == 1, "the product alone was part of it"
    assert "--group docs" in setup("docs")[-1], "another group is still to install"
    (checkout / "pyproject.toml").write_text("# two\n")
    assert len(setup("dev")) == 3, "pyproject.toml changed"
