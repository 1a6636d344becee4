"""Artifacts: a model that somebody else made, brought from a path or an fsspec URL: a file, a folder, or SageMaker's model.tar.gz."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from modelyard.errors import BadInput, NotFound

WHERE = "bring.artifact"
ARCHIVES = (".tar.gz", ".tgz")
MOST_BYTES, MOST_FILES = 20 * 2**30, 20_000
"""What an artifact may hold, unpacked."""


def fetch(location: str, *, folder: Path, into: Path) -> str:
    """Put the model at `location` (relative to `folder`, or a URL) into the empty folder `into`; returns the SHA-256 of its files.

    A file keeps its name; a folder's content is copied; a .tar.gz is unpacked, code/ and all. Raises NotFound, and BadInput for what
    cannot be read, for links and special files, for names that lead out of the folder, and for more than 20 GiB or 20,000 files.
    """
    name = location.rstrip("/").rpartition("/")[2]
    if "://" in location:
        _remote(location, name, into)
    else:
        path = folder / location
        if path.is_dir():
            _tree(path, into)
        elif path.is_file():
            with path.open("rb") as file:
                _file(file, name, into)
        else:
            raise NotFound(f"there is no file or folder {location}", where=WHERE, next="the path is relative to config.yaml")
    names = sorted(p.relative_to(into).as_posix() for p in into.rglob("*") if p.is_file())
    if not names:
        raise BadInput(f"{location} is empty", where=WHERE)
    whole = hashlib.sha256()
    for each in names:
        with (into / each).open("rb") as file:
            whole.update(f"{each}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def requirements(model: Path) -> Path | None:
    """The requirements that a brought model itself names: those beside an MLmodel, or of SageMaker's code/; None where it names none."""
    beside = [model / "requirements.txt"] if (model / "MLmodel").is_file() else []
    return next((p for p in (*beside, model / "code" / "requirements.txt") if p.is_file()), None)


def _remote(location: str, name: str, into: Path) -> None:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(location)
        if not system.exists(path):
            raise FileNotFoundError(path)
        if not system.isdir(path):
            with system.open(path, "rb") as file:
                _file(file, name, into)
            return
        budget = _Budget()
        for found, facts in system.find(path, detail=True).items():
            inside = _inside(found.removeprefix(path).lstrip("/"))
            budget.take(int(facts.get("size") or 0))
            (into / inside).parent.mkdir(parents=True, exist_ok=True)
            with system.open(found, "rb") as remote, (into / inside).open("xb") as local:
                shutil.copyfileobj(remote, local)
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file or folder at {location}", where=WHERE) from exc
    except ImportError as exc:
        raise BadInput(f"{location} needs a package that is not installed", where=WHERE, next=str(exc)) from exc
    except BadInput:
        raise
    except Exception as exc:  # each backend raises its own kinds
        raise BadInput(f"{location} cannot be read: {type(exc).__name__}", where=WHERE) from exc


def _file(file: IO[bytes], name: str, into: Path) -> None:
    if name.lower().endswith(ARCHIVES):
        _unpack(file, name, into)
        return
    with (into / name).open("xb") as target:
        shutil.copyfileobj(file, target)


class _Budget:
    """What may still be taken. Raises BadInput once it is spent."""

    def __init__(self) -> None:
        self.bytes, self.files = MOST_BYTES, MOST_FILES

    def take(self, size: int) -> None:
        self.bytes, self.files = self.bytes - size, self.files - 1
        if self.bytes < 0 or self.files < 0:
            raise BadInput(f"the artifact holds more than {MOST_BYTES // 2**30} GiB or {MOST_FILES:,} files", where=WHERE)


def _inside(name: str) -> PurePosixPath:
    """A name of an archive as a path below the folder it is put into. Raises BadInput for one that leads out."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise BadInput(f"the artifact holds the name {name[:100]!r}, which leads out of its folder", where=WHERE)
    return path


def _unpack(file: IO[bytes], name: str, into: Path) -> None:
    """Plain files and folders of a gzipped tar, and nothing else: an own loop, since tarfile's filters still let links through."""
    budget = _Budget()
    try:
        with tarfile.open(fileobj=file, mode="r|gz") as archive:
            for member in archive:
                if member.name in (".", "./"):
                    continue
                path = into / _inside(member.name)
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                if not member.isreg():
                    raise BadInput(f"{name} holds {member.name}, a link or a special file: plain files only", where=WHERE)
                budget.take(member.size)
                content = archive.extractfile(member)
                assert content is not None  # a regular member has content
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as target:
                    shutil.copyfileobj(content, target)
                path.chmod(0o755 if member.mode & 0o100 else 0o644)
    except (tarfile.TarError, EOFError, OSError) as exc:
        raise BadInput(f"{name} cannot be unpacked: {exc}", where=WHERE) from exc


def _tree(source: Path, into: Path) -> None:
    budget = _Budget()
    for path in _plain(source):
        budget.take(path.stat().st_size)
        target = into / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o755 if os.access(path, os.X_OK) else 0o644)


def _plain(folder: Path) -> Iterator[Path]:
    """Every file below; bytecode and hidden files are left out. Raises BadInput for a link or a special file."""
    for path in sorted(folder.rglob("*")):
        inside: Any = path.relative_to(folder).parts
        if any(part.startswith(".") or part == "__pycache__" for part in inside):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadInput(f"{path.relative_to(folder)} is a link or a special file: a model is plain files only", where=WHERE)
        if path.is_file():
            yield path
