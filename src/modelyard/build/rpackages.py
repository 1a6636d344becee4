"""R and its packages as a step sees them. They come from the system and are in no lock: what was made with others is made again.

Each package counts by its whole DESCRIPTION, which has its version, where it is from and when it was built; so one that is installed anew
counts as another. R itself is asked only where its libraries are, and again only once it, or what configures it, has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard import files
from modelyard.build.stage import PATH

LIBRARIES = ("R_LIBS", "R_LIBS_SITE", "R_LIBS_USER")
"""Variables of a step that say where R looks for packages."""
_MARK = "modelyard: "
_ASK = f'cat(paste0("{_MARK}", c(R.version$major, R.version$minor, R.home(), Sys.getenv(c{LIBRARIES}), .libPaths())), sep = "\\n")'
_SECONDS = 60


@dataclass(frozen=True)
class R:
    """An R: its version, how many packages it sees, and a digest of both."""

    version: str
    packages: int
    digest: str

    def __str__(self) -> str:
        return f"R {self.version} with {self.packages} packages"


def runs(entry_point: str) -> bool:
    """Whether a script is Rscript's."""
    return entry_point.endswith(".R")


def found(home: Path, variables: Mapping[str, str]) -> R | None:
    """The R that a step with these `variables` has; None where there is none. `home` keeps what R was asked."""
    program = shutil.which("Rscript", path=PATH)
    if program is None:
        return None
    own = {name: value for name, value in variables.items() if name in LIBRARIES}
    note = home / "locks" / f"r-{hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:32]}.json"
    told = _kept(note, program) or _asked(note, program, own)
    return None if told is None else _seen(told)


def key(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """What the key of a step that R runs has beside; see flows/caching.py."""
    r = found(home, variables)
    return {"r": "" if r is None else r.digest}


def _kept(note: Path, program: str) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        return told if told["mark"] == _mark(program, told["home"], told["asked"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _asked(note: Path, program: str, own: Mapping[str, str]) -> dict[str, Any] | None:
    """What R says. It reads no profile but the system's: as in a step, whose home is its own."""
    with tempfile.TemporaryDirectory(prefix="modelyard-r-") as scratch:
        env = {"PATH": PATH, "HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8", **own}
        try:
            done = subprocess.run(
                [program, "-e", _ASK], env=env, cwd=scratch, capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    said = re.findall(f"^{_MARK}(.*)$", done.stdout.decode("utf-8", "replace"), re.MULTILINE)
    if done.returncode != 0 or len(said) < 3 + len(LIBRARIES):
        return None
    major, minor, home, *rest = said
    asked = [place for places in rest[: len(LIBRARIES)] for place in places.split(":") if place]
    told = {"version": f"{major}.{minor}", "home": home, "asked": asked, "libraries": rest[len(LIBRARIES) :]}
    told["mark"] = _mark(program, home, asked)
    note.parent.mkdir(parents=True, exist_ok=True)
    files.replace(note, json.dumps(told).encode(), durable=False)
    return told


def _mark(program: str, home: str, asked: list[str]) -> list[Any]:
    """What changes where R, or where it looks, may have changed."""
    etc = Path(home, "etc")
    watched = [program, os.path.realpath(program), f"{home}/library/base/DESCRIPTION", *sorted(map(str, etc.glob("R*")))]
    return [[_state(path) for path in watched], [Path(place).is_dir() for place in asked]]


def _state(path: str) -> list[int]:
    try:
        facts = os.stat(path)  # noqa: PTH116  (a string)
    except OSError:
        return []
    return [facts.st_mtime_ns, facts.st_size, facts.st_ino]


def _seen(told: Mapping[str, Any]) -> R:
    """The packages that lie in the libraries now, in the order in which R looks."""
    digest, names = hashlib.sha256(told["version"].encode()), set[str]()
    for number, library in enumerate(told["libraries"]):
        for name in sorted(_names(library)):
            try:
                described = Path(library, name, "DESCRIPTION").read_bytes()
            except OSError:
                continue  # no package
            names.add(name)
            digest.update(f"\n{number}\0{name}\0{hashlib.sha256(described).hexdigest()}".encode("utf-8", "surrogateescape"))
    return R(told["version"], len(names), digest.hexdigest())


def _names(library: str) -> list[str]:
    try:
        return os.listdir(library)  # noqa: PTH208  (names are all that is wanted)
    except OSError:
        return []
