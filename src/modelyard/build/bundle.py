"""Bundles: all files of one version under one manifest, kept under its digest, never to change.

home/bundles/<digest>/ holds manifest.json, model/, code/, env/requirements.lock, signature.json, baseline.json, holdout.parquet,
report.html and config.yaml, as far as the build made them; signature.json is always there. The manifest names each file with its
size and SHA-256, and the digest is the SHA-256 of the manifest's canonical JSON, so one word vouches for all of it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.errors import BadInput, NoRoom, NotFound
from modelyard.files import garbled, sync
from modelyard.signature import Signature

MANIFEST, SIGNATURE = "manifest.json", "signature.json"


@dataclass(frozen=True)
class Bundle:
    """A sealed version. `manifest` is what `seal` was given, and `files`: `{name: {"sha256", "size"}}`."""

    digest: str
    path: Path
    manifest: dict[str, Any] = field(hash=False)
    signature: Signature = field(hash=False)


def seal(staging_dir: Path, manifest: Mapping[str, Any], home: Path) -> Bundle:
    """Keep the files of `staging_dir` as a bundle in `home`; the staging folder stays as it is.

    Sealing the same content again gives the same bundle. Writing is atomic: all is synced, then renamed into place.

    Raises BadInput for a link or a special file (what a model folder holds was written by user code), a missing or wrong
    signature.json, or a manifest that is not plain JSON, and NoRoom when the disk is full.
    """
    names = _names(staging_dir)
    if SIGNATURE not in names:
        raise BadInput("a bundle needs a signature.json", where=str(staging_dir))
    parent = home / "bundles"
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".sealing-", dir=parent))
    try:
        # hashed while copied: what is vouched for is what is kept
        files = {name: _copy(staging_dir / name, work / name) for name in names}
        text = _canonical({**manifest, "files": files})
        digest = hashlib.sha256(text).hexdigest()
        _signature(work / SIGNATURE)
        (work / MANIFEST).write_bytes(text)
        _freeze(work)
        try:
            work.rename(parent / digest)
        except OSError as exc:
            if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        sync(parent)
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom("the disk is full: the bundle was not sealed", where=str(parent), next="make room and start again") from exc
        raise
    finally:
        _remove(work)
    return open(digest, home)


def verify(folder: Path) -> None:
    """See that what is to be sealed later can be. Raises BadInput as `seal` does of files."""
    _names(folder)


def open(digest_or_path: str | Path, home: Path) -> Bundle:
    """The bundle kept under a digest, or in a folder, after each of its files was read and compared with the manifest.

    Raises NotFound, and BadInput "digest mismatch" naming the file that is changed, missing or extra.
    """
    path = Path(digest_or_path) if not _is_digest(str(digest_or_path)) else home / "bundles" / str(digest_or_path)
    if not (path / MANIFEST).is_file():
        raise NotFound(f"there is no bundle {str(digest_or_path)[:64]}", where=str(path.parent))
    text = (path / MANIFEST).read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    if _is_digest(path.name) and path.name != digest:
        raise _mismatch(MANIFEST, path)
    try:
        manifest = json.loads(text)
        files: dict[str, dict[str, Any]] = manifest["files"]
        expected = {name: (facts["sha256"], facts["size"]) for name, facts in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _mismatch(MANIFEST, path) from exc
    strange = set(_names(path)) - {MANIFEST} ^ set(expected)
    for name in sorted(strange):
        raise _mismatch(name, path)
    for name, wanted in expected.items():
        if _hash(path / name) != wanted:
            raise _mismatch(name, path)
    return Bundle(digest, path, manifest, _signature(path / SIGNATURE))


def _is_digest(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def _mismatch(name: str, path: Path) -> BadInput:
    hint = "the bundle was changed or damaged; deploy another version, or build this one again"
    return BadInput(f"digest mismatch: {name} is not what was sealed", where=str(path / name), next=hint)


def _names(folder: Path) -> list[str]:
    """Plain files below `folder`, relative, sorted. Raises BadInput for anything else but folders."""
    names = []
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if shown := garbled(str(path.relative_to(folder))):
            raise BadInput(f"the name of {shown} is no UTF-8, which a bundle's manifest needs", where=str(folder), next="name it otherwise")
        if stat.S_ISREG(mode):
            names.append(str(path.relative_to(folder)))
        elif not stat.S_ISDIR(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "no plain file"
            raise BadInput(
                f"{path.relative_to(folder)} is {kind}; a bundle holds plain files only", where=str(path), next="leave a copy instead"
            )
    return sorted(names)


def _copy(source: Path, target: Path) -> dict[str, Any]:
    target.parent.mkdir(parents=True, exist_ok=True)
    # O_NOFOLLOW: the file may have become a link since it was listed
    with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as reader, target.open("xb") as writer:
        seen, size = hashlib.sha256(), 0
        while chunk := reader.read(1 << 20):
            seen.update(chunk)
            writer.write(chunk)
            size += len(chunk)
        writer.flush()
        os.fsync(writer.fileno())
        os.fchmod(writer.fileno(), 0o755 if os.fstat(reader.fileno()).st_mode & 0o100 else 0o644)
    return {"sha256": seen.hexdigest(), "size": size}


def _hash(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as exc:
        raise BadInput(f"the manifest is not plain JSON: {exc}", where=MANIFEST) from exc


def _signature(path: Path) -> Signature:
    try:
        return Signature.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise BadInput("signature.json is no signature", where=str(path)) from exc


def _freeze(folder: Path) -> None:
    """Read-only and on the disk, folders after what is in them."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(root) / name
            path.chmod(0o555 if path.stat().st_mode & 0o100 else 0o444)  # a `serve` must stay executable
        if Path(root) == folder:
            sync(folder / MANIFEST)
        sync(Path(root))
        Path(root).chmod(0o555)


def _remove(folder: Path) -> None:
    if folder.exists():
        for root, _, _ in os.walk(folder):
            Path(root).chmod(0o755)
        shutil.rmtree(folder)
