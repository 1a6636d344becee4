"""The code of a model: what a build copies of the repository, and which commit it stands at."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict

from modelyard.errors import BadInput, NotFound

LARGEST = 50 * 1024 * 1024
"""Bytes that the code may have in all."""
LARGEST_TABLE = 1024 * 1024
"""Bytes from which a file of tables is data, not code."""
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
    a `data` folder at the top, files of tables over 1 MB, and `exclude` (files such as the data source). Links to files inside
    the repository are copied as files.

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
        if not real.is_relative_to(boundary) or not real.is_file():
            raise BadInput(f"{name} is a link that leads out of the repository, or no plain file", where=str(code / name))
        sizes[name] = real.stat().st_size
    if sum(sizes.values()) > LARGEST:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        said = f"the code has {sum(sizes.values()) / 2**20:.0f} MB; {LARGEST // 2**20} are the most"
        hint = f"the largest files are {', '.join(largest)}; put data in a folder `data`, or name a `source_dir`"
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
        folders[:] = [f for f in folders if _wanted_folder(here / f, code, skipped)]
        for name in names:
            path = here / name
            if name.startswith(".") or any(fnmatch.fnmatch(name, pattern) for pattern in _FILES) or path.resolve() in skipped:
                continue
            table = any(fnmatch.fnmatch(name.lower(), pattern) for pattern in _TABLES)
            if table and path.is_file() and path.stat().st_size > LARGEST_TABLE:
                continue
            yield str(path.relative_to(code))


def _wanted_folder(path: Path, code: Path, skipped: set[Path]) -> bool:
    name = path.name
    if name.startswith(".") or name in _FOLDERS or name.endswith(".egg-info"):
        return False
    if path.is_symlink() or path.resolve() in skipped:
        return False
    return not (path.parent == code and name == "data") and not (path / "pyvenv.cfg").exists()


def commit(folder: Path) -> Commit:
    """Where the repository around `folder` stands; only changes below `folder` make it dirty."""
    program = shutil.which("git")
    if program is None:
        return {"commit": None, "dirty": False}
    head = _git(program, folder, "rev-parse", "--verify", "HEAD")
    status = _git(program, folder, "status", "--porcelain", "--", ".")
    return {"commit": head.strip() if head else None, "dirty": bool(head and status and status.strip())}


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
