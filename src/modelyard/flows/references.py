"""What the parts of a build take of each other: references of the config as paths, and the repository's own files that they name."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.build import source
from modelyard.errors import BadInput, NotFound
from modelyard.files import garbled

if TYPE_CHECKING:
    from modelyard.flows.site import Site

FILES, STEPS, TRAINED, OFFERED = "files", "steps", "trained", "offered"
"""Folders of a run: files of the repository, the outputs of steps, the model as training left it where postprocess made another, and
that model as steps are offered it."""
ARCHIVE = "model.tar.gz"


def path_of(site: Site, reference: str, snapshot: str) -> Path:
    """Where what a reference names lies, a file or a folder. `snapshot` is the digest of the rows."""
    if reference.startswith("./"):
        return site.folder / FILES / reference[2:]
    kind, _, name = reference.partition(".")
    if kind == "data":
        return site.shop.home.path / "snapshots" / snapshot if name == "snapshot" else site.raw(name).parent
    if kind == "preprocess":
        return site.part(name).parent
    if kind == "steps":
        return site.folder / STEPS / Path(*name.split("."))
    if reference == "train.model":
        return _offered(site)
    if reference == "train.output":
        (site.folder / "output").mkdir(exist_ok=True)  # a script need not have left any
        return site.folder / "output"
    return site.folder / "holdout.parquet"


def trained(site: Site) -> Path:
    """The model as training left it."""
    before = site.folder / TRAINED
    return before if before.exists() else site.model


def _offered(site: Site) -> Path:
    """The model as training left it, with the archive beside its files that SageMaker makes of it. One made of the same files has the
    same bytes, and is not compressed: it is made for a step or two and not kept."""
    model, place = trained(site), site.folder / OFFERED
    if place.exists() or (model / ARCHIVE).exists():
        return place if place.exists() else model
    making = Path(tempfile.mkdtemp(prefix=f"{OFFERED}-", dir=site.folder))
    shutil.copytree(model, making / "model", symlinks=True, copy_function=_linked)
    with gzip.GzipFile(making / "model" / ARCHIVE, "wb", compresslevel=0, mtime=0) as file, tarfile.open(fileobj=file, mode="w") as archive:
        for path in sorted(p for p in model.rglob("*") if p.is_symlink() or p.is_file()):
            archive.add(path, path.relative_to(model).as_posix(), filter=_nobodys)
    with contextlib.suppress(OSError):  # another step, running at the same time, was there first
        (making / "model").rename(place)
    shutil.rmtree(making)
    return place


def _linked(source: str, place: str) -> None:
    """One file at two places, where the file system can; it is shown read-only."""
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, place)


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime, entry.mode = 0, 0o755 if entry.mode & 0o100 else 0o644
    return entry


def split_of(reference: str) -> str | None:
    """The split that a reference is, or None."""
    kind, _, name = reference.partition(".")
    return name if kind in ("data", "preprocess") and name != "snapshot" else None


def named(site: Site) -> list[str]:
    """Paths of the repository that inputs name, without the `./`, each once."""
    config = site.config
    parts = [config.preprocess, config.train, config.postprocess, *config.steps]
    return sorted({reference[2:] for part in parts if part is not None for reference in part.inputs.values() if reference.startswith("./")})


def packaged(site: Site, into: Path) -> list[str]:
    """Copy the repository's files that inputs name into the new folder `into`; their digest, none where none is named.

    Raises NotFound for one that is not there, BadInput for a link that leads out, and for more than 50 MB in all: they are kept in the
    bundle, so that a version can be reproduced.
    """
    names, boundary = named(site), site.repository.resolve()
    if not names:
        return []
    seen, size = hashlib.sha256(), 0
    for name, path in ((name, path) for top in names for name, path in _files(site.repository, top)):
        if not path.resolve().is_relative_to(boundary):
            raise BadInput(f"./{name} is a link that leads out of the model's repository", where="inputs")
        if shown := garbled(name):
            raise BadInput(f"the name of ./{shown} is no UTF-8", where="inputs", next="name it otherwise")
        size += path.stat().st_size
        if size > source.LARGEST:
            hint = "take a table from data.*, or let a step fetch it and give it as its output"
            raise BadInput(f"the files that inputs name have over {source.LARGEST // 2**20} MB", where="inputs", next=hint)
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into / name)
        with path.open("rb") as file:
            seen.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return [seen.hexdigest()]


def _files(repository: Path, name: str) -> Iterator[tuple[str, Path]]:
    top = repository / name
    if top.is_file():
        yield name, top
        return
    if not top.is_dir():
        raise NotFound(f"there is no ./{name}", where="inputs", next=f"paths are relative to {repository}")
    for folder, folders, files in os.walk(top, followlinks=True):
        here = Path(folder)
        if any(here.samefile(around) for around in here.parents if around.is_relative_to(top)):
            raise BadInput(f"./{here.relative_to(repository)} is a link that leads back to where it lies", where="inputs")
        folders.sort()
        for file in sorted(files):
            path = Path(folder) / file
            yield path.relative_to(repository).as_posix(), path
