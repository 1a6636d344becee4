"""What R sees: asked once, and read again each time; over libraries of this test's own and the system's R."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from modelyard.build import rpackages
from tests.needs import needs_r

pytestmark = needs_r


def install(library: Path, name: str, version: str) -> None:
    """As `install.packages` leaves it; a later one in the very place, as apt does."""
    (library / name).mkdir(parents=True, exist_ok=True)
    (library / name / "DESCRIPTION").write_text(f"Package: {name}\nVersion: {version}\nBuilt: R 4.2.2; ; 2026-01-01 00:00:00 UTC; unix\n")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    install(tmp_path / "library", "glmnet", "4.1-8")
    return tmp_path / "library"


def found(home: Path, library: Path) -> rpackages.R:
    r = rpackages.found(home, {"R_LIBS": str(library), "OTHER": "never told to R"})
    assert r is not None
    return r


def test_it_is_the_r_that_rscript_says_it_is(home: Path, library: Path) -> None:
    r, said = found(home, library), subprocess.run(["Rscript", "-e", "cat(R.version.string)"], capture_output=True, text=True).stdout
    assert f"R version {r.version} " in f"{said} " and str(r) == f"R {r.version} with {r.packages} packages"
    own = rpackages.found(home, {})
    assert own is not None and r.packages == own.packages + 1 and r.digest != own.digest
    asked = "cat(nrow(unique(installed.packages(noCache = TRUE)[, 'Package', drop = FALSE])))"
    env = {**os.environ, "HOME": "/nowhere"}
    count = int(subprocess.run(["Rscript", "-e", asked], capture_output=True, text=True, env=env).stdout)
    assert own.packages - count in (0, 1), "its translations are none of its own list"


@pytest.mark.parametrize("change", ["a version", "one more", "one less", "another library"])
def test_whatever_changes_in_the_libraries_is_another_digest(home: Path, library: Path, tmp_path: Path, change: str) -> None:
    before = found(home, library)
    assert found(home, library) == before
    if change == "a version":
        install(library, "glmnet", "4.1-9")
    elif change == "one more":
        install(library, "ranger", "0.16.0")
    elif change == "one less":
        shutil.rmtree(library / "glmnet")
    else:
        install(tmp_path / "first", "ranger", "0.16.0")
        library = Path(f"{tmp_path / 'first'}:{library}")
    after = found(home, library)
    assert after.digest != before.digest and after.version == before.version


def test_a_library_that_comes_to_be_is_seen(home: Path, tmp_path: Path) -> None:
    before = found(home, tmp_path / "later")
    install(tmp_path / "later", "glmnet", "4.1-8")
    assert found(home, tmp_path / "later").packages == before.packages + 1


def test_r_is_asked_once(home: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = found(home, library)
    monkeypatch.setattr(rpackages.subprocess, "run", lambda *_, **__: pytest.fail("R was asked again"))
    assert found(home, library) == before
    install(library, "glmnet", "4.1-9")
    assert found(home, library) != before, "its packages are read without it"


def test_a_note_that_is_damaged_is_made_again(home: Path, library: Path) -> None:
    before = found(home, library)
    (note,) = (home / "locks").glob("r-*.json")
    for text in ("", "{}", '{"mark": [], "home": 3, "asked": 1}'):
        note.write_text(text)
        assert found(home, library) == before


def test_no_profile_of_the_person_is_run(home: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".Rprofile").write_text("stop('never')\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert found(home, library).packages > 1


def test_where_there_is_no_r_there_is_none(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rpackages, "PATH", str(tmp_path))
    assert rpackages.found(home, {}) is None and rpackages.key(home, {}) == {"r": ""}
    (tmp_path / "Rscript").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "Rscript").chmod(0o755)
    assert rpackages.found(home, {}) is None, "nor where it cannot run"
