from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from modelyard.build.source import commit, left_out, locate, package, without
from modelyard.errors import BadInput, NotFound


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    (folder / "helpers").mkdir(parents=True)
    (folder / "train.py").write_text("print()")
    (folder / "helpers" / "features.py").write_text("x = 1")
    (folder / "lookup.csv").write_text("a,b\n1,2\n")
    return folder


def test_what_is_copied_and_what_is_not(repo: Path, tmp_path: Path) -> None:
    for name in (".git/config", ".venv/bin/python", ".env", "__pycache__/train.pyc", "mlruns/0/meta", "x.pyc",
                 "myenv/pyvenv.cfg", "myenv/lib/os.py", "node_modules/a.js", "pkg.egg-info/PKG-INFO"):  # fmt: skip
        path = repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no")
    (repo / "helpers" / "data").mkdir()
    (repo / "helpers" / "data" / "__init__.py").write_text("")
    (repo / "big.parquet").write_bytes(b"0" * 1_048_577)
    (repo / "source.csv").write_text("x\n1\n")
    package(repo, "train.py", None, tmp_path / "code", exclude=[repo / "source.csv"])
    assert names(tmp_path / "code") == ["helpers/data/__init__.py", "helpers/features.py", "lookup.csv", "train.py"]


def test_a_folder_of_data_is_copied_unless_it_holds_the_source_or_is_large(repo: Path, tmp_path: Path) -> None:
    copy, lookup = tmp_path / "code", repo / "data" / "deep" / "lookup.npy"
    lookup.parent.mkdir(parents=True)
    lookup.write_text("0")
    (repo / "data" / "rows.csv").write_text("x\n1\n")
    package(repo, "train.py", None, copy)
    assert names(copy / "data") == ["deep/lookup.npy", "rows.csv"]
    assert left_out(repo, copy, "data/rows.csv") is None
    assert left_out(repo, copy, "data/nothing.csv") is None

    (copy.rename(tmp_path / "first"), package(repo, "train.py", None, copy, exclude=[repo / "data" / "rows.csv"]))
    assert not (copy / "data").exists()
    told = left_out(repo, copy, "data/deep/lookup.npy", exclude=[repo / "data" / "rows.csv"])
    assert told == ("data/", "it holds what the build reads for itself")

    (repo / "data" / "weights.bin").write_bytes(b"0" * (10 * 2**20))
    (copy.rename(tmp_path / "second"), package(repo, "train.py", None, copy))
    assert left_out(repo, copy, "data/deep") == ("data/", "it has over 10 MB")


def test_what_was_left_out_and_why(repo: Path, tmp_path: Path) -> None:
    (repo / "helpers" / "big.csv").write_bytes(b"0" * 1_048_577)
    (repo / "source.csv").write_text("x\n")
    (repo / "mlruns").mkdir()
    (repo / "mlruns" / "m").touch()
    package(repo, "train.py", None, tmp_path / "code", exclude=[repo / "source.csv"])
    told = {name: left_out(repo, tmp_path / "code", name, exclude=[repo / "source.csv"]) for name in
            ("helpers/big.csv", "source.csv", "mlruns/m", "helpers/features.py", "nothing")}  # fmt: skip
    assert told == {
        "helpers/big.csv": ("helpers/big.csv", "a table of over 1 MB is data"),
        "source.csv": ("source.csv", "the build reads it for itself, as it is named in the config"),
        "mlruns/m": ("mlruns/", "folders of such a name are"),
        "helpers/features.py": None,
        "nothing": None,
    }


def test_the_hash_is_of_content_alone(repo: Path, tmp_path: Path) -> None:
    first = package(repo, "train.py", None, tmp_path / "1")
    (repo / "train.py").touch()
    (repo / ".hidden").write_text("x")
    assert package(repo, "train.py", None, tmp_path / "2") == first
    (repo / "train.py").chmod(0o755)
    executable = package(repo, "train.py", None, tmp_path / "3")
    (repo / "helpers" / "features.py").write_text("x = 2")
    edited = package(repo, "train.py", None, tmp_path / "4")
    (repo / "helpers" / "features.py").rename(repo / "helpers" / "features2.py")
    assert len({first, executable, edited, package(repo, "train.py", None, tmp_path / "5")}) == 4


def test_source_dir(repo: Path, tmp_path: Path) -> None:
    assert locate(repo, "features.py", "helpers") == (repo / "helpers", "features.py")
    assert locate(repo, "helpers/features.py", "helpers") == (repo / "helpers", "features.py")
    assert locate(repo, "helpers/features.py", None) == (repo / "helpers", "features.py")
    assert locate(repo, "helpers/features.py", ".") == (repo, "helpers/features.py")
    package(repo, "features.py", "helpers", tmp_path / "code")
    assert names(tmp_path / "code") == ["features.py"]
    package(repo, "train.py", None, repo / "out")
    assert names(repo / "out") == ["helpers/features.py", "lookup.csv", "train.py"]


def test_links(repo: Path, tmp_path: Path) -> None:
    (repo / "link.py").symlink_to(repo / "train.py")
    package(repo, "train.py", None, tmp_path / "code")
    assert (tmp_path / "code" / "link.py").read_text() == "print()"
    assert not (tmp_path / "code" / "link.py").is_symlink()
    (tmp_path / "secret").write_text("hunter2")
    (repo / "out.py").symlink_to(tmp_path / "secret")
    with pytest.raises(BadInput, match=r"out\.py is a link that leads out"):
        package(repo, "train.py", None, tmp_path / "code2")
    with pytest.raises(BadInput, match=r"out\.py is a link that leads out"):
        package(repo, "out.py", None, tmp_path / "code3")


def test_bad_code(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no tain\.py"):
        package(repo, "tain.py", None, tmp_path / "code")
    (repo / "weights.bin").write_bytes(b"0" * (50 * 2**20 + 1))
    with pytest.raises(BadInput, match="the code has 50 MB; 50 are the most") as caught:
        package(repo, "train.py", None, tmp_path / "code")
    assert "weights.bin" in caught.value.next
    assert not (tmp_path / "code").exists()


def test_a_name_that_is_no_text(repo: Path, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(repo) + b"/caf\xe9.txt")).write_text("")
    with pytest.raises(BadInput, match=r"the name of caf.\.txt is no UTF-8") as caught:
        package(repo, "train.py", None, tmp_path / "code")
    str(caught.value).encode()


def test_commit(repo: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        return subprocess.run(["git", "-C", str(repo), *identity, *words], check=True, capture_output=True, text=True).stdout

    assert (commit(repo)["commit"], without(repo)) == (None, "not in Git")
    git("init", "-q")
    assert (commit(repo), without(repo / "helpers")) == ({"commit": None, "dirty": False}, "in Git, without a commit")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    assert commit(repo) == {"commit": git("rev-parse", "HEAD").strip(), "dirty": False}
    (repo / "new.py").write_text("")
    assert commit(repo)["dirty"]
    assert not commit(repo / "helpers")["dirty"]


def test_a_repository_that_git_does_not_read(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of another user, in a container that was given a checkout."""
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert commit(repo)["commit"] is None
    assert without(repo / "helpers") == f"its commit is not known: Git does not read {repo} here (`git -C {repo} status` says why)"
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert without(repo).endswith("git is not installed")


def test_a_repository_runs_no_program_of_its_choice(repo: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "-C", str(repo), "init", "-q"], check=True)
    trap = tmp_path / "trap"
    (tmp_path / "monitor").write_text(f"#!/bin/sh\ntouch {trap}\n")
    (tmp_path / "monitor").chmod(0o755)
    subprocess.run(["git", "-C", str(repo), "config", "core.fsmonitor", str(tmp_path / "monitor")], check=True)
    subprocess.run(["git", "-C", str(repo), "status"], check=True, capture_output=True)
    assert trap.exists(), "the trap does not work, so nothing is shown"
    trap.unlink()
    commit(repo)
    assert not trap.exists()
