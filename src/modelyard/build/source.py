"""The code of a model: what a build copies of the repository, and which commit it stands at."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import TypedDict

from modelyard.errors import BadInput, NotFound
from modelyard.files import garbled

LARGEST = 50 * 1024 * 1024
"""Bytes that the code may have in all."""
LARGEST_TABLE = 1024 * 1024
"""Bytes from which a file of tables is data, not code."""
LARGEST_DATA = 10 * 1024 * 1024
"""Bytes from which a folder `data` at the top is data, not code."""
_FOLDERS = ("__pycache__", "node_modules", "mlruns")
_FILES = ("*.pyc", "*.pyo", "*.swp", "*~")
_TABLES = (
    "*.csv", "*.tsv", "*.parquet", "*.feather", "*.arrow", "*.jsonl", "*.sqlite", "*.sqlite3", "*.db", "*.duckdb", "*.gz",
    "*.zip", "*.npy", "*.npz", "*.h5", "*.xlsx",
)  # fmt: skip


class Commit(TypedDict):
    """`commit` is the full hash, None outside a Git repository; `dirty` says whether the folder differs from it."""

    commit: str | None
    dirty: bool


def locate(folder: Path, entry_point: str, source_dir: str | None) -> tuple[Path, str]:
    """The code's folder, and the entry point's path inside it.

    Without `source_dir` the code is the entry point's own folder. With it the entry point is relative to it, as SageMaker has it,
    or to `folder` as every other path of the config. Raises NotFound, or BadInput when a link leads out of `folder`.
    """
    if source_dir is None:
        script = folder / entry_point
        code, inside = script.parent, script.name
    else:
        code, inside = folder / source_dir, entry_point
        script = code / inside
        if not script.is_file() and (folder / entry_point).is_file() and Path(entry_point).is_relative_to(source_dir):
            inside = str(Path(entry_point).relative_to(source_dir))
            script = code / inside
    if not script.is_file():
        raise NotFound(f"there is no {entry_point}", where="train.entry_point", next=f"paths are relative to {folder}")
    if not script.resolve().is_relative_to(folder.resolve()):
        raise BadInput(f"{entry_point} is a link that leads out of the model's repository", where="train.entry_point")
    return code, inside


def package(loaded_folder: Path, entry_point: str, source_dir: str | None, into: Path, *, exclude: Iterable[Path] = ()) -> str:
    """Copy the code into the new folder `into`, and give the SHA-256 of its content (names, contents, executable bits).

    Left out: hidden files and folders (.git, .venv, .env, caches), virtual environments, `__pycache__`, `node_modules`, `mlruns`,
    files of tables over 1 MB, `exclude` (files such as the data source), and a folder `data` at the top that holds one of these or has
    over 10 MB. Links to files inside the repository are copied as files.

    Raises NotFound for a missing entry point and BadInput for more than 50 MB, a link that leads out, or a special file.
    """
    code, inside = locate(loaded_folder, entry_point, source_dir)
    boundary = loaded_folder.resolve()
    skipped = {path.resolve() for path in (*exclude, into)}
    files = sorted(_files(code, skipped))
    if inside not in files:
        files = sorted([*files, inside])  # whatever it is named, it was asked for
    sizes = {}
    for name in files:
        real = (code / name).resolve()
        if shown := garbled(name):
            raise BadInput(f"the name of {shown} is no UTF-8", where=str(code), next="name it otherwise, or keep it out of the code")
        if not real.is_relative_to(boundary) or not real.is_file():
            raise BadInput(f"{name} is a link that leads out of the repository, or no plain file", where=str(code / name))
        sizes[name] = real.stat().st_size
    if sum(sizes.values()) > LARGEST:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        said = f"the code has {sum(sizes.values()) / 2**20:.0f} MB; {LARGEST // 2**20} are the most"
        hint = f"the largest files are {', '.join(largest)}; leave data out of the repository, or name a `source_dir`"
        raise BadInput(said, where=str(code), next=hint)
    into.mkdir(parents=True)
    whole = hashlib.sha256()
    for name in files:
        content = (code / name).read_bytes()
        runs = os.access(code / name, os.X_OK)
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o755 if runs else 0o644)
        whole.update(f"{name}\0{int(runs)}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()


def _files(code: Path, skipped: set[Path]) -> Iterator[str]:
    for root, folders, names in os.walk(code):
        here = Path(root)
        folders[:] = [f for f in folders if not _no_folder(here / f, code, skipped)]
        yield from (str((here / name).relative_to(code)) for name in names if not _no_file(here / name, skipped))


def _no_file(path: Path, skipped: set[Path]) -> str:
    """Why a file is not copied; empty where it is."""
    if path.name.startswith(".") or any(fnmatch.fnmatch(path.name, pattern) for pattern in _FILES):
        return "files of such a name are"
    if path.resolve() in skipped:
        return "the build reads it for itself, as it is named in the config"
    if any(fnmatch.fnmatch(path.name.lower(), pattern) for pattern in _TABLES) and path.is_file() and path.stat().st_size > LARGEST_TABLE:
        return f"a table of over {LARGEST_TABLE // 2**20} MB is data"
    return ""


def _no_folder(path: Path, code: Path, skipped: set[Path]) -> str:
    """Why a folder is not copied; empty where it is."""
    name = path.name
    if name.startswith(".") or name in _FOLDERS or name.endswith(".egg-info"):
        return "folders of such a name are"
    if path.is_symlink():
        return "it is a link to a folder"
    if path.resolve() in skipped:
        return "the build reads it for itself, as it is named in the config"
    if (path / "pyvenv.cfg").exists():
        return "it is a virtual environment"
    if path.parent == code and name == "data":
        if any(one.is_relative_to(path.resolve()) for one in skipped):
            return "it holds what the build reads for itself"
        if any(size > LARGEST_DATA for size in accumulate(file.lstat().st_size for file in path.rglob("*"))):
            return f"it has over {LARGEST_DATA // 2**20} MB"
    return ""


def left_out(code: Path, copy: Path, name: str, *, exclude: Iterable[Path] = ()) -> tuple[str, str] | None:
    """What of the path `name` of `code` is missing in its copy, and why; None where it is there, or was not in `code` either."""
    for part in [*reversed(Path(name).parents), Path(name)]:
        if (code / part).exists() and not (copy / part).exists():
            skipped, folder = {path.resolve() for path in exclude}, (code / part).is_dir()
            why = _no_folder(code / part, code, skipped) if folder else _no_file(code / part, skipped)
            return f"{part}/" if folder else str(part), why or "it was not there when the build began"
    return None


def commit(folder: Path) -> Commit:
    """Where the repository around `folder` stands; only changes below `folder` make it dirty."""
    program = shutil.which("git")
    if program is None:
        return {"commit": None, "dirty": False}
    head = _git(program, folder, "rev-parse", "--verify", "HEAD")
    status = _git(program, folder, "status", "--porcelain", "--", ".")
    return {"commit": head.strip() if head else None, "dirty": bool(head and status and status.strip())}


def without(folder: Path) -> str:
    """Why `commit` has none, for people: Git reads no repository of another user, for one, which does not mean that there is none."""
    here = folder.resolve()
    top = next((parent for parent in (here, *here.parents) if os.access(parent / ".git", os.F_OK)), None)
    program = shutil.which("git")
    if top is None:
        return "not in Git"
    if program is None:
        return "its commit is not known: git is not installed"
    if _git(program, folder, "rev-parse", "--git-dir") is None:
        return f"its commit is not known: Git does not read {top} here (`git -C {top} status` says why)"
    return "in Git, without a commit"


def checkout(folder: Path, commit: str, into: Path) -> bool:
    """Put what the repository around `folder` has below it at `commit` into the new folder `into`; False where it has no such commit."""
    program = shutil.which("git")
    if program is None or not re.fullmatch(r"[0-9a-f]{40,64}", commit) or not folder.is_dir():
        return False
    archive = into.with_name(f"{into.name}.tar")
    into.mkdir(parents=True)
    try:
        if _git(program, folder, "archive", "--format=tar", f"--output={archive}", commit) is None:
            return False
        with tarfile.open(archive) as opened:
            for member in opened:
                opened.extract(member, into, filter="data")
    except (OSError, tarfile.TarError):
        return False
    finally:
        archive.unlink(missing_ok=True)
    return True


def _git(program: str, folder: Path, *words: str) -> str | None:
    # neither hooks nor a file-system monitor: a repository's own settings must not run a program of its choice
    safe = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            [program, "-C", str(folder), *safe, *words],
            capture_output=True,
            text=True,
            env=env,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
