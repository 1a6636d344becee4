"""Brought models: files, folders and archives come in whole; nothing in an archive reaches out of its folder."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.data import artifacts
from modelyard.errors import BadInput, NotFound

FILES = {"model.joblib": b"m", "code/inference.py": b"def model_fn(d): pass\n", "code/requirements.txt": b"numpy\n"}


def archive(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(path, "w:gz") as file:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            file.addfile(member, io.BytesIO(content) if member.isreg() else None)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    return made


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


def held(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("where", ["path", "url"])
@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_folder_and_sagemakers_archive_are_the_same_model(tmp_path: Path, into: Path, kind: str, where: str) -> None:
    for name, content in FILES.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(content)
    archive(tmp_path / "model.tar.gz", [(member(f"./{name}"), content) for name, content in FILES.items()])
    name = "folder" if kind == "folder" else "model.tar.gz"
    location = name if where == "path" else (tmp_path / name).as_uri()
    digest = artifacts.fetch(location, folder=tmp_path, into=into)
    assert held(into) == FILES
    assert artifacts.requirements(into) == into / "code" / "requirements.txt"
    (tmp_path / "again").mkdir()
    assert artifacts.fetch("folder", folder=tmp_path, into=tmp_path / "again") == digest
    (tmp_path / "folder" / "model.joblib").write_bytes(b"another")
    (tmp_path / "third").mkdir()
    assert artifacts.fetch("folder", folder=tmp_path, into=tmp_path / "third") != digest


def test_a_file_keeps_its_name_and_executables_stay_so(tmp_path: Path, into: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"o")
    artifacts.fetch("m.onnx", folder=tmp_path, into=into)
    assert held(into) == {"m.onnx": b"o"} and artifacts.requirements(into) is None
    archive(tmp_path / "x.tgz", [(member("serve", mode=0o755), b"#!/bin/sh\n"), (member("bin/tool"), b"")])
    (tmp_path / "other").mkdir()
    artifacts.fetch("x.tgz", folder=tmp_path, into=tmp_path / "other")
    assert os.access(tmp_path / "other" / "serve", os.X_OK) and not os.access(tmp_path / "other" / "bin" / "tool", os.X_OK)


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (member("../out"), "leads out"),
        (member("/etc/out"), "leads out"),
        (member("a/../../out"), "leads out"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), "a link or a special file"),
        (member("link", tarfile.LNKTYPE, "model"), "a link or a special file"),
        (member("pipe", tarfile.FIFOTYPE), "a link or a special file"),
        (member("device", tarfile.CHRTYPE), "a link or a special file"),
        (member("model"), "cannot be unpacked"),  # twice the same name
    ],
)
def test_what_no_model_holds_is_refused(tmp_path: Path, into: Path, bad: tarfile.TarInfo, what: str) -> None:
    archive(tmp_path / "m.tar.gz", [(member("model"), b"m"), (bad, b"x")])
    with pytest.raises(BadInput, match=what):
        artifacts.fetch("m.tar.gz", folder=tmp_path, into=into)
    assert not (tmp_path / "out").exists()


def test_too_much_is_refused(tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path / "m.tar.gz", [(member(f"f{i}"), bytes(1000)) for i in range(4)])
    for limit, value in (("MOST_FILES", 3), ("MOST_BYTES", 3999)):
        with monkeypatch.context() as patch, pytest.raises(BadInput, match="holds more than"):
            patch.setattr(artifacts, limit, value)
            folder = into / limit
            folder.mkdir()
            artifacts.fetch("m.tar.gz", folder=tmp_path, into=folder)


def test_a_folder_with_a_link_and_what_is_not_there(tmp_path: Path, into: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match="is empty"):
        artifacts.fetch("folder", folder=tmp_path, into=into)
    (tmp_path / "folder" / "model").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="model is a link"):
        artifacts.fetch("folder", folder=tmp_path, into=into)
    for location in ("nothing", (tmp_path / "nothing").as_uri()):
        with pytest.raises(NotFound, match="no file or folder"):
            artifacts.fetch(location, folder=tmp_path, into=into)
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    with pytest.raises(BadInput, match="cannot be unpacked"):
        artifacts.fetch("broken.tar.gz", folder=tmp_path, into=into)


def test_the_requirements_of_an_mlflow_model(into: Path) -> None:
    (into / "requirements.txt").write_text("numpy\n")
    assert artifacts.requirements(into) is None, "a requirements.txt alone may be anybody's"
    (into / "MLmodel").write_text("flavors: {}\n")
    assert artifacts.requirements(into) == into / "requirements.txt"


@given(st.text(max_size=20))
def test_any_name_stays_inside_or_is_refused(name: str) -> None:
    try:
        path = artifacts._inside(name)
    except BadInput:
        return
    assert (Path("/a/b") / path).as_posix().startswith("/a/b/") and ".." not in path.parts
