from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.build import bundle
from modelyard.errors import BadInput, NoRoom, NotFound
from modelyard.signature import Column, Signature

SIGNATURE = Signature("regression", (Column("x", "float"),), target_col="y")
MANIFEST = {"model": "m", "metrics": {"rmse": 1.5}, "note": "é"}


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    return fill(tmp_path / "staging")


def fill(folder: Path) -> Path:
    for name, text in {
        "model/model.joblib": "weights",
        "code/train.py": "print()",
        "config.yaml": "version: 1",
        "report.html": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "signature.json").write_text(json.dumps(SIGNATURE.to_dict()))
    return folder


def test_seal_and_open(staging: Path, home: Path) -> None:
    sealed = bundle.seal(staging, MANIFEST, home)
    assert sealed.path == home / "bundles" / sealed.digest
    assert sealed.signature == SIGNATURE
    assert {k: v for k, v in sealed.manifest.items() if k != "files"} == MANIFEST
    assert sorted(sealed.manifest["files"]) == [
        "code/train.py", "config.yaml", "model/model.joblib", "report.html", "signature.json",
    ]  # fmt: skip
    assert sealed.manifest["files"]["model/model.joblib"]["size"] == 7
    assert bundle.open(sealed.digest, home) == bundle.open(sealed.path, home) == sealed
    assert not [p for p in (sealed.path, *sealed.path.rglob("*")) if p.stat().st_mode & 0o222]
    assert (staging / "config.yaml").is_file()


def test_the_same_content_is_one_bundle(staging: Path, home: Path) -> None:
    first = bundle.seal(staging, MANIFEST, home)
    again = bundle.seal(staging, dict(reversed(MANIFEST.items())), home)
    assert again == first
    assert [p.name for p in (home / "bundles").iterdir()] == [first.digest]
    (staging / "model" / "model.joblib").write_text("Weights")
    assert bundle.seal(staging, MANIFEST, home).digest != first.digest
    assert bundle.seal(staging, {**MANIFEST, "note": ""}, home).digest != first.digest


def reopen(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda p: (p / "model" / "model.joblib").write_text("weighty"), "model/model.joblib"),
        (lambda p: (p / "code" / "train.py").unlink(), "code/train.py"),
        (lambda p: (p / "code" / "extra.py").write_text(""), "code/extra.py"),
        (lambda p: (p / "manifest.json").write_text((p / "manifest.json").read_text().replace("1.5", "2.5")), "manifest.json"),
        (lambda p: (p / "manifest.json").write_text("{"), "manifest.json"),
        (lambda p: (p / "manifest.json").write_text("[]"), "manifest.json"),
    ],
)
def test_a_changed_bundle_is_refused_by_name(staging: Path, home: Path, damage: Any, named: str) -> None:
    sealed = bundle.seal(staging, MANIFEST, home)
    reopen(sealed.path)
    damage(sealed.path)
    with pytest.raises(BadInput, match=f"digest mismatch: {named} is not what was sealed"):
        bundle.open(sealed.digest, home)


@settings(max_examples=40)
@given(data=st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    sealed = bundle.seal(fill(tmp_path_factory.mktemp("staging")), MANIFEST, home)
    reopen(sealed.path)
    name = data.draw(st.sampled_from([n for n in (*sealed.manifest["files"], "manifest.json") if n != "report.html"]))
    content = bytearray((sealed.path / name).read_bytes())
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    (sealed.path / name).write_bytes(content)
    with pytest.raises(BadInput, match="digest mismatch"):
        bundle.open(sealed.digest, home)


def test_what_user_code_may_have_left_is_refused(staging: Path, home: Path) -> None:
    for make in (
        lambda p: p.symlink_to("/etc/passwd"),
        lambda p: p.symlink_to(staging / "config.yaml"),
        lambda p: p.symlink_to(staging / "code"),
        lambda p: os.mkfifo(p),
        lambda p: socket.socket(socket.AF_UNIX).bind(str(p)),
    ):
        odd = staging / "model" / "odd"
        make(odd)
        with pytest.raises(BadInput, match=r"model/odd is (a link|no plain file)"):
            bundle.seal(staging, MANIFEST, home)
        with pytest.raises(BadInput, match=r"odd is (a link|no plain file)"):
            bundle.verify(staging / "model")
        odd.unlink()
    assert not (home / "bundles").exists() or not list((home / "bundles").iterdir())


def test_a_name_that_is_no_text_is_refused_before_anything_is_spent_on_the_model(staging: Path, home: Path) -> None:
    for odd in (b"odd\xff", b"odd\xff/weights"):
        path = os.fsencode(staging / "model") + b"/" + odd
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120  (no Path is made of bytes)
        Path(os.fsdecode(path)).write_text("")
        with pytest.raises(BadInput, match=r"the name of .* is no UTF-8"):
            bundle.verify(staging / "model")
        Path(os.fsdecode(path)).unlink()


def test_bad_input(staging: Path, home: Path) -> None:
    for digest in ("0" * 64, "../..", ""):
        with pytest.raises(NotFound):
            bundle.open(digest, home)
    with pytest.raises(BadInput, match="the manifest is not plain JSON"):
        bundle.seal(staging, {"x": float("nan")}, home)
    (staging / "signature.json").write_text("{}")
    with pytest.raises(BadInput, match=r"signature\.json is no signature"):
        bundle.seal(staging, MANIFEST, home)
    (staging / "signature.json").unlink()
    with pytest.raises(BadInput, match=r"needs a signature\.json"):
        bundle.seal(staging, MANIFEST, home)
    assert list((home / "bundles").iterdir()) == []


def test_a_full_disk_leaves_nothing(staging: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fired = []

    def full(handle: int) -> None:
        fired.append(handle)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle.os, "fsync", full)
    with pytest.raises(NoRoom):
        bundle.seal(staging, MANIFEST, home)
    assert fired
    assert list((home / "bundles").iterdir()) == []


def test_a_copied_bundle_opens_by_path(staging: Path, home: Path, tmp_path: Path) -> None:
    sealed = bundle.seal(staging, MANIFEST, home)
    shutil.copytree(sealed.path, tmp_path / "copy")
    reopen(tmp_path / "copy")
    assert bundle.open(tmp_path / "copy", home).digest == sealed.digest
