"""The model's own environment: requirements locked by uv, and a virtual environment for each lock, made once and then found.

uv takes its indexes from the machine's configuration as it is; a lock names versions only, never an index or a host.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.build import processes
from modelyard.errors import BadInput, NotFound, StepFailed

DEFAULTS = {"sklearn": "scikit-learn\npandas\npyarrow\njoblib\n", "onnx": "onnxruntime\nnumpy\n"}
"""Requirements where the config names none, by framework."""
READY = ".ready"
LONGEST = 1800.0
"""Seconds that locking, or making an environment, may take."""


@dataclass(frozen=True)
class Env:
    """An environment that is there: the interpreter to run, the lock it holds, and the digest it is kept under."""

    digest: str
    python: Path
    lock: str


def lock(requirements: Path | None, framework: str) -> str:
    """The pinned versions of a requirements.txt (by default what `framework` needs), for this interpreter's version and platform.

    The text is sorted and has no comments, so that the same resolution is the same text. Raises NotFound for a missing file,
    BadInput for one that holds a password, and StepFailed with uv's own explanation when it cannot be resolved.
    """
    if requirements is not None and not requirements.is_file():
        raise NotFound(f"there is no {requirements.name}", where="train.requirements", next="the path is relative to config.yaml")
    with tempfile.TemporaryDirectory(prefix="modelyard-lock-") as folder:
        source = requirements
        if source is None:
            source = Path(folder) / "requirements.in"
            source.write_text(DEFAULTS[framework], encoding="utf-8")
        target = Path(folder) / "requirements.lock"
        options = ["--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate", "--output-file", str(target)]
        argv = ["pip", "compile", "--python", sys.executable, *options, str(source.absolute())]
        _uv(argv, f"{source.name} cannot be resolved", source.parent, Path(folder))
        text = target.read_text(encoding="utf-8")
    for line in text.splitlines():
        address = line.partition("://")[2].partition("/")[0]
        if "@" in address:
            hint = "a lock is kept in the bundle for all to read; let git or uv find the password by itself"
            raise BadInput("a requirement's address holds a password", where="train.requirements", next=hint)
    return text


def ensure(lock: str, home: Path) -> Env:
    """The environment of `lock`, made in home/envs/<digest> unless it is there; the second time costs milliseconds.

    The digest covers the lock, the interpreter's version and the platform. A lock file lets one process make it while others
    wait; the file `.ready`, written last, says that it is whole, so that one half made by a killed process is made anew. Packages
    are hard links into uv's cache where the file system allows, and compiled to bytecode, since a step cannot write there.

    Raises StepFailed with uv's explanation.
    """
    digest = hashlib.sha256("\n".join([lock, *_python_facts()]).encode()).hexdigest()
    folder = home / "envs" / digest
    env = Env(digest, folder / "bin" / "python", lock)
    if _whole(env):
        return env
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent / f"{digest}.lock"):
        if not _whole(env):
            processes.kill_leftover(folder.parent / f"{digest}.json")
            _make(env, folder)
    return env


def _python_facts() -> list[str]:
    return [sys.implementation.name, platform.python_version(), sys.platform, platform.machine()]


def _whole(env: Env) -> bool:
    # the interpreter is a link, which dangles when the installation it was made from is gone
    return (env.python.parent.parent / READY).is_file() and os.access(env.python, os.X_OK)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(env: Env, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    work = folder.parent / f"{env.digest}.work"
    work.mkdir(exist_ok=True)
    try:
        pins = work / "requirements.lock"
        pins.write_text(env.lock, encoding="utf-8")
        record = folder.parent / f"{env.digest}.json"
        what = "the environment cannot be made"
        _uv(["venv", "--no-project", "--python", sys.executable, str(folder)], what, work, work, record)
        sync = ["pip", "sync", "--python", str(env.python), "--compile-bytecode", "--allow-empty-requirements", str(pins)]
        _uv(sync, what, work, work, record)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    facts = dict(zip(("implementation", "python", "system", "machine"), _python_facts(), strict=True))
    partial = folder / f"{READY}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump({**facts, "made": time.time()}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / READY)


def _uv(argv: list[str], what: str, cwd: Path, work: Path, record: Path | None = None) -> None:
    """Run uv under a keeper; its explanation becomes the error's lines.

    Packages without a wheel run their own code here, so uv gets the environment that configures it and none of our secrets.
    """
    import uv

    env = {k: v for k, v in os.environ.items() if not k.startswith("MODELYARD_") and k not in _UNWANTED}
    lines: list[str] = []
    ended = processes.run(
        [uv.find_uv_bin(), *argv, "--quiet", "--color", "never"],
        env=env,
        cwd=cwd,
        timeout=LONGEST,
        log=work / "uv.log",
        record=record or work / processes.RECORD,
        on_line=lines.append,
    )
    if ended.stopped:
        raise StepFailed(f"{what}: uv took longer than {LONGEST:g} s", where="environment", log_tail=ended.tail)
    if ended.code != 0:
        hint = "uv's explanation is below; change the requirements, or look at the network and the package index"
        raise StepFailed(what, where="environment", next=hint, log_tail=tuple(line for line in lines if line.strip())[:40])


_UNWANTED = (
    "VIRTUAL_ENV",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "PYTHONHOME",
    "UV_NO_COMPILE_BYTECODE",
    "UV_PROJECT_ENVIRONMENT",
)
