"""The model's own environment: a virtual environment for each lock, made once by uv and then found.

Its packages are hard links into uv's cache where the file system allows, compiled to bytecode once, since a step cannot write there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard import files
from modelyard.build import installer, locks, processes, pythons

READY = ".ready"


@dataclass(frozen=True)
class Env:
    """An environment that is there: the interpreter to run, the lock it holds, and the digest it is kept under."""

    digest: str
    python: Path
    lock: str


def ensure(lock: str, home: Path, *, afresh: bool = False) -> Env:
    """The environment of `lock`, made in home/envs/<digest> unless it is there; the second time costs milliseconds.

    The digest covers the lock, the interpreter's version and the platform; the interpreter is the one that the lock names, or the
    platform's own. A lock file lets one process make it while others wait. `.ready`, written last, says that it is whole and what
    files it consists of (names, sizes, times; not bytecode), so that one half made by a killed process, or damaged since, is made anew.
    Those are looked through with `afresh` (50 to 200 ms), as a build does once; who has a runner going trusts the mark.

    Raises NotFound where there is no such interpreter, StepFailed with uv's explanation.
    """
    python = pythons.find(locks.python_of(lock))
    digest = hashlib.sha256("\n".join([lock, *python.facts]).encode()).hexdigest()
    folder = home / "envs" / digest
    env = Env(digest, folder / "bin" / "python", lock)
    if _whole(env, afresh):
        return env
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent / f"{digest}.lock"):
        if not _whole(env, afresh):
            processes.kill_leftover(folder.parent / f"{digest}.json")
            _make(env, python, folder, locks.indexes(lock, home))
    return env


def there(lock: str, home: Path) -> Env | None:
    """The environment of `lock`, if it has been made; its files are not looked through."""
    python = pythons.find(locks.python_of(lock))
    digest = hashlib.sha256("\n".join([lock, *python.facts]).encode()).hexdigest()
    env = Env(digest, home / "envs" / digest / "bin" / "python", lock)
    return env if _whole(env, False) else None


def named(python: Path) -> str:
    """What an interpreter is kept under: an environment's digest (of its lock and its Python), else its own path."""
    folder = python.parent.parent
    return folder.name if (folder / READY).is_file() else str(python)


def _whole(env: Env, afresh: bool) -> bool:
    """Whether it was made to its end, and with `afresh` whether no file of it is missing or changed since."""
    folder = env.python.parent.parent
    # the interpreter is a link, which dangles when the installation it was made from is gone
    if not (folder / READY).is_file() or not os.access(env.python, os.X_OK):
        return False
    if not afresh:
        return True
    try:
        return bool(json.loads((folder / READY).read_text(encoding="utf-8")).get("files") == _files(folder))
    except (OSError, ValueError):
        return False


def _files(folder: Path) -> str:
    """A digest of the names, sizes and times of the files below `folder`, without bytecode: more of that comes with use."""
    seen, todo, skipped = hashlib.sha256(), [""], {"__pycache__", READY, f"{READY}.partial"}
    while todo:
        here, lines = todo.pop(), []
        opened = os.open(f"{folder}/{here}", os.O_RDONLY | os.O_DIRECTORY)
        try:  # by the open folder: a path from the root, for each of some thousand files, takes half as long again
            with os.scandir(opened) as entries:
                for name, entry in sorted((e.name, e) for e in entries if e.name not in skipped):
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(f"{here}/{name}".lstrip("/"))
                        continue
                    facts = entry.stat(follow_symlinks=False)
                    lines.append(f"{here}/{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n")
        finally:
            os.close(opened)
        seen.update("".join(lines).encode("utf-8", "surrogateescape"))
    return seen.hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(env: Env, python: pythons.Python, folder: Path, indexes: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    work = folder.parent / f"{env.digest}.work"
    work.mkdir(exist_ok=True)
    try:
        pins = work / "requirements.lock"
        pins.write_text(indexes + env.lock, encoding="utf-8")
        record = folder.parent / f"{env.digest}.json"
        what = "the environment cannot be made"
        installer.uv(["venv", "--no-project", "--python", str(python.program), str(folder)], what, work, work, record)
        sync = ["pip", "sync", "--python", str(env.python), "--compile-bytecode", "--allow-empty-requirements", str(pins)]
        installer.uv(sync, what, work, work, record)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    os.sync()  # uv does not: a power loss could leave empty files, of the right size or not, beside a mark that says all is well
    facts = dict(zip(("implementation", "python", "system", "machine"), python.facts, strict=True))
    files.replace(folder / READY, json.dumps({**facts, "made": time.time(), "files": _files(folder)}).encode(), durable=True)
