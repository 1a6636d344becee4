"""The warm interpreter of a build, begun while the platform itself is still being imported: the one that the last build of a config had.

What a build's steps were forked from is noted by the place of its config. The next command that builds the same config begins the same
interpreter at once, for a run whose id is settled with it, and the build takes it where it comes to want exactly that. Else it is ended,
as it is in any case with the command. No line of a script is run in it before it is taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard import files
from modelyard.build.forerunner import Forerunner
from modelyard.build.warm import Asked, Warm
from modelyard.home import Home, default_home, scratch_prefix

FLOWS, FLAGS = ("build", "up"), {"--json", "--no-cache", "--refresh", "--yes"}
"""Commands for which one is begun, and what may stand on their line beside a config."""


@dataclass
class _Begun:
    run: str
    flow: str
    config: Path
    folder: Path
    warm: Warm
    reserved: bool = False


_begun: _Begun | None = None
_forerunner: Forerunner | None = None
_lock = threading.Lock()


def note(home: Path, config: Path, asked: Asked) -> None:
    """Remember what a build of this config was forked from."""
    place, text = _note(home, config), json.dumps(asked)
    with contextlib.suppress(OSError):  # it is for speed alone
        if not place.exists() or place.read_text(encoding="utf-8") != text:
            place.parent.mkdir(exist_ok=True)
            files.replace(place, text.encode(), durable=False)


def foreseen(words: list[str], forerunner: Forerunner) -> None:
    """Begin for a command line, before anything else of the command is imported, what `begun` would; `forerunner` is ours to close."""
    global _forerunner
    _forerunner = forerunner
    flow, others = words[0], [word for word in words[1:] if word not in FLAGS]
    if flow in FLOWS and len(others) <= 1 and not any(word.startswith("-") for word in others):
        _try(flow, default_home(), Path(*others or ["config.yaml"]).resolve())


def over() -> None:
    """Whatever was begun and nobody has taken is gone."""
    global _forerunner
    _drop()
    left, _forerunner = _forerunner, None
    if left is not None:
        left.close()


@contextlib.contextmanager
def begun(flow: str, home: Path, config: Path) -> Iterator[None]:
    """For a command that is about to ask the home's owner for a run of `flow`; whatever nobody has taken is gone after the block."""
    if _begun is None or (_begun.flow, _begun.folder.parent.parent, _begun.config) != (flow, home, config):
        _drop()
        _try(flow, home, config)
    try:
        yield
    finally:
        over()


def _try(flow: str, home: Path, config: Path) -> None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # no note, or none that makes sense: the build begins its own
        _begin(flow, home, config)


def _begin(flow: str, home: Path, config: Path) -> None:
    global _begun, _forerunner
    if os.environ.get("MODELYARD_WARM") == "0":
        return
    asked: Asked = json.loads(_note(home, config).read_text(encoding="utf-8"))
    run = f"{flow}-{secrets.token_hex(4)}"
    folder = home / "runs" / run
    if not os.access(asked["python"], os.X_OK) or not all(Path(path).is_dir() for path in asked["read_only"]) or Home(home).locked:
        return  # of a home that has an owner, it is the owner's to do
    folder.mkdir(mode=0o700)
    forerunner, _forerunner = _forerunner or Forerunner(), None
    try:
        warm = Warm(
            Path(asked["python"]),
            asked["modules"],
            [folder],
            asked["environment"],
            folder / "warm.log",
            read_only=[Path(path) for path in asked["read_only"]],
            program=(asked["program"][0], asked["program"][1]) if asked["program"] else None,
            prefix=scratch_prefix(home),
            forerunner=forerunner,
        )
    except BaseException:
        forerunner.close()
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _begun = _Begun(run, flow, config, folder, warm)


def reserved(flow: str, config: Path) -> str | None:
    """The id that the run of `flow` by this config has to have; given once, None where nothing was begun for it."""
    with _lock:
        if _begun is None or _begun.reserved or (_begun.flow, _begun.config) != (flow, config):
            return None
        _begun.reserved = True
        return _begun.run


def taken(run: str, asked: Asked) -> Warm | None:
    """The interpreter that was begun for this run, if it is what the run asks for; from here on the caller's to close. Else it is gone."""
    global _begun
    with _lock:
        if _begun is not None and _begun.run == run and _begun.warm.asked == asked and _begun.warm.up:
            warm, _begun = _begun.warm, None
            return warm
    drop(run)
    return None


def drop(run: str) -> None:
    """End what was begun for this run, and for any other that nobody asked for."""
    if _begun is not None and (_begun.run == run or not _begun.reserved):
        _drop()


def _drop() -> None:
    global _begun
    with _lock:
        left, _begun = _begun, None
    if left is not None:
        left.warm.close()
        if not left.reserved:
            shutil.rmtree(left.folder, ignore_errors=True)


def _note(home: Path, config: Path) -> Path:
    return home / "warm" / f"{hashlib.sha256(str(config).encode()).hexdigest()}.json"
